defmodule Bench.Rows.Proceed do
  @moduledoc false

  # Until the program's first instruction: from `proceed`, for those that have a checkpoint, and from
  # the call, for all. The program is bench/c/first.c, which asks for the time before anything else.

  alias Bench.Measure.Contender
  alias Bench.{Measure, Peers, Programs, Settings}
  alias Linx.Process, as: P

  def name, do: "proceed"

  def run(settings) do
    {rounds, count} = Settings.pick(settings, {20, 10}, {2, 3})

    from_proceed = [
      contender("Linx", &linx/1),
      if(Peers.CAgent.here?(), do: contender("C agent", &c_agent/1), else: Peers.CAgent.not_run()),
      Measure.program("parked fork", &["park", &1, Programs.path("first"), path("park")])
    ]

    from_call = Enum.map(Peers.commands(), &from_call/1)

    [
      Measure.table("from proceed to the first instruction", from_proceed, rounds, count),
      Measure.table("from the call to the first instruction", from_call, rounds, count)
    ]
  end

  defp linx(argv) do
    {:ok, session} = Peers.Linx.start(argv: argv)

    receive do
      {:linx_process, :ready, _} -> :ok
    end

    Process.sleep(2)
    began = Measure.now()
    :ok = P.proceed(session)
    Peers.Linx.ended(session)
    began
  end

  defp c_agent(argv) do
    port = Peers.CAgent.start(argv, proceed: false)
    Process.sleep(2)
    began = Measure.now()
    Peers.CAgent.tell(port, :proceed)
    {:status, :exited, 0} = Peers.CAgent.await(port, :exited)

    receive do
      {^port, {:exit_status, 0}} -> began
    end
  end

  defp from_call(%Peers.Peer{} = peer) do
    contender(peer.name, fn argv ->
      began = Measure.now()
      peer.run.(argv, [])
      began
    end)
  end

  defp from_call(not_run), do: not_run

  # `run` returns when it began.
  defp contender(name, run) do
    path = path(:erlang.phash2(name))
    argv = [Programs.path("first"), path]

    once = fn ->
      began = run.(argv)
      Programs.read_stamp(path) - began
    end

    %Contender{
      name: name,
      sample: fn count ->
        once.()
        for _ <- 1..count, do: once.()
      end
    }
  end

  defp path(name), do: Programs.scratch("first-#{name}")
end
