defmodule Linx.DaemonTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog
  import Linx.Test.Helpers

  require Logger

  alias Linx.Daemon
  alias Linx.Daemon.Stats
  alias Linx.Process.Error
  alias Linx.Test.Tree

  # Daemons that end abnormally say so in the log.
  @moduletag :capture_log

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  # Each line comes to the test as `{:line, source, line}`.
  defp start(argv, opts \\ []) do
    Daemon.start_link([argv: argv] ++ Keyword.merge([log: tell()], opts))
  end

  defp start!(argv, opts \\ []) do
    {:ok, daemon} = start(argv, opts)
    daemon
  end

  defp sh(script), do: ["/bin/sh", "-c", script]
  defp perl(script, args \\ []), do: ["perl", "-e", script | args]

  defp tell do
    test = self()
    fn line, source -> send(test, {:line, source, line}) end
  end

  defp lines do
    receive do
      {:line, source, line} -> [{source, line} | lines()]
    after
      0 -> []
    end
  end

  defp texts, do: for({_source, line} <- lines(), do: line)

  # The reason with which a daemon ends.
  defp reason(daemon) do
    assert_receive {:EXIT, ^daemon, reason}, 15_000
    reason
  end

  defp ran(argv, opts \\ []) do
    daemon = start!(argv, opts)
    {reason(daemon), texts()}
  end

  # Shell code that waits for a file, and what makes it go on.
  defp gate do
    path = Path.join(tmp_dir(), "go")
    {"while [ ! -e #{path} ]; do sleep 0.02; done", fn -> File.touch!(path) end}
  end

  describe "a daemon ends when its program does, because" do
    test "it exited" do
      assert {:normal, []} = ran(sh("exit 0"))
      assert {{:exited, 3}, []} = ran(sh("exit 3"))
    end

    test "a signal killed it" do
      assert {{:signaled, 9}, []} = ran(sh("kill -9 $$"))
    end

    test "it never ran" do
      missing = Path.join(tmp_dir(), "missing")
      assert {{:error, %Error{stage: :execve, errno: :enoent}}, []} = ran([missing])
    end

    test "somebody aborted it" do
      daemon = start!(sh("exit 0"), auto_proceed: false)
      {:ok, session} = Daemon.session(daemon)
      assert Linx.Process.abort(session) == :ok
      assert reason(daemon) == {:shutdown, :aborted}
    end

    test "and the function that was given says with what reason" do
      function = fn status -> {:shutdown, status} end
      opts = [exit_status_to_reason: function]
      assert {{:shutdown, {:exited, 0}}, []} = ran(sh("exit 0"), opts)
      assert {{:shutdown, {:exited, 7}}, []} = ran(sh("exit 7"), opts)
      assert {{:shutdown, {:signaled, 15}}, []} = ran(sh("kill $$"), opts)
    end

    test "and a function that raises ends it, too" do
      function = fn _status -> raise "no" end
      assert {{%RuntimeError{}, _}, []} = ran(sh("exit 0"), exit_status_to_reason: function)
    end

    test "its session was stopped" do
      daemon = start!(sh("sleep 1000"))
      assert Daemon.await_ready(daemon) == :ok
      {:ok, session} = Daemon.session(daemon)
      assert Linx.Process.stop(session) == :ok
      assert reason(daemon) in [:normal, {:signaled, 15}]
    end

    test "its session was killed" do
      daemon = start!(sh("sleep 1000"))
      assert Daemon.await_ready(daemon) == :ok
      {:ok, session} = Daemon.session(daemon)
      Process.exit(session, :kill)
      assert reason(daemon) == :killed
    end

    test "and not before everything it has left has gone" do
      tree = Tree.new(:daemon)
      daemon = start!(tree.argv, Tree.options(tree))
      tree = await_tree(daemon, tree)
      Tree.tell(tree, "exit 5")
      assert reason(daemon) == {:exited, 5}
      Tree.assert_reaped(tree)
    end
  end

  defp await_tree(daemon, tree) do
    assert Daemon.await_ready(daemon) == :ok
    {:ok, os_pid} = Daemon.os_pid(daemon)
    Tree.await(tree, os_pid)
  end

  describe "output" do
    test "comes line by line, of both streams, the last line too" do
      daemon = start!(sh("echo one; echo two; echo; printf last; echo oops >&2"))
      assert reason(daemon) == :normal
      lines = lines()
      assert for({:stdout, line} <- lines, do: line) == ["one", "two", "", "last"]
      assert for({:stderr, line} <- lines, do: line) == ["oops"]
    end

    test "is one stream in order when asked for" do
      script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done"
      assert {:normal, lines} = ran(sh(script), stdio: [stderr: :stdout])
      assert lines == ~w(out1 err1 out2 err2 out3 err3)
    end

    test "that is no text is text in the log" do
      assert {:normal, lines} = ran(sh(~S(printf 'a\000b\n\303\050\n\303\244\r\n\377')))
      assert lines == ["a\\x00b", "\\xC3(", "ä", "\\xFF"]
    end

    test "in long lines comes in pieces" do
      script = ~S(printf '%s\n' abcdefghij x; printf 'äöü%.0s' 1 2; printf klmnopqrst)
      assert {:normal, lines} = ran(sh(script), max_line: 4)
      assert lines == ["abcd", "efgh", "ij", "x", "äö", "üä", "öü", "klmn", "opqr", "st"]
    end

    test "of a daemon on a terminal is what it shows there" do
      script = "test -t 1 && stty size && echo on a terminal"
      opts = [stdio: :pty, winsize: {24, 80}]
      daemon = start!(sh(script), opts)
      assert reason(daemon) == :normal
      assert lines() == [{:pty, "24 80"}, {:pty, "on a terminal"}]
    end

    test "may go nowhere" do
      assert {:normal, []} = ran(sh("echo x"), stdio: :devnull)
      path = Path.join(tmp_dir(), "log")
      stdio = [stdout: {:file, path, [:append]}]
      assert {:normal, ["err"]} = ran(sh("echo out; echo err >&2"), stdio: stdio)
      assert File.read!(path) == "out\n"
    end

    test "goes to a function of the line, or one that is named" do
      test = self()
      assert {:normal, []} = ran(sh("echo x"), log: &send(test, {:one, &1}))
      assert_received {:one, "x"}
      assert {:normal, []} = ran(sh("echo x"), log: {__MODULE__, :named, [test]})
      assert_received {:named, "x"}
    end

    test "of a background process is logged to its end when asked for" do
      {wait, go} = gate()
      script = "(#{wait}; echo late) & echo early"
      daemon = start!(sh(script), output: :until_eof)
      assert_receive {:line, :stdout, "early"}
      go.()
      assert reason(daemon) == :normal
      assert texts() == ["late"]
    end

    test "arrives whole when there is much" do
      daemon = start!(["seq", "1", "50000"])
      assert reason(daemon) == :normal
      assert texts() == for(n <- 1..50_000, do: "#{n}")
    end
  end

  def named(line, test), do: send(test, {:named, line})

  describe "in the log" do
    # What a daemon with this program logs, among what others do.
    defp logged(script, opts) do
      unit = "u#{System.unique_integer([:positive])}"
      opts = Keyword.put_new(opts, :exit_status_to_reason, quiet())

      capture_log(
        [format: "$level|$message|$metadata\x1E", metadata: [:source, :unit, :os_pid, :pid]],
        fn ->
          {:ok, daemon} = Daemon.start_link([argv: sh(script), metadata: [unit: unit]] ++ opts)
          reason(daemon)
        end
      )
      |> String.split("\x1E")
      |> Enum.filter(&String.contains?(&1, "unit=" <> unit))
    end

    # No crash reports among the lines.
    defp quiet, do: fn _status -> :normal end

    test "a line has the level, the name of the program, and what else is asked for" do
      assert ["info|sh: hello|" <> metadata] = logged("echo hello", [])
      assert metadata =~ "source=stdout"
      assert metadata =~ ~r/os_pid=\d+/
      assert metadata =~ ~r/ pid=<\d/
    end

    test "each stream has its level" do
      script = "echo out; echo err >&2"
      lines = logged(script, log: [stdout: :debug, stderr: :warning], prefix: "p> ")

      assert Enum.sort(for line <- lines, do: line |> String.split("|") |> Enum.take(2))
             |> Enum.map(&tl/1) == [["p> out"], ["p> err"]]

      assert Enum.any?(lines, &(&1 =~ ~r/^debug\|p> out/))
      assert Enum.any?(lines, &(&1 =~ ~r/^warn(ing)?\|p> err/))

      assert ["error|err|" <> _] =
               logged(script, log: [stdout: false, stderr: :error], prefix: "")

      assert [] = logged(script, log: false)
    end

    test "a line is what the transform makes of it" do
      transform = fn
        "drop" -> nil
        "E " <> rest -> {:error, rest}
        line -> String.upcase(line)
      end

      script = "echo drop; echo E bad; echo good"

      assert ["error|bad|" <> _, "info|GOOD|" <> _] =
               logged(script, transform: transform, prefix: "")
    end

    test "escape sequences control no terminal, of the one who reads the log, if they are not to" do
      # A title, colours, and a line that hides the one before.
      script = ~S"printf '\033]0;title\a\033[31mred\033[0m\n\033[A\033[2Kinnocent\n'"
      escaped = ["\\x1B]0;title\\x07\\x1B[31mred\\x1B[0m", "\\x1B[A\\x1B[2Kinnocent"]

      for stdio <- [[stdin: :devnull], :pty] do
        opts = [prefix: "", stdio: stdio]
        lines = logged(script, [controls: :escape] ++ opts)
        assert for(line <- lines, do: line |> String.split("|") |> Enum.at(1)) == escaped
        assert Enum.any?(logged(script, opts), &(&1 =~ "\e[31mred"))
      end
    end

    test "a transform that raises is told once, and the lines are as they were" do
      transform = fn "x" <> n -> Integer.to_string(String.to_integer(n) + 1) end
      lines = logged("echo x1; echo y2; echo y3; echo x4", transform: transform, prefix: "")

      assert [
               "info|2|" <> _,
               "error|a line could not be logged" <> _,
               "info|y2|" <> _,
               "info|y3|" <> _,
               "info|5|" <> _
             ] = lines
    end

    test "a log function that raises, exits or throws takes nothing along" do
      for fail <- [fn _ -> raise "no" end, fn _ -> exit(:no) end, fn _ -> throw(:no) end] do
        lines = logged("echo a; echo b", log: fail, prefix: "")
        assert Enum.count(lines, &(&1 =~ "could not be logged")) == 1
        assert ["info|a|" <> _, "info|b|" <> _] = Enum.filter(lines, &(&1 =~ ~r/^info/))
      end
    end

    test "lines of any bytes do no harm" do
      path = Path.join(tmp_dir(), "bytes")
      File.write!(path, :rand.bytes(20_000))
      assert Enum.any?(logged("cat #{path}; echo; echo the end", []), &(&1 =~ "the end"))
    end
  end

  describe "a logger that does not go on" do
    # A log function that stops at the first line, until the test lets it go.
    defp stopping do
      test = self()

      fn line, source ->
        unless Process.get(:going) do
          send(test, {:stopped, self()})
          receive(do: (:go -> Process.put(:going, true)))
        end

        send(test, {:line, source, line})
      end
    end

    @much 20_000
    defp much, do: perl(~s(print "x" x 999, "\\n" for 1..#{@much}))

    test "holds up the program, and nothing piles up" do
      daemon = start!(much(), log: stopping())
      assert_receive {:stopped, reader}
      {:ok, pid} = Daemon.os_pid(daemon)
      {:ok, session} = Daemon.session(daemon)

      # As soon as it has filled what there is to fill, it sleeps, and writes no more.
      eventually(fn -> waits_to_write?(pid) end)

      assert written(pid) < 2_000_000

      for process <- [daemon, session, reader] do
        assert {:message_queue_len, 0} = Process.info(process, :message_queue_len)
      end

      # Who asks is answered.
      assert %Stats{state: :ready, bytes: bytes} = Daemon.stats(daemon)
      assert bytes < 1_000_000

      send(reader, :go)
      assert reason(daemon) == :normal
      assert length(lines()) == @much
    end

    test "holds up the program when it is Logger itself" do
      unit = "u#{System.unique_integer([:positive])}"
      :ok = :logger.add_handler(:linx_daemon_test, __MODULE__, %{config: {unit, stopping()}})
      on_exit(fn -> :logger.remove_handler(:linx_daemon_test) end)

      {:ok, daemon} = Daemon.start_link(argv: much(), metadata: [unit: unit], prefix: "")
      assert_receive {:stopped, reader}
      {:ok, pid} = Daemon.os_pid(daemon)
      eventually(fn -> stat(pid) == "S" end)
      assert written(pid) < 2_000_000
      assert {:message_queue_len, 0} = Process.info(reader, :message_queue_len)
      send(reader, :go)
      assert reason(daemon) == :normal
      assert length(lines()) == @much
    end

    test "does not keep the daemon from being stopped" do
      daemon = start!(much(), log: stopping())
      assert_receive {:stopped, _reader}
      {:ok, pid} = Daemon.os_pid(daemon)
      assert Daemon.stop(daemon, grace: 100) == :ok
      refute alive?(pid)
    end

    test "does not keep the program from ending" do
      daemon = start!(sh("echo a; echo b; exit 4"), log: stopping())
      assert_receive {:stopped, reader}
      eventually(fn -> Daemon.os_pid(daemon) == {:error, :not_ready} end)
      refute_received {:EXIT, ^daemon, _reason}
      send(reader, :go)
      assert reason(daemon) == {:exited, 4}
      assert texts() == ["a", "b"]
    end
  end

  # A handler of Logger's that gives the lines of one daemon to a function.
  def log(%{meta: %{unit: unit, source: source}, msg: {:string, line}}, %{config: {unit, fun}}) do
    fun.(IO.chardata_to_string(line), source)
  end

  def log(_other_event, _config), do: :ok

  describe "ready" do
    # Not ready before it is let go on, and ready soon after that.
    defp assert_ready_after(argv, go, opts) do
      daemon = start!(argv, [on_ready: {self(), :ready}] ++ opts)
      eventually(fn -> Daemon.stats(daemon).state == :running end)
      assert Daemon.await_ready(daemon, 150) == {:error, :timeout}
      refute_received :ready
      assert Daemon.stats(daemon).state == :running
      go.()
      assert Daemon.await_ready(daemon, 10_000) == :ok
      assert_receive :ready
      assert Daemon.stats(daemon).state == :ready
      assert Daemon.await_ready(daemon, 0) == :ok
      daemon
    end

    test "is a program that runs" do
      daemon = start!(["sleep", "1000"], auto_proceed: false, on_ready: {self(), :ready})
      {:ok, session} = Daemon.session(daemon)
      assert Daemon.await_ready(daemon, 100) == {:error, :timeout}
      Linx.Process.proceed(session)
      assert_receive :ready
    end

    test "is one that writes a line that matches, contains something, or satisfies a function" do
      for condition <- [~r/^listen.* \d+$/, "listening on", &(&1 == "listening on 80")] do
        {wait, go} = gate()
        script = "echo starting; #{wait}; echo listening on 80; exec sleep 1000"
        assert_ready_after(sh(script), go, ready: {:line, condition})
      end
    end

    test "is one whose line comes by the terminal or by stderr, whether it is logged or not" do
      for opts <- [[stdio: :pty], [log: false], [log: [stdout: false]]] do
        {wait, go} = gate()
        script = "echo starting >&2; #{wait}; echo up >&2; exec sleep 1000"
        assert_ready_after(sh(script), go, [ready: {:line, "up"}] ++ opts)
      end
    end

    test "is one that takes TCP connections" do
      script = """
      use IO::Socket::INET;
      sleep 0.02 while !-e $ARGV[1];
      my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die;
      close($s->accept) while 1;
      """

      for tcp <- [&{:tcp, &1}, &{:tcp, "localhost", &1}, &{:tcp, {127, 0, 0, 1}, &1}] do
        {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
        {:ok, port} = :inet.port(listener)
        :gen_tcp.close(listener)
        path = Path.join(tmp_dir(), "go")
        argv = perl(script, ["#{port}", path])
        assert_ready_after(argv, fn -> File.touch!(path) end, ready: tcp.(port))
      end
    end

    test "is one that takes connections on a Unix socket" do
      script = """
      use IO::Socket::UNIX;
      sleep 0.02 while !-e $ARGV[1];
      my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die;
      close($s->accept) while 1;
      """

      dir = tmp_dir()
      {socket, go} = {Path.join(dir, "socket"), Path.join(dir, "go")}

      assert_ready_after(perl(script, [socket, go]), fn -> File.touch!(go) end,
        ready: {:unix, socket}
      )
    end

    test "is one of which a function says so" do
      path = Path.join(tmp_dir(), "ready")

      assert_ready_after(["sleep", "1000"], fn -> File.touch!(path) end,
        ready: fn -> File.exists?(path) end
      )
    end

    # Sends each argument as a datagram, when there is a file.
    @sd_notify """
    use Socket;
    select(undef, undef, undef, 0.02) while !-e $ARGV[0];
    shift;
    socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die;
    send($s, $_, 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "$!" for @ARGV;
    sleep 1000;
    """

    test "is one that says so by sd_notify" do
      for env <- [%{"A" => "1"}, ["A=1", "PATH=/usr/bin:/bin"], nil] do
        path = Path.join(tmp_dir(), "go")
        argv = perl(@sd_notify, [path, "rubbish", "READY=0", "MAINPID=1\nSTATUS=warm ä\nREADY=1"])
        opts = if env, do: [env: env], else: []
        daemon = assert_ready_after(argv, fn -> File.touch!(path) end, [ready: :notify] ++ opts)
        assert Daemon.stats(daemon).status == "warm ä"
        {:ok, pid} = Daemon.os_pid(daemon)
        [_, socket] = Regex.run(~r/NOTIFY_SOCKET=([^\0]+)/, File.read!("/proc/#{pid}/environ"))
        assert File.exists?(socket)
        assert Daemon.stop(daemon) == :ok
        refute File.exists?(Path.dirname(socket))
      end
    end

    test "is one that never stops talking, also while it is stopped" do
      script = """
      use Socket;
      socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die;
      $SIG{TERM} = 'IGNORE';
      for (my $n = 0; ; $n++) {
        send($s, "STATUS=$n", 0, sockaddr_un($ENV{NOTIFY_SOCKET}));
        send($s, "READY=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) if $n == 1000;
      }
      """

      daemon = start!(perl(script), ready: :notify, grace: 200)
      assert Daemon.await_ready(daemon, 20_000) == :ok
      assert {:message_queue_len, n} = Process.info(daemon, :message_queue_len)
      assert n <= 1
      assert String.to_integer(Daemon.stats(daemon).status) >= 999
      assert Daemon.stop(daemon) == :ok
    end

    @tag :root
    test "is one that says so as another user" do
      path = Path.join(tmp_dir(), "go")
      opts = [ready: :notify, user: "nobody"]
      assert_ready_after(perl(@sd_notify, [path, "READY=1"]), fn -> File.touch!(path) end, opts)
    end

    test "only counts of the program's own run" do
      {wait, _go} = gate()

      daemon =
        start!(sh("echo up; exit 1; #{wait}"),
          ready: {:line, "up"},
          restart: {:backoff, 60_000, 60_000}
        )

      eventually(fn -> Daemon.stats(daemon).state == :waiting end)
      assert Daemon.await_ready(daemon, 0) == {:error, :timeout}
    end

    test "is told each time, to a process or by a function" do
      test = self()
      Process.register(test, :linx_daemon_test)
      start!(["sleep", "1000"], on_ready: {:linx_daemon_test, :by_name})
      assert_receive :by_name
      start!(["sleep", "1000"], on_ready: fn -> send(test, :by_function) end)
      assert_receive :by_function
      daemon = start!(["sleep", "1000"], on_ready: &send(test, {:daemon, &1}))
      assert_receive {:daemon, ^daemon}
      # Nobody by that name, and a function that raises.
      daemon = start!(["sleep", "1000"], on_ready: {:linx_daemon_nobody, :ready})
      assert Daemon.await_ready(daemon) == :ok
      daemon = start!(["sleep", "1000"], on_ready: fn -> raise "no" end)
      assert Daemon.await_ready(daemon) == :ok
      assert {:ok, _pid} = Daemon.os_pid(daemon)
    end

    test "it never is: it ends before, and who waits is told how" do
      for {script, error} <- [
            {"sleep 0.1; exit 3", {:exited, 3}},
            {"sleep 0.1; exit 0", {:exited, 0}},
            {"sleep 0.1; kill -9 $$", {:signaled, 9}}
          ],
          ready <- [{:line, "up"}, {:unix, "/nonexistent"}, :notify, fn -> false end] do
        daemon = start!(sh(script), ready: ready)
        assert Daemon.await_ready(daemon) == {:error, error}
        assert reason(daemon) in [error, :normal]
        assert Daemon.await_ready(daemon) == {:error, :no_process}
      end
    end

    test "it never is: the time is up, and it is stopped" do
      tree = Tree.new(:children, ready: {:line, "never"}, stdio: [], grace: 1_000)
      daemon = start!(tree.argv, Tree.options(tree, ready_timeout: 1_000))
      assert Daemon.await_ready(daemon) == {:error, :ready_timeout}
      assert reason(daemon) == :ready_timeout
      assert processes(tree.mark) == []
    end

    test "it never is: the function that should know raises" do
      path = Path.join(tmp_dir(), "up")
      script = "trap 'echo bye; exit' TERM; touch #{path}; echo up; while :; do sleep 0.01; done"
      by_itself = fn -> File.exists?(path) and raise ArgumentError, "no" end
      by_line = {:line, fn _line -> raise ArgumentError, "no" end}

      for ready <- [by_itself, by_line] do
        File.rm(path)
        daemon = start!(sh(script), ready: ready)
        assert {:error, {:ready, {%ArgumentError{}, _stacktrace}}} = Daemon.await_ready(daemon)
        assert {:ready, {%ArgumentError{}, _stacktrace}} = reason(daemon)
        # It was stopped in good order all the same.
        assert "bye" in texts()
      end
    end

    test "looking for it ends with the program" do
      test = self()

      probe = fn ->
        send(test, {:probe, self()})
        false
      end

      daemon = start!(sh("sleep 0.2"), ready: probe, log: tell())
      assert_receive {:probe, pid}
      monitor = Process.monitor(pid)
      assert reason(daemon) == :normal
      assert_receive {:DOWN, ^monitor, :process, _pid, _reason}
    end
  end

  describe "start_link with await_ready" do
    test "returns when the program is ready" do
      {wait, go} = gate()
      test = self()

      starter =
        Task.async(fn ->
          result =
            start(sh("#{wait}; echo up; exec sleep 1000"),
              log: :info,
              ready: {:line, "up"},
              await_ready: true
            )

          send(test, :started)
          result
        end)

      refute_receive :started, 150
      go.()
      assert_receive :started
      assert {:ok, daemon} = Task.await(starter)
      eventually(fn -> not Process.alive?(daemon) end)
    end

    test "returns the error when it never is, and the name is free" do
      opts = [name: :linx_daemon_awaited, await_ready: true]

      for _twice <- 1..2, backoff <- [[], [restart: {:backoff, 10, 10}]] do
        opts = opts ++ backoff
        assert start(sh("exit 3"), [ready: {:line, "up"}] ++ opts) == {:error, {:exited, 3}}

        assert start(["sleep", "1000"], [ready: {:line, "up"}, ready_timeout: 50] ++ opts) ==
                 {:error, :ready_timeout}

        assert {:error, %Error{errno: :enoent}} = start(["/nonexistent"], opts)
        assert Process.whereis(:linx_daemon_awaited) == nil
      end
    end

    test "makes a supervisor start its next child only then" do
      test = self()
      path = Path.join(tmp_dir(), "there")

      children = [
        {Daemon,
         argv: sh("sleep 0.2; touch #{path}; echo up; exec sleep 1000"),
         log: false,
         ready: {:line, "up"},
         await_ready: true},
        {Task, fn -> send(test, {:there?, File.exists?(path)}) end}
      ]

      {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      assert_receive {:there?, true}
      Supervisor.stop(supervisor)
    end

    test "makes a supervisor fail whose child does not get ready" do
      child = {Daemon, argv: sh("exit 3"), ready: {:line, "up"}, await_ready: true}

      assert {:error, {:shutdown, {:failed_to_start_child, Daemon, {:exited, 3}}}} =
               Supervisor.start_link([child], strategy: :one_for_one)
    end
  end

  describe "stop" do
    test "gives the program its signal and its grace, and logs its last words" do
      script = "trap 'echo bye; exit 0' INT; echo up; while :; do sleep 0.02; done"
      daemon = start!(sh(script), stop_signal: :sigint, grace: 10_000)
      assert_receive {:line, :stdout, "up"}
      assert Daemon.stop(daemon) == :ok
      assert texts() == ["bye"]
      assert reason(daemon) == :normal
      assert Daemon.stop(daemon) == {:error, :no_process}
    end

    test "kills who does not listen, and all it has started" do
      tree = Tree.new(:daemon, [], "trap '' TERM")
      daemon = start!(tree.argv, Tree.options(tree))
      tree = await_tree(daemon, tree)
      assert Daemon.stop(daemon, grace: 50) == :ok
      Tree.assert_reaped(tree)
    end

    test "works before there is a program" do
      daemon = start!(["sleep", "1000"], auto_proceed: false)
      assert Daemon.stop(daemon) == :ok
      assert reason(daemon) == :normal
    end

    test "tells who waits for it to get ready" do
      daemon = start!(["sleep", "1000"], ready: {:line, "up"})
      waiter = Task.async(fn -> Daemon.await_ready(daemon) end)
      eventually(fn -> :sys.get_state(daemon).callers != %{} end)
      assert Daemon.stop(daemon) == :ok
      assert Task.await(waiter) == {:error, :no_process}
    end
  end

  describe "nothing is left when" do
    setup do
      tree = Tree.new(:daemon, stdio: [])
      %{tree: tree}
    end

    test "the daemon is killed", %{tree: tree} do
      daemon = start!(tree.argv, Tree.options(tree))
      tree = await_tree(daemon, tree)
      Process.exit(daemon, :kill)
      Tree.assert_gone(tree)
    end

    test "its supervisor stops, is shut down, or is killed", %{tree: tree} do
      for stop <- [&Supervisor.stop/1, &Process.exit(&1, :shutdown), &Process.exit(&1, :kill)] do
        tree = %{tree | ready: nil}
        child = {Daemon, Tree.options(tree, log: false)}
        {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
        [{Daemon, daemon, :worker, _modules}] = Supervisor.which_children(supervisor)
        tree = await_tree(daemon, tree)
        monitor = Process.monitor(daemon)
        stop.(supervisor)
        assert_receive {:DOWN, ^monitor, :process, _pid, _reason}
        Tree.assert_gone(tree)
      end
    end

    test "what it is linked to ends", %{tree: tree} do
      test = self()

      task =
        spawn(fn ->
          {:ok, daemon} = Daemon.start_link(Tree.options(tree, log: false))
          send(test, {:daemon, daemon})
          receive(do: (:end -> :ok))
        end)

      assert_receive {:daemon, daemon}
      tree = await_tree(daemon, tree)
      monitor = Process.monitor(daemon)
      send(task, :end)
      assert_receive {:DOWN, ^monitor, :process, _pid, :normal}
      Tree.assert_reaped(tree)
    end

    test "its reader dies", %{tree: tree} do
      daemon = start!(tree.argv, Tree.options(tree))
      tree = await_tree(daemon, tree)
      Process.exit(:sys.get_state(daemon).run.output, :kill)
      assert reason(daemon) == :killed
      Tree.assert_reaped(tree)
    end
  end

  describe "under a supervisor" do
    test "a daemon is restarted as its exit reason says" do
      path = Path.join(tmp_dir(), "runs")

      for {script, runs} <- [{"exit 3", 2}, {"exit 0", 1}] do
        File.write!(path, "")

        child =
          {Daemon,
           argv:
             sh("echo run >> #{path}; [ $(wc -l < #{path}) -ge 2 ] && exec sleep 1000; #{script}"),
           restart: :transient,
           log: false}

        {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)

        eventually(fn -> length(String.split(File.read!(path), "\n", trim: true)) == runs end)

        if runs == 1,
          do:
            eventually(fn ->
              [{Daemon, :undefined, :worker, [Daemon]}] == Supervisor.which_children(supervisor)
            end),
          else:
            assert([{Daemon, pid, :worker, [Daemon]}] = Supervisor.which_children(supervisor)) &&
              assert(is_pid(pid))

        Supervisor.stop(supervisor)
      end
    end

    test "it never runs beside its predecessor, whatever has become of that" do
      [lock, beside] = for name <- ["lock", "beside"], do: Path.join(tmp_dir(), name)

      # All that runs of a program holds a lock, and it takes a grace to end it all.
      setup = "exec 9>#{lock}; flock -n 9 || { echo >> #{beside}; exit 99; }"
      tree = Tree.new(:daemon, [grace: 100], setup)
      opts = Tree.options(tree, log: false, on_ready: &send(:linx_daemon_beside, {:ready, &1}))
      Process.register(self(), :linx_daemon_beside)
      supervision = [strategy: :one_for_one, max_restarts: 100]
      {:ok, supervisor} = Supervisor.start_link([{Daemon, opts}], supervision)

      for kill <- [:daemon, :session, :program, :daemon, :both, :daemon, nil] do
        assert_receive {:ready, daemon}, 20_000
        {:ok, os_pid} = Daemon.os_pid(daemon)
        {:ok, session} = Daemon.session(daemon)
        Tree.await(tree, os_pid)
        File.rm!(tree.ready)

        case kill do
          :daemon -> Process.exit(daemon, :kill)
          :session -> Process.exit(session, :kill)
          :both -> Enum.each([session, daemon], &Process.exit(&1, :kill))
          :program -> assert Daemon.signal(daemon, :sigkill) == :ok
          nil -> :ok
        end
      end

      Supervisor.stop(supervisor)
      refute File.exists?(beside)
    end

    test "its specification leaves room for the grace" do
      assert %{id: Daemon, shutdown: short} = spec = Daemon.child_spec(argv: ["true"])
      refute Map.has_key?(spec, :restart)
      spec = Daemon.child_spec(argv: ["true"], grace: 60_000, name: :d, restart: :transient)
      assert %{id: :d, restart: :transient, shutdown: long} = spec
      assert short > 2_000
      assert long - short == 58_000
      assert %{id: 7, shutdown: 1} = Daemon.child_spec(argv: ["true"], id: 7, shutdown: 1)
      spec = Daemon.child_spec(argv: ["true"], restart: {:backoff, 1, 2})
      refute Map.has_key?(spec, :restart)
      assert {Daemon, :start_link, [opts]} = spec.start
      assert opts[:restart] == {:backoff, 1, 2}
    end
  end

  describe "with a back-off" do
    # A program that counts its runs in a file, and does as `script` says with $n, the number of this one.
    defp counting(script) do
      path = Path.join(tmp_dir(), "runs")
      sh("echo run >> #{path}; n=$(wc -l < #{path}); #{script}")
    end

    test "the daemon starts its program again, however it has ended, and counts" do
      script =
        "echo run $n; case $n in 1) exit 0;; 2) exit 3;; 3) kill -9 $$;; esac; exec sleep 1000"

      daemon = start!(counting(script), restart: {:backoff, 10, 20})
      for n <- 1..4, do: assert_receive({:line, :stdout, line}) && assert(line == "run #{n}")

      assert %Stats{starts: 4, restarts: 3, lines: 4, bytes: 24, last_exit: {:signaled, 9}} =
               Daemon.stats(daemon)

      assert Daemon.stop(daemon) == :ok
    end

    test "it says so in the log" do
      # The third end is the last.
      reason = fn {:exited, n} -> if n == 3, do: {:shutdown, :enough}, else: {:exited, n} end
      path = Path.join(tmp_dir(), "runs")
      script = "echo >> #{path}; exit $(wc -l < #{path})"
      opts = [restart: {:backoff, 10, 20}, exit_status_to_reason: reason]
      assert [first, second] = logged(script, opts)

      assert first =~
               ~r/^warn(ing)?\|sh: ended with {:exited, 1}, and starts again in (1\d|20) ms\|/

      assert second =~
               ~r/^warn(ing)?\|sh: ended with {:exited, 2}, and starts again in (1\d|20) ms\|/
    end

    test "a program that does not exist is tried again, too" do
      program = Path.join(tmp_dir(), "program")
      daemon = start!([program], restart: {:backoff, 10, 20})
      eventually(fn -> Daemon.stats(daemon).restarts >= 2 end)
      assert %Stats{last_exit: %Error{stage: :execve, errno: :enoent}} = Daemon.stats(daemon)
      File.write!(program, "#!/bin/sh\nexec sleep 1000\n")
      File.chmod!(program, 0o755)
      assert Daemon.await_ready(daemon, 10_000) == :ok
    end

    test "a session that is killed is replaced" do
      daemon = start!(["sleep", "1000"], restart: {:backoff, 10, 20})
      assert Daemon.await_ready(daemon) == :ok
      {:ok, session} = Daemon.session(daemon)
      Process.exit(session, :kill)
      eventually(fn -> Daemon.stats(daemon).starts == 2 end)
      assert Daemon.await_ready(daemon) == :ok
      assert Daemon.stats(daemon).last_exit == {:session, :killed}
    end

    test "who waits for it to get ready waits through the restarts" do
      script = "[ $n -lt 3 ] && exit 3; echo up; exec sleep 1000"
      daemon = start!(counting(script), ready: {:line, "up"}, restart: {:backoff, 50, 100})
      assert Daemon.await_ready(daemon, 20_000) == :ok
      assert Daemon.stats(daemon).starts == 3
    end

    test "it waits longer each time, and begins anew after a stable run" do
      {wait, go} = gate()
      # The fifth run is stable, the sixth stays.
      script = "echo $n; case $n in 5) #{wait};; 6) exec sleep 1000;; esac; exit 3"
      began = now()
      daemon = start!(counting(script), restart: {:backoff, 40, 320})
      for n <- 1..5, do: assert_receive({:line, :stdout, line}) && assert(line == "#{n}")
      # The least of four delays.
      assert now() - began >= 40 + 80 + 160 + 160
      assert :sys.get_state(daemon).backoff.base == 160

      eventually(fn -> Daemon.stats(daemon).uptime > 330_000 end)
      go.()
      assert_receive {:line, :stdout, "6"}
      # The delay before was drawn from the first range, and the next will be from the second.
      assert :sys.get_state(daemon).backoff.base == 80
    end

    test "a reason that is a shutdown ends it" do
      reason = fn
        {:exited, 7} -> {:shutdown, :seven}
        other -> other
      end

      daemon =
        start!(counting("exit $((5 + $n))"),
          restart: {:backoff, 10, 20},
          exit_status_to_reason: reason
        )

      assert reason(daemon) == {:shutdown, :seven}
    end

    test "it can be stopped, asked and waited for while there is no program" do
      daemon = start!(sh("exit 3"), restart: {:backoff, 60_000, 60_000})
      eventually(fn -> Daemon.stats(daemon).state == :waiting end)

      assert %Stats{os_pid: nil, uptime: nil, last_exit: {:exited, 3}, starts: 1, restarts: 0} =
               Daemon.stats(daemon)

      assert Daemon.os_pid(daemon) == {:error, :waiting}
      assert Daemon.session(daemon) == {:error, :waiting}
      assert Daemon.signal(daemon, :sigterm) == {:error, :waiting}
      assert Daemon.write(daemon, "x") == {:error, :waiting}
      assert Daemon.await_ready(daemon, 10) == {:error, :timeout}
      assert Daemon.stop(daemon) == :ok
      assert reason(daemon) == :normal
    end

    test "no process is left of the runs before" do
      daemon = start!(sh("exit 3"), ready: :notify, restart: {:backoff, 1, 1})
      eventually(fn -> Daemon.stats(daemon).starts > 10 end)
      {:links, links} = Process.info(daemon, :links)
      # The test, and of a run the session, the reader and the socket.
      assert length(links) <= 4
    end
  end

  describe "a daemon" do
    test "has a name" do
      daemon = start!(["sleep", "1000"], name: :linx_daemon_named)
      assert Daemon.await_ready(:linx_daemon_named) == :ok
      assert {:error, {:already_started, ^daemon}} = start(["true"], name: :linx_daemon_named)
      assert Daemon.stop(:linx_daemon_named) == :ok
    end

    test "takes what is written to it, and signals" do
      daemon =
        start!(perl(~S($| = 1; $SIG{HUP} = sub { print "hup\n" }; print "got $_" while <STDIN>)),
          stdio: [stdin: :pipe]
        )

      assert Daemon.await_ready(daemon) == :ok
      assert Daemon.write(daemon, ["one", ?\n]) == :ok
      assert_receive {:line, :stdout, "got one"}
      assert Daemon.signal(daemon, :sighup) == :ok
      assert_receive {:line, :stdout, "hup"}
      assert Daemon.write(daemon, "two\n", 5_000) == :ok
      assert_receive {:line, :stdout, "got two"}
      assert Daemon.signal(daemon, :sigfoo) == {:error, {:bad_signal, :sigfoo}}
    end

    test "has nothing to read otherwise" do
      daemon = start!(sh("read line; echo end of input; exec sleep 1000"))
      assert_receive {:line, :stdout, "end of input"}
      assert Daemon.write(daemon, "x") == {:error, :not_piped}
    end

    test "knows its pid, and what it has done" do
      daemon = start!(sh("echo $$; printf abc >&2; exec sleep 1000"))
      assert_receive {:line, :stdout, pid}
      assert Daemon.os_pid(daemon) == {:ok, String.to_integer(pid)}
      eventually(fn -> Daemon.stats(daemon).bytes == byte_size(pid) + 1 + 3 end)

      assert %Stats{state: :ready, starts: 1, restarts: 0, lines: 1, uptime: uptime} =
               stats = Daemon.stats(daemon)

      assert stats.os_pid == String.to_integer(pid)
      assert stats.last_exit == nil
      assert Daemon.stats(daemon).uptime > uptime
    end

    test "adds up what its runs have used" do
      script =
        "i=0; while [ $i -lt 20000 ]; do i=$(($i+1)); done; echo run; [ $n = 3 ] && exec sleep 1000; exit 1"

      daemon = start!(counting(script), restart: {:backoff, 1, 1})

      used =
        for n <- 1..2 do
          eventually(fn -> Daemon.stats(daemon).starts > n end)
          Daemon.stats(daemon).usage
        end

      assert [%Linx.Usage{} = first, second] = used
      assert second.user_time >= first.user_time
      assert first.user_time + first.system_time > 0
      assert second.max_rss >= first.max_rss and first.max_rss > 100_000
      assert second.minor_faults > first.minor_faults
    end

    test "that has gone answers so" do
      daemon = start!(["true"])
      assert reason(daemon) == :normal

      for answer <- [
            Daemon.await_ready(daemon),
            Daemon.os_pid(daemon),
            Daemon.session(daemon),
            Daemon.signal(daemon, 15),
            Daemon.write(daemon, "x"),
            Daemon.stats(daemon),
            Daemon.stop(daemon)
          ],
          do: assert(answer == {:error, :no_process})
    end

    test "shows no environment when it crashes" do
      log =
        capture_log(fn ->
          daemon = start!(sh("exit 3"), env: %{"SECRET" => "hunter2"})
          reason(daemon)
        end)

      assert log =~ "{:exited, 3}"
      refute log =~ "hunter2"
    end

    test "cares for nobody else's messages" do
      daemon = start!(["sleep", "1000"])

      for message <- [:hello, {:linx_process}, {:linx_process, :what}, {make_ref(), :ready}],
          do: send(daemon, message)

      assert Daemon.await_ready(daemon) == :ok
    end
  end

  describe "mistakes are named before anything starts:" do
    for {opts, error} <- [
          {[], :argv_required},
          {[argv: []], {:bad_argv, []}},
          {[cwd: 7], {:bad_cwd, 7}},
          {[nonsense: 1], {:bad_option, :nonsense}},
          {[owner: :me], {:bad_option, :owner}},
          {[linger: false], {:bad_option, :linger}},
          {[active: :once], {:bad_option, :active}},
          {[name: 1], {:bad_name, 1}},
          {[log: :loud], {:bad_log, :loud}},
          {[log: [stdin: :info]], {:bad_log, [stdin: :info]}},
          {[log: [stdout: :loud]], {:bad_log, [stdout: :loud]}},
          {[prefix: :p], {:bad_prefix, :p}},
          {[prefix: <<255>>], {:bad_prefix, <<255>>}},
          {[metadata: %{}], {:bad_metadata, %{}}},
          {[transform: :t], {:bad_transform, :t}},
          {[controls: :strip], {:bad_controls, :strip}},
          {[max_line: 0], {:bad_max_line, 0}},
          {[ready: :soon], {:bad_ready, :soon}},
          {[ready: {:line, ""}], {:bad_ready, {:line, ""}}},
          {[ready: {:line, :up}], {:bad_ready, {:line, :up}}},
          {[ready: {:tcp, 0}], {:bad_ready, {:tcp, 0}}},
          {[ready: {:tcp, :host, 1}], {:bad_ready, {:tcp, :host, 1}}},
          {[ready: {:tcp, "", 1}], {:bad_ready, {:tcp, "", 1}}},
          {[ready: {:unix, ""}], {:bad_ready, {:unix, ""}}},
          {[ready: {:line, "x"}, stdio: :devnull], {:bad_ready, {:line, "x"}}},
          {[ready_timeout: -1], {:bad_ready_timeout, -1}},
          {[on_ready: :me], {:bad_on_ready, :me}},
          {[on_ready: {1, :ready}], {:bad_on_ready, {1, :ready}}},
          {[await_ready: 1], {:bad_await_ready, 1}},
          {[restart: :always], {:bad_restart, :always}},
          {[restart: {:backoff, 0, 1}], {:bad_restart, {:backoff, 0, 1}}},
          {[restart: {:backoff, 2, 1}], {:bad_restart, {:backoff, 2, 1}}},
          {[exit_status_to_reason: 1], {:bad_exit_status_to_reason, 1}},
          {[stdio: :what], {:bad_stdio, :what}},
          {[grace: -1], {:bad_grace, -1}}
        ] do
      @tag opts: opts, error: error
      test inspect(opts), %{opts: opts, error: error} do
        opts = if error == :argv_required, do: opts, else: Keyword.put_new(opts, :argv, ["true"])
        assert Daemon.start_link(opts) == {:error, error}
      end
    end

    test "no options at all" do
      assert Daemon.start_link(%{}) == {:error, {:bad_options, %{}}}
      assert Daemon.start_link([1]) == {:error, {:bad_options, [1]}}
    end

    test "no such program" do
      assert {:error, %Error{stage: :execve, errno: :enoent}} = start(["no-such-program-here"])
    end

    test "in calls" do
      daemon = start!(["sleep", "1000"])
      assert Daemon.await_ready(daemon, -1) == {:error, {:bad_timeout, -1}}
      assert Daemon.stop(daemon, grace: -1) == {:error, {:bad_grace, -1}}
      assert Daemon.stop(daemon, how: :fast) == {:error, {:bad_option, :how}}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
