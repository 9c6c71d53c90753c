defmodule Linx.Process.FaultsTest do
  # Nothing is left behind: whatever dies, and whatever the workload has started by then.
  #
  # Everything is tried that can go wrong, at each stage of a session's life, with each kind of
  # workload. `make faults` prints how long it took until nothing was left.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.{Footprint, Rogue, Timings, Tree}

  # A session that is taken along abnormally says so in the log.
  @moduletag :capture_log
  @moduletag timeout: Timings.timeout()

  # What the workload consists of when it runs. Before that it is one process, whatever the kind, and
  # what remains of the kind is where that is born: in a PID namespace, or with a terminal.
  @kinds [
    plain: "plain",
    children: "children",
    daemon: "daemon",
    pid_namespace: "pid namespace",
    init: "beside an init",
    entered: "entered",
    pty: "PTY"
  ]

  @stages [
    checkpoint: "at the checkpoint",
    exec: "in execve",
    running: "running"
  ]

  @faults [
    link_exits: "what the session is linked to exits normally",
    link_fails: "what the session is linked to exits abnormally",
    link_killed: "what the session is linked to is killed",
    supervisor_stops: "its supervisor stops",
    session_killed: "the session is killed",
    beam_killed: "the BEAM is killed",
    agent_killed: "the agent is killed",
    agent_stopped: "the agent is stopped, then killed",
    agent_halted: "the agent is stopped, then the session killed",
    guardian_killed: "the guardian is killed",
    host_killed: "the process that owns the host is killed",
    subreaper_killed: "the subreaper is killed",
    subreaper_stopped: "the subreaper is stopped, then the workload killed",
    subreaper_halted: "the subreaper is stopped, then the session killed",
    workload_killed: "the workload is killed",
    workload_exits: "the workload exits"
  ]

  # A program has to run to exit.
  @rows for {stage, where} <- @stages,
            {fault, what} <- @faults,
            fault != :workload_exits or stage == :running,
            fault != :host_killed or hosted?(),
            do: {{stage, fault}, "#{where}, #{what}"}

  # These are told the session by SIGTERM, which a daemon that is deaf to it survives for the whole
  # grace; so does a child in execve, for which it is kept.
  @orderly [:link_exits, :link_fails, :link_killed, :supervisor_stops]
  @grace 100

  # With these the session stays to be asked.
  @lingering [
    :agent_killed,
    :agent_stopped,
    :guardian_killed,
    :host_killed,
    :subreaper_killed,
    :subreaper_stopped,
    :workload_killed,
    :workload_exits
  ]
  # With these it is killed.
  @untold [:session_killed, :agent_halted, :subreaper_halted]
  # And these kill the workload, one way or another.
  @deadly [:subreaper_killed, :subreaper_stopped, :workload_killed]

  # From the fault until the last of it was seen gone, in microseconds.
  @limit 1_000_000

  # 128 + SIGKILL, as a shell has it: the exit status of a guardian that was killed, and of one whose
  # agent was.
  @killed 137
  @agent_died %Error{stage: :agent_died, errno: :unknown, code: @killed}

  setup_all do
    title = "Milliseconds until nothing was left (median / maximum), of which #{@grace} are grace"
    Timings.print_after_all("#{title} where there is one:", @kinds, @rows)
  end

  # A daemon that has lost its subreaper in there is nobody's: see "in a pid namespace that was entered".
  @beyond_reach [{:running, :subreaper_killed, :entered}]

  for {{stage, fault}, what} <- @rows,
      {kind, name} <- @kinds,
      {stage, fault, kind} not in @beyond_reach do
    @tag stage: stage, fault: fault, kind: kind
    if kind in [:pid_namespace, :entered], do: @tag(:root)

    test "#{what}: #{name}", context do
      Timings.assert_within(@limit, fn -> measure(context) end)
    end
  end

  defp measure(%{stage: stage, fault: fault, kind: kind}) do
    tree = Tree.new(kind, grace: @grace)
    # Not a part of what the fault has to take away.
    lease = if stage == :exec, do: lease_program(tree)
    tree = if lease, do: %{tree | argv: [lease.path | tl(tree.argv)]}, else: tree

    before = Footprint.take()
    subject = start(fault, stage, tree, lease)
    time = strike(fault, subject, before)
    Timings.record({stage, fault}, kind, time)
    if fault != :beam_killed, do: assert_told(fault, result(stage, fault, kind), subject)

    if kind == :entered, do: assert(alive?(tree.target))
    if lease, do: Port.close(lease.port)
    time
  end

  # How it ends: a session that is asked to end has its child taken away from the checkpoint; later
  # SIGTERM ends the program, unless that is a shell that is pid 1, which never sees it.
  defp result(_stage, fault, _kind) when fault in @untold, do: :untold
  defp result(:checkpoint, fault, _kind) when fault in @orderly, do: {:ok, :aborted}
  defp result(:exec, fault, _kind) when fault in @orderly, do: killed_at(:execve)
  defp result(_, fault, :pid_namespace) when fault in @orderly, do: {:ok, {:signaled, 9}}
  defp result(:running, fault, _kind) when fault in @orderly, do: {:ok, {:signaled, 15}}
  defp result(:checkpoint, fault, _kind) when fault in @deadly, do: killed_at(:checkpoint)
  defp result(:exec, fault, _kind) when fault in @deadly, do: killed_at(:execve)
  defp result(:running, fault, _kind) when fault in @deadly, do: {:ok, {:signaled, 9}}
  defp result(:running, :workload_exits, _kind), do: {:ok, {:exited, 7}}
  # Its agent has only been hung up.
  defp result(_stage, :host_killed, _kind), do: {:error, %{@agent_died | code: 0}}
  defp result(_stage, _agent_or_guardian, _kind), do: {:error, @agent_died}

  defp killed_at(stage), do: {:error, %Error{stage: stage, errno: :eio, code: 5, signal: 9}}

  defp lease_program(tree) do
    path = Path.join(tmp_dir(), "program")
    File.cp!(hd(tree.argv), path)
    %{path: path, port: Rogue.lease(path)}
  end

  # A session with a workload that has come to `stage`, and those on whom it depends.

  defp start(:beam_killed, stage, tree, lease) do
    beam = start_beam(tree, stage)
    if lease, do: Rogue.await_asked(lease.port)
    subject(%{beam: beam}, stage, tree, beam.host_pid)
  end

  defp start(fault, stage, tree, lease) do
    opts = [auto_proceed: stage == :running]

    subject =
      case fault do
        :supervisor_stops -> start_under_supervisor(tree, opts)
        _otherwise -> start_linked(tree, opts)
      end

    host_pid = await_ready()

    case stage do
      :checkpoint ->
        :ok

      :exec ->
        assert P.proceed(subject.session) == :ok
        Rogue.await_asked(lease.port)

      :running ->
        await_running()
    end

    waiter = Task.async(fn -> P.wait(subject.session) end)
    eventually(fn -> waits?(waiter.pid) end)
    subject = Map.merge(subject, %{waiter: waiter, monitor: Process.monitor(subject.session)})
    subject(subject, stage, tree, host_pid)
  end

  defp subject(subject, stage, tree, host_pid) do
    tree = if stage == :running, do: Tree.await(tree, host_pid), else: Tree.look(tree, host_pid)

    terminals = Footprint.terminals([Tree.agent(tree)])
    assert length(terminals) == if(tree.opts[:stdio] == :pty, do: 1, else: 0)
    Map.merge(subject, %{tree: tree, terminals: terminals})
  end

  defp start_linked(tree, opts) do
    {linked, session} = Tree.start_linked(tree, opts)
    %{linked: linked, session: session}
  end

  defp start_under_supervisor(tree, opts) do
    {function, args} = Tree.start_args(tree, [owner: self()] ++ opts)
    spec = Map.put(P.child_spec(grace: @grace), :start, {P, function, args})
    {:ok, supervisor} = Supervisor.start_link([spec], strategy: :one_for_one)
    [{_id, session, :worker, _modules}] = Supervisor.which_children(supervisor)
    %{supervisor: supervisor, session: session}
  end

  defp waits?(pid),
    do: match?({:current_function, {:gen, _, _}}, Process.info(pid, :current_function))

  # Lets the fault happen, and returns how many microseconds later nothing was left.
  defp strike(fault, subject, before) do
    begun = System.monotonic_time(:microsecond)
    happen(fault, subject)
    time = await_nothing(subject, before, begun)
    # Nor is there anybody whom nobody knew.
    assert processes(subject.tree.mark) == []
    time
  end

  defp await_nothing(subject, before, begun) do
    left = remains(subject, before)
    time = System.monotonic_time(:microsecond) - begun

    cond do
      left == [] ->
        time

      time > 10 * @limit ->
        flunk(
          "still there: #{inspect(left)} #{inspect(Tree.describe(Tree.remaining(subject.tree)))}"
        )

      true ->
        Process.sleep(1)
        await_nothing(subject, before, begun)
    end
  end

  # The cheapest first, and what is known by name: this is asked over and over.
  defp remains(%{tree: tree, terminals: terminals}, before) do
    with [] <- Tree.remaining(tree),
         [] <- Enum.filter(terminals, &Footprint.terminal?/1),
         do: Footprint.grown(before)
  end

  defp happen(:link_exits, %{linked: linked}), do: send(linked, {:exit, :normal})
  defp happen(:link_fails, %{linked: linked}), do: send(linked, {:exit, :boom})
  defp happen(:link_killed, %{linked: linked}), do: Process.exit(linked, :kill)
  defp happen(:supervisor_stops, %{supervisor: supervisor}), do: Supervisor.stop(supervisor)
  defp happen(:session_killed, %{session: session}), do: Process.exit(session, :kill)
  defp happen(:beam_killed, %{beam: beam}), do: Tree.kill!(beam.os_pid, :KILL)
  defp happen(:agent_killed, %{tree: tree}), do: Tree.kill!(Tree.agent(tree), :KILL)
  defp happen(:guardian_killed, %{tree: tree}), do: Tree.kill!(Tree.guardian(tree), :KILL)
  defp happen(:workload_killed, %{tree: tree}), do: Tree.kill!(Tree.main(tree), :KILL)
  defp happen(:workload_exits, %{tree: tree}), do: Tree.tell(tree, "exit 7")

  defp happen(:subreaper_killed, %{tree: tree}), do: Tree.kill!(Tree.subreaper(tree), :KILL)

  defp happen(:agent_stopped, %{tree: tree}) do
    Tree.kill!(Tree.agent(tree), :STOP)
    Tree.kill!(Tree.agent(tree), :KILL)
  end

  defp happen(:agent_halted, %{tree: tree} = subject) do
    Tree.kill!(Tree.agent(tree), :STOP)
    happen(:session_killed, subject)
  end

  defp happen(:subreaper_stopped, %{tree: tree} = subject) do
    Tree.kill!(Tree.subreaper(tree), :STOP)
    happen(:workload_killed, subject)
  end

  defp happen(:subreaper_halted, %{tree: tree} = subject) do
    Tree.kill!(Tree.subreaper(tree), :STOP)
    happen(:session_killed, subject)
  end

  defp happen(:host_killed, %{session: session}) do
    Process.exit(:sys.get_state(session).agent.host, :kill)
  end

  # That everybody has been told the truth, the owner once.
  defp assert_told(fault, result, %{session: session} = subject) do
    answer = Task.await(subject.waiter)
    result = as_seen(result, answer)
    assert answer == if(result == :untold, do: {:error, :no_process}, else: result)

    if fault in @lingering do
      assert P.wait(session) == result
      assert %Info{stage: :terminated, result: ^result} = P.info(session)
      assert P.stop(session) == :ok
    end

    monitor = subject.monitor
    assert_receive {:DOWN, ^monitor, :process, _pid, _reason}
    assert P.wait(session) == {:error, :no_process}
    assert P.info(session) == {:error, :no_process}
    # With the session gone nobody is there to send more.
    assert last_events() == List.wrap(last_event(result))
  end

  # Whoever writes to an agent at the moment it ends closes its port, and nobody sees its exit status.
  defp as_seen({:error, @agent_died}, {:error, %Error{code: 0}}) do
    {:error, %{@agent_died | code: 0}}
  end

  defp as_seen(result, _answer), do: result

  defp last_event({:ok, {how, number}}), do: {:linx_process, how, number}
  defp last_event({:ok, :aborted}), do: {:linx_process, :aborted}
  defp last_event({:error, error}), do: {:linx_process, :error, error.code, error.stage}
  defp last_event(:untold), do: nil

  defp last_events do
    receive do
      {:linx_process, :pty_out, _bytes} -> last_events()
      event when elem(event, 0) == :linx_process -> [event | last_events()]
    after
      0 -> []
    end
  end

  # Another BEAM, with a session of its own that has come to `stage`, or is on its way to exec. It
  # halts when it reads a line, or when this one is gone.
  defp start_beam(tree, stage \\ :running) do
    [elixir | args] = Tree.beam_argv(tree, stage, "IO.gets(\"\"); System.halt(0)")
    env = [{~c"LINX_AGENT", String.to_charlist(Linx.Agent.Binary.path())}]
    options = [:binary, line: 1_000, args: args, env: env]
    port = Port.open({:spawn_executable, elixir}, options)
    [os_pid, host_pid] = read_pids(port)
    on_exit(fn -> Tree.kill(os_pid, :KILL) end)
    %{port: port, os_pid: os_pid, host_pid: host_pid}
  end

  defp read_pids(port) do
    assert_receive {^port, {:data, {:eol, line}}}, 20_000

    case String.split(line) do
      ["pids" | pids] -> Enum.map(pids, &String.to_integer/1)
      _something_else -> read_pids(port)
    end
  end

  describe "a BEAM" do
    test "that is killed together with the agent" do
      {beam, tree} = begin_beam(Tree.new(:daemon))
      Tree.kill("#{beam.os_pid} #{Tree.agent(tree)}", :KILL)
      Tree.assert_gone(tree)
    end

    test "that is killed together with the guardian" do
      {beam, tree} = begin_beam(Tree.new(:daemon))
      Tree.kill("#{beam.os_pid} #{Tree.guardian(tree)}", :KILL)
      Tree.assert_gone(tree)
    end

    test "that is killed when it had stopped to read what the workload writes" do
      {beam, tree} = begin_beam(Tree.new(:pty, [], "yes MARK &"))
      Tree.kill(beam.os_pid, :STOP)
      eventually(fn -> stands_still?(tree) end)
      Tree.kill(beam.os_pid, :KILL)
      Tree.assert_gone(tree)
    end

    test "that halts" do
      {beam, tree} = begin_beam(Tree.new(:daemon))
      Port.command(beam.port, "halt\n")
      Tree.assert_gone(tree)
    end

    test "that is told to stop" do
      {beam, tree} = begin_beam(Tree.new(:daemon))
      Tree.kill(beam.os_pid, :TERM)
      # It takes its time for that.
      eventually(fn -> not alive?(beam.os_pid) end)
      Tree.assert_gone(tree)
    end
  end

  defp begin_beam(tree) do
    beam = start_beam(tree)
    {beam, Tree.await(tree, beam.host_pid)}
  end

  # All the buffers on the way of the flood are full when who writes into the first one sleeps, who
  # would not otherwise, and so does the agent, and neither just for want of the processor.
  defp stands_still?(tree) do
    flood = {:ok, "yes\0#{tree.mark}\0"}
    yes = for pid <- processes(tree.mark), File.read("/proc/#{pid}/cmdline") == flood, do: pid

    look = fn ->
      for pid <- [Tree.agent(tree) | yes], do: {stat(pid), File.read("/proc/#{pid}/io")}
    end

    before = look.()
    Process.sleep(50)
    match?([{"S", _}, {"S", _}], before) and look.() == before
  end

  # Several times, since it may or may not have got to stop by then.
  test "an agent that is stopped when the guardian is killed goes on by itself" do
    for _round <- 1..20 do
      {session, tree} = Tree.start(Tree.new(:plain))
      {agent, guardian} = {Tree.agent(tree), Tree.guardian(tree)}

      # It would have the port open, and everything that inherited its standard output waiting, for ever.
      on_exit(fn -> Tree.kill(agent, :CONT) end)
      # The guardian first, or it would wake the agent.
      stop_both_and_kill = "kill -STOP #{guardian}; kill -STOP #{agent}; kill -KILL #{guardian}"
      {_, 0} = System.cmd("/bin/sh", ["-c", stop_both_and_kill])
      Tree.assert_gone(tree)
      assert P.wait(session) == {:error, @agent_died}
    end
  end

  # Until the last moment before exec all signals are blocked, and this is before that moment. Nobody
  # but SIGKILL reaches it.
  for {fault, what} <- [
        link_exits: "when its grace is over",
        workload_killed: "when it is killed"
      ] do
    @tag fault: fault
    test "a child that hangs while its standard output is connected ends #{what}", context do
      listener = full_listener()
      before = Footprint.take()
      tree = Tree.new(:plain, grace: @grace, stdio: [stdout: {:connect_unix, listener}])
      subject = start_connecting(tree)
      strike(context.fault, subject, before)
      assert_told(context.fault, killed_at(:execve), subject)
    end
  end

  defp start_connecting(tree) do
    subject = start(:any, :checkpoint, tree, nil)
    descriptors = fn -> length(File.ls!("/proc/#{Tree.main(subject.tree)}/fd")) end
    parked = descriptors.()
    assert P.proceed(subject.session) == :ok
    # One more is the socket that waits to be connected.
    eventually(fn -> descriptors.() == parked + 1 end)
    subject
  end

  # A listener that has no room for one more to connect.
  defp full_listener do
    path = socket_path()
    opts = [ifaddr: {:local, path}, backlog: 0]
    {:ok, _listener} = :gen_tcp.listen(0, opts)
    on_exit(fn -> File.rm(path) end)
    # A backlog of 0 has room for one.
    {:ok, _first} = :gen_tcp.connect({:local, path}, 0, [:local])
    path
  end

  test "the agent is asked to end by SIGTERM, and ends its workload before" do
    {session, tree} = Tree.start(Tree.new(:daemon))
    Tree.kill(Tree.agent(tree), :TERM)
    assert {:error, %Error{stage: :agent_died}} = P.wait(session, 10_000)
    Tree.assert_reaped(tree)
  end

  describe "in a pid namespace that was entered:" do
    @describetag :root

    test "it ends with its pid 1" do
      {session, tree} = Tree.start(Tree.new(:entered))
      Tree.kill(tree.target, :KILL)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
    end

    test "a child at the checkpoint does not pass for its subreaper" do
      {:ok, _session} = P.enter(Tree.target(), argv: ["/bin/true"])
      child = await_ready()
      assert comm(parent(child)) == "linx_subreaper"
      assert comm(child) == "linx_process"
    end

    test "it ends with its subreaper, and so do its children" do
      {session, tree} = Tree.start(%{Tree.new(:children) | target: Tree.target()})
      subreaper = tree |> Tree.main() |> parent()
      refute subreaper == Tree.agent(tree)
      Tree.kill(subreaper, :KILL)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
    end

    test "SIGKILL to its tree leaves nothing" do
      {session, tree} = Tree.start(Tree.new(:entered))
      assert P.signal(session, :sigkill, to: :tree) == :ok
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
      Tree.assert_reaped(tree)
    end

    test "what it leaves may stay" do
      {session, tree} = Tree.start(Tree.new(:entered, descendants: :leave))
      Tree.tell(tree, "exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      eventually(fn -> not alive?(Tree.agent(tree)) end)
      assert [_ | _] = left = Tree.leaves(tree)
      Enum.each(left, &Tree.kill(&1, :KILL))
    end
  end

  describe "in a user namespace that was entered" do
    @describetag :root

    for namespaces <- [[:user], [:user, :pid]],
        fault <- [:session_killed, :agent_killed, :guardian_killed, :workload_killed, :link_exits] do
      @tag namespaces: namespaces, fault: fault
      test "with #{inspect(namespaces)}: #{fault}", %{namespaces: namespaces, fault: fault} do
        tree = %{Tree.new(:daemon, grace: @grace) | target: Tree.target(namespaces)}
        before = Footprint.take()
        subject = start(fault, :running, tree, nil)
        refute namespace(Tree.main(subject.tree), :user) == namespace("self", :user)
        strike(fault, subject, before)
        assert_told(fault, result(:running, fault, :daemon), subject)
        assert alive?(tree.target)
      end
    end
  end

  # Where nothing is inherited, who has lost a parent is not known any more.
  test "SIGKILL to a tree leaves nothing, however few descriptors the agent may have" do
    script = "i=0; while [ $i -lt 150 ]; do (sleep MARK & wait) & i=$((i + 1)); done; wait"
    tree = Tree.script(script, 150, orphan: :leave, descendants: :leave)
    {session, tree} = Tree.start(tree)
    {_, 0} = System.cmd("prlimit", ["--pid", "#{Tree.agent(tree)}", "--nofile=64"])
    assert P.signal(session, :sigkill, to: :tree) == :ok
    assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
    Tree.assert_gone(tree)
  end

  describe "orphan: :leave" do
    @describetag opts: [orphan: :leave]

    for {kind, what} <- [daemon: "the workload", init: "one beside an init"] do
      @tag kind: kind
      test "#{what} lives on when the agent is killed", context do
        {session, tree} = Tree.start(Tree.new(context.kind, context.opts))
        Tree.kill(Tree.agent(tree), :KILL)
        assert P.wait(session, 10_000) == {:error, @agent_died}
        assert next_event() == {:linx_process, :error, @killed, :agent_died}
        refute alive?(Tree.agent(tree))
        assert Tree.all_alive?(tree)
      end

      @tag kind: kind
      test "#{what} lives on when the session is killed, and the agent with it", context do
        {session, tree} = Tree.start(Tree.new(context.kind, context.opts))
        port = Tree.port(session)
        Process.unlink(session)
        monitor = Process.monitor(session)
        Process.exit(session, :kill)
        assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, 10_000
        eventually(fn -> Port.info(port) == nil end)
        assert Tree.all_alive?(tree)
        assert alive?(Tree.agent(tree))
        # Then it ends as others do.
        Tree.tell(tree, "exit 0")
        Tree.assert_gone(tree)
      end

      @tag kind: kind
      test "#{what} lives on when the whole BEAM is killed", context do
        {beam, tree} = begin_beam(Tree.new(context.kind, context.opts))
        Tree.kill(beam.os_pid, :KILL)
        eventually(fn -> not alive?(beam.os_pid) end)
        # It even gets something done.
        done = Path.join(tmp_dir(), "done")
        Tree.tell(tree, "sleep 0.2; touch #{done}")
        eventually(fn -> File.exists?(done) end)
        Tree.assert_gone(tree)
      end
    end

    test "a child at the checkpoint never becomes the program", %{opts: opts} do
      tree = Tree.new(:plain, opts)
      {:ok, session} = P.spawn(Tree.options(tree))
      tree = Tree.look(tree, await_ready())
      Tree.kill(Tree.agent(tree), :KILL)
      assert P.wait(session, 10_000) == {:error, @agent_died}
      Tree.assert_gone(tree)
    end

    test "the workload is stopped with its session", %{opts: opts} do
      {session, tree} = Tree.start(Tree.new(:daemon, opts))
      assert P.stop(session) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "what the program leaves behind is killed when it ends", %{opts: opts} do
      {session, tree} = Tree.start(Tree.new(:daemon, opts))
      Tree.tell(tree, "exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      Tree.assert_gone(tree)
    end
  end

  describe "descendants: :leave" do
    @describetag opts: [descendants: :leave]

    for {kind, who} <- [children: "background children", daemon: "a daemon"] do
      @tag kind: kind
      test "#{who} outlive the session", %{kind: kind, opts: opts} do
        {session, tree} = Tree.start(Tree.new(kind, opts))
        leaves = Tree.leaves(tree)
        port = Tree.port(session)
        Tree.tell(tree, "exit 7")
        assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
        assert next_event() == {:linx_process, :exited, 7}
        eventually(fn -> Port.info(port) == nil end)
        assert P.stop(session) == :ok
        refute alive?(Tree.agent(tree))
        assert Enum.sort(Tree.leaves(tree)) == Enum.sort(leaves)
      end
    end

    for {cause, what} <- [agent_killed: "the agent is killed", session_killed: "the session is"] do
      @tag cause: cause
      test "they die all the same when #{what}", %{cause: cause, opts: opts} do
        before = Footprint.take()
        subject = start(cause, :running, Tree.new(:daemon, opts), nil)
        strike(cause, subject, before)
        assert_told(cause, result(:running, cause, :daemon), subject)
      end
    end
  end
end
