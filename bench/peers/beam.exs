defmodule Bench.Peers.Beam do
  @moduledoc false

  # What comes with the BEAM.

  alias Bench.Peers
  alias Bench.Peers.Peer

  def peers do
    [
      %Peer{
        name: "System.cmd",
        run: fn [program | args], _opts -> {_, 0} = System.cmd(program, args) end
      },
      %Peer{name: "Port", run: fn argv, _opts -> Peers.run_port(argv) end}
    ]
  end
end
