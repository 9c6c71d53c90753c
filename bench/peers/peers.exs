defmodule Bench.Peers do
  @moduledoc false

  # Who can run a program to its end, and how each does it: `run` takes an argv and options, of which
  # only `:namespaces` matters to some. A peer that is not here is `{:not_run, name, why}`.

  alias Bench.Measure

  defmodule Peer do
    @moduledoc false
    defstruct [:name, :run, :version]
  end

  @commands [
    Bench.Peers.Linx,
    Bench.Peers.Beam,
    Bench.Peers.CAgent,
    Bench.Peers.MuonTrap,
    Bench.Peers.Erlexec,
    Bench.Peers.Exile,
    Bench.Peers.ExCmd
  ]

  @doc "Those that run a program as it is; Linx first."
  def commands, do: once(:commands, @commands)

  @doc "Those that run a program in namespaces; Linx first."
  def namespacers,
    do: once(:namespacers, [Bench.Peers.Linx, Bench.Peers.CAgent, Bench.Peers.Sandboxes])

  # To find them takes a look at the file system, and a try.
  defp once(key, modules) do
    with nil <- Process.get(key) do
      peers = Enum.flat_map(modules, & &1.peers())
      Process.put(key, peers)
      peers
    end
  end

  @doc "A contender that runs `argv` to its end, each after a pause of so many ms."
  def contender(peer, argv, opts \\ [], pause \\ 0)

  def contender(%Peer{} = peer, argv, opts, pause),
    do: Measure.timed(peer.name, pause, fn -> peer.run.(argv, opts) end)

  def contender(not_run, _argv, _opts, _pause), do: not_run

  @doc "The peers that say which version they are."
  def versions do
    for %Peer{version: version} = peer when version != nil <-
          Enum.uniq(commands() ++ namespacers()),
        do: {peer.name, version}
  end

  @doc "Runs a program through a plain port, and waits for its exit status 0."
  def run_port([program | args]) do
    port = Port.open({:spawn_executable, program}, [:binary, :exit_status, args: args])

    receive do
      {^port, {:exit_status, 0}} -> :ok
      {^port, {:exit_status, status}} -> raise "#{program} exited with #{status}"
    end
  end

  @doc "Tells a port something that ends its program, which may have ended before, and waits until it has."
  def tell_and_await_end(port, bytes) do
    # The port exits with :epipe if the program went while it was told.
    Process.flag(:trap_exit, true)
    send(port, {self(), {:command, bytes}})

    receive do
      {^port, {:exit_status, _}} -> :ok
      {:EXIT, ^port, _reason} -> :ok
    end
  end
end
