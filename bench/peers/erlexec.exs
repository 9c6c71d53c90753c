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

  defp run(argv, _opts) do
    {:ok, _} = apply(:exec, :run, [Enum.map(argv, &to_charlist/1), [:sync]])
  end
end
