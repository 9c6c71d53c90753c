defmodule Linx.Test.Tree do
  @moduledoc false

  # Workloads of several processes, watched from outside: all that such a workload starts carries a
  # number of its own in its command line, so that /proc tells what is left of it.

  import ExUnit.Assertions
  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Test.Rogue

  # How long birth and death may take on a machine with other things to do.
  @patience 10_000

  defstruct [:mark, :argv, :opts, :target, :leaves, :fifo, :ready, seen: [], agents: []]

  @doc """
  A workload of this kind, whose main process waits until `tell/2` says what to do.

    * `:plain` – one process;
    * `:children` – with background children, and children of theirs;
    * `:daemon` – with a daemon: forked twice, in a session of its own, deaf to SIGTERM, and itself
      with a child;
    * `:pid_namespace` – with children and a daemon, in a PID namespace, of which it is pid 1;
    * `:init` – likewise, but beside an init, in a user namespace of its own for want of rights;
    * `:entered` – with children and a daemon, in a PID namespace that belongs to another session;
    * `:pty` – with children and a daemon, on a PTY.

  `setup` is shell code that its main process runs first; the word MARK in it becomes the number
  that marks this tree. `opts` are options of `Linx.Process.spawn/1`.
  """
  def new(kind, opts \\ [], setup \\ "") do
    dir = tmp_dir()
    {fifo, ready} = {Path.join(dir, "fifo"), Path.join(dir, "ready")}
    {_, 0} = System.cmd("mkfifo", [fifo])
    {started, leaves} = family(kind)

    script = """
    #{setup}
    #{started}
    : > #{ready}
    read line < #{fifo}
    eval "$line"
    """

    tree = script(script, leaves, Keyword.merge(defaults(kind), opts))
    %{tree | fifo: fifo, ready: ready, target: if(kind == :entered, do: target())}
  end

  @doc """
  A process to enter: the main process of another session, by default pid 1 of a PID namespace.
  """
  def target(namespaces \\ [:pid]) do
    # A shell that waits reaps what it inherits, too, as pid 1 should.
    argv = ["/bin/sh", "-c", "while :; do sleep 0.1; done"]
    opts = [namespaces: namespaces, stdio: :devnull, owner: nil, auto_proceed: true]
    # It has nothing to do with what happens to the agents of others.
    {:ok, session} = P.spawn([argv: argv, agent: :dedicated] ++ opts)
    eventually(fn -> P.info(session).stage == :running end)
    {:ok, host_pid} = P.host_pid(session)
    host_pid
  end

  @doc """
  A workload that is this shell script. It is complete when it has started so many `leaves`, which
  are processes that run `sleep MARK`.
  """
  def script(script, leaves, opts) do
    mark = mark()
    ExUnit.Callbacks.on_exit(fn -> Enum.each(processes(mark), &kill(&1, :KILL)) end)
    # The comment marks the main process, whatever it is.
    argv = ["/bin/sh", "-c", String.replace(script <> "\n# MARK", "MARK", mark)]

    %__MODULE__{
      mark: mark,
      argv: argv,
      leaves: leaves,
      opts: Keyword.merge([stdio: :devnull], opts)
    }
  end

  @doc "The same tree, whose main process commits `deeds` first."
  def committing(tree, deeds), do: %{tree | argv: Rogue.commits(deeds, tree.argv)}

  @doc "Function and arguments of `Linx.Process` that start it."
  def start_args(%{target: nil} = tree, opts), do: {:spawn, [options(tree, opts)]}
  def start_args(tree, opts), do: {:enter, [tree.target, options(tree, opts)]}

  @doc "What `Linx.Process.spawn/1` needs to start it."
  def options(tree, opts \\ []) do
    [argv: tree.argv] |> Keyword.merge(tree.opts) |> Keyword.merge(opts)
  end

  @doc "Waits until everything it starts is there, and then looks as `look/2` does."
  def await(tree, host_pid) do
    complete? = fn ->
      (tree.ready == nil or File.exists?(tree.ready)) and length(leaves(tree)) == tree.leaves
    end

    eventually(complete?, now() + 3 * @patience)
    look(tree, host_pid)
  end

  @doc """
  Makes the tree know its processes, and those between `host_pid`, its main process, and the BEAM.
  """
  def look(tree, host_pid) do
    # Between the workload and the BEAM's helper are, from there on, the guardian and the agent. A
    # workload that may outlive its agent has no guardian.
    above = host_pid |> ancestors() |> Enum.take_while(&(not beam?(&1)))
    agents = Enum.take(above, if(tree.opts[:orphan] == :leave, do: -1, else: -2))
    # A host has the descendants of others, too.
    top = if host?(hd(agents)), do: Enum.at([host_pid | above -- agents], -1), else: hd(agents)
    subreapers = above -- agents
    ours = [host_pid | subreapers] ++ descendants(top, families()) ++ processes(tree.mark)

    # What may outlive its agent has a subreaper that does not.
    if tree.opts[:orphan] == :leave,
      do: %{
        tree
        | seen: identify(Enum.reject(ours, &(&1 in subreapers))),
          agents: identify(agents ++ subreapers)
      },
      else: %{tree | seen: identify(ours), agents: identify(agents)}
  end

  defp host?(agent) do
    agent in hosts() or File.read!("/proc/#{agent}/cmdline") =~ "\0--host\0"
  end

  @doc "The main process."
  def main(%{seen: [{pid, _born} | _]}), do: pid

  @doc "The process between that and the agent."
  def subreaper(%{seen: [_main, {pid, _born} | _]}), do: pid

  @doc "The agent of the workload."
  def agent(%{agents: [{pid, _born} | _guardian]}), do: pid

  @doc "The process that the BEAM knows as its port."
  def guardian(%{agents: [_agent, {pid, _born}]}), do: pid

  @doc "Starts it, owned by the caller, and waits until everything is there."
  def start(tree) do
    {function, args} = start_args(tree, auto_proceed: true)
    {:ok, session} = apply(P, function, args)
    host_pid = await_ready()
    await_running()
    {session, await(tree, host_pid)}
  end

  @doc "The port of a session."
  def port(session) do
    [port] = Enum.filter(Port.list(), &(Port.info(&1, :connected) == {:connected, session}))
    port
  end

  @doc """
  Starts it with a session whose owner is the caller, but which is linked to nobody but the process returned
  with it. That one exits with `reason` when it is sent `{:exit, reason}`.
  """
  def start_linked(tree, opts \\ []) do
    owner = self()
    {function, args} = start_args(tree, [owner: owner] ++ opts)

    linked =
      spawn(fn ->
        send(owner, {:session, apply(P, function, args)})

        receive do
          {:exit, reason} -> exit(reason)
        end
      end)

    ExUnit.Callbacks.on_exit(fn -> Process.exit(linked, :kill) end)
    assert_receive {:session, {:ok, session}}, @patience
    {linked, session}
  end

  @doc "Has the main process run this line of shell code as its last one; MARK in it is as in `new/3`."
  def tell(tree, line) do
    line = String.replace(line, "MARK", tree.mark)
    write = ["/bin/sh", "-c", "echo \"$1\" > #{tree.fifo}", "sh", line]
    # A main process that is gone would never open the other end.
    {_, 0} = System.cmd("timeout", ["10" | write])
    :ok
  end

  @doc "Those of the processes that it knows which are still there, zombies and agents among them."
  def remaining(tree) do
    Enum.filter(tree.seen, &exists?/1) ++ remaining_agents(tree)
  end

  @doc "Whether no agent of it is left, but for a host that is still in use."
  def agents_gone?(tree), do: remaining_agents(tree) == []

  # A host is to be there after one of its sessions, but not when it has lost its port.
  defp remaining_agents(tree) do
    with [_ | _] = agents <- Enum.filter(tree.agents, &remains?/1) do
      hosts = hosts()
      Enum.reject(agents, fn {pid, _born} -> pid in hosts end)
    end
  end

  @doc "Whether all processes that were there when it was complete are alive."
  def all_alive?(tree) do
    Enum.all?(tree.seen, fn {pid, _born} = process -> exists?(process) and alive?(pid) end)
  end

  @doc "Whether none of them exists, not even as a zombie."
  def all_gone?(tree), do: not Enum.any?(tree.seen, &exists?/1)

  @doc "Asserts that nothing of the workload exists at this moment, not even a zombie."
  def assert_reaped(tree) do
    assert describe(left(tree)) == []
  end

  @doc "Asserts that soon nothing of it exists, neither a zombie of it nor an agent."
  def assert_gone(tree, deadline \\ now() + @patience) do
    # Looking at those that are known is cheaper than looking for others.
    ours = if tree.opts[:orphan] == :leave, do: &remains?/1, else: &exists?/1
    await_empty(fn -> Enum.filter(tree.seen, ours) end, deadline)
    await_empty(fn -> identify(processes(tree.mark)) end, deadline)
    await_empty(fn -> remaining_agents(tree) end, deadline)
  end

  @doc """
  The argv of a BEAM that starts it, writes its own pid and the main process's when that has come to
  `stage`, and goes on with `code`. At the stage `:exec` it has just been let go.
  """
  def beam_argv(tree, stage, code \\ "Process.sleep(:infinity)") do
    {function, args} = start_args(tree, auto_proceed: stage == :running, owner: nil)
    args = Enum.map_join(args, ", ", &inspect(&1, limit: :infinity, printable_limit: :infinity))
    parked = "info.stage == :ready"

    {reached, go} =
      case stage do
        :checkpoint -> {parked, ""}
        :exec -> {parked, ":ok = Linx.Process.proceed(session)"}
        :running -> {"info.stage == :running", ""}
      end

    code = """
    {:ok, _started} = Application.ensure_all_started(:linx)
    Application.put_env(:linx, :agent, #{inspect(Application.fetch_env!(:linx, :agent))})
    {:ok, session} = Linx.Process.#{function}(#{args})
    look = fn -> Process.sleep(5) && Linx.Process.info(session) end
    info = Enum.find(Stream.repeatedly(look), fn info -> #{reached} end)
    #{go}
    IO.puts("pids \#{System.pid()} \#{info.host_pid}")
    #{code}
    """

    ebin = Path.join(:code.lib_dir(:linx), "ebin")
    [System.find_executable("elixir"), "--erl", "+S 1", "-pa", ebin, "-e", code]
  end

  @doc "Sends a signal, named as kill(1) does; `pids` may be several, with spaces between them."
  def kill(pids, signal) do
    System.cmd("/bin/sh", ["-c", "kill -#{signal} #{pids}"], stderr_to_stdout: true)
    :ok
  end

  @doc "The same, to processes that are there."
  def kill!(pids, signal) do
    assert {"", 0} ==
             System.cmd("/bin/sh", ["-c", "kill -#{signal} #{pids}"], stderr_to_stdout: true)
  end

  @doc "The pids of the processes that do nothing but to be there, `sleep MARK`."
  def leaves(tree) do
    leaf = "sleep\0#{tree.mark}\0"
    Enum.filter(processes(tree.mark), &(File.read("/proc/#{&1}/cmdline") == {:ok, leaf}))
  end

  # What each kind starts, and how many leaves that has.

  defp family(:plain), do: {"", 0}
  defp family(:children), do: {"sleep MARK & (sleep MARK & sleep MARK) &", 3}

  defp family(:daemon) do
    daemon = "cd /; exec </dev/null >/dev/null 2>&1; sleep MARK & exec sleep MARK"
    {"(trap '' HUP INT TERM; setsid sh -c '#{daemon}' &)", 2}
  end

  defp family(kind) when kind in [:pid_namespace, :init, :entered, :pty] do
    {children, some} = family(:children)
    {daemon, more} = family(:daemon)
    {children <> "\n" <> daemon, some + more}
  end

  defp defaults(:pid_namespace), do: [namespaces: [:pid], grace: 200]
  defp defaults(:init), do: [grace: 200] ++ beside_init()
  defp defaults(:pty), do: [stdio: :pty, grace: 200]
  defp defaults(_kind), do: [grace: 200]

  # Processes, each with the time of its birth: a pid alone may become another's.

  defp identify(pids) do
    for pid <- Enum.uniq(pids), born = born(pid), do: {pid, born}
  end

  defp left(tree) do
    Enum.uniq(Enum.filter(tree.seen, &exists?/1) ++ identify(processes(tree.mark)))
  end

  defp exists?({pid, born}), do: born(pid) == born

  # One that has lost its parent is reaped by pid 1 of the machine, in its own time.
  defp remains?({pid, _born} = process) do
    exists?(process) and not (stat(pid) == "Z" and stat_field(pid, 1) == "1")
  end

  defp beam?(pid), do: comm(pid) == "erl_child_setup"

  defp families do
    pids = for name <- File.ls!("/proc"), name =~ ~r/^\d+$/, do: String.to_integer(name)
    parents = for pid <- pids, parent = stat_field(pid, 1), do: {String.to_integer(parent), pid}
    Enum.group_by(parents, &elem(&1, 0), &elem(&1, 1))
  end

  defp descendants(pid, families) do
    children = Map.get(families, pid, [])
    children ++ Enum.flat_map(children, &descendants(&1, families))
  end

  defp await_empty(fun, deadline) do
    case fun.() do
      [] ->
        :ok

      left ->
        if now() > deadline, do: flunk("still there: #{inspect(describe(left))}")
        Process.sleep(5)
        await_empty(fun, deadline)
    end
  end

  @doc "What can be said of processes that should be gone, one line each."
  def describe(processes) do
    for {pid, _born} <- processes do
      case File.read("/proc/#{pid}/cmdline") do
        {:ok, line} -> "#{pid} #{stat(pid)} #{String.replace(line, "\0", " ")}"
        {:error, _reason} -> "#{pid}, gone meanwhile"
      end
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
