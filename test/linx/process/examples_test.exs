defmodule Linx.Process.ExamplesTest do
  # The examples document, block for block in its order, and what its sentences promise. Its headings
  # are the names here. Where a block needs another part of Linx, the same is shown with what
  # Linx.Process has.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  # With the names of their files in /proc/<pid>/ns.
  @namespaces [
    net: "net",
    mount: "mnt",
    pid: "pid",
    uts: "uts",
    ipc: "ipc",
    user: "user",
    cgroup: "cgroup",
    time: "time"
  ]

  defp beam, do: System.pid() |> String.to_integer()

  describe "Quick start" do
    test "a child without namespaces, equivalent to fork and exec" do
      {:ok, child} = P.spawn(argv: ["/bin/echo", "hello"])
      assert is_pid(child)
      assert {:linx_process, :ready, host_pid} = next_event()
      assert alive?(host_pid)

      for {_name, file} <- @namespaces do
        assert namespace(host_pid, file) == namespace(beam(), file)
      end
    end

    test "the events go to the owner, by default the caller" do
      test = self()

      caller =
        spawn_link(fn ->
          {:ok, _child} = P.spawn(argv: ["/bin/true"])
          {:ok, _child} = P.spawn(argv: ["/bin/true"], owner: test)
          send(test, {:caller_got, next_event()})
          Process.sleep(:infinity)
        end)

      assert_receive {:caller_got, {:linx_process, :ready, his}}
      assert {:linx_process, :ready, ours} = next_event()
      assert his != ours
      Process.unlink(caller)
      Process.exit(caller, :shutdown)
    end
  end

  describe "The checkpoint" do
    test "the child waits between clone and execve, and proceed/1 lets it run" do
      {:ok, child} = P.spawn(argv: ["/bin/echo", "hello"], stdio: :devnull)

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      assert P.proceed(child) == :ok
      assert next_event() == {:linx_process, :running}
      assert next_event() == {:linx_process, :exited, 0}
    end

    test "nothing of the program happens before" do
      file = Path.join(tmp_dir(), "it-ran")
      {:ok, child} = P.spawn(argv: ["touch", file])
      host_pid = await_ready()
      assert alive?(host_pid)
      refute File.exists?(file)
      P.proceed(child)
      assert P.wait(child) == {:ok, {:exited, 0}}
      assert File.exists?(file)
    end

    test "the lifecycle events" do
      for {argv, terminal} <- [
            {["/bin/sh", "-c", "exit 7"], {:linx_process, :exited, 7}},
            {["/bin/sh", "-c", "kill -TERM $$"], {:linx_process, :signaled, 15}},
            {["/this/does/not/exist"], {:linx_process, :error, 2, :execve}}
          ] do
        {:ok, child} = P.spawn(argv: argv)
        assert {:linx_process, :ready, host_pid} = next_event()
        assert is_integer(host_pid)
        P.proceed(child)
        if elem(terminal, 1) != :error, do: assert(next_event() == {:linx_process, :running})
        assert next_event() == terminal
      end
    end

    test "exactly one terminal event, and the session stops with :normal" do
      {:ok, child} = P.spawn(argv: ["/bin/true"])
      monitor = Process.monitor(child)
      P.proceed(child)
      assert {:ok, {:exited, 0}} = P.wait(child)
      P.stop(child)
      assert_receive {:DOWN, ^monitor, :process, _pid, :normal}
      # The session has gone, so there is nobody to send more.
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :running}
      assert next_event() == {:linx_process, :exited, 0}
      refute_received _anything
    end
  end

  describe "Spawning into fresh namespaces" do
    @describetag :root

    test "the child gets those that it asks for, and only those" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "30"], namespaces: [:net, :uts, :ipc])
      assert is_pid(child)
      host_pid = await_ready()

      for {name, file} <- @namespaces do
        fresh? = namespace(host_pid, file) != namespace(beam(), file)
        assert {name, fresh?} == {name, name in [:net, :uts, :ipc]}
      end
    end

    test "each of the eight" do
      for {name, file} <- @namespaces do
        {:ok, child} = P.spawn(argv: ["/bin/sleep", "30"], namespaces: [name])
        host_pid = await_ready()

        fresh = for {n, f} <- @namespaces, namespace(host_pid, f) != namespace(beam(), f), do: n
        assert {file, fresh} == {file, [name]}
        P.proceed(child)
        await_running()
        assert namespace(host_pid, file) != namespace(beam(), file)
        P.stop(child)
        assert {:linx_process, :signaled, _} = next_event()
      end
    end

    test "all eight at once" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "30"], namespaces: Keyword.keys(@namespaces))

      host_pid = await_ready()

      for {_name, file} <- @namespaces do
        assert namespace(host_pid, file) != namespace(beam(), file)
      end

      P.proceed(child)
      await_running()
      assert P.info(child).child_pid == 1
    end

    test "the owner gets the pid of the host, info/1 has the child's own" do
      {:ok, child} = P.spawn(argv: ["/bin/sh", "-c", "echo $$"], namespaces: [:pid], stdio: :pty)
      host_pid = await_ready()
      assert host_pid > 1
      assert status_field(host_pid, "NSpid") =~ ~r/\t1$/
      assert %Info{host_pid: ^host_pid, child_pid: 1} = P.info(child)
      P.proceed(child)
      assert read_pty_until("\n") == "1\r\n"
    end

    test "without a :pid namespace both are the same" do
      {:ok, child} = P.spawn(argv: ["/bin/true"])
      host_pid = await_ready()
      assert %Info{host_pid: ^host_pid, child_pid: ^host_pid} = P.info(child)
    end
  end

  describe "Composing with Linx.Netlink" do
    @describetag :root

    test "the host sets up the namespaces while the child waits at the checkpoint" do
      {:ok, child} =
        P.spawn(
          argv: ["/bin/sh", "-c", "uname -n; cat /proc/sys/net/ipv4/ip_default_ttl"],
          namespaces: [:net, :uts],
          stdio: :pty
        )

      host_pid = await_ready()
      ttl = File.read!("/proc/sys/net/ipv4/ip_default_ttl")

      set_up = "echo ct0 >/proc/sys/kernel/hostname; echo 42 >/proc/sys/net/ipv4/ip_default_ttl"
      {:ok, helper} = P.enter(host_pid, argv: ["/bin/sh", "-c", set_up], auto_proceed: true)
      assert P.wait(helper) == {:ok, {:exited, 0}}

      assert P.proceed(child) == :ok
      assert read_pty_until("42") =~ "ct0\r\n42"
      assert File.read!("/proc/sys/net/ipv4/ip_default_ttl") == ttl
    end
  end

  describe "Signals and synchronous waits" do
    test "SIGTERM to a running workload" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "60"])

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(child)

      receive do
        {:linx_process, :running} -> :ok
      end

      assert P.signal(child, 15) == :ok

      signal =
        receive do
          {:linx_process, :signaled, n} -> n
        end

      assert signal == 15
    end

    test "signals sent before execve are buffered" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "60"])

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      assert P.signal(child, 15) == :ok
      P.proceed(child)
      assert next_event() == {:linx_process, :running}
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "a buffered signal does what it would have done to a running workload" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "60"])
      host_pid = await_ready()
      assert P.signal(child, :sigstop) == :ok
      P.proceed(child)
      await_running()
      eventually(fn -> stat(host_pid) == "T" end)
      P.signal(child, :sigcont)
      eventually(fn -> stat(host_pid) == "S" end)
    end

    test "even when they come before the child is ready" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "60"])
      assert P.signal(child, 15) == :ok
      P.proceed(child)
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :running}
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "wait/1 tells how it ended" do
      {:ok, child} = P.spawn(argv: ["/bin/true"])

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(child)
      assert P.wait(child) == {:ok, {:exited, 0}}
    end

    test "wait/1 after the terminal event, and again" do
      {:ok, child} = P.spawn(argv: ["/bin/true"], auto_proceed: true)
      assert_receive {:linx_process, :exited, 0}
      assert P.wait(child) == {:ok, {:exited, 0}}
      assert P.wait(child, 0) == {:ok, {:exited, 0}}
    end

    test "wait/2 with a timeout leaves the session as it is" do
      {:ok, child} = P.spawn(argv: ["/bin/sleep", "60"])

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(child)
      assert P.wait(child, 100) == {:error, :timeout}
      assert P.signal(child, 9) == :ok
      assert P.wait(child) == {:ok, {:signaled, 9}}
    end
  end

  describe "Getting the workload's host pid" do
    @tag :root
    test "the :ready event carries what maps and mounts need" do
      {:ok, c} =
        P.spawn(argv: ["/bin/sh", "-c", "id -u; echo $$"], namespaces: [:user, :pid], stdio: :pty)

      host_pid =
        receive do
          {:linx_process, :ready, p} -> p
        end

      File.write!("/proc/#{host_pid}/uid_map", "0 0 1")
      P.proceed(c)
      assert read_pty_until("1\r\n") == "0\r\n1\r\n"
    end

    test "host_pid/1 is the same value" do
      {:ok, c} = P.spawn(argv: ["/bin/true"])
      host_pid = await_ready()
      assert P.host_pid(c) == {:ok, host_pid}
    end

    test "host_pid/1 works from :spawned on, and is :not_ready earlier" do
      {:ok, c} = P.spawn(argv: ["/bin/true"])

      {:ok, host_pid} =
        eventually(fn ->
          with {:error, reason} <- P.host_pid(c) do
            assert reason == :not_ready
            nil
          end
        end)

      assert await_ready() == host_pid
    end
  end

  describe "Aborting a parked session" do
    @tag :root
    test "abort/1 discards the session, and the child never runs" do
      file = Path.join(tmp_dir(), "it-ran")
      {:ok, c} = P.spawn(argv: ["touch", file], namespaces: [:net])
      host_pid = await_ready()
      assert P.abort(c) == :ok
      assert next_event() == {:linx_process, :aborted}
      assert P.wait(c) == {:ok, :aborted}
      refute File.exists?(file)
      refute alive?(host_pid)
    end

    test "Why a separate verb: a SIGKILL to a parked session waits for an execve" do
      {:ok, c} = P.spawn(argv: ["/bin/sleep", "60"])
      host_pid = await_ready()
      assert P.signal(c, 9) == :ok
      assert P.wait(c, 50) == {:error, :timeout}
      assert alive?(host_pid)
      assert P.abort(c) == :ok
      assert next_event() == {:linx_process, :aborted}
      refute alive?(host_pid)
    end

    test "State semantics: before :ready it is buffered, and fires at the checkpoint" do
      {:ok, c} = P.spawn(argv: ["/bin/sleep", "60"])
      assert P.abort(c) == :ok
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :aborted}
    end

    test "State semantics: a buffered abort beats buffered signals" do
      file = Path.join(tmp_dir(), "it-ran")
      {:ok, c} = P.spawn(argv: ["touch", file])
      assert P.signal(c, 9) == :ok
      assert P.abort(c) == :ok
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :aborted}
      refute File.exists?(file)
    end

    test "State semantics: :ready, :running, terminal" do
      {:ok, parked} = P.spawn(argv: ["/bin/sleep", "60"])
      await_ready()
      assert P.abort(parked) == :ok
      assert P.wait(parked) == {:ok, :aborted}
      assert P.abort(parked) == {:error, :no_process}

      {:ok, c} = P.spawn(argv: ["/bin/sleep", "60"], auto_proceed: true)
      await_running()
      assert P.abort(c) == {:error, :running}
      assert %Info{stage: :running} = P.info(c)
      P.signal(c, 9)
      assert P.wait(c) == {:ok, {:signaled, 9}}
      assert P.abort(c) == {:error, :no_process}
    end

    @tag :root
    test "Use cases: checkpoint-only verification" do
      {:ok, c} = P.spawn(argv: ["/bin/true"], namespaces: [:mount])
      host_pid = await_ready()
      assert namespace(host_pid, "mnt") != namespace(beam(), "mnt")
      P.abort(c)
      assert P.wait(c) == {:ok, :aborted}
    end
  end

  describe "Entering an existing process's namespaces" do
    @describetag :root

    test "a probe inside a container" do
      {:ok, ct} = P.spawn(argv: ["/bin/sleep", "60"], namespaces: [:net])

      target_pid =
        receive do
          {:linx_process, :ready, target_pid} -> target_pid
        end

      P.proceed(ct)

      receive do
        {:linx_process, :running} -> :ok
      end

      # Lines with a colon in /proc/net/dev are interfaces.
      {:ok, probe} =
        P.enter(target_pid, argv: ["/bin/sh", "-c", "grep -c : /proc/net/dev"], stdio: :pty)

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(probe)
      assert read_pty_until("\n") == "1\r\n"
      assert P.wait(probe) == {:ok, {:exited, 0}}

      P.signal(ct, 9)
      assert P.wait(ct) == {:ok, {:signaled, 9}}
    end

    setup context do
      if context[:target] do
        {:ok, ct} = P.spawn(argv: ["/bin/sleep", "60"], namespaces: context.target)
        host_pid = await_ready()
        P.proceed(ct)
        await_running()
        %{target_pid: host_pid}
      else
        :ok
      end
    end

    @tag target: [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time]
    test "joins every namespace of the target by default", %{target_pid: target_pid} do
      {:ok, probe} = P.enter(target_pid, argv: ["/bin/sleep", "60"])
      host_pid = await_ready()
      assert %Info{mode: :enter, host_pid: ^host_pid, child_pid: child_pid} = P.info(probe)
      assert child_pid > 1
      P.proceed(probe)
      await_running()

      for {name, file} <- @namespaces do
        assert {name, namespace(host_pid, file)} == {name, namespace(target_pid, file)}
        assert namespace(host_pid, file) != namespace(beam(), file)
      end
    end

    @tag target: [:net, :uts, :ipc]
    test ":namespaces narrows it", %{target_pid: target_pid} do
      {:ok, _probe} = P.enter(target_pid, namespaces: [:net], argv: ["/bin/sh", "-c", "..."])
      host_pid = await_ready()
      assert namespace(host_pid, "net") == namespace(target_pid, "net")
      assert namespace(host_pid, "uts") == namespace(beam(), "uts")
      assert namespace(host_pid, "ipc") == namespace(beam(), "ipc")
    end

    test "failures name the namespace in their stage" do
      {:ok, probe} = P.enter(99_999_999, argv: ["/bin/true"])
      assert next_event() == {:linx_process, :error, 2, :open_ns_user}

      assert P.wait(probe) ==
               {:error, %Error{stage: :open_ns_user, errno: :enoent, code: 2, signal: nil}}
    end

    test "a zombie is no target" do
      {:ok, parent} = P.spawn(argv: ["/bin/sh", "-c", "true & exec sleep 60"], auto_proceed: true)

      parent_pid = await_ready()
      await_running()

      zombie =
        eventually(fn ->
          children = File.read!("/proc/#{parent_pid}/task/#{parent_pid}/children")
          Enum.find(String.split(children), &(stat(&1) == "Z"))
        end)

      {:ok, probe} = P.enter(String.to_integer(zombie), argv: ["/bin/true"])
      assert {:error, %Error{stage: :open_ns_user, errno: :enoent}} = P.wait(probe)
      P.stop(parent)
    end
  end

  describe "Errors" do
    test "no such binary" do
      {:ok, child} = P.spawn(argv: ["/this/does/not/exist"])

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(child)
      assert next_event() == {:linx_process, :error, 2, :execve}
      assert {:error, %Error{stage: :execve, errno: :enoent, code: 2} = error} = P.wait(child)
      assert Exception.message(error) == "execve: no such file or directory (ENOENT)"
    end

    test "bad options are rejected before any system call" do
      assert P.spawn([]) == {:error, :argv_required}

      assert P.spawn(argv: ["/bin/true"], namespaces: [:typo]) ==
               {:error, {:bad_namespaces, [:typo]}}
    end
  end

  describe "Stdio plumbing" do
    test "by default the workload inherits the BEAM's descriptors 0, 1 and 2, and no others" do
      {:ok, c} = P.spawn(argv: ["/bin/sleep", "60"])
      host_pid = await_ready()
      P.proceed(c)
      await_running()

      for fd <- ["0", "1", "2"] do
        assert File.read_link!("/proc/#{host_pid}/fd/#{fd}") ==
                 File.read_link!("/proc/#{beam()}/fd/#{fd}")
      end

      # The dynamic linker has a library open at first.
      eventually(fn -> Enum.sort(File.ls!("/proc/#{host_pid}/fd")) == ["0", "1", "2"] end)
    end

    test ":devnull silences the workload" do
      {:ok, c} = P.spawn(argv: ["/bin/echo", "this won't be seen"], stdio: :devnull)
      P.proceed(c)
      assert P.wait(c) == {:ok, {:exited, 0}}

      assert next_event() == {:linx_process, :ready, P.info(c).host_pid}
      assert next_event() == {:linx_process, :running}
      assert next_event() == {:linx_process, :exited, 0}

      {:ok, _c} = P.spawn(argv: ["/bin/sleep", "60"], stdio: :devnull, auto_proceed: true)
      host_pid = await_ready()
      await_running()

      for fd <- ["0", "1", "2"] do
        assert File.read_link!("/proc/#{host_pid}/fd/#{fd}") == "/dev/null"
      end
    end

    test "{:connect_unix, path} connects one descriptor to a listener" do
      path = socket_path()

      {:ok, listener} = :gen_tcp.listen(0, [{:ifaddr, {:local, path}}, :binary, {:active, false}])

      {:ok, c} =
        P.spawn(
          argv: ["/bin/echo", "hello from a workload"],
          stdio: [stdout: {:connect_unix, path}]
        )

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(c)
      {:ok, sock} = :gen_tcp.accept(listener, 2_000)
      assert :gen_tcp.recv(sock, 0, 2_000) == {:ok, "hello from a workload\n"}
      File.rm!(path)
    end

    test "each descriptor has its own" do
      [stdin, stdout, stderr] = paths = for _ <- 1..3, do: socket_path()
      listeners = for path <- paths, do: path |> listen() |> elem(1)

      {:ok, c} =
        P.spawn(
          argv: ["/bin/sh", "-c", "read line; echo got $line; echo oops >&2"],
          stdio: [
            stderr: {:connect_unix, stderr},
            stdin: {:connect_unix, stdin},
            stdout: {:connect_unix, stdout}
          ],
          auto_proceed: true
        )

      [stdin, stdout, stderr] = for l <- listeners, do: l |> :gen_tcp.accept(5_000) |> elem(1)
      :ok = :gen_tcp.send(stdin, "this\n")
      assert :gen_tcp.recv(stdout, 0, 5_000) == {:ok, "got this\n"}
      assert :gen_tcp.recv(stderr, 0, 5_000) == {:ok, "oops\n"}
      assert P.wait(c) == {:ok, {:exited, 0}}
    end

    test "a listener that is not there is an error of the stage :stdio" do
      {:ok, c} = P.spawn(argv: ["/bin/true"], stdio: [stdout: {:connect_unix, "/nowhere"}])
      P.proceed(c)
      assert {:error, %Error{stage: :stdio, errno: :enoent}} = P.wait(c)
    end

    test ":pty sends what the workload writes to the owner" do
      {:ok, c} = P.spawn(argv: ["/bin/echo", "hi"], stdio: :pty)

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(c)

      assert read_pty_until("\n") == "hi\r\n"
      assert P.wait(c) == {:ok, {:exited, 0}}
      assert P.info(c).pty?
    end

    test ":pty makes the child a session leader with the terminal on all three descriptors" do
      {:ok, c} = P.spawn(argv: ["/bin/sh", "-c", "tty <&0; tty <&1; tty <&2; cat"], stdio: :pty)
      host_pid = await_ready()
      {:ok, %{slave: slave}} = P.pty_master(c)
      P.proceed(c)
      assert read_pty_until(~r/(.*\n){3}/) == String.duplicate(slave <> "\r\n", 3)

      # After the name: state, ppid, pgrp, session, tty_nr.
      [_state, _ppid, group, session, tty | _] =
        File.read!("/proc/#{host_pid}/stat")
        |> String.split(") ")
        |> List.last()
        |> String.split()

      assert {group, session} == {"#{host_pid}", "#{host_pid}"}
      assert tty != "0"
    end

    test "pty_write/2 types" do
      {:ok, c} = P.spawn(argv: ["/bin/cat"], stdio: :pty)

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      P.proceed(c)
      assert P.pty_write(c, "hello\n") == :ok
      assert read_pty_until("hello\r\nhello\r\n") == "hello\r\nhello\r\n"
      assert P.signal(c, 9) == :ok
      assert P.wait(c) == {:ok, {:signaled, 9}}
    end
  end

  describe "Setting the PTY's window size" do
    test "it starts as the kernel's default" do
      {:ok, _} = P.spawn(argv: ["/bin/sh", "-c", "stty size"], stdio: :pty, auto_proceed: true)
      assert read_pty_until("\n") == "0 0\r\n"
    end

    test "before proceed/1 the workload sees it from its first moment" do
      {:ok, c} = P.spawn(argv: ["/bin/sh", "-c", "stty size"], stdio: :pty)

      receive do
        {:linx_process, :ready, _} -> :ok
      end

      assert P.pty_set_winsize(c, {24, 80, 0, 0}) == :ok
      P.proceed(c)

      assert read_pty_until("\n") == "24 80\r\n"
    end

    defmodule WindowSize do
      defstruct [:rows, :cols, :xpixel, :ypixel]
    end

    test "when it runs the workload is told by SIGWINCH; maps and structs will do" do
      program = "trap 'stty size' WINCH; echo set; while :; do sleep 0.05; done"
      {:ok, c} = P.spawn(argv: ["/bin/sh", "-c", program], stdio: :pty, auto_proceed: true)
      assert read_pty_until("set\r\n")
      assert P.pty_set_winsize(c, %{rows: 42, cols: 132, xpixel: 0, ypixel: 0}) == :ok
      assert read_pty_until("\n") == "42 132\r\n"
      assert P.pty_set_winsize(c, %WindowSize{rows: 43, cols: 90, xpixel: 1, ypixel: 2}) == :ok
      assert read_pty_until("\n") == "43 90\r\n"
    end
  end

  describe "Handing off the owner" do
    # A process that passes on, marked with its name, what it receives.
    defp supervisor(name) do
      test = self()
      spawn_link(fn -> pass_on(name, test) end)
    end

    defp pass_on(name, test) do
      receive do
        message -> send(test, {name, message})
      end

      pass_on(name, test)
    end

    test "one process borrows a session from another and gives it back" do
      supervisor = supervisor(:supervisor)
      {:ok, c} = P.spawn(argv: ["/bin/cat"], stdio: :pty, owner: supervisor)
      assert_receive {:supervisor, {:linx_process, :ready, _}}
      P.proceed(c)
      assert_receive {:supervisor, {:linx_process, :running}}

      :ok = P.set_owner(c, self())

      result =
        try do
          P.pty_write(c, "mine\n")
          read_pty_until("mine\r\nmine\r\n")
        after
          P.set_owner(c, supervisor)
        end

      assert result == "mine\r\nmine\r\n"
      P.pty_write(c, "yours\n")
      assert_receive {:supervisor, {:linx_process, :pty_out, "yours" <> _}}
      P.signal(c, 9)
      assert_receive {:supervisor, {:linx_process, :signaled, 9}}
      refute_received {:linx_process, _}
      refute_received {:linx_process, _, _}
    end

    test "who reclaims a session that has ended meanwhile learns it from info/1" do
      supervisor = supervisor(:supervisor)
      {:ok, c} = P.spawn(argv: ["/bin/cat"], owner: supervisor, stdio: :pty, auto_proceed: true)
      assert_receive {:supervisor, {:linx_process, :running}}
      :ok = P.set_owner(c, self())
      P.signal(c, 9)
      assert_receive {:linx_process, :signaled, 9}
      :ok = P.set_owner(c, supervisor)
      assert %Info{stage: :terminated, result: {:ok, {:signaled, 9}}} = P.info(c)
      refute_received {:supervisor, {:linx_process, :signaled, _}}
    end
  end

  describe "Supervising a workload" do
    @describetag :capture_log

    # Runs `argv` as a transient child owned by the test.
    defp supervise(argv, opts \\ []) do
      defaults = [argv: argv, owner: self(), restart: :transient, auto_proceed: true]
      child = {P, Keyword.merge(defaults, opts)}
      {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
      [{_id, session, :worker, _modules}] = Supervisor.which_children(supervisor)
      {supervisor, session, Process.monitor(session)}
    end

    defp current(supervisor) do
      [{_id, session, _type, _modules}] = Supervisor.which_children(supervisor)
      session
    end

    # A program that does something else the second time.
    defp first(program) do
      dir = Path.join(tmp_dir(), "again")
      ["/bin/sh", "-c", "if mkdir #{dir}; then #{program}; else exec sleep 60; fi"]
    end

    defp assert_restarted(supervisor, session) do
      again = eventually(fn -> current(supervisor) not in [session, :restarting] end)
      assert again
      session = current(supervisor)
      eventually(fn -> match?(%Info{stage: :running}, P.info(session)) end)
      Supervisor.stop(supervisor)
    end

    defp assert_left_alone(supervisor) do
      # The supervisor has handled the exit when it knows no pid, and did not start another one.
      eventually(fn -> current(supervisor) == :undefined end)
      Supervisor.stop(supervisor)
    end

    test "the child of the document" do
      Process.register(self(), MyApp.Events)

      children = [
        {Linx.Process,
         argv: ["/bin/sleep", "60"], owner: MyApp.Events, auto_proceed: true, restart: :transient}
      ]

      {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      host_pid = await_ready()
      await_running()
      Supervisor.stop(supervisor)
      refute alive?(host_pid)
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "exit 0: stops with :normal, and is not restarted" do
      {supervisor, _session, monitor} = supervise(["/bin/true"])
      assert_receive {:DOWN, ^monitor, _, _, reason} when reason in [:normal, :noproc]
      assert_left_alone(supervisor)
    end

    test "exit N: stops with {:exited, N}, and is restarted" do
      {supervisor, session, monitor} = supervise(first("read wait; exit 3"), stdio: :pty)
      P.pty_write(session, "\n")
      assert_receive {:DOWN, ^monitor, _, _, {:exited, 3}}
      assert_restarted(supervisor, session)
    end

    test "killed by a signal: stops with {:signaled, signum}, and is restarted" do
      {supervisor, session, monitor} = supervise(["/bin/sleep", "60"])
      await_running()
      P.signal(session, 9)
      assert_receive {:DOWN, ^monitor, _, _, {:signaled, 9}}
      assert_restarted(supervisor, session)
    end

    test "abort/1 at the checkpoint: stops with {:shutdown, :aborted}, and is not restarted" do
      {supervisor, session, monitor} = supervise(["/bin/sleep", "60"], auto_proceed: false)
      await_ready()
      P.abort(session)
      assert_receive {:DOWN, ^monitor, _, _, {:shutdown, :aborted}}
      assert_left_alone(supervisor)
    end

    test "a setup error: stops with {:error, %Error{}}, and is restarted" do
      program = Path.join(tmp_dir(), "program")
      {supervisor, session, monitor} = supervise([program], auto_proceed: false)
      await_ready()
      P.proceed(session)

      assert_receive {:DOWN, ^monitor, _, _, {:error, %Error{stage: :execve, errno: :enoent}}}

      # Its successor is at the checkpoint.
      await_ready()
      assert current(supervisor) != session
      Supervisor.stop(supervisor)
    end

    test "auto_proceed: true still tells of the checkpoint" do
      {supervisor, _session, _monitor} = supervise(["/bin/sleep", "60"])
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :running}
      Supervisor.stop(supervisor)
    end

    test "a graceful shutdown reaps the workload before it returns" do
      {:ok, session} = P.spawn(argv: ["/bin/sleep", "60"], auto_proceed: true)
      host_pid = await_ready()
      await_running()
      GenServer.stop(session)
      refute alive?(host_pid)
      refute File.exists?("/proc/#{host_pid}")

      # At the checkpoint, too.
      {:ok, session} = P.spawn(argv: ["/bin/sleep", "60"])
      assert next_event() == {:linx_process, :signaled, 15}
      host_pid = await_ready()
      GenServer.stop(session)
      refute File.exists?("/proc/#{host_pid}")
      assert next_event() == {:linx_process, :aborted}
    end

    test "a restart never leaks the old OS process, nor what it had started" do
      mark = marker()
      program = "sh -c 'sleep 60; : #{mark}' & setsid sh -c 'sleep 60; : #{mark}' & exec sleep 60"
      {supervisor, session, monitor} = supervise(["/bin/sh", "-c", program])
      old_pid = await_ready()
      await_running()
      eventually(fn -> length(processes(mark)) >= 2 end)
      old = processes(mark)
      P.signal(session, 9)
      assert_receive {:DOWN, ^monitor, _, _, {:signaled, 9}}

      for pid <- [old_pid | old], do: refute(alive?(pid))
      assert_restarted(supervisor, session)
      assert processes(mark) == []
    end

    test "a brutal kill skips terminate/2, and the workload dies all the same" do
      Process.flag(:trap_exit, true)
      {:ok, session} = P.spawn(argv: ["/bin/sleep", "60"], auto_proceed: true)
      host_pid = await_ready()
      await_running()
      Process.exit(session, :kill)
      eventually(fn -> not alive?(host_pid) end)
    end
  end
end
