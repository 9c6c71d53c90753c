defmodule Linx.Process.ActiveTest do
  # What a workload writes to its session, when the owner is sent messages: set_active/2.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P

  defp sh(script, opts) do
    defaults = [argv: ["/bin/sh", "-c", script], stdio: :pipe, auto_proceed: true]
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    await_ready()
    await_running()
    session
  end

  # Writes a line each time it reads one.
  defp echo(opts), do: sh("while read line; do echo $line; done", opts)

  # What follows :running.
  defp output(events \\ []) do
    case next_event() do
      {:linx_process, how, _number} = event when how in [:exited, :signaled] ->
        Enum.reverse([event | events])

      event ->
        output([event | events])
    end
  end

  defp data(events, source) do
    for {:linx_process, ^source, bytes} <- events, into: "", do: bytes
  end

  test "active: true sends everything, and then how it ended" do
    events = output_of(sh("echo out; echo err >&2; head -c 3000000 /dev/zero", active: true))
    assert data(events, :stdout) == "out\n" <> :binary.copy(<<0>>, 3_000_000)
    assert data(events, :stderr) == "err\n"
    assert_order(events)
  end

  defp output_of(_session), do: output()

  # Of each stream the data, then its end; and at last the end of all.
  defp assert_order(events) do
    assert List.last(events) == {:linx_process, :exited, 0}

    for source <- [:stdout, :stderr] do
      own = for {:linx_process, what, who} <- events, source in [what, who], do: what
      assert List.last(own) == :eof
      assert Enum.count(own, &(&1 == :eof)) == 1
    end

    refute_received {:linx_process, _, _}
  end

  test "a program that never ran has an end of output, too" do
    {:ok, _session} =
      P.spawn(
        argv: ["/bin/true"],
        cwd: "/nowhere",
        stdio: :pipe,
        active: true,
        auto_proceed: true
      )

    await_ready()
    events = for _ <- 1..3, do: next_event()

    assert [
             {:linx_process, :eof, _},
             {:linx_process, :eof, _},
             {:linx_process, :error, 2, :chdir}
           ] = events
  end

  test "active: :once sends one message each time, and loses nothing" do
    size = 1_000_000
    session = sh("head -c #{size} /dev/zero; echo err >&2", active: :once)

    count = fn count, events ->
      case next_event() do
        {:linx_process, source, _} = event when source in [:stdout, :stderr] ->
          assert P.info(session) != nil
          refute_received {:linx_process, :stdout, _}
          refute_received {:linx_process, :stderr, _}
          assert P.set_active(session, :once) == :ok
          count.(count, [event | events])

        {:linx_process, :exited, 0} = event ->
          Enum.reverse([event | events])

        event ->
          count.(count, [event | events])
      end
    end

    events = count.(count, [])
    assert byte_size(data(events, :stdout)) == size
    assert data(events, :stderr) == "err\n"
    assert_order(events)
  end

  test "the last event waits until the owner has had the output, and wait/1 does not" do
    session = sh("head -c 200000 /dev/zero; echo err >&2", active: :once)
    assert P.wait(session) == {:ok, {:exited, 0}}
    assert {:linx_process, _source, _bytes} = next_event()
    assert P.info(session).stage == :terminated
    refute_received {:linx_process, :exited, _}
    P.set_active(session, true)
    assert List.last(output()) == {:linx_process, :exited, 0}
  end

  test "the last event does not wait for output that nobody is to be sent" do
    session = sh("echo out", active: false)
    assert next_event() == {:linx_process, :exited, 0}
    assert P.recv(session) == {:ok, {:stdout, "out\n"}}
    assert P.recv(session) == :eof
    refute_received _anything
  end

  test "active: n sends so many messages, and says when they have come" do
    session = echo(active: 2)
    for n <- 1..4, do: say(session, n)
    assert next_event() == {:linx_process, :stdout, "1\n"}
    assert next_event() == {:linx_process, :stdout, "2\n"}
    assert next_event() == {:linx_process, :passive}
    # What has come since went together.
    eventually(fn -> buffered(session) == "3\n4\n" end)
    refute_received _anything

    assert P.set_active(session, 1) == :ok
    assert next_event() == {:linx_process, :stdout, "3\n4\n"}
    assert next_event() == {:linx_process, :passive}

    # What is left of one number is added to the next.
    assert P.set_active(session, 1) == :ok
    assert P.set_active(session, 2) == :ok
    for n <- 5..7, do: say(session, n)
    for n <- 5..7, do: assert(next_event() == {:linx_process, :stdout, "#{n}\n"})
    assert next_event() == {:linx_process, :passive}
    P.close_stdin(session)
    assert {:linx_process, :exited, 0} in output()
  end

  defp say(session, n) do
    assert P.write(session, "#{n}\n") == :ok
    # So that each is a message of its own.
    seen = fn -> P.info(session) && Enum.any?(heard(session), &(&1 =~ "#{n}\n")) end
    eventually(seen)
  end

  # What the owner has in its mailbox, and what the session keeps.
  defp heard(session) do
    {:messages, messages} = Process.info(self(), :messages)
    [buffered(session) | for({:linx_process, :stdout, bytes} <- messages, do: bytes)]
  end

  defp buffered(session) do
    for {_seq, bytes} <- :queue.to_list(:sys.get_state(session).output.sources.stdout.queue),
        into: "",
        do: bytes
  end

  test "who waits in recv/3 is told when the owner gets the output instead" do
    session = echo(active: false)
    receiver = Task.async(fn -> P.recv(session) end)
    eventually(fn -> map_size(:sys.get_state(session).receivers) == 1 end)
    assert P.set_active(session, true) == :ok
    assert Task.await(receiver) == {:error, :active}
    assert P.recv(session) == {:error, :active}
    P.write(session, "x\n")
    assert next_event() == {:linx_process, :stdout, "x\n"}
  end

  test "another owner gets what comes from then on" do
    session = echo(active: true)
    test = self()

    owner =
      spawn_link(fn ->
        receive do
          event -> send(test, {:other, event})
        end
      end)

    P.set_owner(session, owner)
    P.write(session, "x\n")
    assert_receive {:other, {:linx_process, :stdout, "x\n"}}
    refute_received {:linx_process, :stdout, _}
  end

  test "an owner that is nobody has nothing, and the workload goes on" do
    {:ok, session} =
      P.spawn(
        argv: ["head", "-c", "5000000", "/dev/zero"],
        stdio: :pipe,
        active: true,
        owner: nil,
        auto_proceed: true
      )

    assert P.wait(session) == {:ok, {:exited, 0}}
  end

  test "a terminal is active unless it is told not to be" do
    session = sh("read line; echo $line", stdio: :pty, active: :once)
    P.pty_write(session, "x\n")
    assert {:linx_process, :pty_out, echo} = next_event()
    P.set_active(session, true)
    assert echo <> read_pty_until_end() == "x\r\nx\r\n"
  end

  defp read_pty_until_end do
    case next_event() do
      {:linx_process, :pty_out, bytes} -> bytes <> read_pty_until_end()
      {:linx_process, :exited, 0} -> ""
    end
  end

  test "set_active/2 needs output, a session and a mode" do
    assert P.set_active(sh("sleep 60", stdio: :devnull), true) == {:error, :not_piped}
    session = echo([])

    for bad <- [nil, :always, 1.5, "once"] do
      assert P.set_active(session, bad) == {:error, {:bad_active, bad}}
    end

    P.stop(session)
    assert P.set_active(session, true) == {:error, :no_process}
  end

  describe "a session that does not linger" do
    test "stays until its owner has had the output" do
      Process.flag(:trap_exit, true)
      session = sh("head -c 200000 /dev/zero", active: :once, linger: false)
      monitor = Process.monitor(session)
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert {:linx_process, :stdout, first} = next_event()
      eventually(fn -> :sys.get_state(session).agent == nil end)
      assert P.set_active(session, true) == :ok
      events = output()
      assert byte_size(first <> data(events, :stdout)) == 200_000
      assert_order(events)
      assert_receive {:DOWN, ^monitor, :process, _, :normal}
    end

    @tag :capture_log
    test "takes along what nobody has asked for" do
      Process.flag(:trap_exit, true)
      session = sh("echo out; exit 4", linger: false)
      monitor = Process.monitor(session)
      assert_receive {:DOWN, ^monitor, :process, _, {:exited, 4}}
      assert P.recv(session) == {:error, :no_process}
      assert next_event() == {:linx_process, :exited, 4}
    end
  end

  test "who is stopped with output left tells its owner of the end" do
    stdio = [stdin: :devnull, stdout: :pipe]
    session = sh("head -c 200000 /dev/zero; sleep 60", active: :once, stdio: stdio)
    assert {:linx_process, :stdout, _bytes} = next_event()
    assert P.stop(session) == :ok
    assert next_event() == {:linx_process, :signaled, 15}
    refute_received _anything
  end
end
