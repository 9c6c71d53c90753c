defmodule Linx.Process.SessionTest do
  # What the moduledoc of Linx.Process promises beyond the examples document.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  # A workload that runs, and its host pid.
  defp run(argv, opts \\ []) do
    {:ok, session} = P.spawn([argv: argv, auto_proceed: true] ++ opts)
    host_pid = await_ready()
    await_running()
    {session, host_pid}
  end

  defp sh(program, opts \\ []), do: run(["/bin/sh", "-c", program], opts)

  # A terminal that hands every byte through, once the workload says so.
  defp raw_terminal(program) do
    session = sh("stty raw -echo; echo go; #{program}", stdio: :pty)
    read_pty_until("go\n")
    session
  end

  defp elapsed(fun) do
    {microseconds, result} = :timer.tc(fun)
    {div(microseconds, 1_000), result}
  end

  describe "the workload gets" do
    test "its arguments, byte for byte" do
      {output, {:ok, {:exited, 0}}} =
        capture(["printf", "%s|", "", "a b", "é", <<0xFF>>, "$HOME"])

      assert output == "|a b|é|" <> <<0xFF>> <> "|$HOME|"
    end

    test "the BEAM's environment, or the one it is given" do
      {inherited, _} = capture(["env"])
      assert inherited =~ "PATH=#{System.get_env("PATH")}"

      assert {"A=1\nB=x=y\n", _} = capture(["/usr/bin/env"], env: ["A=1", "B=x=y"])
      assert {"", _} = capture(["/usr/bin/env"], env: [])

      {merged, _} = capture(["env"], env: %{"HOME" => nil, LINX: "é"})
      assert merged =~ "PATH=#{System.get_env("PATH")}"
      assert merged =~ ~r/^LINX=é$/m
      refute merged =~ ~r/^HOME=/m
    end

    test "its directory" do
      dir = tmp_dir()
      assert {pwd, {:ok, {:exited, 0}}} = capture(["/bin/pwd"], cwd: dir)
      assert pwd == dir <> "\n"

      {:ok, session} = P.spawn(argv: ["/bin/true"], cwd: "/nowhere", auto_proceed: true)
      assert {:error, %Error{stage: :chdir, errno: :enoent}} = P.wait(session)
    end
  end

  describe "signal/3" do
    test "takes names" do
      {session, _} = run(["sleep", "60"])
      assert P.signal(session, :sigusr1) == :ok
      assert P.wait(session) == {:ok, {:signaled, 10}}
    end

    test "reaches the process, its group, or its tree" do
      family = "sleep 61 & setsid sleep 62 & echo go; wait; wait; wait"

      for {reach, killed} <- [process: 0, group: 1, tree: 2] do
        {session, host_pid} = sh("trap : TERM; #{family}", stdio: :pty)
        read_pty_until("go\r\n")

        children =
          eventually(fn ->
            pids = File.read!("/proc/#{host_pid}/task/#{host_pid}/children") |> String.split()
            if length(pids) == 2 and Enum.all?(pids, &sleeping?/1), do: pids
          end)

        assert P.signal(session, :sigterm, to: reach) == :ok
        eventually(fn -> Enum.count(children, &(not alive?(&1))) == killed end)
        P.stop(session, grace: 0)
      end
    end

    defp sleeping?(pid), do: File.read!("/proc/#{pid}/cmdline") =~ ~r/^sleep/

    test "has nobody to reach after the end" do
      {session, _} = run(["true"])
      P.wait(session)
      assert P.signal(session, 15) == {:error, :no_process}
      assert P.signal(session, 15, to: :tree) == {:error, :no_process}
    end
  end

  describe "proceed/1" do
    test "works once" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"])
      assert P.proceed(session) == :ok
      assert P.proceed(session) == {:error, :running}
      await_running()
      assert P.proceed(session) == {:error, :running}
      P.signal(session, 9)
      P.wait(session)
      assert P.proceed(session) == {:error, :no_process}
    end
  end

  describe "wait/2" do
    test "answers any number of processes, before the end and after it" do
      {session, _} = run(["sleep", "60"])
      waiters = for _ <- 1..50, do: Task.async(fn -> P.wait(session) end)
      eventually(fn -> map_size(:sys.get_state(session).callers) == 50 end)
      P.signal(session, 9)
      assert Enum.uniq(Task.await_many(waiters)) == [{:ok, {:signaled, 9}}]
      assert P.wait(session) == {:ok, {:signaled, 9}}
      assert :sys.get_state(session).callers == %{}
    end

    test "forgets who has waited too long, or has died, and sends nothing after the timeout" do
      {session, _} = run(["sleep", "60"])
      assert P.wait(session, 0) == {:error, :timeout}
      assert P.wait(session, 10) == {:error, :timeout}
      waiter = spawn(fn -> P.wait(session) end)
      eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
      Process.exit(waiter, :kill)
      eventually(fn -> :sys.get_state(session).callers == %{} end)
      P.signal(session, 9)
      assert P.wait(session) == {:ok, {:signaled, 9}}
      assert next_event() == {:linx_process, :signaled, 9}
      refute_received _anything
    end

    test "says :no_process when the session goes while it waits" do
      Process.flag(:trap_exit, true)
      {session, _} = run(["sleep", "60"])
      waiter = Task.async(fn -> P.wait(session) end)
      eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
      Process.exit(session, :kill)
      assert Task.await(waiter) == {:error, :no_process}
    end

    test "has the result when the session is stopped" do
      {session, _} = run(["sleep", "60"])
      waiter = Task.async(fn -> P.wait(session) end)
      eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
      GenServer.stop(session)
      assert Task.await(waiter) == {:ok, {:signaled, 15}}
    end
  end

  describe "stop/2" do
    test "asks with SIGTERM first, and the session ends with :normal" do
      {session, host_pid} = sh("trap 'exit 5' TERM; echo go; read forever", stdio: :pty)
      read_pty_until("go\r\n")
      monitor = Process.monitor(session)
      assert P.stop(session) == :ok
      refute Process.alive?(session)
      refute alive?(host_pid)
      assert_received {:DOWN, ^monitor, :process, _, :normal}
      assert next_event() == {:linx_process, :exited, 5}
      assert P.stop(session) == {:error, :no_process}
    end

    test "kills after the grace" do
      {session, host_pid} = sh("trap '' TERM; echo go; sleep 60; sleep 60", stdio: :pty)
      read_pty_until("go\r\n")
      assert {ms, :ok} = elapsed(fn -> P.stop(session, grace: 100) end)
      assert ms in 100..2_000
      refute alive?(host_pid)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    test "reaches all that the workload has started" do
      mark = marker()
      stubborn = "trap \"\" TERM; while :; do sleep 1; : #{mark}; done"
      {session, _} = sh("setsid sh -c '#{stubborn}' & sh -c '#{stubborn}' & exec sleep 60")
      eventually(fn -> length(processes(mark)) >= 2 end)
      assert P.stop(session, grace: 50) == :ok
      assert processes(mark) == []
    end

    @tag :root
    test "does not wait for a pid 1 that cannot hear" do
      {session, _} = run(["sleep", "60"], namespaces: [:pid])
      assert {ms, :ok} = elapsed(fn -> P.stop(session, grace: 30_000) end)
      assert ms < 5_000
      assert next_event() == {:linx_process, :signaled, 9}
    end

    @tag :root
    test "waits for a pid 1 that can" do
      program = "trap 'echo bye; exit 5' TERM; echo go; while :; do sleep 0.02; done"
      {session, _} = sh(program, namespaces: [:pid], stdio: :pty)
      read_pty_until("go\r\n")
      assert P.stop(session, grace: 30_000) == :ok
      assert read_pty_until("bye\r\n")
      assert next_event() == {:linx_process, :exited, 5}
    end

    test "takes a parked child away" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"])
      host_pid = await_ready()
      assert P.stop(session) == :ok
      refute alive?(host_pid)
      assert next_event() == {:linx_process, :aborted}
    end

    test "takes away a child that is not even parked" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"])
      assert P.stop(session) == :ok
      refute Process.alive?(session)
    end

    test "stops a session that lingers" do
      {session, _} = run(["true"])
      P.wait(session)
      assert Process.alive?(session)
      assert P.stop(session) == :ok
      refute Process.alive?(session)
    end

    test "leaves the name free" do
      for _ <- 1..20 do
        {:ok, session} = P.spawn(argv: ["sleep", "60"], name: __MODULE__.Name)

        assert {:error, {:already_started, ^session}} =
                 P.spawn(argv: ["true"], name: __MODULE__.Name)

        assert P.stop(__MODULE__.Name) == :ok
      end
    end

    test "lets the session answer meanwhile, and another hurry it" do
      {session, host_pid} = sh("trap '' TERM; echo go; sleep 60; sleep 60", stdio: :pty)
      read_pty_until("go\r\n")
      stops = for _ <- 1..2, do: Task.async(fn -> P.stop(session, grace: 30_000) end)
      eventually(fn -> :sys.get_state(session).stopping end)
      assert %Info{stage: :running} = P.info(session)
      assert P.host_pid(session) == {:ok, host_pid}
      assert P.signal(session, :sigkill) == :ok
      assert Task.await_many(stops) == [:ok, :ok]
    end

    test "is no failure to a supervisor" do
      children = [
        {P, argv: ["sleep", "60"], auto_proceed: true, restart: :transient, owner: self()}
      ]

      {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      await_running()
      [{_, session, _, _}] = Supervisor.which_children(supervisor)
      assert P.stop(session) == :ok

      assert eventually(fn ->
               match?([{_, :undefined, _, _}], Supervisor.which_children(supervisor))
             end)

      Supervisor.stop(supervisor)
    end
  end

  describe "the link" do
    # A process that starts a session for the test, and then ends as it is told.
    defp starter(opts) do
      test = self()

      {pid, _monitor} =
        spawn_monitor(fn ->
          send(test, {:session, P.spawn([owner: test, auto_proceed: true] ++ opts)})

          receive do
            {:end, reason} -> exit(reason)
          end
        end)

      assert_receive {:session, {:ok, session}}
      {pid, session}
    end

    @tag :capture_log
    test "takes the session and its workload along, however its starter ends" do
      for reason <- [:normal, :shutdown, :boom] do
        {starter, session} = starter(argv: ["sleep", "60"])
        host_pid = await_ready()
        await_running()
        monitor = Process.monitor(session)
        send(starter, {:end, reason})
        assert_receive {:DOWN, ^monitor, :process, _, ^reason}
        refute File.exists?("/proc/#{host_pid}")
        assert next_event() == {:linx_process, :signaled, 15}
      end
    end

    test "takes a lingering session along" do
      {starter, session} = starter(argv: ["true"])
      P.wait(session)
      monitor = Process.monitor(session)
      send(starter, {:end, :shutdown})
      assert_receive {:DOWN, ^monitor, :process, _, _}
    end

    @tag :capture_log
    test "to another process counts when that one fails, not when it is done" do
      {session, host_pid} = run(["sleep", "60"])
      Process.unlink(session)

      link = fn reason ->
        spawn(fn ->
          Process.link(session)
          exit(reason)
        end)
      end

      link.(:normal)
      assert P.wait(session, 50) == {:error, :timeout}
      monitor = Process.monitor(session)
      link.(:boom)
      assert_receive {:DOWN, ^monitor, :process, _, :boom}
      refute alive?(host_pid)
    end

    test "gives a stubborn workload its grace" do
      stubborn = ["sh", "-c", "trap '' TERM; echo go; sleep 60; sleep 60"]
      {starter, session} = starter(argv: stubborn, stdio: :pty, grace: 150)
      read_pty_until("go\r\n")
      monitor = Process.monitor(session)

      {ms, _} =
        elapsed(fn ->
          send(starter, {:end, :shutdown})
          assert_receive {:DOWN, ^monitor, :process, _, _}
        end)

      assert ms in 150..2_000
    end
  end

  describe "the owner" do
    test "may have a name, and is looked up at each event" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"], owner: __MODULE__.Owner)
      assert eventually(fn -> P.info(session).stage == :ready end)
      Process.register(self(), __MODULE__.Owner)
      P.proceed(session)
      assert next_event() == {:linx_process, :running}
      P.set_owner(session, {__MODULE__.Owner, node()})
      P.signal(session, 9)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    test "may be registered anywhere, even where there is no registry at the moment" do
      via = {:via, Registry, {__MODULE__.Registry, :owner}}
      {:ok, session} = P.spawn(argv: ["sleep", "60"], owner: via)
      assert eventually(fn -> P.info(session).stage == :ready end)
      start_supervised!({Registry, keys: :unique, name: __MODULE__.Registry})
      {:ok, _} = Registry.register(__MODULE__.Registry, :owner, nil)
      P.proceed(session)
      assert next_event() == {:linx_process, :running}
    end

    test "may have gone, which ends nothing" do
      {:ok, session} = P.spawn(argv: ["true"], owner: spawn(fn -> :ok end), auto_proceed: true)
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "may be nobody" do
      {:ok, session} = P.spawn(argv: ["true"], owner: nil, auto_proceed: true)
      assert P.wait(session) == {:ok, {:exited, 0}}
      refute_received _anything
    end
  end

  describe "pty_write/3" do
    test "keeps concurrent writes apart" do
      size = 100_000
      {session, _} = raw_terminal("head -c #{4 * size}; echo done; sleep 60")

      writers =
        for byte <- ~c"xabc" do
          Task.async(fn -> P.pty_write(session, :binary.copy(<<byte>>, size)) end)
        end

      assert Task.await_many(writers, 20_000) == [:ok, :ok, :ok, :ok]
      letters = read_pty_until("done") |> String.to_charlist() |> Enum.filter(&(&1 in ~c"abc"))
      assert letters |> Enum.chunk_by(& &1) |> Enum.map(&length/1) == [size, size, size]
    end

    test "gives up after the timeout, and lets the next one write" do
      {session, _} = raw_terminal("sleep 60")
      assert P.pty_write(session, :binary.copy("x", 1_000_000), 50) == {:error, :timeout}
      assert P.pty_write(session, "y", 50) == {:error, :timeout}
      next = Task.async(fn -> P.pty_write(session, "z") end)
      eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
      # The workload never reads: only its end answers.
      P.stop(session, grace: 0)
      assert Task.await(next) == {:error, :no_process}
    end

    test "forgets a writer who has died" do
      {session, _} = raw_terminal("sleep 60")
      writer = spawn(fn -> P.pty_write(session, :binary.copy("x", 1_000_000)) end)
      eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
      Process.exit(writer, :kill)
      eventually(fn -> :sys.get_state(session).callers == %{} end)
      assert :sys.get_state(session).writes.queue == []
    end

    test "takes iodata, even none" do
      {session, _} = raw_terminal("head -c 3; sleep 60")
      assert P.pty_write(session, []) == :ok
      assert P.pty_write(session, [?a, ["b" | "c"]]) == :ok
      assert read_pty_until("abc")
    end

    test "needs a terminal that is still there" do
      {session, _} = run(["sleep", "60"])
      assert P.pty_write(session, "x") == {:error, :not_pty}
      assert P.pty_set_winsize(session, {24, 80, 0, 0}) == {:error, :not_pty}
      assert P.pty_master(session) == {:error, :not_pty}
      refute P.info(session).pty?
      P.signal(session, 9)
      P.wait(session)
      assert P.pty_write(session, "x") == {:error, :no_process}
      assert P.pty_set_winsize(session, {24, 80, 0, 0}) == {:error, :no_process}
      assert P.pty_master(session) == {:error, :no_process}
    end
  end

  test "pty_master/1 tells where the terminal is" do
    {:ok, session} = P.spawn(argv: ["tty"], stdio: :pty)

    assert {:ok, %{os_pid: os_pid, fd: fd, slave: "/dev/pts/" <> _ = slave}} =
             P.pty_master(session)

    assert File.read_link!("/proc/#{os_pid}/fd/#{fd}") =~ "ptmx"
    P.proceed(session)
    assert read_pty_until("\n") == slave <> "\r\n"
  end

  test "signals to the group find a program that has changed it" do
    # It joins the group of its child.
    script = """
    $| = 1; my $child = fork;
    if (!$child) { setpgrp(0, 0); sleep 60; exit }
    select(undef, undef, undef, 0.01) until getpgrp($child) == $child;
    setpgrp(0, $child); sleep 60;
    """

    {:ok, session} = P.spawn(argv: ["perl", "-e", script], stdio: [stdin: :devnull])
    host_pid = await_ready()
    P.proceed(session)
    eventually(fn -> group(host_pid) not in [nil, host_pid] end)
    assert P.signal(session, :sigkill, to: :group) == :ok
    assert P.wait(session) == {:ok, {:signaled, 9}}
  end

  # The fifth field of /proc/<pid>/stat, the third behind the name.
  defp group(pid) do
    with {:ok, stat} <- File.read("/proc/#{pid}/stat") do
      stat
      |> String.split(") ")
      |> List.last()
      |> String.split()
      |> Enum.at(2)
      |> String.to_integer()
    else
      _gone -> nil
    end
  end

  @tag :root
  test "a program that its own child traces ends all the same" do
    # PTRACE_SEIZE: until the tracer has taken notice, a dead tracee cannot be reaped.
    ptrace =
      if :erlang.system_info(:system_architecture) |> to_string() =~ "x86_64", do: 101, else: 117

    seize = "syscall(#{ptrace}, 0x4206, getppid(), 0, 0) == 0 or die"

    script =
      "pipe(R, W); if (!fork) { #{seize}; syswrite(W, 1); sleep 60; exit } sysread(R, $_, 1); exit 7"

    {:ok, session} = P.spawn(argv: ["perl", "-e", script], stdio: :devnull, auto_proceed: true)
    assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
  end

  @tag :root
  test "what a program leaves has its grace also when the end of that is noticed late" do
    dir = tmp_dir()
    [ready, done] = for name <- ["ready", "done"], do: Path.join(dir, name)
    loop = "while :; do sleep 0.1; done"

    script =
      "(trap 'sleep 1; touch #{done}; exit' TERM; touch #{ready}; #{loop}) & trap 'exit 7' TERM; #{loop}"

    {:ok, session} = P.spawn(argv: ["sh", "-c", script], stdio: :devnull, auto_proceed: true)
    eventually(fn -> File.exists?(ready) end)
    {:ok, os_pid} = P.host_pid(session)
    hold = hold(parent(os_pid))
    stop = Task.async(fn -> P.stop(session, grace: 30_000) end)
    eventually(fn -> File.exists?(done) end)
    Port.close(hold)
    assert Task.await(stop) == :ok
    assert_receive {:linx_process, :exited, 7}
  end

  # Traces a process and keeps it stopped until the port is closed, so that nobody else can continue it.
  defp hold(os_pid) do
    ptrace =
      if :erlang.system_info(:system_architecture) |> to_string() =~ "x86_64", do: 101, else: 117

    # PTRACE_SEIZE, PTRACE_INTERRUPT, __WALL
    script =
      "$p = #{os_pid}; syscall(#{ptrace}, 0x4206, $p, 0, 0) == 0 or die; " <>
        "syscall(#{ptrace}, 0x4207, $p, 0, 0) == 0 or die; waitpid($p, 0x40000000); " <>
        "$| = 1; print \"held\\n\"; <STDIN>"

    perl = System.find_executable("perl")
    hold = Port.open({:spawn_executable, perl}, [:binary, line: 80, args: ["-e", script]])
    assert_receive {^hold, {:data, {:eol, "held"}}}, 10_000
    hold
  end

  test "a command that crosses with the end is answered, and hides no end" do
    results =
      1..200
      |> Task.async_stream(
        fn n ->
          {:ok, session} = P.spawn(argv: ["true"], auto_proceed: true, owner: nil)
          for _ <- 1..rem(n, 50)//1, do: P.signal(session, :sigcont)
          P.wait(session)
        end,
        max_concurrency: 8,
        timeout: 20_000
      )
      |> Enum.frequencies()

    assert results == %{{:ok, {:ok, {:exited, 0}}} => 200}
  end

  test "a large request arrives whole, one that is too large for the kernel is an error" do
    big = String.duplicate("x", 100_000)
    env = for n <- 1..10, do: "V#{n}=#{big}"
    assert {output, {:ok, {:exited, 0}}} = capture(["/usr/bin/env"], env: env)
    assert byte_size(output) == Enum.sum(Enum.map(env, &(byte_size(&1) + 1)))

    {:ok, session} =
      P.spawn(argv: ["/bin/true", String.duplicate("x", 200_000)], auto_proceed: true)

    assert {:error, %Error{errno: :e2big}} = P.wait(session)
  end

  test "a session may be named" do
    name = {:via, Registry, {__MODULE__.Names, "a session"}}
    start_supervised!({Registry, keys: :unique, name: __MODULE__.Names})
    {:ok, session} = P.spawn(argv: ["sleep", "60"], name: name)
    await_ready()
    assert P.proceed(name) == :ok
    assert %Info{host_pid: host_pid} = P.info(name)
    assert P.host_pid(session) == {:ok, host_pid}
    assert P.stop(name) == :ok
    assert P.info(name) == {:error, :no_process}
  end
end
