defmodule Bench.Peers.Erlexec do
  @moduledoc false

  alias Bench.Machine
  alias Bench.Peers.{Paths, Peer}

  @name "erlexec"

  def peers do
    # As root it wants to be told that it may.
    if Machine.root?() do
      for {key, value} <- [root: true, user: ~c"root", limit_users: [~c"root"]],
          do: Application.put_env(:erlexec, key, value)
    end

    case Paths.application(:erlexec) do
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
      | drop:
          &(&1 |> start([:stdout]) |> reduce(0, fn bytes, size -> size + byte_size(bytes) end)),
        keep: fn argv ->
          argv |> start([:stdout]) |> reduce([], &[&2 | &1]) |> IO.iodata_to_binary()
        end,
        feed: fn argv, bytes ->
          id = start(argv, [:stdin])
          :ok = apply(:exec, :send, [id, bytes])
          reduce(id, :ok, fn _bytes, :ok -> :ok end)
        end,
        talk: &talk/2,
        hold: fn argv, ms ->
          argv |> start([:stdout]) |> reduce(nil, fn _, _ -> Process.sleep(ms) end)
        end
    }
  end

  defp talk(argv, fun) do
    id = start(argv, [:stdin, :stdout])

    fun.(fn line ->
      :ok = apply(:exec, :send, [id, line])

      receive do
        {:stdout, ^id, bytes} -> bytes
      end
    end)

    :ok = apply(:exec, :send, [id, :eof])
    reduce(id, :ok, fn _bytes, :ok -> :ok end)
  end

  defp start(argv, opts) do
    {:ok, _pid, id} = apply(:exec, :run, [Enum.map(argv, &to_charlist/1), [:monitor | opts]])
    id
  end

  defp reduce(id, acc, fun) do
    receive do
      {:stdout, ^id, bytes} -> reduce(id, fun.(bytes, acc), fun)
      {:DOWN, ^id, :process, _pid, :normal} -> acc
    end
  end

  defp run(argv, _opts) do
    {:ok, _} = apply(:exec, :run, [Enum.map(argv, &to_charlist/1), [:sync]])
  end
end
