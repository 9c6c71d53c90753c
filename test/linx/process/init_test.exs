defmodule Linx.Process.InitTest do
  # A workload that has an init beside it: pid 1 of its PID namespace, which reaps, and ends with it.
  #
  # What becomes of both when somebody is killed is in test/linx/process/faults_test.exs.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.Tree

  defp start(argv, opts) do
    defaults = [argv: argv, auto_proceed: true, owner: nil, stdio: :devnull] ++ beside_init()
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    session
  end

  defp sh(script, opts \\ []) do
    start(
      ["/bin/sh", "-c", script],
      Keyword.merge([stdio: [stdout: :pipe, stderr: :stdout]], opts)
    )
  end

  # In a mount namespace, where it sees its own /proc.
  defp looking(script, opts \\ []) do
    sh(
      "mount --make-rprivate / && mount -t proc proc /proc && " <> script,
      Keyword.merge(beside_init([:mount]), opts)
    )
  end

  defp outcome(session), do: {read_output(session), P.wait(session)}

  defp init_of(session) do
    {:ok, host_pid} = P.host_pid(session)
    {host_pid, parent(host_pid)}
  end

  describe "pids" do
    test "the init is 1, and the workload 2" do
      assert outcome(sh("echo $$ $PPID")) == {"2 1\n", {:ok, {:exited, 0}}}

      session = start(["sleep", "60"], owner: self())
      host_pid = await_ready()
      await_running()
      assert %Info{child_pid: 2, host_pid: ^host_pid, stage: :running} = P.info(session)
      init = parent(host_pid)
      assert comm(init) == "linx_subreaper"
      assert status_field(init, "NSpid") =~ ~r/\t1$/
      assert status_field(host_pid, "NSpid") =~ ~r/\t2$/
      assert namespace_pid(init) != namespace_pid(self_pid())
      assert P.stop(session) == :ok
      eventually(fn -> not alive?(init) end)
    end

    test "are what they are at the checkpoint already, where nothing of the workload runs" do
      session = start(["sh", "-c", "echo $$"], stdio: :pipe, auto_proceed: false)

      eventually(fn -> P.info(session).stage == :ready end)
      assert P.info(session).child_pid == 2
      {host_pid, init} = init_of(session)
      assert children(init) == [host_pid]
      assert P.proceed(session) == :ok
      assert outcome(session) == {"2\n", {:ok, {:exited, 0}}}
    end

    defp self_pid, do: String.to_integer(System.pid())

    # That of an init is nobody's to see but root's.
    defp namespace_pid(pid), do: pid |> status_field("NSpid") |> String.split() |> length()
  end

  describe "what the workload starts" do
    test "is reaped, however much it is" do
      # Each is forked twice, and so the init's.
      script = """
      for n in $(seq 300); do (true &) ; done
      (sleep 60 &)
      echo started
      read line
      """

      session = sh(script, stdio: [stdin: :pipe, stdout: :pipe])
      assert P.recv(session, :stdout) == {:ok, "started\n"}
      {_main, init} = init_of(session)
      # The shell, and that sleep.
      eventually(fn -> length(children(init)) == 2 end)
      refute Enum.any?(children(init), &(stat(&1) == "Z"))
      assert P.write(session, "\n") == :ok
      assert P.wait(session) == {:ok, {:exited, 0}}
      eventually(fn -> not alive?(init) end)
    end

    test "comes to the init, which is in the workload's namespace" do
      session = looking("(setsid sh -c 'sleep 0.05; grep PPid /proc/self/status' &); sleep 0.3")
      assert {"PPid:\t" <> _, {:ok, {:exited, 0}}} = outcome(session)
    end

    # As without an init, since a PID namespace ends with its first process.
    test "is gone when it has ended, daemons too, whether or not it may stay" do
      for fate <- [:kill, :leave] do
        {session, tree} = Tree.start(Tree.new(:init, descendants: fate))
        Tree.tell(tree, "exit 3")
        assert P.wait(session) == {:ok, {:exited, 3}}
        Tree.assert_gone(tree)
      end
    end
  end

  describe "signals" do
    test "reach a workload that handles them, and end one that does not" do
      handling = "trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.01; done"

      for end_it <- [&P.signal(&1, :sigterm), &P.stop/1] do
        session = sh(handling, owner: self())
        assert P.recv(session, :stdout) == {:ok, "ready\n"}
        assert end_it.(session) == :ok
        assert_receive {:linx_process, :exited, 5}
      end

      # As pid 1 it would not get a signal that it does not handle.
      session = start(["sleep", "60"], owner: self())
      await_ready()
      await_running()
      assert P.signal(session, :sigusr1) == :ok
      assert P.wait(session) == {:ok, {:signaled, 10}}
    end

    test "of a stop are enough for whoever does not handle them: no grace is waited out" do
      session = start(["sleep", "60"], owner: self(), grace: 60_000)

      await_ready()
      await_running()
      assert P.stop(session) == :ok
      assert_receive {:linx_process, :signaled, 15}, 10_000
    end

    test "that are ignored are followed by SIGKILL" do
      session =
        sh("trap '' TERM; echo ready; while :; do sleep 0.01; done", grace: 50, owner: self())

      assert P.recv(session, :stdout) == {:ok, "ready\n"}
      assert P.stop(session) == :ok
      assert_receive {:linx_process, :signaled, 9}
    end

    test "go to the group, and to the tree, but not to the init" do
      script = """
      tell='tell() { trap "echo $1" USR1; trap "echo late" USR2; echo ready; while :; do sleep 0.01; done; }'
      eval "$tell"
      tell group &
      setsid sh -c "$tell; tell tree" &
      tell main
      """

      for {to, told} <- [process: ["main"], group: ~w(group main), tree: ~w(group main tree)] do
        session = sh(script, stdio: [stdout: :pipe, stderr: :devnull])
        await_lines(session, 3)
        {main, init} = init_of(session)
        assert P.signal(session, :sigusr1, to: to) == :ok
        # Those that come behind it tell that no others will.
        text = await_lines(session, length(told))
        assert P.signal(session, :sigusr2, to: :tree) == :ok
        lines = String.split(await_lines(session, length(told) + 3, text))
        assert Enum.sort(lines -- ["late", "late", "late"]) == told
        assert alive?(init) and alive?(main)
        assert P.stop(session) == :ok
      end
    end

    defp await_lines(session, count, seen \\ "") do
      if length(String.split(seen, "\n")) > count do
        seen
      else
        {:ok, more} = P.recv(session, :stdout)
        await_lines(session, count, seen <> more)
      end
    end

    test "are told as that by which the workload has died" do
      assert {_, {:ok, {:signaled, 11}}} = outcome(sh("kill -SEGV $$"))
      assert {_, {:ok, {:signaled, 9}}} = outcome(sh("kill -KILL $$"))
      assert {_, {:ok, {:exited, 137}}} = outcome(sh("exit 137"))
    end

    test "from the workload do nothing to its init" do
      for signal <- ~w(TERM KILL INT HUP STOP SEGV RTMIN) do
        session =
          sh("kill -#{signal} 1 2>/dev/null; kill -CONT 1; (true &); sleep 0.02; echo alive")

        assert outcome(session) == {"alive\n", {:ok, {:exited, 0}}}
      end
    end
  end

  describe "an init from outside" do
    test "that is killed takes everything along" do
      {session, tree} = Tree.start(Tree.new(:init))
      Tree.kill!(Tree.subreaper(tree), :KILL)
      assert P.wait(session) == {:ok, {:signaled, 9}}
      Tree.assert_gone(tree)
    end

    test "that is killed at the checkpoint is an error" do
      session = start(["true"], auto_proceed: false)
      eventually(fn -> P.info(session).stage == :ready end)
      {main, init} = init_of(session)
      Tree.kill!(init, :KILL)
      assert {:error, %Error{stage: :checkpoint, errno: :eio}} = P.wait(session)
      refute alive?(main)
    end
  end

  describe "the workload, root in its user namespace," do
    # All that there is of a process that may not be everybody's to see.
    @private ~w(environ mem maps auxv exe cwd root fd fdinfo ns/pid ns/user map_files io stack syscall)

    defp as_inner_root(script, ids) do
      opts = [init: true, namespaces: [:user, :pid, :mount], stdio: [stdout: :pipe]] ++ ids
      {text, {:ok, {:exited, 0}}} = outcome(looking(script, opts))
      text
    end

    # As root, both with what is root outside, too, and with somebody else.
    defp all_ids do
      others = [uid_map: [{0, 100_000, 65_536}], gid_map: [{0, 100_000, 65_536}]]
      if root?(), do: [own_ids(), others], else: [own_ids()]
    end

    test "cannot look into its init" do
      # Each is what it can look at in itself.
      script = """
      look() {
        case $1 in
          */exe | */cwd | */root | */ns/*) readlink $1 ;;
          */fd | */map_files) readlink $1/* ;;
          */fdinfo) cat $1/* ;;
          *) cat $1 ;;
        esac
      }
      for what in #{Enum.join(@private -- ["mem"], " ")}; do
        [ -n "$(look /proc/$$/$what 2>/dev/null)" ] && echo own $what
        [ -n "$(look /proc/1/$what 2>/dev/null)" ] && echo init $what
      done
      (: < /proc/$$/mem) 2>/dev/null && echo own mem
      (: < /proc/1/mem) 2>/dev/null && echo init mem
      cat /proc/1/comm
      """

      for ids <- all_ids() do
        lines = script |> as_inner_root(ids) |> String.split("\n", trim: true)
        assert Enum.filter(lines, &(&1 =~ ~r/^init /)) == []
        assert "linx_subreaper" in lines
        own = for "own " <> what <- lines, do: what
        # Not all kernels show the last two to anybody.
        assert (@private -- ["stack", "syscall"]) -- own == []
      end
    end

    @x86_64? to_string(:erlang.system_info(:system_architecture)) =~ "x86_64"

    # ptrace(PTRACE_SEIZE), process_vm_readv, kcmp, and pidfd_getfd by a descriptor of pidfd_open.
    @calls if @x86_64?,
             do: [ptrace: "101, 0x4206", readv: "310", kcmp: "312"],
             else: [ptrace: "117, 0x4206", readv: "270", kcmp: "272"]

    test "cannot trace it, read its memory, or take its descriptors" do
      program = """
      sub call { my ($what, $result) = @_; printf "%s %s\\n", $what, $result < 0 ? $!{EPERM} ? "EPERM" : $! : "done" }
      my ($buffer, $pid) = ("x" x 8, 0);
      my $iov = pack("PQ", $buffer, 8);
      my $child = fork || do { sleep 60; exit };
      for $pid ($child, 1) {
        call("readv", syscall(#{@calls[:readv]}, $pid, $iov, 1, $iov, 1, 0));
        call("kcmp", syscall(#{@calls[:kcmp]}, $$ + 0, $pid, 1, 0, 0));
        my $pidfd = syscall(434, $pid, 0);
        call("getfd", syscall(438, $pidfd, 2, 0));
        call("ptrace", syscall(#{@calls[:ptrace]}, $pid, 0, 0));
      }
      kill KILL => $child;
      """

      path = Path.join(tmp_dir(), "program")
      File.write!(path, "use Errno;\n" <> program)

      for ids <- all_ids() do
        assert as_inner_root("perl #{path}", ids) |> String.split("\n", trim: true) ==
                 for(
                   result <- ["done", "EPERM"],
                   what <- ~w(readv kcmp getfd ptrace),
                   do: "#{what} #{result}"
                 )
      end
    end
  end

  describe "a failure" do
    test "to execute is one of the session" do
      dir = tmp_dir()
      path = Path.join(dir, "text")
      File.write!(path, "")
      File.chmod!(path, 0o644)
      session = start([path], [])
      assert {:error, %Error{stage: :execve, errno: :eacces}} = P.wait(session)

      session = start(["true"], cwd: "/nonexistent")
      assert {:error, %Error{stage: :chdir, errno: :enoent}} = P.wait(session)
    end

    test "to abort is none" do
      session = start(["true"], auto_proceed: false)
      eventually(fn -> P.info(session).stage == :ready end)
      {main, init} = init_of(session)
      assert P.abort(session) == :ok
      assert P.wait(session) == {:ok, :aborted}
      eventually(fn -> not alive?(init) and not alive?(main) end)
    end

    test "to ask sensibly is found before anything runs" do
      assert P.spawn(argv: ["true"], init: true) == {:error, {:bad_init, :no_pid_namespace}}
      assert P.spawn(argv: ["true"], init: :yes) == {:error, {:bad_init, :yes}}

      assert P.spawn(argv: ["true"], init: true, namespaces: [:net]) ==
               {:error, {:bad_init, :no_pid_namespace}}
    end
  end

  describe "input and output" do
    test "go through pipes, to both sides" do
      session = start(["cat"], stdio: :pipe)
      bytes = :crypto.strong_rand_bytes(300_000)
      writer = Task.async(fn -> P.write(session, bytes) && P.close_stdin(session) end)
      assert read_output(session) == bytes
      assert Task.await(writer) == :ok
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "go through a terminal, which is the workload's" do
      session =
        start(
          ["sh", "-c", "stty size; echo pid $$; exec cat"],
          stdio: :pty,
          winsize: {7, 9},
          owner: self()
        )

      assert read_pty_until("pid 2\r\n") =~ "7 9"
      assert P.write(session, "hello\n") == :ok
      read_pty_until("hello\r\nhello\r\n")
      assert P.write(session, <<3>>) == :ok
      assert P.wait(session) == {:ok, {:signaled, 2}}
    end

    test "ends when the workload has closed it, whatever the init has" do
      session = sh("echo x; exec >/dev/null 2>&1; sleep 60")
      assert P.recv(session, :stdout) == {:ok, "x\n"}
      assert P.recv(session, :stdout) == :eof
      {main, init} = init_of(session)
      # Those of the agent, and where it rings.
      if root?(), do: assert(["0", "1", "2", _bell] = Enum.sort(File.ls!("/proc/#{init}/fd")))
      eventually(fn -> Enum.sort(File.ls!("/proc/#{main}/fd")) == ["0", "1", "2"] end)
      assert P.stop(session) == :ok
    end
  end

  describe "a chain" do
    test "runs beside an init" do
      opts = [chain: [["sh", "-c", "echo $$ $PPID"]], stdio: [stdout: :pipe]]
      session = start(["sh", "-c", "echo $$ $PPID"], opts)
      # The main process becomes the last.
      assert outcome(session) == {"3 2\n2 1\n", {:ok, {:exited, 0}}}
      session = start(["sh", "-c", "kill $$"], opts)
      assert outcome(session) == {"", {:ok, {:signaled, 15}}}
    end
  end

  describe "somebody else" do
    test "enters by the workload's pid" do
      session = start(["sleep", "60"], owner: self())
      host_pid = await_ready()
      await_running()

      {:ok, entered} =
        P.enter(host_pid,
          argv: [
            "sh",
            "-c",
            "echo $$; kill -0 1 && kill -0 2 && read line; kill -KILL 2; sleep 60"
          ],
          stdio: :pipe,
          auto_proceed: true,
          owner: nil
        )

      assert {:ok, pid} = P.recv(entered, :stdout)
      assert String.to_integer(String.trim(pid)) > 2
      eventually(fn -> P.info(entered).stage == :running end)
      assert P.write(entered, "\n") == :ok
      # That is the end of the namespace, and of all that is in it.
      assert P.wait(session) == {:ok, {:signaled, 9}}
      assert P.wait(entered) == {:ok, {:signaled, 9}}
    end
  end

  describe "a fork bomb" do
    test "ends with the session" do
      mark = mark()
      bomb = "f() { [ $1 = 0 ] || { f $(($1 - 1)) & f $(($1 - 1)) & }; exec sleep #{mark}; }; f 7"
      session = sh(bomb, grace: 100)
      eventually(fn -> length(processes("sleep\0#{mark}")) == 255 end)
      assert P.stop(session) == :ok
      assert processes(mark) == []
    end

    # Whoever lists processes to kill them always comes too late for one of these.
    test "whose processes are never there for long ends with the session, too" do
      path = script("[ $1 = 0 ] || setsid $0 $(($1 - 1)) &\n")
      session = sh("for n in 1 2 3 4; do #{path} 20000; done; sleep 60", grace: 100)
      eventually(fn -> P.info(session).stage == :running and processes(path) != [] end)
      {_main, init} = init_of(session)
      assert P.stop(session) == :ok
      eventually(fn -> not alive?(init) end)
      assert processes(path) == []
    end
  end

  test "200 at a time" do
    sessions =
      for n <- 1..200 do
        sh("(true &); echo #{n} $$; exit $((#{n} % 100))")
      end

    for {session, n} <- Enum.with_index(sessions, 1) do
      assert {session, outcome(session)} == {session, {"#{n} 2\n", {:ok, {:exited, rem(n, 100)}}}}
    end
  end
end
