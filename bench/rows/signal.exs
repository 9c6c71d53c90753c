defmodule Bench.Rows.Signal do
  @moduledoc false

  # From the call that sends SIGUSR1 to the program's handler, bench/c/handler.c. A port cannot signal
  # what it runs: who has only that runs kill(1).

  alias Bench.Measure.Contender
  alias Bench.{Measure, Peers, Programs, Settings}
  alias Linx.Process, as: P

  @sigusr1 10

  def name, do: "signal"

  def run(settings) do
    {rounds, count} = Settings.pick(settings, {20, 10}, {2, 3})

    contenders = [
      contender("Linx", &linx/1),
      if(Peers.CAgent.here?(), do: contender("C agent", &c_agent/1), else: Peers.CAgent.not_run()),
      contender("Port, kill(1)", &port/1),
      Measure.program("kill", &["handler", "floor", &1])
    ]

    [Measure.table("from the signal to its handler", contenders, rounds, count)]
  end

  # `start` takes the argv, and returns how to signal it, how to read a line, and how to end it.
  defp contender(name, start) do
    %Contender{
      name: name,
      sample: fn count ->
        {signal, line, stop} = start.([Programs.path("handler"), "stamp"])
        "ready\n" = line.()

        once = fn ->
          Process.sleep(1)
          began = Measure.now()
          signal.()
          (line.() |> String.trim() |> String.to_integer()) - began
        end

        once.()
        samples = for _ <- 1..count, do: once.()
        stop.()
        samples
      end
    }
  end

  defp linx(argv) do
    {:ok, stdio, line} = socket()
    Process.flag(:trap_exit, true)
    {:ok, session} = Peers.Linx.start(argv: argv, stdio: stdio, auto_proceed: true)

    {fn -> :ok = P.signal(session, @sigusr1) end, line, fn -> :ok = P.stop(session) end}
  end

  defp c_agent(argv) do
    {:ok, stdio, line} = socket()
    port = Peers.CAgent.start(argv, stdio: stdio)

    {fn -> Peers.CAgent.tell(port, {:signal, @sigusr1}) end, line,
     fn -> Peers.CAgent.stop(port) end}
  end

  defp port([program | args]) do
    port = Port.open({:spawn_executable, program}, [:binary, line: 64, args: args])
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    kill = fn signal -> {"", 0} = System.cmd("kill", ["-#{signal}", "#{os_pid}"]) end

    line = fn ->
      receive do
        {^port, {:data, {:eol, line}}} -> line <> "\n"
      end
    end

    {fn -> kill.("USR1") end, line, fn -> kill.("KILL") end}
  end

  # What the program writes goes to a socket here, and through nobody's agent. It connects when it
  # proceeds, so it is accepted at the first line.
  defp socket do
    path = Programs.scratch("socket-#{System.unique_integer([:positive])}")
    options = [:binary, active: false, packet: :line, ifaddr: {:local, path}]
    {:ok, listener} = :gen_tcp.listen(0, options)

    line = fn ->
      with nil <- Process.get(path) do
        {:ok, socket} = :gen_tcp.accept(listener, 5_000)
        Process.put(path, socket)
      end

      {:ok, line} = :gen_tcp.recv(Process.get(path), 0, 5_000)
      line
    end

    {:ok, [stdin: :devnull, stdout: {:connect_unix, path}, stderr: :devnull], line}
  end
end
