defmodule Linx.Application do
  @moduledoc false

  # Starts no process outside the BEAM: that waits for a session.

  use Application

  @impl true
  def start(_type, _args) do
    # It belongs to the caller, which is there as long as the application is.
    Linx.Sessions.new_table()

    children = [
      Linx.Sessions,
      Linx.Process.Remains,
      Linx.Cgroup.Keeper.supervisor(),
      Linx.Agent.Hosts
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: Linx.Supervisor)
  end
end
