defmodule Linx.Process.InputTest do
  # What a workload reads from its session: write/3 and close_stdin/1.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P

  @many 10_000_000

  # What comes of a write to a workload that ends: that it reads no more may be known before.
  @cut_off [{:error, :no_process}, {:error, :epipe}]

  defp pipes(argv, opts \\ []) do
    defaults = [argv: argv, stdio: :pipe, auto_proceed: true, owner: nil]
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    session
  end

  defp sh(script, opts \\ []), do: pipes(["/bin/sh", "-c", script], opts)

  defp large, do: :binary.copy("x", @many)

  # Somebody who writes more than the workload reads.
  defp blocked_writer(session, timeout \\ :infinity) do
    writer = Task.async(fn -> P.write(session, large(), timeout) end)
    eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
    writer
  end

  test "a program that reads to the end finds it" do
    session = pipes(["wc", "-c"])
    assert P.write(session, ["a", [?b | "c"]]) == :ok
    assert P.write(session, "") == :ok
    assert P.write(session, large()) == :ok
    assert P.close_stdin(session) == :ok
    assert P.recv(session, :stdout) == {:ok, "10000003\n"}
    assert P.wait(session) == {:ok, {:exited, 0}}
  end

  test "200 MB arrive as they are" do
    session = pipes(["sha256sum"])
    bytes = :crypto.strong_rand_bytes(20_000_003)
    for _ <- 1..10, do: assert(P.write(session, bytes) == :ok)
    P.close_stdin(session)
    {:ok, sum} = P.recv(session, :stdout)
    hash = :crypto.hash(:sha256, List.duplicate(bytes, 10))
    assert sum == Base.encode16(hash, case: :lower) <> "  -\n"
  end

  test "a program may read nothing at all" do
    session = pipes(["cat"])
    assert P.close_stdin(session) == :ok
    assert P.wait(session) == {:ok, {:exited, 0}}
    assert P.recv(session) == :eof
  end

  test "what is written before the program runs waits for it" do
    {:ok, session} = P.spawn(argv: ["cat"], stdio: :pipe, owner: nil)
    assert P.write(session, "early\n") == :ok
    assert P.close_stdin(session) == :ok
    assert P.proceed(session) == :ok
    assert P.recv(session) == {:ok, {:stdout, "early\n"}}
    assert P.wait(session) == {:ok, {:exited, 0}}
  end

  test "close_stdin/1 comes behind what is still being written, and nothing comes behind it" do
    session = sh("read go < #{fifo = fifo()}; wc -c")
    writer = blocked_writer(session)
    assert P.close_stdin(session) == :ok
    assert P.close_stdin(session) == :ok
    assert P.write(session, "late") == {:error, :closed}
    File.write!(fifo, "go\n")
    assert Task.await(writer, 30_000) == :ok
    assert P.recv(session, :stdout) == {:ok, "10000000\n"}
  end

  defp fifo do
    path = Path.join(tmp_dir(), "fifo")
    {_, 0} = System.cmd("mkfifo", [path])
    path
  end

  test "concurrent writes follow one another" do
    session = pipes(["cat"])
    size = 200_000

    writers =
      for byte <- ~c"abcd" do
        Task.async(fn -> P.write(session, :binary.copy(<<byte>>, size)) end)
      end

    letters = read(session, 4 * size)
    assert Task.await_many(writers) == [:ok, :ok, :ok, :ok]
    chunks = letters |> String.to_charlist() |> Enum.chunk_by(& &1)
    assert Enum.map(chunks, &length/1) == [size, size, size, size]
  end

  defp read(_session, 0), do: ""

  defp read(session, size) do
    {:ok, bytes} = P.recv(session, :stdout)
    bytes <> read(session, size - byte_size(bytes))
  end

  describe "a workload that does not read" do
    test "makes the writer wait, and fills no agent" do
      session = pipes(["sleep", "60"])
      writer = blocked_writer(session)
      assert Task.yield(writer, 50) == nil
      # All but what is in the pipe, in the agent and on its way is still here.
      [{_writer, rest}] = :sys.get_state(session).writes.queue
      assert byte_size(rest) > @many - 300_000
      assert P.stop(session) == :ok
      assert Task.await(writer) in @cut_off
    end

    test "makes no signal wait" do
      session = pipes(["sleep", "60"])
      writer = blocked_writer(session)
      assert P.signal(session, :sigusr1) == :ok
      assert P.wait(session) == {:ok, {:signaled, 10}}
      assert Task.await(writer) in @cut_off
    end

    test "makes neither output nor proceed nor cancel wait" do
      session = sh("echo out; exec sleep 60")
      _writer = blocked_writer(session)
      assert P.recv(session, :stdout) == {:ok, "out\n"}
      assert P.proceed(session) == {:error, :running}
      assert P.cancel(session) == :ok
      assert {:ok, {:signaled, _}} = P.wait(session)
    end

    test "lets a writer give up, and the next one try" do
      session = pipes(["sleep", "60"])
      # There may be room for more when the time of the first one is over.
      eventually(fn ->
        assert P.write(session, large(), 50) == {:error, :timeout}
        P.write(session, "y", 50) == {:error, :timeout}
      end)

      assert :sys.get_state(session).writes.queue == []
      assert :sys.get_state(session).callers == %{}
      refute_received _anything
    end

    test "dies with its session" do
      Process.flag(:trap_exit, true)
      session = pipes(["sleep", "60"])
      eventually(fn -> P.info(session).stage == :running end)
      {:ok, host_pid} = P.host_pid(session)
      writer = blocked_writer(session)
      Process.exit(session, :kill)
      assert Task.await(writer) == {:error, :no_process}
      eventually(fn -> not alive?(host_pid) end)
    end
  end

  test "a writer who has died writes no more" do
    session = sh("read go < #{fifo = fifo()}; wc -c")
    writer = spawn(fn -> P.write(session, large()) end)
    eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
    Process.exit(writer, :kill)
    eventually(fn -> :sys.get_state(session).callers == %{} end)
    assert P.close_stdin(session) == :ok
    File.write!(fifo, "go\n")
    {:ok, count} = P.recv(session, :stdout)
    assert count |> String.trim() |> String.to_integer() < @many
  end

  test "nobody can read a pipe that the program has closed" do
    session = sh("exec <&-; echo closed; sleep 60")
    assert P.recv(session, :stdout) == {:ok, "closed\n"}
    # What the agent has taken, it has tried to pass on some time.
    eventually(fn -> P.write(session, "x") == {:error, :epipe} end)
    assert P.write(session, large()) == {:error, :epipe}
    assert P.close_stdin(session) == :ok
    assert P.write(session, "x") == {:error, :closed}
  end

  test "a program that stops to read ends a write that waits" do
    session = sh("head -c 1 >/dev/null; exec <&-; sleep 60")
    assert P.write(session, large()) == {:error, :epipe}
  end

  test "input needs a pipe or a terminal, and a workload" do
    session = pipes(["sleep", "60"], stdio: [stdout: :pipe])
    assert P.write(session, "x") == {:error, :not_piped}
    assert P.close_stdin(session) == {:error, :not_piped}
    assert P.pty_write(session, "x") == {:error, :not_pty}

    piped = pipes(["true"])
    assert P.wait(piped) == {:ok, {:exited, 0}}
    assert P.write(piped, "x") == {:error, :no_process}
    assert P.close_stdin(piped) == {:error, :no_process}

    terminal = pipes(["cat"], stdio: :pty, active: false)
    assert P.write(terminal, "typed\n") == :ok
    assert P.recv(terminal, :pty) |> elem(1) =~ "typed\r\n"
    assert P.close_stdin(terminal) == {:error, :not_piped}

    assert P.write(terminal, :x) == {:error, {:bad_data, :x}}
    assert P.write(terminal, "x", -1) == {:error, {:bad_timeout, -1}}
  end

  test "a dedicated agent takes input, too" do
    session = pipes(["wc", "-c"], agent: :dedicated)
    assert P.write(session, large()) == :ok
    assert P.close_stdin(session) == :ok
    assert P.recv(session, :stdout) == {:ok, "10000000\n"}
  end
end
