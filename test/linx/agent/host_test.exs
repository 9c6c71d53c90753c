defmodule Linx.Agent.HostTest do
  # Many sessions in one agent. These tests have the hosts to themselves, and begin without an agent.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Agent.Hosts
  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.Tree

  # A host process that is killed says so in the log.
  @moduletag :capture_log

  @agent_died %Error{stage: :agent_died, errno: :unknown, code: 137}

  setup context do
    before = Application.fetch_env(:linx, :hosts)
    restart(context[:hosts] || 1)

    on_exit(fn ->
      case before do
        {:ok, count} -> restart(count)
        :error -> restart(nil)
      end
    end)
  end

  defp restart(count) do
    if count,
      do: Application.put_env(:linx, :hosts, count),
      else: Application.delete_env(:linx, :hosts)

    :ok = Supervisor.terminate_child(Linx.Supervisor, Hosts)
    {:ok, _hosts} = Supervisor.restart_child(Linx.Supervisor, Hosts)
    :ok
  end

  defp run(argv, opts \\ []) do
    {:ok, session} = P.spawn([argv: argv, agent: :host, auto_proceed: true] ++ opts)
    session
  end

  defp sleeping(opts \\ []) do
    session = run(["/bin/sleep", "60"], opts)
    host_pid = await_ready()
    await_running()
    {session, host_pid}
  end

  defp start(kind, opts \\ []), do: Tree.start(Tree.new(kind, [agent: :host] ++ opts))

  # The processes that are hosts, and of how many sessions each knows.
  defp host_processes, do: for({_, _, host, _} <- Enum.sort(:ets.tab2list(Hosts)), do: host)
  defp known, do: for(host <- host_processes(), do: known(host))

  defp known(host) do
    map_size(:sys.get_state(host).sessions)
  catch
    # It goes with a port that it has lost, and another takes its place.
    :exit, _reason -> :gone
  end

  # The guardian and the agent of the only host.
  defp only_host do
    [guardian, agent] = hosts()
    {guardian, agent}
  end

  describe "the agent" do
    @tag hosts: 3
    test "is started by the first session, and is there for those that follow it" do
      assert host_ports() == []
      assert length(host_processes()) == 3

      agents =
        for _ <- 1..5 do
          {session, host_pid} = sleeping()
          agent = agent_of(host_pid)
          assert P.stop(session) == :ok
          agent
        end

      assert [agent] = Enum.uniq(agents)
      assert {_guardian, ^agent} = only_host()
      assert alive?(agent)
    end

    @tag hosts: 3
    test "is the one with the fewest sessions" do
      sessions = for _ <- 1..6, do: sleeping()
      agents = for {_session, host_pid} <- sessions, do: agent_of(host_pid)
      assert agents |> Enum.frequencies() |> Map.values() == [2, 2, 2]
      assert known() == [2, 2, 2]

      # The first of those that have become free.
      for {session, _} <- Enum.drop(sessions, 3), do: assert(P.stop(session) == :ok)
      {_session, host_pid} = sleeping()
      assert agent_of(host_pid) == hd(agents)
      assert known() == [2, 1, 1]
    end

    test "keeps no directory busy" do
      {session, _host_pid} = sleeping()
      {guardian, agent} = only_host()
      for pid <- [guardian, agent], do: assert(File.read_link!("/proc/#{pid}/cwd") == "/")
      P.stop(session)
    end

    test "that cannot be started is an error, and is tried again" do
      before = System.get_env("LINX_AGENT")

      on_exit(fn ->
        if before, do: System.put_env("LINX_AGENT", before), else: System.delete_env("LINX_AGENT")
      end)

      System.put_env("LINX_AGENT", "/nowhere/agent")
      error = %Error{stage: :agent, errno: :enoent, code: 2}
      session = run(["/bin/true"])
      assert P.wait(session) == {:error, error}
      assert P.stop(session) == :ok
      if before, do: System.put_env("LINX_AGENT", before), else: System.delete_env("LINX_AGENT")
      assert P.wait(run(["/bin/true"])) == {:ok, {:exited, 0}}
      # One that runs stays.
      System.put_env("LINX_AGENT", "/nowhere/agent")
      assert P.wait(run(["/bin/true"])) == {:ok, {:exited, 0}}
    end

    test "ends its sessions also when they have all the descriptors it may have" do
      limited = Path.join(tmp_dir(), "limited")
      File.write!(limited, "#!/bin/sh\nulimit -n 40\nexec '#{Linx.Agent.Binary.path()}' \"$@\"\n")
      File.chmod!(limited, 0o755)
      before = System.get_env("LINX_AGENT")

      on_exit(fn ->
        if before, do: System.put_env("LINX_AGENT", before), else: System.delete_env("LINX_AGENT")
      end)

      System.put_env("LINX_AGENT", limited)
      sessions = for _ <- 1..40, do: run(["/bin/sleep", "60"])
      result = &P.wait(&1, 0)
      full = &match?({:error, %Error{errno: :emfile}}, result.(&1))
      assert eventually(fn -> Enum.any?(sessions, full) end)

      alive =
        eventually(fn ->
          {alive, ended} = Enum.split_with(sessions, &(result.(&1) == {:error, :timeout}))

          Enum.all?(ended, full) and Enum.all?(alive, &match?(%Info{stage: :running}, P.info(&1))) and
            alive
        end)

      assert [signalled | others] = alive
      assert P.signal(signalled, :sigusr1) == :ok
      assert P.wait(signalled, 5_000) == {:ok, {:signaled, 10}}
      for session <- others, do: assert(P.stop(session) == :ok)
    end

    test "is one of its own for what a host would take along" do
      for opts <- [[orphan: :leave], [descendants: :leave]] do
        {session, _host_pid} = sleeping(opts)
        assert hosts() == []
        assert P.stop(session) == :ok
      end
    end

    test "is one of its own where there are no hosts" do
      :ok = Supervisor.terminate_child(Linx.Supervisor, Hosts)
      session = run(["/bin/true"])
      assert P.wait(session) == {:ok, {:exited, 0}}
      {:ok, _hosts} = Supervisor.restart_child(Linx.Supervisor, Hosts)
      assert hosts() == []

      restart(0)
      assert P.wait(run(["/bin/true"])) == {:ok, {:exited, 0}}
    end
  end

  describe "a workload starts with what the BEAM has now:" do
    setup do
      cwd = File.cwd!()
      on_exit(fn -> File.cd!(cwd) end)
      # The agent is from before.
      assert P.wait(run(["/bin/true"])) == {:ok, {:exited, 0}}
      :ok
    end

    test "its environment" do
      name = "LINX_HOST_TEST_#{System.unique_integer([:positive])}"
      on_exit(fn -> System.delete_env(name) end)
      print = ["/bin/sh", "-c", "echo ${#{name}-none}"]
      assert {"none\n", _} = capture(print, agent: :host)

      for value <- ["1", "zwei é", ""] do
        System.put_env(name, value)
        assert {output, _} = capture(print, agent: :host)
        assert output == value <> "\n"
      end

      System.delete_env(name)
      assert {"none\n", _} = capture(print, agent: :host)
      assert {"own\n", _} = capture(print, agent: :host, env: ["#{name}=own"])
    end

    test "its directory" do
      dir = tmp_dir()

      for {name, cwd} <- [{"one", nil}, {"two", "."}, {"é", ".."}] do
        path = Path.join(dir, name)
        File.mkdir!(path)
        File.cd!(path)
        opts = if cwd, do: [cwd: cwd], else: []
        assert {output, _} = capture(["/bin/pwd"], [agent: :host] ++ opts)
        assert output == Path.expand(cwd || ".", path) <> "\n"
      end
    end

    test "its directory, whatever has become of that" do
      dir = Path.join(tmp_dir(), "gone")
      File.mkdir!(dir)
      File.cd!(dir)
      File.rmdir!(dir)
      # What a port could not be opened in.
      {:ok, session} = P.spawn(argv: ["/bin/true"], agent: :dedicated)
      assert {:error, %Error{stage: :agent, errno: :enoent}} = P.wait(session)

      assert {"#{dir} (deleted)\n", {:ok, {:exited, 0}}} ==
               capture(["/bin/readlink", "/proc/self/cwd"], agent: :host)
    end
  end

  describe "sessions do not disturb each other:" do
    test "floods, those that stand still, and those that fail" do
      idle = spawn_link(fn -> Process.sleep(:infinity) end)
      raw = "stty raw -echo; echo ready; "

      flood = run(["/bin/sh", "-c", "exec yes"], stdio: :pty, owner: idle)
      stopped = run(["/bin/sh", "-c", "kill -STOP $$; exit 4"], owner: nil)
      deaf = run(["/bin/sh", "-c", raw <> "exec sleep 60"], stdio: :pty)
      {:ok, parked} = P.spawn(argv: ["/bin/sh", "-c", "exit 5"], owner: nil, agent: :host)
      read_pty_until("ready")
      writer = Task.async(fn -> P.pty_write(deaf, :binary.copy("x", 5_000_000)) end)
      eventually(fn -> map_size(:sys.get_state(deaf).callers) == 1 end)

      for round <- 1..100 do
        assert P.wait(run(["/bin/sh", "-c", "exit #{round}"], owner: nil)) ==
                 {:ok, {:exited, round}}

        assert {:error, %Error{stage: :execve}} = P.wait(run(["/nowhere"], owner: nil))

        assert {:error, %Error{stage: :chdir}} =
                 P.wait(run(["/bin/true"], cwd: "/nowhere", owner: nil))
      end

      assert known() == [4]
      for session <- [flood, deaf], do: assert(%Info{stage: :running} = P.info(session))
      assert P.wait(deaf, 0) == {:error, :timeout}

      # And each ends as it would alone.
      {:ok, stopped_pid} = P.host_pid(stopped)
      eventually(fn -> stat(stopped_pid) == "T" end)
      assert P.signal(stopped, :sigcont) == :ok
      assert P.wait(stopped) == {:ok, {:exited, 4}}
      assert P.proceed(parked) == :ok
      assert P.wait(parked) == {:ok, {:exited, 5}}
      assert P.stop(flood, grace: 0) == :ok
      assert P.stop(deaf, grace: 0) == :ok
      assert Task.await(writer) == {:error, :no_process}
      assert known() == [0]
    end

    @tag :root
    test "those that begin in another's namespaces, and those whose subreaper is killed" do
      {target, target_pid} = sleeping(namespaces: [:mount])

      killing =
        Task.async(fn ->
          for _ <- 1..150 do
            session = run(["/bin/sleep", "60"])
            await_ready()
            await_running()
            {:ok, host_pid} = P.host_pid(session)
            Tree.kill!("#{parent(host_pid)}", :KILL)
            P.wait(session)
          end
        end)

      for _ <- 1..300 do
        {:ok, session} =
          P.enter(target_pid, argv: ["/bin/true"], agent: :host, auto_proceed: true, owner: nil)

        assert P.wait(session, 10_000) == {:ok, {:exited, 0}}
      end

      Task.await(killing, 60_000)
      assert P.stop(target) == :ok
    end

    test "one that is killed takes along what it has started, and nothing else" do
      {other, others} = start(:daemon)
      {session, tree} = start(:daemon)
      assert Tree.agent(tree) == Tree.agent(others)
      Process.unlink(session)
      Process.exit(session, :kill)
      Tree.assert_gone(tree)
      # Its number is free.
      eventually(fn -> known() == [1] end)
      assert Tree.all_alive?(others)
      assert P.stop(other) == :ok
      Tree.assert_reaped(others)
    end

    test "one that ends takes along what it has started, and nothing else" do
      {other, others} = start(:daemon)
      {session, tree} = start(:daemon)
      Tree.tell(tree, "exit 7")
      assert P.wait(session) == {:ok, {:exited, 7}}
      Tree.assert_reaped(tree)
      assert Tree.all_alive?(others)
      assert P.stop(other) == :ok
    end

    # What happens to one, by which it may end or not.
    @chains """
    pass() { [ $1 -gt 0 ] || exit 0; pass $(($1 - 1)) & exit 0; }
    i=0; while [ $i -lt 30 ]; do (pass 300 &); i=$((i + 1)); done; exec sleep MARK
    """

    for {what, kind} <- [
          {"whose subreaper is killed", :daemon},
          {"whose subreaper is stopped", :daemon},
          {"whose workload is killed", :daemon},
          {"whose workload is stopped", :children},
          {"whose workload stops its subreaper over and over", :children},
          {"whose workload stops the agent over and over", :children},
          {"whose workload floods its terminal", :pty},
          {"whose workload forks and forks", :plain}
        ] do
      @tag what: what, kind: kind
      test "one #{what}", %{what: what, kind: kind} do
        others = for kind <- [:plain, :daemon], do: start(kind)
        echo = start_echo()
        {:ok, parked} = P.spawn(argv: ["/bin/sh", "-c", "exit 5"], owner: nil, agent: :host)
        # Its terminal would fill the mailbox.
        idle = spawn_link(fn -> Process.sleep(:infinity) end)
        {session, tree} = start(kind, grace: 100)
        :ok = P.set_owner(session, idle)
        harm(what, tree)

        for round <- 1..20 do
          assert P.wait(run(["/bin/sh", "-c", "exit #{round}"], owner: nil)) ==
                   {:ok, {:exited, round}}

          :ok = P.pty_write(echo, "<#{round}>")
          read_pty_until("<#{round}>")
        end

        assert P.stop(session) == :ok
        Tree.assert_gone(tree)
        assert P.proceed(parked) == :ok
        assert P.wait(parked) == {:ok, {:exited, 5}}
        assert Enum.uniq(for {_, tree} <- others, do: Tree.agent(tree)) == [Tree.agent(tree)]
        for {_session, tree} <- others, do: assert(Tree.all_alive?(tree))

        for {session, tree} <- others do
          Tree.tell(tree, "exit 7")
          assert P.wait(session) == {:ok, {:exited, 7}}
          Tree.assert_reaped(tree)
        end

        assert P.stop(echo) == :ok
        assert {_guardian, agent} = only_host()
        assert agent == Tree.agent(tree)
      end
    end

    # A terminal whose program gives back what it is told, and is ready to.
    defp start_echo do
      echo = run(["/bin/sh", "-c", "stty raw -echo; echo ready; exec cat"], stdio: :pty)
      await_ready()
      await_running()
      read_pty_until("ready")
      echo
    end

    defp harm("whose subreaper is killed", tree), do: Tree.kill!(Tree.subreaper(tree), :KILL)
    defp harm("whose subreaper is stopped", tree), do: Tree.kill!(Tree.subreaper(tree), :STOP)
    defp harm("whose workload is killed", tree), do: Tree.kill!(Tree.main(tree), :KILL)
    defp harm("whose workload is stopped", tree), do: Tree.tell(tree, "kill -STOP 0")
    defp harm("whose workload floods" <> _, tree), do: Tree.tell(tree, "exec yes MARK")
    defp harm("whose workload forks" <> _, tree), do: Tree.tell(tree, "(#{chains()})")

    defp harm("whose workload stops its subreaper" <> _, tree),
      do: Tree.tell(tree, "while kill -STOP #{Tree.subreaper(tree)}; do :; done")

    defp harm("whose workload stops the agent" <> _, tree),
      do: Tree.tell(tree, "while kill -STOP #{Tree.agent(tree)}; do :; done")

    # On one line, as the shell is told it.
    defp chains, do: @chains |> String.trim() |> String.replace("\n", "; ")

    test "a request that no agent would read" do
      {other, _host_pid} = sleeping()
      big = ["/bin/true" | List.duplicate(String.duplicate("x", 100_000), 90)]
      many = ["/bin/true" | List.duplicate("", 400_000)]

      for {argv, stage, code, errno} <- [
            {big, :request_too_big, 90, :emsgsize},
            {many, :malformed_request, 22, :einval}
          ] do
        session = run(argv)
        error = %Error{stage: stage, errno: errno, code: code}
        assert P.wait(session) == {:error, error}
        assert next_event() == {:linx_process, :error, code, stage}
        assert P.stop(session) == :ok
      end

      assert P.info(other).stage == :running
    end

    test "a command that no agent would read" do
      {other, _host_pid} = sleeping()
      {session, host_pid} = sleeping()
      command = {:seccomp_install, :binary.copy(<<0>>, 9_000_000)}

      assert Linx.Process.Session.call(session, {:command, command}) == {:error, :no_process}

      assert P.wait(session) ==
               {:error, %Error{stage: :command_too_big, errno: :emsgsize, code: 90}}

      eventually(fn -> not alive?(host_pid) end)
      assert P.info(other).stage == :running
    end
  end

  test "a host that is stopped keeps nobody from an end, and hangs up when it goes on" do
    {session, host_pid} = sleeping()
    opts = [agent: :host, auto_proceed: true, timeout: 3_000, grace: 0]
    {:ok, timed} = P.spawn([argv: ["/bin/sleep", "60"]] ++ opts)
    eventually(fn -> P.info(timed).stage == :running end)
    {guardian, agent} = only_host()
    on_exit(fn -> Tree.kill("#{agent} #{guardian}", :CONT) end)
    # The guardian would wake the agent.
    Tree.kill!("#{guardian} #{agent}", :STOP)
    eventually(fn -> stat(guardian) == "T" and stat(agent) == "T" end)
    assert P.cancel(session) == :ok

    for session <- [session, timed] do
      assert {:error, %Error{stage: :agent_died}} = P.wait(session, 10_000)
    end

    assert P.info(timed).timed_out?
    assert alive?(host_pid)
    Tree.kill!("#{agent} #{guardian}", :CONT)
    eventually(fn -> not alive?(host_pid) end)
  end

  describe "more calls than an agent takes" do
    # With agent and guardian stopped, all that is said until they go on is read at once.
    setup do
      {session, _host_pid} = sleeping()
      {guardian, agent} = only_host()
      on_exit(fn -> Tree.kill("#{agent} #{guardian}", :CONT) end)
      # The guardian would wake the agent.
      Tree.kill!("#{guardian} #{agent}", :STOP)
      eventually(fn -> stat(guardian) == "T" and stat(agent) == "T" end)
      {:ok, crowded} = P.spawn(argv: ["/bin/true"], stdio: :pty, agent: :host)
      calls = for n <- 1..200, do: Task.async(fn -> P.pty_set_winsize(crowded, {n, n, 0, 0}) end)
      eventually(fn -> waiting(crowded) == 200 end)
      go_on = fn -> Tree.kill!("#{agent} #{guardian}", :CONT) end
      %{other: session, crowded: crowded, calls: calls, go_on: go_on}
    end

    defp waiting(session) do
      calls = :sys.get_state(session).calls
      map_size(calls.under_way) + :queue.len(calls.waiting)
    end

    test "wait in the session", %{crowded: crowded, calls: calls} = context do
      assert map_size(:sys.get_state(crowded).calls) < 64
      proceed = Task.async(fn -> P.proceed(crowded) end)
      eventually(fn -> waiting(crowded) == 201 end)
      context.go_on.()
      assert Enum.uniq(Task.await_many(calls)) == [:ok]
      assert Task.await(proceed) == :ok
      assert P.wait(crowded) == {:ok, {:exited, 0}}
      assert P.info(context.other).stage == :running
    end

    test "are overtaken by an abort", %{crowded: crowded, calls: calls} = context do
      abort = Task.async(fn -> P.abort(crowded) end)
      eventually(fn -> waiting(crowded) == 201 end)
      context.go_on.()
      assert Task.await(abort) == :ok
      assert P.wait(crowded) == {:ok, :aborted}
      assert Enum.uniq(Task.await_many(calls)) -- [:ok, {:error, :no_process}] == []
    end
  end

  describe "when the host is lost," do
    for {who, status} <- [agent: 137, guardian: 137, process: 0] do
      @tag who: who, status: status
      test "its #{who} having been killed, all is over, and it comes again", %{
        who: who,
        status: status
      } do
        running = for kind <- [:plain, :daemon, :pty], do: start(kind)
        {:ok, parked} = P.spawn(argv: ["/bin/true"], agent: :host)
        parked_pid = await_ready()
        {guardian, agent} = only_host()
        [before] = host_processes()

        case who do
          :agent -> Tree.kill!(agent, :KILL)
          :guardian -> Tree.kill!(guardian, :KILL)
          :process -> Process.exit(before, :kill)
        end

        error = {:error, %{@agent_died | code: status}}

        for {session, tree} <- running do
          assert P.wait(session) == error
          # Nobody is told sooner.
          Tree.assert_reaped(tree)
          assert P.stop(session) == :ok
        end

        assert P.wait(parked) == error
        refute alive?(parked_pid)
        Tree.assert_gone(running |> hd() |> elem(1))

        {session, host_pid} = eventually(fn -> sleeping() end)
        refute agent_of(host_pid) == agent
        assert {_guardian, _agent} = only_host()
        assert [again] = host_processes()
        assert again == before == (who != :process)
        assert P.stop(session) == :ok
      end
    end

    test "because somebody speaks in its name, all of it ends" do
      {session, tree} = start(:daemon)
      {other, others} = start(:daemon)
      {_guardian, agent} = only_host()
      File.write!("/proc/#{agent}/fd/4", <<3::32, "lie">>)

      for {session, tree} <- [{session, tree}, {other, others}] do
        assert P.wait(session) == {:error, %Error{stage: :agent, errno: :eproto, code: 71}}
        Tree.assert_gone(tree)
      end

      assert P.wait(run(["/bin/true"])) == {:ok, {:exited, 0}}
    end

    test "a session that is spawned at that moment ends in either way" do
      for _ <- 1..50 do
        {_session, _host_pid} = sleeping()
        {_guardian, agent} = only_host()
        Tree.kill!(agent, :KILL)
        session = run(["/bin/true"])
        # How the agent ended, a port that it has had no time to read does not tell.
        agent_died = for code <- [0, 137], do: {:error, %{@agent_died | code: code}}
        assert P.wait(session) in [{:ok, {:exited, 0}} | agent_died]
        assert P.stop(session) == :ok
        flush()
        eventually(fn -> known() == [0] end)
      end
    end
  end

  test "a session that hangs is given up, and its place remains taken until it has ended" do
    {session, tree} = start(:daemon)
    {guardian, agent} = only_host()
    on_exit(fn -> Tree.kill("#{agent} #{guardian}", :CONT) end)
    Tree.kill!("#{guardian} #{agent}", :STOP)
    assert P.stop(session, grace: 0) == :ok
    assert known() == [1]
    assert Tree.all_alive?(tree)
    Tree.kill!("#{agent} #{guardian}", :CONT)
    Tree.assert_gone(tree)
    eventually(fn -> known() == [0] end)
    assert alive?(agent)
  end

  defp flush do
    receive do
      event when elem(event, 0) == :linx_process -> flush()
    after
      0 -> :ok
    end
  end
end
