defmodule Bench.Peers.ExCmd do
  @moduledoc false

  alias Bench.Peers.{Paths, Peer}

  @name "ExCmd"

  def peers do
    case Paths.application(:ex_cmd) do
      {:ok, version} -> [%Peer{name: @name, run: &run/2, version: version}]
      {:error, why} -> [{:not_run, @name, why}]
    end
  end

  defp run(argv, _opts) do
    {:ok, process} = apply(ExCmd.Process, :start_link, [argv])
    {:ok, 0} = apply(ExCmd.Process, :await_exit, [process])
  end
end
