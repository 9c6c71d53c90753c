defmodule HelloLinx.Application do
  @moduledoc """
  The supervision tree: the process that receives the workload's events, then the workload.
  """

  use Application

  @impl true
  def start(_type, _args) do
    children = [
      HelloLinx.Events,
      {Linx.Process,
       argv: ["/bin/sleep", "infinity"],
       owner: HelloLinx.Events,
       auto_proceed: true,
       restart: :transient,
       stdio: :devnull}
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: HelloLinx.Supervisor)
  end
end
