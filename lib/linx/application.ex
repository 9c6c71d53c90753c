defmodule Linx.Application do
  @moduledoc false

  use Application

  @impl true
  def start(_type, _args) do
    Supervisor.start_link([Linx.Process.Remains], strategy: :one_for_one, name: Linx.Supervisor)
  end
end
