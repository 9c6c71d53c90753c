defmodule Linx.Process.OrphansTest do
  # Nothing is left behind: whatever dies, and whatever the workload has started.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.Tree

  # A session that is taken along abnormally says so in the log.
  @moduletag :capture_log

  @kinds [
    plain: "a plain program",
    children: "background children",
    daemon: "a daemon",
    pid_namespace: "a pid namespace with a daemon",
    pty: "a PTY with a daemon"
  ]

  @causes [
    link_exits: "what the session is linked to exits",
    link_killed: "what the session is linked to is killed",
    session_killed: "the session is killed",
    agent_killed: "the agent is killed",
    agent_stopped: "the agent is stopped, then killed",
    guardian_killed: "the guardian is killed",
    program_exits: "the program exits",
    program_killed: "the program is killed"
  ]

  # Those after which there is a session to ask.
  @survived [
    :agent_killed,
    :agent_stopped,
    :guardian_killed,
    :program_exits,
    :program_killed,
    :child_killed
  ]

  # 128 + SIGKILL, as a shell has it: the exit status of a guardian that was killed, and of one whose
  # agent was.
  @killed 137
  @agent_died %Error{stage: :agent_died, errno: :unknown, code: @killed}

  for {cause, what} <- @causes, {kind, where} <- @kinds do
    @tag cause: cause, kind: kind
    if kind == :pid_namespace, do: @tag(:root)

    test "#{what}: #{where}", %{cause: cause, kind: kind} do
      tree = Tree.new(kind)
      {linked, session} = Tree.start_linked(Tree.options(tree, auto_proceed: true))
      tree = Tree.await(tree, await_ready())
      await_running()
      assert_ends(cause, result(cause, kind), linked, session, tree)
    end
  end

  defp result(:session_killed, _kind), do: :untold
  defp result(:link_exits, :parked), do: {:ok, :aborted}
  defp result(:child_killed, :parked), do: killed_at(:checkpoint)
  # It sees no SIGTERM, so it has its grace and is killed.
  defp result(:link_exits, :stuck), do: killed_at(:execve)
  defp result(:child_killed, :stuck), do: killed_at(:execve)
  # A shell that is pid 1 and has no handler for SIGTERM never sees it.
  defp result(:link_exits, :pid_namespace), do: {:ok, {:signaled, 9}}
  defp result(:link_killed, :pid_namespace), do: {:ok, {:signaled, 9}}
  defp result(:link_exits, _kind), do: {:ok, {:signaled, 15}}
  defp result(:link_killed, _kind), do: {:ok, {:signaled, 15}}
  defp result(:program_exits, _kind), do: {:ok, {:exited, 7}}
  defp result(:program_killed, _kind), do: {:ok, {:signaled, 9}}
  defp result(_agent_or_guardian, _kind), do: {:error, @agent_died}

  defp killed_at(stage), do: {:error, %Error{stage: stage, errno: :eio, code: 5, signal: 9}}

  describe "a child that is not the program yet:" do
    @before_exec [
      link_exits: "what the session is linked to exits",
      session_killed: "the session is killed",
      agent_killed: "the agent is killed",
      guardian_killed: "the guardian is killed",
      child_killed: "it is killed"
    ]

    for {cause, what} <- @before_exec do
      @tag cause: cause
      test "at the checkpoint, #{what}", %{cause: cause} do
        tree = Tree.new(:plain)
        {linked, session} = Tree.start_linked(Tree.options(tree))
        tree = Tree.look(tree, await_ready())
        assert_ends(cause, result(cause, :parked), linked, session, tree)
      end

      @tag cause: cause
      test "stuck on its way to the program, #{what}", %{cause: cause} do
        tree = Tree.new(:plain, stdio: [stdout: {:connect_unix, full_listener()}])
        {linked, session} = Tree.start_linked(Tree.options(tree))
        tree = Tree.look(tree, await_ready())
        descriptors = fn -> length(File.ls!("/proc/#{Tree.main(tree)}/fd")) end
        parked = descriptors.()
        assert P.proceed(session) == :ok
        # One more is the socket that waits to be connected.
        eventually(fn -> descriptors.() == parked + 1 end)
        assert_ends(cause, result(cause, :stuck), linked, session, tree)
      end
    end
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

  # Lets `cause` happen to a session and what belongs to it, and asserts that soon all of that is
  # gone, and that the owner was told the truth about it once.
  defp assert_ends(cause, result, linked, session, tree) do
    monitor = Process.monitor(session)
    die(cause, linked, session, tree)
    Tree.assert_gone(tree)

    if cause in @survived do
      assert P.wait(session, 10_000) == result
      assert %Info{stage: :terminated, result: ^result} = P.info(session)
      assert P.stop(session) == :ok
    end

    assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, 10_000
    # With the session gone nobody is there to send more.
    assert last_events() == List.wrap(last_event(result))
  end

  defp die(:link_exits, linked, _session, _tree), do: send(linked, {:exit, :shutdown})
  defp die(:link_killed, linked, _session, _tree), do: Process.exit(linked, :kill)
  defp die(:session_killed, _linked, session, _tree), do: Process.exit(session, :kill)
  defp die(:agent_killed, _linked, _session, tree), do: Tree.kill(Tree.agent(tree), :KILL)
  defp die(:guardian_killed, _linked, _session, tree), do: Tree.kill(Tree.guardian(tree), :KILL)
  defp die(:program_exits, _linked, _session, tree), do: Tree.tell(tree, "exit 7")
  defp die(:program_killed, _linked, _session, tree), do: Tree.kill(Tree.main(tree), :KILL)
  defp die(:child_killed, _linked, _session, tree), do: Tree.kill(Tree.main(tree), :KILL)

  defp die(:agent_stopped, _linked, _session, tree) do
    Tree.kill(Tree.agent(tree), :STOP)
    Tree.kill(Tree.agent(tree), :KILL)
  end

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

  describe "the whole BEAM is killed:" do
    for {kind, where} <- @kinds do
      @tag kind: kind
      if kind == :pid_namespace, do: @tag(:root)

      test where, %{kind: kind} do
        {beam, tree} = start_beam(Tree.new(kind))
        Tree.kill(beam.os_pid, :KILL)
        Tree.assert_gone(tree)
      end
    end

    test "a child at the checkpoint" do
      {beam, tree} = start_beam(Tree.new(:plain, auto_proceed: false))
      Tree.kill(beam.os_pid, :KILL)
      Tree.assert_gone(tree)
    end

    test "and the agent with it" do
      {beam, tree} = start_beam(Tree.new(:daemon))
      Tree.kill("#{beam.os_pid} #{Tree.agent(tree)}", :KILL)
      Tree.assert_gone(tree)
    end

    test "and the guardian with it" do
      {beam, tree} = start_beam(Tree.new(:daemon))
      Tree.kill("#{beam.os_pid} #{Tree.guardian(tree)}", :KILL)
      Tree.assert_gone(tree)
    end

    test "when it had stopped to read what the workload writes" do
      {beam, tree} = start_beam(Tree.new(:pty, [], "yes MARK &"))
      Tree.kill(beam.os_pid, :STOP)
      # The flood stands still when all the buffers on its way are full.
      eventually(fn -> stands_still?(Tree.agent(tree)) end)
      Tree.kill(beam.os_pid, :KILL)
      Tree.assert_gone(tree)
    end
  end

  describe "the whole BEAM" do
    test "halts" do
      {beam, tree} = start_beam(Tree.new(:daemon))
      Port.command(beam.port, "halt\n")
      Tree.assert_gone(tree)
    end

    test "is told to stop" do
      {beam, tree} = start_beam(Tree.new(:daemon))
      Tree.kill(beam.os_pid, :TERM)
      # It takes its time for that.
      eventually(fn -> not alive?(beam.os_pid) end)
      Tree.assert_gone(tree)
    end
  end

  # Another BEAM, with a session of its own. It halts when it reads a line, or when this one is gone.
  defp start_beam(tree) do
    opts = Tree.options(tree, Keyword.merge([auto_proceed: true, owner: nil], tree.opts))

    {stage, see} =
      if opts[:auto_proceed],
        do: {:running, &Tree.await/2},
        else: {:ready, &Tree.look/2}

    [elixir | args] = beam_argv(opts, stage, "IO.gets(\"\"); System.halt(0)")
    env = [{~c"LINX_AGENT", String.to_charlist(Linx.Agent.Binary.path())}]
    options = [:binary, line: 1_000, args: args, env: env]
    port = Port.open({:spawn_executable, elixir}, options)
    [os_pid, host_pid] = read_pids(port)
    on_exit(fn -> Tree.kill(os_pid, :KILL) end)
    {%{port: port, os_pid: os_pid}, see.(tree, host_pid)}
  end

  # A BEAM that starts a session, writes its own pid and the workload's when that has come to
  # `stage`, and goes on with `code`.
  defp beam_argv(opts, stage, code \\ "Process.sleep(:infinity)") do
    code = """
    {:ok, session} = Linx.Process.spawn(#{inspect(opts, limit: :infinity, printable_limit: :infinity)})
    info = fn -> Process.sleep(5) && Linx.Process.info(session) end
    %{host_pid: host_pid} = Enum.find(Stream.repeatedly(info), & &1.stage == #{inspect(stage)})
    IO.puts("pids \#{System.pid()} \#{host_pid}")
    #{code}
    """

    ebin = Path.join(:code.lib_dir(:linx), "ebin")
    [System.find_executable("elixir"), "--erl", "+S 1", "-pa", ebin, "-e", code]
  end

  defp read_pids(port) do
    assert_receive {^port, {:data, {:eol, line}}}, 20_000

    case String.split(line) do
      ["pids" | pids] -> Enum.map(pids, &String.to_integer/1)
      _something_else -> read_pids(port)
    end
  end

  defp stands_still?(pid) do
    written = fn -> File.read!("/proc/#{pid}/io") end
    before = written.()
    Process.sleep(50)
    written.() == before
  end

  test "the agent is asked to end by SIGTERM, and ends its workload before" do
    {session, tree} = Tree.start(Tree.new(:daemon))
    Tree.kill(Tree.agent(tree), :TERM)
    assert {:error, %Error{stage: :agent_died}} = P.wait(session, 10_000)
    Tree.assert_reaped(tree)
  end

  describe "in a pid namespace that was entered:" do
    @describetag :root

    setup do
      # A shell that waits reaps what it inherits, too, as pid 1 should.
      argv = ["/bin/sh", "-c", "while :; do sleep 0.1; done"]
      opts = [argv: argv, namespaces: [:pid], stdio: :devnull, auto_proceed: true]
      {:ok, target} = P.spawn(opts)
      target_pid = await_ready()
      await_running()
      %{target: target, target_pid: target_pid}
    end

    for {cause, what} <- @causes,
        {kind, who} <- [children: "background children", daemon: "a daemon"] do
      @tag cause: cause, kind: kind
      test "#{what}: #{who}", %{cause: cause, kind: kind, target_pid: target_pid} do
        tree = Tree.new(kind)
        opts = Tree.options(tree, auto_proceed: true)
        {linked, session} = Tree.start_linked(opts, &P.enter(target_pid, &1))
        tree = Tree.await(tree, await_ready())
        await_running()
        assert_ends(cause, result(cause, kind), linked, session, tree)
        assert alive?(target_pid)
      end
    end

    test "it ends with its pid 1", %{target: target, target_pid: target_pid} do
      tree = Tree.new(:daemon)
      {:ok, session} = P.enter(target_pid, Tree.options(tree, auto_proceed: true))
      tree = Tree.await(tree, await_ready())
      await_running()
      Process.unlink(target)
      Process.exit(target, :kill)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
    end

    test "it ends with its subreaper, and so do its children", %{target_pid: target_pid} do
      tree = Tree.new(:children)
      {:ok, session} = P.enter(target_pid, Tree.options(tree, auto_proceed: true))
      tree = Tree.await(tree, await_ready())
      await_running()
      subreaper = tree |> Tree.main() |> parent()
      refute subreaper == Tree.agent(tree)
      Tree.kill(subreaper, :KILL)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
    end

    test "SIGKILL to its tree leaves nothing", %{target_pid: target_pid} do
      tree = Tree.new(:daemon)
      {:ok, session} = P.enter(target_pid, Tree.options(tree, auto_proceed: true))
      tree = Tree.await(tree, await_ready())
      await_running()
      assert P.signal(session, :sigkill, to: :tree) == :ok
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
      Tree.assert_reaped(tree)
    end

    test "what it leaves may stay", %{target_pid: target_pid} do
      tree = Tree.new(:daemon, descendants: :leave)
      {:ok, session} = P.enter(target_pid, Tree.options(tree, auto_proceed: true))
      tree = Tree.await(tree, await_ready())
      await_running()
      Tree.tell(tree, "exit 7")
      assert P.wait(session, 10_000) == {:ok, {:exited, 7}}
      eventually(fn -> not alive?(Tree.agent(tree)) end)
      assert [_ | _] = left = Tree.leaves(tree)
      Enum.each(left, &Tree.kill(&1, :KILL))
    end
  end

  describe "orphan: :leave" do
    @describetag opts: [orphan: :leave]

    test "the workload lives on when the agent is killed", %{opts: opts} do
      {session, tree} = Tree.start(Tree.new(:daemon, opts))
      Tree.kill(Tree.agent(tree), :KILL)
      assert P.wait(session, 10_000) == {:error, @agent_died}
      assert next_event() == {:linx_process, :error, @killed, :agent_died}
      refute alive?(Tree.agent(tree))
      assert Tree.all_alive?(tree)
    end

    test "it lives on when the session is killed, and the agent with it", %{opts: opts} do
      {session, tree} = Tree.start(Tree.new(:daemon, opts))
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

    test "it lives on when the whole BEAM is killed", %{opts: opts} do
      {beam, tree} = start_beam(Tree.new(:daemon, opts))
      Tree.kill(beam.os_pid, :KILL)
      eventually(fn -> not alive?(beam.os_pid) end)
      # It even gets something done.
      done = Path.join(tmp_dir(), "done")
      Tree.tell(tree, "sleep 0.2; touch #{done}")
      eventually(fn -> File.exists?(done) end)
      Tree.assert_gone(tree)
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
        tree = Tree.new(:daemon, opts)
        {linked, session} = Tree.start_linked(Tree.options(tree, auto_proceed: true))
        tree = Tree.await(tree, await_ready())
        await_running()
        assert_ends(cause, result(cause, :daemon), linked, session, tree)
      end
    end
  end

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

    test "kills its agent" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "kill -9 $PPID; exec sleep MARK")
      assert P.wait(session, 10_000) == {:error, @agent_died}
      Tree.assert_gone(tree)
    end

    test "kills its guardian" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "kill -9 #{Tree.guardian(tree)}; exec sleep MARK")
      assert P.wait(session, 10_000) == {:error, @agent_died}
      Tree.assert_gone(tree)
    end

    test "stops its agent, which goes on" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      Tree.tell(tree, "kill -STOP $PPID; exit 7")
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

    test "ignores SIGTERM is killed after the grace" do
      {session, tree} = Tree.start(Tree.new(:children, [], "trap '' TERM"))
      assert P.stop(session, grace: 100) == :ok
      Tree.assert_reaped(tree)
      assert next_event() == {:linx_process, :signaled, 9}
    end

    test "does not reap its children leaves their zombies to nobody" do
      {session, tree} = Tree.start(Tree.new(:plain))
      Tree.tell(tree, "sleep 0 & exec sleep MARK")
      main = Tree.main(tree)
      zombie = fn -> Enum.find(Tree.children(main), &(stat(&1) == "Z")) end
      zombie = eventually(zombie)
      P.signal(session, 9)
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
      assert stat(zombie) == nil
    end

    test "makes orphans leaves no zombies while it runs" do
      orphans = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0 &); done"
      {_session, tree} = Tree.start(Tree.new(:children, [], orphans))
      eventually(fn -> Tree.children(Tree.agent(tree)) == [Tree.main(tree)] end)
    end

    test "is a BEAM with a session of its own" do
      inner = Tree.new(:daemon)
      argv = beam_argv(Tree.options(inner, auto_proceed: true, owner: nil), :running)
      env = [{"LINX_AGENT", Linx.Agent.Binary.path()}]
      stdio = [stdin: :devnull, stdout: :devnull]
      {:ok, session} = P.spawn(argv: argv, auto_proceed: true, env: env, stdio: stdio)
      tree = Tree.await(inner, await_ready())
      Tree.kill(Tree.agent(tree), :KILL)
      Tree.assert_gone(tree)
      assert P.wait(session, 10_000) == {:error, @agent_died}
    end

    @flood "yes MARK | head -c 50000000; sleep MARK"

    for {cause, what} <- @causes, cause not in [:link_killed, :agent_stopped, :program_exits] do
      @tag cause: cause
      test "floods its PTY while nobody reads: #{what}", %{cause: cause} do
        idle = spawn_link(fn -> Process.sleep(:infinity) end)
        tree = Tree.new(:pty)
        {linked, session} = Tree.start_linked(Tree.options(tree, auto_proceed: true))
        tree = Tree.await(tree, await_ready())
        P.set_owner(session, idle)
        Tree.tell(tree, @flood)
        eventually(fn -> idle |> Process.info(:message_queue_len) |> elem(1) > 50 end)
        die(cause, linked, session, tree)
        Tree.assert_gone(tree)
        result = result(cause, :pty)
        if cause in @survived, do: assert(P.wait(session, 10_000) == result)
      end
    end
  end
end

defmodule Linx.Process.OrphansForkingTest do
  # Workloads that fork as fast as they can. They want the machine to themselves; and if nobody ends
  # them, they end by themselves.
  use ExUnit.Case, async: false

  alias Linx.Process, as: P
  alias Linx.Test.Tree

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

  for {what, setup} <- [{"passes itself on", @chains}, {"grows", @growth}],
      cause <- [:stop, :session_killed, :agent_killed, :guardian_killed, :program_killed] do
    @tag cause: cause, setup: setup
    test "a workload that #{what}, #{cause}", %{cause: cause, setup: setup} do
      {session, tree} = Tree.start(Tree.new(:children, [], setup))
      Process.unlink(session)
      die(cause, session, tree)
      Tree.assert_gone(tree)
    end
  end

  defp die(:stop, session, _tree), do: assert(P.stop(session, grace: 50) == :ok)
  defp die(:session_killed, session, _tree), do: Process.exit(session, :kill)
  defp die(:agent_killed, _session, tree), do: Tree.kill(Tree.agent(tree), :KILL)
  defp die(:guardian_killed, _session, tree), do: Tree.kill(Tree.guardian(tree), :KILL)
  defp die(:program_killed, _session, tree), do: Tree.kill(Tree.main(tree), :KILL)
end
