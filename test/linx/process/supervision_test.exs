defmodule Linx.Process.SupervisionTest do
  # Sessions under supervisors, and how they stop: never before their workloads. Here and there an
  # agent is killed, which may be that of every session.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.Tree

  # Sessions that stop abnormally say so in the log.
  @moduletag :capture_log

  # Events come by way of a name, as they do where nobody knows the pid of who handles them.
  setup do
    start_supervised!({Registry, keys: :unique, name: registry()})
    {:ok, _} = Registry.register(registry(), :events, nil)
    :ok
  end

  defp registry, do: Module.concat(__MODULE__, "Registry#{:erlang.phash2(self())}")
  defp events, do: {:via, Registry, {registry(), :events}}

  defp supervise(children, opts \\ []) do
    # Unlinked, so that it may fail.
    {:ok, supervisor} =
      Supervisor.start_link(children, Keyword.merge([strategy: :one_for_one], opts))

    Process.unlink(supervisor)
    on_exit(fn -> stop_supervisor(supervisor) end)
    supervisor
  end

  defp stop_supervisor(supervisor) do
    Supervisor.stop(supervisor)
  catch
    :exit, _it_has_stopped -> :ok
  end

  defp child(tree, opts \\ []) do
    {P, Tree.options(tree, Keyword.merge([owner: events(), auto_proceed: true], opts))}
  end

  # The only child of a supervisor: a pid, :undefined, :restarting, or nil when it is not known there.
  defp current(supervisor) do
    case Supervisor.which_children(supervisor) do
      [{_id, session, :worker, _modules}] -> session
      [] -> nil
    end
  end

  defp await_tree(tree) do
    host_pid = await_ready()
    await_running()
    Tree.await(tree, host_pid)
  end

  defp await_down(monitor) do
    assert_receive {:DOWN, ^monitor, :process, _pid, reason}, 10_000
    reason
  end

  # Whether a process waits for the answer to a call.
  defp calling?(pid) do
    {:status, status} = Process.info(pid, :status)
    {:current_function, {module, _name, _arity}} = Process.info(pid, :current_function)
    status == :waiting and module == :gen
  end

  # Everything that has come from sessions that are gone.
  defp received do
    receive do
      event when elem(event, 0) == :linx_process -> [event | received()]
    after
      0 -> []
    end
  end

  describe "a session is not gone before its workload when" do
    # A workload with a daemon that ignores SIGTERM, so that everything has to be used that there is.
    setup do
      %{tree: Tree.new(:daemon, grace: 100)}
    end

    test "its supervisor stops", %{tree: tree} do
      supervisor = supervise([child(tree)])
      tree = await_tree(tree)
      assert Supervisor.stop(supervisor) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "its supervisor is shut down by a link", %{tree: tree} do
      supervisor = supervise([child(tree)])
      monitor = Process.monitor(supervisor)
      tree = await_tree(tree)
      Process.exit(supervisor, :shutdown)
      assert await_down(monitor) == :shutdown
      Tree.assert_reaped(tree)
    end

    test "its supervisor terminates it, and it can be restarted", %{tree: tree} do
      supervisor = supervise([child(tree)])
      gone = await_tree(tree)
      assert Supervisor.terminate_child(supervisor, P) == :ok
      Tree.assert_reaped(gone)
      assert next_event() == {:linx_process, :signaled, 15}
      assert {:ok, _session} = Supervisor.restart_child(supervisor, P)
      await_tree(tree)
    end

    test "a DynamicSupervisor terminates it", %{tree: tree} do
      supervisor = start_supervised!(DynamicSupervisor)
      {:ok, session} = DynamicSupervisor.start_child(supervisor, child(tree))
      tree = await_tree(tree)
      assert DynamicSupervisor.terminate_child(supervisor, session) == :ok
      Tree.assert_reaped(tree)
    end

    for reason <- [:normal, :shutdown, {:shutdown, :why}, :boom] do
      @tag reason: reason
      test "GenServer.stop/2 asks for it with #{inspect(reason)}", %{tree: tree, reason: reason} do
        {session, tree} = Tree.start(tree)
        Process.unlink(session)
        assert GenServer.stop(session, reason) == :ok
        Tree.assert_reaped(tree)
        assert next_event() == {:linx_process, :signaled, 15}
      end

      @tag reason: reason
      test "what it is linked to exits with #{inspect(reason)}", %{tree: tree, reason: reason} do
        {linked, session} = Tree.start_linked(tree, auto_proceed: true)
        tree = await_tree(tree)
        monitor = Process.monitor(session)
        send(linked, {:exit, reason})
        assert await_down(monitor) == reason
        Tree.assert_reaped(tree)
        assert next_event() == {:linx_process, :signaled, 15}
      end
    end

    test "what it is linked to is killed", %{tree: tree} do
      {linked, session} = Tree.start_linked(tree, auto_proceed: true)
      tree = await_tree(tree)
      monitor = Process.monitor(session)
      Process.exit(linked, :kill)
      assert await_down(monitor) == :killed
      Tree.assert_reaped(tree)
    end

    test "another process asks it to exit", %{tree: tree} do
      {session, tree} = Tree.start(tree)
      Process.unlink(session)
      monitor = Process.monitor(session)
      Process.exit(session, :shutdown)
      assert await_down(monitor) == :shutdown
      Tree.assert_reaped(tree)
    end

    test "stop/1 asks for it", %{tree: tree} do
      {session, tree} = Tree.start(tree)
      monitor = Process.monitor(session)
      assert P.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert await_down(monitor) == :normal
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "its workload ends, and it does not linger", %{tree: tree} do
      {_linked, session} = Tree.start_linked(tree, auto_proceed: true, linger: false)

      tree = await_tree(tree)
      monitor = Process.monitor(session)
      Tree.tell(tree, "exit 3")
      assert await_down(monitor) == {:exited, 3}
      Tree.assert_reaped(tree)
    end

    @tag :root
    test "its workload is in a pid namespace" do
      tree = Tree.new(:pid_namespace)
      supervisor = supervise([child(tree)])
      tree = await_tree(tree)
      assert Supervisor.stop(supervisor) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    test "its workload is on a PTY" do
      tree = Tree.new(:pty)
      supervisor = supervise([child(tree)])
      tree = await_tree(tree)
      assert Supervisor.stop(supervisor) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 15}
    end
  end

  test "a supervisor stops many of them" do
    trees = for _ <- 1..12, do: Tree.new(:children)
    specs = for tree <- trees, do: Supervisor.child_spec(child(tree), id: tree.mark)
    supervisor = supervise(specs)
    for _ <- trees, do: await_ready()
    for tree <- trees, do: eventually(fn -> length(Tree.leaves(tree)) == tree.leaves end)
    assert Supervisor.stop(supervisor) == :ok
    for tree <- trees, do: assert(processes(tree.mark) == [])
    assert Enum.count(received(), &(&1 == {:linx_process, :signaled, 15})) == 12
  end

  describe "SIGTERM, the grace, SIGKILL:" do
    # A shell that runs `handler` on SIGTERM. What it waits for is a leaf, so that the tree is not
    # complete before the handler is in place.
    defp handling(handler, opts) do
      Tree.start(Tree.script("trap '#{handler}' TERM\nsleep MARK & wait; wait", 1, opts))
    end

    test "a program with a handler says goodbye" do
      goodbye = Path.join(tmp_dir(), "goodbye")
      {session, tree} = handling("sleep 0.3; echo goodbye > #{goodbye}; exit 3", grace: 30_000)
      assert GenServer.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert File.read!(goodbye) == "goodbye\n"
      assert next_event() == {:linx_process, :exited, 3}
    end

    test "a supervisor waits for that, too" do
      goodbye = Path.join(tmp_dir(), "goodbye")
      script = "trap 'sleep 0.3; echo goodbye > #{goodbye}; exit 3' TERM\nsleep MARK & wait"
      tree = Tree.script(script, 1, grace: 30_000)
      supervisor = supervise([child(tree)])
      tree = await_tree(tree)
      assert Supervisor.stop(supervisor) == :ok
      Tree.assert_reaped(tree)
      assert File.read!(goodbye) == "goodbye\n"
      assert next_event() == {:linx_process, :exited, 3}
    end

    test "so does a child of the program, though that has ended at once" do
      goodbye = Path.join(tmp_dir(), "goodbye")
      child = "trap 'sleep 0.3; echo goodbye > #{goodbye}; exit' TERM; sleep MARK & wait"
      tree = %{Tree.new(:plain, [grace: 30_000], "(#{child}) &") | leaves: 1}
      {session, tree} = Tree.start(tree)
      assert P.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert File.read(goodbye) == {:ok, "goodbye\n"}
    end

    test "one that ignores it is killed when the grace is over, not sooner" do
      {session, tree} = Tree.start(Tree.new(:children, [grace: 300], "trap '' TERM"))
      {time, :ok} = :timer.tc(fn -> GenServer.stop(session) end)
      assert time >= 300_000
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    test "a child that ignores it is killed then, though the program has ended at once" do
      child = "(trap '' TERM; exec sleep MARK) &"
      {session, tree} = Tree.start(%{Tree.new(:plain, [grace: 300], child) | leaves: 1})
      {time, :ok} = :timer.tc(fn -> GenServer.stop(session) end)
      assert time >= 300_000
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "a grace of 0 is none" do
      {session, tree} = Tree.start(Tree.new(:children, [grace: 0], "trap '' TERM"))
      assert GenServer.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    test "the grace of stop/2 stands before that of the session" do
      {session, tree} = Tree.start(Tree.new(:children, [grace: 60_000], "trap '' TERM"))
      {time, :ok} = :timer.tc(fn -> P.stop(session, grace: 100) end)
      assert time >= 100_000 and time < 30_000_000
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    @tag :root
    test "pid 1 without a handler does not keep anybody waiting" do
      tree = Tree.new(:pid_namespace, namespaces: [:pid], grace: 60_000)

      for stop <- [&P.stop/1, &GenServer.stop/1] do
        {session, tree} = Tree.start(tree)
        {time, :ok} = :timer.tc(fn -> stop.(session) end)
        assert time < 30_000_000
        Tree.assert_reaped(tree)
        assert next_event() == {:linx_process, :signaled, 9}
      end
    end

    @tag :root
    test "pid 1 with a handler has its grace" do
      opts = [grace: 30_000, namespaces: [:pid]]
      {session, tree} = handling("sleep 0.3; exit 3", opts)
      assert P.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :exited, 3}
    end
  end

  describe "a session that is stopped" do
    test "while it starts leaves nothing" do
      for stop <- [&P.stop/1, &GenServer.stop/1] do
        tree = Tree.new(:children, auto_proceed: true)
        {:ok, session} = P.spawn(Tree.options(tree))
        assert stop.(session) == :ok
        Tree.assert_reaped(tree)

        # How far the child had come by then is open.
        assert List.last(received()) in [
                 {:linx_process, :aborted},
                 {:linx_process, :signaled, 15}
               ]
      end
    end

    test "at the checkpoint has never let its child go" do
      for stop <- [&P.stop/1, &GenServer.stop/1] do
        tree = Tree.new(:children)
        {:ok, session} = P.spawn(Tree.options(tree))
        tree = Tree.look(tree, await_ready())
        assert stop.(session) == :ok
        Tree.assert_reaped(tree)
        assert received() == [{:linx_process, :aborted}]
      end
    end

    test "after the end tells nothing more" do
      for stop <- [&P.stop/1, &GenServer.stop/1] do
        {session, tree} = Tree.start(Tree.new(:children))
        Tree.tell(tree, "exit 7")
        assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
        assert stop.(session) == :ok
        assert received() == [{:linx_process, :exited, 7}]
        Tree.assert_gone(tree)
      end
    end

    test "by its supervisor after the end, because it lingers" do
      tree = Tree.new(:children)
      supervisor = supervise([child(tree, linger: true)])
      tree = await_tree(tree)
      Tree.tell(tree, "exit 7")
      assert P.wait(current(supervisor), 10_000) == {:ok, {:exited, 7}}
      assert Supervisor.stop(supervisor) == :ok
      assert received() == [{:linx_process, :exited, 7}]
    end
  end

  describe "stop/2" do
    test "tells those who wait the truth, and those who stop as well :ok" do
      {session, tree} = Tree.start(Tree.new(:plain, [], "trap '' TERM"))
      waiters = for _ <- 1..5, do: Task.async(fn -> P.wait(session) end)
      stoppers = for _ <- 1..5, do: Task.async(fn -> P.stop(session, grace: 60_000) end)
      for task <- waiters ++ stoppers, do: eventually(fn -> calling?(task.pid) end)
      # All of them have asked. The program ends when it likes.
      assert Tree.all_alive?(tree)
      Tree.tell(tree, "exit 5")
      assert Enum.uniq(Task.await_many(waiters)) == [{:ok, {:exited, 5}}]
      assert Enum.uniq(Task.await_many(stoppers)) == [:ok]
      Tree.assert_reaped(tree)
      assert received() == [{:linx_process, :exited, 5}]
    end

    test "never makes others exit who use the session meanwhile" do
      {session, tree} = Tree.start(Tree.new(:pty, [], "trap '' TERM"))
      P.set_owner(session, nil)

      # Each goes on until it is told that the session has gone.
      users =
        for use <- [
              &P.info/1,
              &P.host_pid/1,
              &P.proceed/1,
              &P.abort/1,
              &P.signal(&1, :sigwinch),
              &P.signal(&1, :sigcont, to: :tree),
              &P.wait(&1, 0),
              &P.pty_write(&1, "x"),
              &P.pty_set_winsize(&1, {24, 80, 0, 0}),
              &P.pty_master/1,
              &P.set_owner(&1, nil)
            ] do
          Task.async(fn ->
            Enum.find(Stream.repeatedly(fn -> use.(session) end), &(&1 == {:error, :no_process}))
          end)
        end

      assert P.stop(session, grace: 100) == :ok
      assert Enum.uniq(Task.await_many(users, 10_000)) == [{:error, :no_process}]
      Tree.assert_reaped(tree)
    end

    test "may be called again to be less patient" do
      {session, tree} = Tree.start(Tree.new(:children, [], "trap '' TERM"))
      patient = Task.async(fn -> P.stop(session, grace: 60_000) end)
      eventually(fn -> calling?(patient.pid) end)
      assert Tree.all_alive?(tree)
      {time, :ok} = :timer.tc(fn -> P.stop(session, grace: 0) end)
      assert time < 30_000_000
      assert Task.await(patient) == :ok
      Tree.assert_reaped(tree)
    end

    # Its main process dies of SIGTERM at once. The daemon ignores that, and has its grace.
    defp stop_patiently do
      {session, tree} = Tree.start(Tree.new(:daemon, grace: 0))
      {:ok, _stopper} = Task.start(fn -> P.stop(session, grace: 60_000) end)
      eventually(fn -> not alive?(Tree.main(tree)) end)
      assert [_ | _] = Tree.leaves(tree)
      {session, tree}
    end

    test "may be called again when only a daemon is left" do
      {session, tree} = stop_patiently()
      {time, :ok} = :timer.tc(fn -> P.stop(session, grace: 0) end)
      assert time < 30_000_000
      Tree.assert_reaped(tree)
      assert received() == [{:linx_process, :signaled, 15}]
    end

    test "may be overtaken by a supervisor when only a daemon is left" do
      {session, tree} = stop_patiently()
      Process.unlink(session)
      assert GenServer.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert received() == [{:linx_process, :signaled, 15}]
    end

    test "may be overtaken by a kill when only a daemon is left" do
      {session, tree} = stop_patiently()
      Process.unlink(session)
      Process.exit(session, :kill)
      Tree.assert_gone(tree)
    end

    test "goes on when its caller goes away" do
      {session, tree} = Tree.start(Tree.new(:children, [], "trap '' TERM"))
      monitor = Process.monitor(session)
      caller = spawn(fn -> P.stop(session, grace: 200) end)
      eventually(fn -> calling?(caller) end)
      Process.exit(caller, :kill)
      assert await_down(monitor) == :normal
      Tree.assert_reaped(tree)
    end

    test "returns when the agent is killed meanwhile" do
      {session, tree} = Tree.start(Tree.new(:children, [], "trap '' TERM"))
      stopper = Task.async(fn -> P.stop(session, grace: 60_000) end)
      eventually(fn -> calling?(stopper.pid) end)
      Tree.kill(Tree.agent(tree), :KILL)
      assert Task.await(stopper) == :ok
      Tree.assert_reaped(tree)
      assert received() == [{:linx_process, :error, 137, :agent_died}]
    end

    test "of a session that has stopped is an error" do
      {session, _tree} = Tree.start(Tree.new(:plain))
      assert P.stop(session) == :ok
      assert P.stop(session) == {:error, :no_process}
      assert P.stop(session, grace: 0) == {:error, :no_process}
      assert P.stop(:there_is_no_such_session) == {:error, :no_process}
    end

    test "of one that lingers after the end stops it" do
      {session, tree} = Tree.start(Tree.new(:plain))
      monitor = Process.monitor(session)
      Tree.tell(tree, "exit 0")
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert %Info{stage: :terminated} = P.info(session)
      assert P.stop(session) == :ok
      assert await_down(monitor) == :normal
      assert P.stop(session) == {:error, :no_process}
    end

    test "frees the name" do
      name = :"#{marker()}"
      {:ok, session} = P.spawn(argv: ["sleep", "60"], name: name)
      assert Process.whereis(name) == session
      assert P.stop(name) == :ok
      assert {:ok, again} = P.spawn(argv: ["sleep", "60"], name: name)
      assert again != session
      assert P.stop(name) == :ok
    end

    test "that crosses with the end is told the end all the same" do
      for round <- 1..40 do
        {:ok, session} = P.spawn(argv: ["true"], auto_proceed: true)
        if rem(round, 2) == 0, do: await_running()
        assert P.stop(session) in [:ok, {:error, :no_process}]
        last = List.last(received())

        assert last in [
                 {:linx_process, :exited, 0},
                 {:linx_process, :signaled, 15},
                 {:linx_process, :aborted}
               ]
      end
    end

    test "does not wait for ever for an agent that hangs" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      monitor = Process.monitor(session)
      # The guardian would wake the agent.
      Tree.kill("#{Tree.guardian(tree)} #{Tree.agent(tree)}", :STOP)
      assert P.stop(session, grace: 0) == :ok
      assert await_down(monitor) == :normal
      assert [{:linx_process, :error, _status, :agent_died}] = received()
      # It finds out when it wakes up.
      Tree.kill("#{Tree.agent(tree)} #{Tree.guardian(tree)}", :CONT)
      Tree.assert_gone(tree)
    end
  end

  test "a supervisor does not wait for ever for an agent that hangs, and the owner is told" do
    tree = Tree.new(:daemon, grace: 0)
    supervisor = supervise([child(tree)])
    tree = await_tree(tree)
    Tree.kill("#{Tree.guardian(tree)} #{Tree.agent(tree)}", :STOP)
    assert Supervisor.stop(supervisor) == :ok
    Tree.kill("#{Tree.agent(tree)} #{Tree.guardian(tree)}", :CONT)
    Tree.assert_gone(tree)
    assert [{:linx_process, :error, _status, :agent_died}] = received()
  end

  test "a child that is killed at once, as :brutal_kill has it, leaves nothing" do
    tree = Tree.new(:daemon)
    supervisor = supervise([child(tree, shutdown: :brutal_kill)])
    tree = await_tree(tree)
    assert Supervisor.stop(supervisor) == :ok
    Tree.assert_gone(tree)
  end

  describe "the restart strategy" do
    # How it ends, the exit reason, the last event, and whether :transient restarts after it.
    @outcomes [
      {"exit 0", :normal, {:linx_process, :exited, 0}, false},
      {"exit 3", {:exited, 3}, {:linx_process, :exited, 3}, true},
      {"kill -9 $$", {:signaled, 9}, {:linx_process, :signaled, 9}, true},
      {:abort, {:shutdown, :aborted}, {:linx_process, :aborted}, false},
      {:missing, {:error, %Error{stage: :execve, errno: :enoent, code: 2}},
       {:linx_process, :error, 2, :execve}, true}
    ]

    for restart <- [:permanent, :transient, :temporary],
        {outcome, reason, last, transient?} <- @outcomes do
      restarts? = restart == :permanent or (restart == :transient and transient?)
      @tag restart: restart, outcome: outcome, reason: reason, last: last, restarts?: restarts?
      test "#{inspect(restart)} with #{inspect(outcome)}: #{if restarts?, do: "yes", else: "no"}",
           %{restart: restart, outcome: outcome} = test do
        opts = [argv: program(outcome), owner: events(), stdio: :devnull, restart: restart]
        supervisor = supervise([{P, opts}])
        session = current(supervisor)
        monitor = Process.monitor(session)
        await_ready()
        assert if(outcome == :abort, do: P.abort(session), else: P.proceed(session)) == :ok
        assert await_down(monitor) == test.reason
        if is_binary(outcome), do: await_running()
        assert next_event() == test.last

        if test.restarts? do
          # The successor, at the checkpoint.
          host_pid = await_ready()
          successor = current(supervisor)
          assert successor != session
          assert P.host_pid(successor) == {:ok, host_pid}
        else
          eventually(fn -> current(supervisor) in [:undefined, nil] end)
          assert received() == []
        end
      end
    end

    defp program(script) when is_binary(script), do: ["/bin/sh", "-c", script]
    defp program(_missing), do: [Path.join(tmp_dir(), "missing")]

    test "gives up after :max_restarts, and takes the siblings along" do
      sibling = Tree.new(:daemon, grace: 100)
      first = Supervisor.child_spec(child(sibling), id: :sibling)
      supervisor = supervise([first], max_restarts: 2, max_seconds: 60)
      monitor = Process.monitor(supervisor)
      sibling = await_tree(sibling)
      failing = {P, argv: ["/bin/sh", "-c", "exit 1"], auto_proceed: true, owner: events()}
      {:ok, _session} = Supervisor.start_child(supervisor, failing)
      assert await_down(monitor) == :shutdown
      Tree.assert_reaped(sibling)
      events = received()
      assert Enum.count(events, &(&1 == {:linx_process, :exited, 1})) == 3
      assert List.last(events) == {:linx_process, :signaled, 15}
    end

    test "gives up at once when the options are wrong" do
      Process.flag(:trap_exit, true)

      assert {:error, {:shutdown, {:failed_to_start_child, P, {:bad_cwd, 7}}}} =
               Supervisor.start_link([{P, argv: ["true"], cwd: 7}], strategy: :one_for_one)
    end
  end

  describe "a restarted child never runs beside its predecessor, which ended because" do
    # All that runs of a workload holds a lock, and the next one looks whether it is free.
    for {cause, what} <- [
          exits: "it exited",
          killed: "it was killed",
          agent_killed: "its agent was killed",
          guardian_killed: "its guardian was killed",
          session_killed: "its session was killed"
        ] do
      @tag cause: cause
      test what, %{cause: cause} do
        lock = Path.join(tmp_dir(), "lock")

        # So many that it takes a while to end them all.
        setup = """
        exec 9>#{lock}; flock -n 9 || exit 99
        i=0; while [ $i -lt 40 ]; do sleep MARK & i=$(($i + 1)); done
        """

        tree = Tree.new(:daemon, [], setup)
        tree = %{tree | leaves: tree.leaves + 40}
        supervisor = supervise([child(tree)], max_restarts: 100)

        Enum.reduce(1..6, nil, fn _round, before ->
          assert {:linx_process, :ready, host_pid} = next_event()
          assert before == nil or Tree.all_gone?(before)
          assert next_event() == {:linx_process, :running}
          tree = Tree.await(tree, host_pid)
          finish(cause, current(supervisor), tree)
          last = last_event(cause)
          if last, do: assert(next_event() == last)
          tree
        end)
      end
    end

    defp finish(:exits, _session, tree), do: Tree.tell(tree, "exit 3")
    defp finish(:killed, session, _tree), do: assert(P.signal(session, :sigkill) == :ok)
    defp finish(:agent_killed, _session, tree), do: Tree.kill(Tree.agent(tree), :KILL)
    defp finish(:guardian_killed, _session, tree), do: Tree.kill(Tree.guardian(tree), :KILL)
    defp finish(:session_killed, session, _tree), do: Process.exit(session, :kill)

    defp last_event(:exits), do: {:linx_process, :exited, 3}
    defp last_event(:killed), do: {:linx_process, :signaled, 9}
    defp last_event(:session_killed), do: nil
    defp last_event(_agent_or_guardian), do: {:linx_process, :error, 137, :agent_died}
  end

  describe "a session whose starter is killed" do
    # A session of this slot, whose program does not listen to SIGTERM and so has all of its grace.
    defp start_deaf(slot, opts) do
      tree = Tree.new(:plain, opts, "trap '' TERM")
      {starter, session} = Tree.start_linked(tree, slot: slot, auto_proceed: true)
      {starter, session, tree}
    end

    test "is waited for by its successor, to the end of the grace" do
      slot = make_ref()
      {starter, _session, tree} = start_deaf(slot, grace: 500)
      tree = await_tree(tree)
      Process.exit(starter, :kill)
      {starter, session, _tree} = start_deaf(slot, grace: 0)
      assert next_event() == {:linx_process, :signaled, 9}
      assert {:linx_process, :ready, _host_pid} = next_event()
      assert Tree.all_gone?(tree)
      monitor = Process.monitor(session)
      Process.exit(starter, :kill)
      await_down(monitor)
    end

    test "while it waits itself, runs nothing" do
      slot = make_ref()
      {starter, _session, tree} = start_deaf(slot, grace: 500)
      await_tree(tree)
      Process.exit(starter, :kill)
      {starter, session, _tree} = start_deaf(slot, grace: 0)
      monitor = Process.monitor(session)
      Process.exit(starter, :kill)
      assert next_event() == {:linx_process, :signaled, 9}
      assert next_event() == {:linx_process, :error, 3, :agent}
      await_down(monitor)
    end
  end

  test "with :one_for_all all are gone before any is started again" do
    trees = for _ <- 1..2, do: Tree.new(:daemon, grace: 100)
    specs = for tree <- trees, do: Supervisor.child_spec(child(tree), id: tree.mark)
    supervisor = supervise(specs, strategy: :one_for_all)
    host_pids = for _ <- trees, do: await_ready()
    for _ <- trees, do: await_running()
    # Which is whose is in the command line.
    [one, other] =
      for tree <- trees do
        host_pid = eventually(fn -> Enum.find(host_pids, &(&1 in processes(tree.mark))) end)
        Tree.await(tree, host_pid)
      end

    Tree.kill(Tree.main(one), :KILL)
    assert next_event() == {:linx_process, :signaled, 9}
    assert next_event() == {:linx_process, :signaled, 15}
    await_ready()
    assert Tree.all_gone?(one) and Tree.all_gone?(other)
    await_ready()
    assert Supervisor.stop(supervisor) == :ok
    for tree <- trees, do: Tree.assert_reaped(tree)
  end
end
