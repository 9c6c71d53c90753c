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

  def pipers do
    for peer <- peers(), do: with(%Peer{} <- peer, do: piper(peer))
  end

  defp piper(peer) do
    %Peer{
      peer
      | drop: &(&1 |> stream() |> Enum.reduce(0, fn bytes, n -> n + IO.iodata_length(bytes) end)),
        keep: &(&1 |> stream() |> Enum.to_list() |> IO.iodata_to_binary()),
        feed: &feed/2,
        talk: &talk/2,
        hold: fn argv, ms -> argv |> stream() |> Enum.each(fn _ -> Process.sleep(ms) end) end
    }
  end

  defp stream(argv), do: apply(ExCmd, :stream!, [argv])

  defp feed(argv, bytes) do
    {:ok, process} = apply(ExCmd.Process, :start_link, [argv])
    :ok = apply(ExCmd.Process, :write, [process, bytes])
    :ok = apply(ExCmd.Process, :close_stdin, [process])
    {:ok, 0} = apply(ExCmd.Process, :await_exit, [process])
  end

  defp talk(argv, fun) do
    {:ok, process} = apply(ExCmd.Process, :start_link, [argv])

    fun.(fn line ->
      :ok = apply(ExCmd.Process, :write, [process, line])
      {:ok, bytes} = apply(ExCmd.Process, :read, [process])
      IO.iodata_to_binary(bytes)
    end)

    :ok = apply(ExCmd.Process, :close_stdin, [process])
    {:ok, 0} = apply(ExCmd.Process, :await_exit, [process])
  end

  defp run(argv, _opts) do
    {:ok, process} = apply(ExCmd.Process, :start_link, [argv])
    {:ok, 0} = apply(ExCmd.Process, :await_exit, [process])
  end
end
