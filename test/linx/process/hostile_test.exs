defmodule Linx.Process.HostileTest do
  # Workloads that do what they can to stay, or to harm who is to end them.
  #
  # They want the machine to themselves; and if nobody ends them, they end by themselves.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error
  alias Linx.Test.{Rogue, Timings, Tree}

  # A session that is taken along abnormally says so in the log.
  @moduletag :capture_log
  @moduletag timeout: Timings.timeout()

  @agent_died {:error, %Error{stage: :agent_died, errno: :unknown, code: 137}}

  # Many chains of processes, each of which does nothing but to start its successor.
  @chains """
  pass() { [ $1 -gt 0 ] || exit 0; pass $(($1 - 1)) & exit 0; }
  i=0; while [ $i -lt 60 ]; do (pass 300 &); i=$(($i + 1)); done
  """

  # A tree that grows at all its ends.
  @growth """
  grow() { [ $1 -gt 0 ] || exec sleep 20 0.MARK; grow $(($1 - 1)) & grow $(($1 - 1)) & wait; exit 0; }
  grow 7 &
  """

  # The agent of a shell, and the agent's parent: what is above it, and is no subreaper.
  @agent """
  agent=$PPID
  while read -r name < /proc/$agent/comm && [ "$name" = linx_subreaper ]; do
    read -r _pid _comm _state agent _rest < /proc/$agent/stat
  done
  read -r _pid _comm _state guardian _rest < /proc/$agent/stat
  """

  # What the main process commits in C, what in shell code, and the leaves that this has.
  @workloads [
    deaf: {"ignores and blocks all signals", ["deaf", "blocking"], "", 0},
    independent: {"is a subreaper and has no death signal", ["independent"], "", 0},
    tracing: {"traces what it starts", [], "ROGUE tracing -- /bin/sleep sleep MARK &", 2},
    disguised: {"looks like the agent, or like its helpers", [], "DISGUISE", 2},
    closed: {"has closed all its descriptors", [], "exec 0<&- 1>&- 2>&-", 0},
    threads: {"has 1,000 threads", [], "ROGUE threads 1000 MARK || exit 1", 0},
    crowd: {"has 2,000 children", [], "ROGUE children 2000 MARK || exit 1", 0},
    stopping:
      {"stops its agent over and over", [], @agent <> "while kill -STOP $agent; do :; done &", 0},
    stopped_guardian: {"has stopped the guardian", [], @agent <> "kill -STOP $guardian", 0},
    chains: {"passes itself on", [], @chains, 0},
    growth: {"grows", [], @growth, 0},
    bomb: {"forks as fast as it may", [], "ROGUE bomb 100 61234 MARK || exit 1", 0}
  ]

  @ends [
    stop: "stop/2",
    session_killed: "session killed",
    agent_killed: "agent killed",
    guardian_killed: "guardian k.",
    workload_killed: "workload k."
  ]

  # Agent and guardian stand in for each other. Who holds up one and kills the other has both, until
  # the one goes on: see below.
  @postponed [stopped_guardian: :agent_killed, stopping: :guardian_killed]

  # Microseconds, from the fault until nothing is left. It takes its time to catch very many.
  @limit 1_000_000
  @limit_many 10_000_000
  @many [:crowd, :chains, :growth, :bomb]

  @grace 50

  setup_all do
    rows = for {workload, {what, _deeds, _setup, _leaves}} <- @workloads, do: {workload, what}
    title = "Milliseconds until nothing was left (median / maximum) of a workload that"
    Timings.print_after_all(title, @ends, rows)
  end

  for {workload, {what, deeds, setup, leaves}} <- @workloads,
      {cause, how} <- @ends,
      {workload, cause} not in @postponed do
    @tag workload: workload, cause: cause, deeds: deeds, setup: setup, leaves: leaves
    # Only root can give it a user of its own.
    if workload == :bomb, do: @tag(:root)

    test "a workload that #{what} ends: #{how}", context do
      limit = if context.workload in @many, do: @limit_many, else: @limit
      Timings.assert_within(limit, fn -> measure(context) end)
    end
  end

  defp measure(%{workload: workload, cause: cause} = context) do
    {linked, session, tree} = start(context)
    begun = System.monotonic_time(:microsecond)
    finish(cause, session, tree)
    Tree.assert_gone(tree)
    time = System.monotonic_time(:microsecond) - begun
    Timings.record(workload, cause, time)
    Process.exit(linked, :kill)
    # A host goes on, and nobody but its guardian wakes it.
    if workload == :stopped_guardian, do: Tree.kill(Tree.guardian(tree), :CONT)
    time
  end

  # With a daemon, too, so that there is somebody else to forget.
  defp start(%{deeds: deeds, setup: setup, leaves: leaves}) do
    setup =
      setup
      |> String.replace("DISGUISE", disguise())
      |> String.replace("ROGUE", Rogue.path())

    tree = Tree.committing(Tree.new(:daemon, [grace: @grace], setup), deeds)
    {linked, session} = Tree.start_linked(tree, auto_proceed: true)
    host_pid = await_ready()
    await_running()
    {linked, session, Tree.await(%{tree | leaves: tree.leaves + leaves}, host_pid)}
  end

  # The name of a process is that of its file.
  defp disguise do
    dir = tmp_dir()

    Enum.map_join(["linx_process", "linx_subreaper"], "\n", fn name ->
      path = Path.join(dir, name)
      File.cp!("/bin/sleep", path)
      "(setsid ROGUE -- #{path} sleep MARK &)"
    end)
  end

  defp finish(:stop, session, _tree), do: assert(P.stop(session) == :ok)
  defp finish(:session_killed, session, _tree), do: Process.exit(session, :kill)
  defp finish(:agent_killed, _session, tree), do: Tree.kill(Tree.agent(tree), :KILL)
  defp finish(:guardian_killed, _session, tree), do: Tree.kill(Tree.guardian(tree), :KILL)
  defp finish(:workload_killed, _session, tree), do: Tree.kill(Tree.main(tree), :KILL)

  describe "a workload that" do
    for {kind, where} <- [children: "its whole process group", pty: "that of its terminal"] do
      @tag kind: kind
      test "kills #{where}", %{kind: kind} do
        {session, tree} = Tree.start(Tree.new(kind))
        Tree.tell(tree, "kill -9 0")
        assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
        Tree.assert_gone(tree)
      end
    end

    # A signal to the group would hit the guardian.
    test "would join the guardian's process group may not" do
      {session, tree} = Tree.start(Tree.new(:plain))
      join = "exit(setpgrp(0, #{Tree.guardian(tree)}) ? 0 : 3)"
      Tree.tell(tree, "exec perl -e '#{join}'")
      assert P.wait(session) == {:ok, {:exited, 3}}
    end

    test "kills its agent" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "kill -9 #{Tree.agent(tree)}; exec sleep MARK")
      assert P.wait(session, 10_000) == @agent_died
      Tree.assert_gone(tree)
    end

    test "kills its guardian" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "kill -9 #{Tree.guardian(tree)}; exec sleep MARK")
      assert P.wait(session, 10_000) == @agent_died
      Tree.assert_gone(tree)
    end

    test "stops its agent, which goes on" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "kill -STOP #{Tree.agent(tree)}; exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      Tree.assert_gone(tree)
    end

    for {what, go} <- [{"itself", "kill -STOP $$"}, {"its whole group", "kill -STOP 0"}] do
      @tag go: go
      test "stops #{what} is woken up to end", %{go: go} do
        {session, tree} = Tree.start(Tree.new(:children))
        Tree.tell(tree, go)
        eventually(fn -> stat(Tree.main(tree)) == "T" end)
        {time, :ok} = :timer.tc(fn -> P.stop(session, grace: 60_000) end)
        assert time < 30_000_000
        Tree.assert_reaped(tree)
        assert next_event() == {:linx_process, :signaled, 15}
      end
    end

    test "has stopped children takes them along" do
      {session, tree} = Tree.start(Tree.new(:children))
      leaves = Tree.leaves(tree)
      Tree.kill(Enum.join(leaves, " "), :STOP)
      eventually(fn -> Enum.all?(leaves, &(stat(&1) == "T")) end)
      Tree.tell(tree, "exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      Tree.assert_reaped(tree)
    end

    test "does not reap its children leaves their zombies to nobody" do
      {session, tree} = Tree.start(Tree.new(:plain))
      Tree.tell(tree, "sleep 0 & exec sleep MARK")
      main = Tree.main(tree)
      zombie = fn -> Enum.find(children(main), &(stat(&1) == "Z")) end
      zombie = eventually(zombie)
      P.signal(session, 9)
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
      assert stat(zombie) == nil
    end

    test "makes orphans leaves no zombies while it runs" do
      orphans = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0 &); done"
      {_session, tree} = Tree.start(Tree.new(:children, [], orphans))
      main = Tree.main(tree)
      eventually(fn -> children(parent(main)) == [main] end)
    end

    test "is a BEAM with a session of its own" do
      inner = Tree.new(:daemon)
      env = [{"LINX_AGENT", Linx.Agent.Binary.path()}]
      stdio = [stdin: :devnull, stdout: :devnull]
      argv = Tree.beam_argv(inner, :running)
      {:ok, session} = P.spawn(argv: argv, auto_proceed: true, env: env, stdio: stdio)
      tree = Tree.await(inner, await_ready())
      Tree.kill(Tree.agent(tree), :KILL)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == @agent_died
    end

    test "has stopped the guardian, when the agent is killed, ends as soon as that goes on" do
      setup = @agent <> "kill -STOP $guardian"
      {session, tree} = Tree.start(Tree.new(:daemon, [], setup))
      Tree.kill(Tree.agent(tree), :KILL)
      # What is not a daemon has its death signal.
      eventually(fn -> not alive?(Tree.main(tree)) end)
      Tree.kill(Tree.guardian(tree), :CONT)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == @agent_died
    end

    test "speaks on the agent's channel is found out, and ended" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "#{says("lie")} #{Tree.agent(tree)}; exec sleep MARK")
      assert P.wait(session, 10_000) == {:error, %Error{stage: :agent, errno: :eproto, code: 71}}
      Tree.assert_gone(tree)
    end

    test "forges its end there is ended with its session" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      lie = says(:erlang.term_to_binary(addressed(session, {:status, :exited, 0})))
      Tree.tell(tree, "#{lie} #{Tree.agent(tree)}; exec sleep MARK")
      assert P.wait(session, 10_000) == {:ok, {:exited, 0}}
      assert P.stop(session, grace: 0) == :ok
      Tree.assert_gone(tree)
    end

    # In the channel of a host it would have to know the number of its session.
    defp addressed(session, term) do
      case :sys.get_state(session).agent do
        %{id: id} -> {id, term}
        _dedicated -> term
      end
    end

    # A program that writes a frame where the agent whose pid it is given does. Same user, same right.
    defp says(frame) do
      path = Path.join(tmp_dir(), "frame")
      File.write!(path, <<byte_size(frame)::32, frame::binary>>)
      script("cat #{path} > /proc/$1/fd/4")
    end

    test "loses 2,000 children at once keeps an agent that answers, and no zombie" do
      tree = Tree.new(:plain, [], "#{Rogue.path()} children 2000 MARK")
      {session, tree} = Tree.start(tree)
      main = Tree.main(tree)
      # It is an orphan, and so will be all that it has started.
      [crowd] = List.delete(children(parent(main)), main)
      assert length(children(crowd)) == 2_000
      Tree.kill(crowd, :KILL)
      {time, :ok} = :timer.tc(fn -> P.signal(session, :sigcont) end)
      assert time < @limit_many
      eventually(fn -> children(parent(main)) == [main] end)
      Tree.tell(tree, "exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      Tree.assert_reaped(tree)
    end

    # Its user is another than the workload's from here on, but the one who started it may end it.
    for cause <- [:stop, :session_killed, :agent_killed, :guardian_killed] do
      @tag cause: cause
      test "is a set-user-ID program: #{cause}", %{cause: cause} do
        # It waits for a password, as root, and asks for it in English.
        script = "export LC_ALL=C; exec setpriv --reuid=nobody --keep-groups su -c 'echo MARK'"
        tree = Tree.script(script, 0, stdio: :pty, grace: 50)
        {session, tree} = Tree.start(tree)
        read_pty_until("assword")
        assert ["65534", "0" | _] = tree |> Tree.main() |> status_field("Uid") |> String.split()
        Process.unlink(session)
        finish(cause, session, tree)
        Tree.assert_gone(tree)
      end
    end

    @tag :root
    test "kills everybody it can see from the pid namespace it was born in" do
      {session, tree} = Tree.start(Tree.new(:pid_namespace))
      Tree.tell(tree, "[ $$ = 1 ] && kill -9 -1; exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      Tree.assert_gone(tree)
    end

    @tag :root
    test "kills everybody it can see from a pid namespace that it entered" do
      {session, tree} = Tree.start(Tree.new(:entered))
      host = File.read_link!("/proc/self/ns/pid")
      kill = "[ \"$(readlink /proc/self/ns/pid)\" != \"#{host}\" ] && kill -9 -1"
      Tree.tell(tree, "#{kill}; exec sleep MARK")
      # Its subreaper has been among them.
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
      Tree.assert_gone(tree)
      assert alive?(tree.target)
    end

    for fate <- [:kill, :leave] do
      @tag fate: fate
      test "leaves a daemon with its terminal, which is to be treated so: #{fate}", %{fate: fate} do
        daemon = "(trap '' HUP; setsid sleep MARK &)"
        tree = %{Tree.new(:plain, [stdio: :pty, descendants: fate], daemon) | leaves: 1}
        {session, tree} = Tree.start(tree)
        {:ok, %{slave: slave}} = P.pty_master(session)
        [daemon] = Tree.leaves(tree)
        assert File.read_link!("/proc/#{daemon}/fd/1") == slave
        Tree.tell(tree, "exit 7")
        assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
        eventually(fn -> Tree.agents_gone?(tree) end)
        assert alive?(daemon) == (fate == :leave)
      end
    end

    @flood "yes MARK | head -c 50000000; sleep MARK"

    for {who, owner} <- [{"nobody", nil}, {"an owner who never reads", :idle}],
        cause <- [:stop, :session_killed, :agent_killed, :guardian_killed, :workload_killed] do
      @tag owner: owner, cause: cause
      test "floods #{who} from its PTY: #{cause}", %{owner: owner, cause: cause} do
        idle = spawn_link(fn -> Process.sleep(:infinity) end)
        {session, tree} = Tree.start(Tree.new(:pty))
        P.set_owner(session, owner && idle)
        Process.unlink(session)
        before = written(Tree.agent(tree))
        # Forgets the peak of what a host has been through (proc(5)).
        File.write!("/proc/#{Tree.agent(tree)}/clear_refs", "5")
        Tree.tell(tree, @flood)
        # What has come that far has passed the agent.
        eventually(fn -> written(Tree.agent(tree)) - before > 1_000_000 end)
        [kilobytes, "kB"] = tree |> Tree.agent() |> status_field("VmHWM") |> String.split()
        assert String.to_integer(kilobytes) < 8_000
        {time, _} = :timer.tc(fn -> finish(cause, session, tree) end)
        assert time < @limit_many
        Tree.assert_gone(tree)
      end
    end
  end
end
