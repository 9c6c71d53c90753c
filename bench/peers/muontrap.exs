defmodule Bench.Peers.MuonTrap do
  @moduledoc false

  alias Bench.Peers
  alias Bench.Peers.{Discard, Paths, Peer}

  @name "MuonTrap"

  # The module, when there is one, else its program alone behind a port.
  def peers do
    case Paths.application(:muontrap) do
      {:ok, version} -> [%Peer{name: @name, run: &run/2, version: version}]
      {:error, _} -> [program_alone()]
    end
  end

  def pipers do
    for peer <- peers(),
        do: with(%Peer{version: version} when version != nil <- peer, do: piper(peer))
  end

  defp piper(peer) do
    %Peer{
      peer
      | drop: fn argv -> cmd(argv, into: %Discard{}).bytes end,
        keep: &cmd(&1, [])
    }
  end

  defp cmd([program | args], opts) do
    {output, 0} = apply(MuonTrap, :cmd, [program, args, opts])
    output
  end

  defp run([program | args], _opts) do
    {_output, 0} = apply(MuonTrap, :cmd, [program, args])
  end

  defp program_alone do
    case Paths.program("muontrap") do
      {:ok, path} ->
        %Peer{name: @name, run: fn argv, _opts -> Peers.run_port([path, "--" | argv]) end}

      {:error, why} ->
        {:not_run, @name, why}
    end
  end
end
