defmodule Bench.Peers.Exile do
  @moduledoc false

  alias Bench.Peers.{Paths, Peer}

  @name "Exile"

  def peers do
    case Paths.application(:exile) do
      {:ok, version} -> [%Peer{name: @name, run: &run/2, version: version}]
      {:error, why} -> [{:not_run, @name, why}]
    end
  end

  defp run(argv, _opts) do
    {:ok, process} = apply(Exile.Process, :start_link, [argv])
    {:ok, 0} = apply(Exile.Process, :await_exit, [process])
  end
end
