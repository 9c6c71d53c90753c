defmodule Linx.Process.PipesTest do
  # What a workload writes to its session, when nobody is sent messages: recv/3.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error
  alias Linx.Test.Rogue

  @credit Linx.Process.Output.credit()

  # A pipe of the kernel, and what the agent may have in hands.
  @on_the_way 1_048_576

  defp pipes(argv, opts \\ []) do
    defaults = [argv: argv, stdio: :pipe, auto_proceed: true, owner: nil]
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    session
  end

  defp sh(script, opts \\ []), do: pipes(["/bin/sh", "-c", script], opts)

  defp await_running(session) do
    eventually(fn -> P.info(session).stage == :running end)
    {:ok, host_pid} = P.host_pid(session)
    host_pid
  end

  defp await_blocked(host_pid), do: eventually(fn -> waits_to_write?(host_pid) end)

  defp buffered(session) do
    for {name, source} <- :sys.get_state(session).output.sources, into: %{} do
      pieces = :queue.to_list(source.queue)
      {name, pieces |> Enum.map(fn {_seq, bytes} -> byte_size(bytes) end) |> Enum.sum()}
    end
  end

  describe "bytes" do
    test "are passed on as they are" do
      session = sh(~S"printf '\000\377\376\n\r\n\303(no newline'")
      assert read_output(session, :stdout) == <<0, 255, 254, "\n\r\n", 0xC3, "(no newline">>
      assert P.recv(session) == :eof
    end

    test "of a stream come from that, and of any with its name" do
      session = sh("echo out; echo err >&2; read line; echo $line")
      assert P.recv(session, :stderr) == {:ok, "err\n"}
      assert P.recv(session) == {:ok, {:stdout, "out\n"}}
      assert P.write(session, "in\n") == :ok
      assert P.recv(session) == {:ok, {:stdout, "in\n"}}
      assert P.recv(session) == :eof
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "of both are one stream when the one is the other" do
      session = sh("echo 1; echo 2 >&2; echo 3", stdio: [stdout: :pipe, stderr: :stdout])
      assert read_output(session, :stdout) == "1\n2\n3\n"
      assert P.recv(session, :stderr) == {:error, :not_piped}
      assert P.recv(session) == :eof
    end

    test "are complete, in order, however many and however slow the reader" do
      path = Path.join(tmp_dir(), "random")
      bytes = :crypto.strong_rand_bytes(5_000_000)
      File.write!(path, bytes)
      session = pipes(["cat", path, path])

      first =
        for _ <- 1..10 do
          Process.sleep(1)
          {:ok, piece} = P.recv(session, :stdout)
          piece
        end

      assert IO.iodata_to_binary([first, read_output(session, :stdout)]) == bytes <> bytes
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "go in and out at once" do
      bytes = :crypto.strong_rand_bytes(8_000_001)
      session = pipes(["cat"])

      writer =
        Task.async(fn ->
          :ok = P.write(session, bytes)
          P.close_stdin(session)
        end)

      assert read_output(session, :stdout) == bytes
      assert Task.await(writer) == :ok
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "are the same when there are 200 MB of them" do
      path = Path.join(tmp_dir(), "random")
      bytes = :crypto.strong_rand_bytes(20_000_003)
      File.write!(path, bytes)
      session = pipes(["cat" | List.duplicate(path, 10)])
      assert hash_all(session) == hash(List.duplicate(bytes, 10))
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    defp hash(iodata), do: :crypto.hash(:sha256, iodata)

    defp hash_all(session, hash \\ :crypto.hash_init(:sha256)) do
      case P.recv(session, :stdout) do
        {:ok, bytes} -> hash_all(session, :crypto.hash_update(hash, bytes))
        :eof -> :crypto.hash_final(hash)
      end
    end

    test "of a host and of a dedicated agent are the same" do
      for agent <- [:host, :dedicated] do
        session = sh("head -c 300000 /dev/zero; echo end >&2", agent: agent)
        assert read_output(session, :stdout) == :binary.copy(<<0>>, 300_000)
        assert read_output(session, :stderr) == "end\n"
      end
    end

    test "are the same when a packet is more than there is credit for" do
      # More than credit and pipe together hold.
      session = pipes([Rogue.path() | ~w(packets 1000 1000)])
      await_blocked(await_running(session))
      assert read_output(session, :stdout) == counted(1_000_000)
    end

    defp counted(size) do
      0..250
      |> Enum.to_list()
      |> :binary.list_to_bin()
      |> :binary.copy(div(size, 251) + 1)
      |> binary_part(0, size)
    end

    test "of many sessions are not mixed" do
      results =
        1..100
        |> Task.async_stream(
          fn n ->
            session = sh("for i in 1 2 3; do echo #{n}; done; exec head -c 100000 /dev/zero")
            output = read_output(session, :stdout)
            :ok = P.stop(session)
            output == String.duplicate("#{n}\n", 3) <> :binary.copy(<<0>>, 100_000)
          end,
          max_concurrency: 20,
          timeout: 60_000
        )
        |> Enum.frequencies()

      assert results == %{{:ok, true} => 100}
    end
  end

  describe "a session nobody reads" do
    test "makes the workload wait, and fills no mailbox" do
      session = pipes(["head", "-c", "10000000", "/dev/zero"], owner: self())
      host_pid = await_running(session)
      await_blocked(host_pid)
      assert buffered(session).stdout in 1..@credit
      assert written(host_pid) < @credit + @on_the_way
      assert Process.info(session, :message_queue_len) == {:message_queue_len, 0}
      assert_receive {:linx_process, :running}
      refute_received {:linx_process, :stdout, _bytes}

      assert byte_size(read_output(session, :stdout)) == 10_000_000
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "has its other stream, its signals and its neighbours all the same" do
      session =
        sh(
          "head -c 10000000 /dev/zero & trap 'echo trapped >&2; exit 3' USR1; echo err >&2; wait"
        )

      assert P.recv(session, :stderr) == {:ok, "err\n"}
      eventually(fn -> buffered(session).stdout > @credit - 65_536 end)
      assert sh("echo hello") |> read_output(:stdout) == "hello\n"
      assert P.signal(session, :sigusr1) == :ok
      assert P.recv(session, :stderr) == {:ok, "trapped\n"}
      assert P.wait(session) == {:ok, {:exited, 3}}
    end

    test "the other way round: standard error is full, standard output is not" do
      session = sh("head -c 10000000 /dev/zero >&2 & echo out; wait")
      assert P.recv(session, :stdout) == {:ok, "out\n"}
      eventually(fn -> buffered(session).stderr > @credit - 65_536 end)
      assert P.stop(session, grace: 0) == :ok
    end

    test "ends all the same, and keeps what there was" do
      # More than there is credit for: the rest is in the pipe when the program ends.
      size = @credit + 65_000
      session = pipes(["head", "-c", "#{size}", "/dev/zero"])
      assert P.wait(session, 10_000) == {:ok, {:exited, 0}}
      assert byte_size(read_output(session, :stdout)) == size
    end

    test "is stopped all the same" do
      session = pipes(["head", "-c", "10000000", "/dev/zero"])
      await_blocked(await_running(session))
      assert P.stop(session) == :ok
    end

    test "may throw it away" do
      session = pipes(["head", "-c", "10000000", "/dev/zero"])
      await_blocked(await_running(session))
      assert P.set_active(session, :discard) == :ok
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert P.recv(session) == {:error, :active}
      assert P.set_active(session, false) == :ok
      assert P.recv(session) == :eof
    end
  end

  describe "recv/3" do
    test "waits no longer than it may, and takes nothing afterwards" do
      session = sh("read line; echo $line")
      assert P.recv(session, :stdout, 0) == {:error, :timeout}
      assert P.recv(session, :any, 10) == {:error, :timeout}
      P.write(session, "x\n")
      assert P.recv(session, :stdout) == {:ok, "x\n"}
      refute_received _anything
    end

    test "serves callers in turn, and not those who have died" do
      session = sh("while read line; do echo $line; done")
      test = self()

      receivers =
        for n <- 1..4 do
          pid = spawn(fn -> send(test, {n, P.recv(session, :stdout)}) end)
          eventually(fn -> map_size(:sys.get_state(session).receivers) == n end)
          pid
        end

      Process.exit(Enum.at(receivers, 1), :kill)
      eventually(fn -> map_size(:sys.get_state(session).receivers) == 3 end)

      for n <- [1, 3, 4] do
        P.write(session, "line #{n}\n")
        assert_receive {^n, {:ok, line}}
        assert line == "line #{n}\n"
      end

      refute_received {2, _}
    end

    test "is at the end as often as it is asked, also long after it" do
      session = sh("echo last")
      assert P.wait(session) == {:ok, {:exited, 0}}
      eventually(fn -> :sys.get_state(session).agent == nil end)
      assert P.recv(session, :any) == {:ok, {:stdout, "last\n"}}
      for source <- [:any, :stdout, :stderr, :stdout], do: assert(P.recv(session, source) == :eof)
    end

    test "knows the end of one stream before that of the other" do
      session = sh("exec >&-; read line; echo $line >&2")
      assert P.recv(session, :stdout) == :eof
      assert P.recv(session, :any, 0) == {:error, :timeout}
      P.write(session, "x\n")
      assert P.recv(session) == {:ok, {:stderr, "x\n"}}
      assert P.recv(session) == :eof
    end

    test "is at the end when the program never ran" do
      session = pipes(["/bin/true"], cwd: "/nowhere")
      waiting = Task.async(fn -> P.recv(session) end)
      assert {:error, %Error{stage: :chdir}} = P.wait(session)
      assert Task.await(waiting) == :eof
      assert P.recv(session, :stderr) == :eof
    end

    test "needs a pipe, or a terminal" do
      assert pipes(["true"], stdio: :devnull) |> P.recv() == {:error, :not_piped}
      session = pipes(["true"], stdio: [stdout: :pipe])
      assert P.recv(session, :stderr) == {:error, :not_piped}
      assert P.recv(session, :pty) == {:error, :not_piped}
      assert P.recv(session, :stdout) == :eof
    end

    test "reads a terminal" do
      session = pipes(["echo", "hello"], stdio: :pty, active: false)
      assert P.recv(session, :pty) == {:ok, "hello\r\n"}
      assert P.recv(session, :any) == :eof
      assert P.recv(session, :stdout) == {:error, :not_piped}
    end

    test "has nobody to ask when the session has gone" do
      session = sh("sleep 60")
      waiting = Task.async(fn -> P.recv(session) end)
      eventually(fn -> map_size(:sys.get_state(session).receivers) == 1 end)
      P.stop(session, grace: 0)
      # The end of the output, or that of the session.
      assert Task.await(waiting) in [:eof, {:error, :no_process}]
      assert P.recv(session) == {:error, :no_process}
    end

    test "refuses what it cannot make sense of" do
      session = sh("true")
      assert P.recv(session, :stdin) == {:error, {:bad_source, :stdin}}
      assert P.recv(session, "stdout") == {:error, {:bad_source, "stdout"}}
      assert P.recv(session, :any, -1) == {:error, {:bad_timeout, -1}}
    end
  end

  test "a terminal that nobody reads makes its workload wait, too" do
    session = pipes(["head", "-c", "3000000", "/dev/zero"], stdio: :pty, active: false)
    await_blocked(await_running(session))
    assert buffered(session).pty in 1..@credit
    assert byte_size(read_output(session, :pty)) == 3_000_000
  end

  describe "the output of what is left in the background" do
    @family "(trap '' TERM; sleep 0.2; echo late) & echo early"

    test "with output: :until_exit ends with the program" do
      for opts <- [[], [output: :until_exit]] do
        session = sh("sleep 600 & echo early", opts)
        assert P.wait(session, 10_000) == {:ok, {:exited, 0}}
        assert read_output(session, :stdout) == "early\n"
      end
    end

    test "with output: :until_eof goes on until nobody has the pipes" do
      session = sh(@family, output: :until_eof)
      assert read_output(session, :stdout) == "early\nlate\n"
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "with output: :until_eof lets an unread program end that has left nobody" do
      for descendants <- [:kill, :leave], agent <- [:host, :dedicated] do
        opts = [output: :until_eof, descendants: descendants, agent: agent]
        session = pipes(["head", "-c", "#{@credit + 50_000}", "/dev/zero"], opts)
        assert P.wait(session, 10_000) == {:ok, {:exited, 0}}
        assert byte_size(read_output(session, :stdout)) == @credit + 50_000
      end
    end

    test "with output: :until_eof can be stopped" do
      session = sh("sleep 600 & echo early", output: :until_eof)
      assert P.recv(session, :stdout) == {:ok, "early\n"}
      assert P.recv(session, :stdout, 100) == {:error, :timeout}
      assert P.try_wait(session) == :running
      assert P.cancel(session) == :ok
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert P.recv(session) == :eof
    end
  end

  describe "a file" do
    setup do
      path = Path.join(tmp_dir(), "file")
      File.write!(path, "before\n")
      %{path: path}
    end

    defp run(script, stdio) do
      session = sh(script, stdio: stdio)
      result = P.wait(session)
      P.stop(session)
      result
    end

    test "is read", %{path: path} do
      for modes <- [{:file, path}, {:file, path, [:read]}] do
        session = pipes(["cat"], stdio: [stdin: modes, stdout: :pipe])
        assert read_output(session, :stdout) == "before\n"
      end
    end

    test "is written afresh, or at its end", %{path: path} do
      assert run("echo 1", stdout: {:file, path, [:append]}) == {:ok, {:exited, 0}}
      assert File.read!(path) == "before\n1\n"
      assert run("echo 2 >&2", stderr: {:file, path}) == {:ok, {:exited, 0}}
      assert File.read!(path) == "2\n"
      assert run("echo 3; echo 4 >&2", stdout: {:file, path, [:write]}, stderr: :stdout)
      assert File.read!(path) == "3\n4\n"
    end

    test "is read and written", %{path: path} do
      stdio = [stdin: {:file, path, [:read, :write]}]
      assert run("read line; echo $line again >&0", stdio) == {:ok, {:exited, 0}}
      assert File.read!(path) == "before\nbefore again\n"
    end

    test "is there before, or must not be", %{path: path} do
      exclusive = {:file, path, [:write, :exclusive]}

      assert {:error, %Error{stage: :stdio, errno: :eexist}} = run("true", stdout: exclusive)
      File.rm!(path)
      assert {:error, %Error{stage: :stdio, errno: :enoent}} = run("true", stdin: {:file, path})
      assert run("echo new", stdout: exclusive) == {:ok, {:exited, 0}}
      assert File.read!(path) == "new\n"
    end
  end
end
