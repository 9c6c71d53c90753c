defmodule Bench.Peers do
  @moduledoc false

  # Who can run a program to its end, and how each does it: `run` takes an argv and options, of which
  # only `:namespaces` matters to some. A peer that is not here is `{:not_run, name, why}`.
  #
  # What else one can do with a program, each a function, or nil:
  #
  #   * `drop`, of an argv: takes the output as it comes, keeps nothing, returns how many bytes it was;
  #   * `keep`, of an argv: the output as one binary;
  #   * `lines`, of an argv: how many lines it was, each of which has been a binary;
  #   * `feed`, of an argv and a binary: gives it that to read, and returns at its end;
  #   * `talk`, of an argv and a function: gives that one a function, which writes and returns what is
  #     answered to it;
  #   * `hold`, of an argv and how long to sleep between one piece of output and the next, in ms:
  #     reads on for ever.

  alias Bench.Measure

  defmodule Peer do
    @moduledoc false
    defstruct [:name, :run, :version, :drop, :keep, :lines, :feed, :talk, :hold]
  end

  @commands [
    Bench.Peers.Linx,
    Bench.Peers.Beam,
    Bench.Peers.CAgent,
    Bench.Peers.MuonTrap,
    Bench.Peers.Erlexec,
    Bench.Peers.Exile
  ]

  @doc "Those that run a program as it is; Linx first."
  def commands, do: once(:commands, @commands)

  @doc "Those that run a program in namespaces; Linx first."
  def namespacers,
    do: once(:namespacers, [Bench.Peers.Linx, Bench.Peers.CAgent, Bench.Peers.Sandboxes])

  @doc "Those who can do this with a program; Linx first, in all the ways there are."
  def who_can(what) do
    for peer <- once(:pipers, @commands -- [Bench.Peers.CAgent], :pipers),
        not is_struct(peer, Peer) or Map.fetch!(peer, what) != nil,
        do: peer
  end

  # To find them takes a look at the file system, and a try.
  defp once(key, modules, function \\ :peers) do
    with nil <- Process.get(key) do
      peers = Enum.flat_map(modules, &apply(&1, function, []))
      Process.put(key, peers)
      peers
    end
  end

  @doc "A contender that runs `argv` to its end, each after a pause of so many ms."
  def contender(peer, argv, opts \\ [], pause \\ 0)

  def contender(%Peer{} = peer, argv, opts, pause),
    do: Measure.timed(peer.name, pause, fn -> peer.run.(argv, opts) end)

  def contender(not_run, _argv, _opts, _pause), do: not_run

  @doc "A contender that does something else than `run`, from the start of the program to its end."
  def contender_of(%Peer{} = peer, what, args),
    do: Measure.timed(peer.name, fn -> apply(Map.fetch!(peer, what), args) end)

  def contender_of(not_run, _what, _args), do: not_run

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
