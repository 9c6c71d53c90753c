defmodule Bench.Peers.Exile do
  @moduledoc false

  # Exile, and ExCmd, which has the same functions.

  alias Bench.Peers.{Paths, Peer}

  @libraries [{"Exile", :exile, Exile, Exile.Process}, {"ExCmd", :ex_cmd, ExCmd, ExCmd.Process}]

  def peers do
    for {name, application, _streams, process} <- @libraries do
      case Paths.application(application) do
        {:ok, version} -> %Peer{name: name, run: &run(process, &1, &2), version: version}
        {:error, why} -> {:not_run, name, why}
      end
    end
  end

  def pipers do
    for {peer, {_name, _application, streams, process}} <- Enum.zip(peers(), @libraries),
        do: with(%Peer{} <- peer, do: piper(peer, streams, process))
  end

  defp piper(peer, streams, process) do
    stream = &apply(streams, :stream!, [&1])

    %Peer{
      peer
      | drop: &(&1 |> stream.() |> Enum.reduce(0, fn some, n -> n + IO.iodata_length(some) end)),
        keep: &(&1 |> stream.() |> Enum.to_list() |> IO.iodata_to_binary()),
        feed: &feed(process, &1, &2),
        talk: &talk(process, &1, &2),
        hold: fn argv, ms -> argv |> stream.() |> Enum.each(fn _ -> Process.sleep(ms) end) end
    }
  end

  defp feed(module, argv, bytes) do
    {:ok, process} = apply(module, :start_link, [argv])
    :ok = apply(module, :write, [process, bytes])
    finish(module, process)
  end

  defp talk(module, argv, fun) do
    {:ok, process} = apply(module, :start_link, [argv])

    fun.(fn line ->
      :ok = apply(module, :write, [process, line])
      {:ok, bytes} = apply(module, :read, [process])
      IO.iodata_to_binary(bytes)
    end)

    finish(module, process)
  end

  defp finish(module, process) do
    :ok = apply(module, :close_stdin, [process])
    {:ok, 0} = apply(module, :await_exit, [process])
  end

  defp run(module, argv, _opts) do
    {:ok, process} = apply(module, :start_link, [argv])
    {:ok, 0} = apply(module, :await_exit, [process])
  end
end
