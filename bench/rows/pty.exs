defmodule Bench.Rows.Pty do
  @moduledoc false

  # A terminal: what a program writes on its way to the owner, what is typed on its way to the program,
  # and one byte there and back. The program is bench/c/terminal.c; the limit is C that reads and
  # writes the same terminal.

  alias Bench.Measure.Contender
  alias Bench.{Measure, Peers, Programs, Settings, Table}
  alias Linx.Process, as: P

  @mib 1024 * 1024

  # As much as one message of a caller may well have.
  @chunk 64 * 1024

  def name, do: "pty"

  def run(settings) do
    # A rate depends on which processor the kernel wakes whom on: many short rounds tell more than a few long ones.
    rounds = Settings.pick(settings, 25, 1)

    [
      output(rounds, Settings.pick(settings, 32, 8) * @mib),
      input(rounds, Settings.pick(settings, 8, 2) * @mib),
      echo(settings)
    ]
  end

  defp output(rounds, bytes) do
    contenders = [
      contender("Linx", ["write", bytes], &linx/1, fn io, 1 -> [output_time(io, bytes)] end),
      c_agent(["write", bytes], fn io, 1 -> [output_time(io, bytes)] end),
      script(["write", bytes], fn io, 1 -> [output_time(io, bytes)] end),
      Measure.program("bare C", fn 1 -> ["terminal", "floor-write", bytes] end)
    ]

    %{
      Measure.table(
        "terminal output to the owner, #{div(bytes, @mib)} MiB",
        contenders,
        rounds,
        1
      )
      | unit: {:rate, bytes}
    }
    |> Table.target("Linx", :at_least, 0.90, "bare C")
  end

  defp input(rounds, bytes) do
    contenders = [
      contender("Linx", ["read", bytes], &linx/1, fn io, 1 -> [input_time(io, bytes)] end),
      script(["read", bytes], fn io, 1 -> [input_time(io, bytes)] end),
      Measure.program("bare C", fn 1 -> ["terminal", "floor-read", bytes] end)
    ]

    %{
      Measure.table("terminal input, #{div(bytes, @mib)} MiB", contenders, rounds, 1)
      | unit: {:rate, bytes}
    }
    |> Table.note("the C agent drops what the terminal does not take at once")
  end

  defp echo(settings) do
    {rounds, count} = Settings.pick(settings, {10, 50}, {2, 5})

    contenders = [
      contender("Linx", ["echo"], &linx/1, &echo_times/2),
      c_agent(["echo"], &echo_times/2),
      script(["echo"], &echo_times/2),
      Measure.program("bare C", &["terminal", "floor-echo", &1])
    ]

    Measure.table("one byte through a terminal and back", contenders, rounds, count)
  end

  # From the first bytes to the last.
  defp output_time(io, bytes) do
    first = io.read.()
    began = Measure.now()
    drain(io, bytes - byte_size(first))
    Measure.now() - began
  end

  defp drain(_io, 0), do: :ok
  defp drain(io, left) when left > 0, do: drain(io, left - byte_size(io.read.()))

  defp input_time(io, bytes) do
    "ready" = read(io, 5)
    chunk = String.duplicate("x", @chunk)
    began = Measure.now()
    for _ <- 1..div(bytes, @chunk), do: io.write.(chunk)
    "done" = read(io, 4)
    Measure.now() - began
  end

  defp echo_times(io, count) do
    "ready" = read(io, 5)

    once = fn ->
      began = Measure.now()
      io.write.("x")
      "x" = io.read.()
      Measure.now() - began
    end

    once.()
    for _ <- 1..count, do: once.()
  end

  defp read(_io, 0), do: ""

  defp read(io, size) do
    bytes = io.read.()
    bytes <> read(io, size - byte_size(bytes))
  end

  defp contender(name, args, start, measure) do
    %Contender{
      name: name,
      sample: fn count ->
        io = start.([Programs.path("terminal") | Enum.map(args, &to_string/1)])
        samples = measure.(io, count)
        io.stop.()
        samples
      end
    }
  end

  defp linx(argv) do
    Process.flag(:trap_exit, true)
    {:ok, session} = Peers.Linx.start(argv: argv, stdio: :pty, auto_proceed: true)

    read = fn ->
      receive do
        {:linx_process, :pty_out, bytes} -> bytes
        {:linx_process, how, what} when how in [:exited, :signaled] -> raise "#{how} #{what}"
      end
    end

    %{read: read, write: &(:ok = P.pty_write(session, &1)), stop: fn -> P.stop(session) end}
  end

  defp c_agent(args, measure) do
    start = fn argv ->
      port = Peers.CAgent.start(argv, stdio: :pty)

      %{
        read: fn -> c_agent_read(port) end,
        write: &Peers.CAgent.tell(port, {:pty_in, &1}),
        stop: fn -> Peers.CAgent.stop(port) end
      }
    end

    if Peers.CAgent.here?(),
      do: contender("C agent", args, start, measure),
      else: Peers.CAgent.not_run()
  end

  defp c_agent_read(port) do
    receive do
      {^port, {:data, frame}} ->
        case :erlang.binary_to_term(frame) do
          {:pty_out, bytes} -> bytes
          _status -> c_agent_read(port)
        end
    end
  end

  # script(1) lends a terminal to who has only ports.
  defp script(args, measure) do
    case System.find_executable("script") do
      nil ->
        {:not_run, "Port, script(1)", "not on the PATH"}

      path ->
        start = fn argv ->
          port =
            Port.open({:spawn_executable, path}, [
              :binary,
              :exit_status,
              args: ["-qfc", "exec " <> Enum.join(argv, " "), "/dev/null"]
            ])

          read = fn ->
            receive do
              {^port, {:data, bytes}} -> bytes
            end
          end

          # It does not end with the port, but with its program: at ^D, if that has not ended before.
          stop = fn -> Peers.tell_and_await_end(port, <<4>>) end
          %{read: read, write: &Port.command(port, &1), stop: stop}
        end

        contender("Port, script(1)", args, start, measure)
    end
  end
end
