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

  defp stream(argv), do: apply(Exile, :stream!, [argv])

  defp feed(argv, bytes) do
    {:ok, process} = apply(Exile.Process, :start_link, [argv])
    :ok = apply(Exile.Process, :write, [process, bytes])
    :ok = apply(Exile.Process, :close_stdin, [process])
    {:ok, 0} = apply(Exile.Process, :await_exit, [process])
  end

  defp talk(argv, fun) do
    {:ok, process} = apply(Exile.Process, :start_link, [argv])

    fun.(fn line ->
      :ok = apply(Exile.Process, :write, [process, line])
      {:ok, bytes} = apply(Exile.Process, :read, [process])
      IO.iodata_to_binary(bytes)
    end)

    :ok = apply(Exile.Process, :close_stdin, [process])
    {:ok, 0} = apply(Exile.Process, :await_exit, [process])
  end

  defp run(argv, _opts) do
    {:ok, process} = apply(Exile.Process, :start_link, [argv])
    {:ok, 0} = apply(Exile.Process, :await_exit, [process])
  end
end
