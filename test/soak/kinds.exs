defmodule Soak.Kinds do
  @moduledoc false

  # What a session may be. Each is run by a process of its own, which is linked to it and owns it.

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.{Helpers, Tree}

  # Of so many sessions each kind is that many.
  @kinds [
    plain: 20,
    exit_code: 5,
    checkpoint: 10,
    early_commands: 5,
    abort: 10,
    no_program: 5,
    no_directory: 3,
    terminal: 10,
    children: 6,
    daemon: 6,
    signal: 8,
    stop: 5,
    grace: 4,
    dedicated: 5,
    killed_session: 5,
    killed_dedicated: 3,
    killed_agent: 2,
    killed_subreaper: 3,
    linked: 3,
    supervised: 2,
    socket: 4,
    waits: 5,
    environment: 4,
    command: 15,
    command_fed: 8,
    command_that_is_none: 3,
    command_timed_out: 4,
    stream_halted: 6,
    unread: 5,
    pipes_killed: 5,
    files_and_chain: 4,
    sandbox: 6,
    sandbox_killed: 3,
    sandbox_refused: 2,
    held: 10
  ]

  @as_root [enter: 5, enter_without_pid: 3, pid_namespace: 3, net_namespace: 1, namespaces: 1]

  # What takes longer than this hangs.
  @patience 120_000
  # Nobody is to be given up on a machine that is busy.
  @grace 60_000

  def weights(false), do: @kinds
  def weights(true), do: @kinds ++ @as_root

  # The first message like that. All others stay where they are.
  defmacrop await(pattern) do
    quote do
      receive do
        unquote(pattern) = message -> message
      after
        @patience -> raise "what was waited for has not come"
      end
    end
  end

  def run(:plain, _soak) do
    session = spawn!(argv: ["/bin/true"], auto_proceed: true)
    [:ready, :running, {:exited, 0}] = life(session)
  end

  def run(:command, soak) do
    code = Enum.random(0..255)
    {:ok, result} = Linx.run(sh("echo out; echo err >&2; exit #{code}", soak))
    {{:exited, ^code}, "out\n", "err\n"} = {result.status, result.stdout, result.stderr}
  end

  def run(:command_fed, _soak) do
    bytes = :crypto.strong_rand_bytes(Enum.random(0..200_000))
    {^bytes, 0} = Linx.cmd("cat", [], input: bytes)
  end

  def run(:command_that_is_none, soak) do
    {:error, %Error{errno: :enoent}} = Linx.run([soak.dir <> "/missing"])
  end

  def run(:command_timed_out, soak) do
    {:ok, %{timed_out?: true}} =
      Linx.run(sh("sleep 60 & wait", soak), timeout: Enum.random(0..20))
  end

  def run(:stream_halted, soak) do
    [<<_, _::binary>>] = sh("while :; do echo more; done", soak) |> Linx.stream!() |> Enum.take(1)
  end

  def run(:sandbox, _soak) do
    script = "(setsid sleep 60 > /dev/null 2>&1 &) ; id -un; exit 3"
    {:ok, result} = Linx.run(["sh", "-c", script], sandbox: :strict)
    {{:exited, 3}, "sandbox\n"} = {result.status, result.stdout}
  end

  def run(:sandbox_killed, soak), do: kill_session(soak, sandbox: :strict)

  # Half of its place is made by then.
  def run(:sandbox_refused, soak) do
    {:error, %Error{stage: :mount_bind, errno: :enoent}} =
      Linx.run(["true"], sandbox: [read: [soak.dir <> "/missing"]])
  end

  # More than anybody is going to read.
  def run(:unread, soak) do
    argv = sh("head -c 1000000 /dev/zero; sleep 60", soak)
    session = spawn!(argv: argv, stdio: :pipe, auto_proceed: true)
    {:ok, <<0, _::binary>>} = P.recv(session, :stdout)
    :ok = P.cancel(session)
    [:ready, :running, {:signaled, signal}] = life(session)
    true = signal in [9, 15]
  end

  def run(:pipes_killed, soak) do
    opts = [argv: sh("cat; sleep 60", soak), stdio: :pipe, auto_proceed: true, owner: nil]
    {:ok, session} = P.spawn(opts)
    :ok = P.write(session, "some")
    true = Process.unlink(session)
    true = Process.exit(session, :kill)
  end

  def run(:files_and_chain, soak) do
    path = Path.join(soak.dir, "file-#{System.unique_integer([:positive])}")
    opts = [files: [{path, "staged\n"}], chain: [["cat", path], ["rm", path]]]
    {:ok, %{status: {:exited, 0}, stdout: "staged\n"}} = Linx.run(["true"], opts)
  end

  def run(:exit_code, soak) do
    code = Enum.random(1..255)
    session = spawn!(argv: sh("exit #{code}", soak), auto_proceed: true, stdio: :devnull)
    [:ready, :running, {:exited, ^code}] = life(session)
  end

  def run(:checkpoint, _soak) do
    session = spawn!(argv: ["/bin/true"])
    host_pid = ready()
    {:ok, ^host_pid} = P.host_pid(session)
    %Info{stage: :ready, host_pid: ^host_pid, child_pid: ^host_pid} = P.info(session)
    {:error, :timeout} = P.wait(session, 0)
    :ok = P.proceed(session)
    [:running, {:exited, 0}] = life(session)
  end

  def run(:early_commands, soak) do
    session = spawn!(argv: sleep(soak))
    signals = Enum.take_random([:sigusr1, :sigterm, :sigkill], 1)
    for signal <- signals, do: :ok = P.signal(session, signal)
    :ok = P.proceed(session)
    {:ok, number} = Linx.Signal.number(hd(signals))
    [:ready, :running, {:signaled, ^number}] = life(session)
  end

  def run(:abort, soak) do
    session = spawn!(argv: sleep(soak))
    early = Enum.random([true, false])
    unless early, do: ready()
    :ok = P.abort(session)
    events = life(session)
    true = events in if early, do: [[:aborted], [:ready, :aborted]], else: [[:aborted]]
  end

  def run(:no_program, soak) do
    {program, errno} = Enum.random([{soak.dir <> "/missing", :enoent}, {soak.dir, :eacces}])
    session = spawn!(argv: [program], auto_proceed: true)
    {:error, %Error{stage: :execve, errno: ^errno}} = P.wait(session)
    [:ready, {:error, _, :execve}] = life(session)
  end

  def run(:no_directory, _soak) do
    session = spawn!(argv: ["/bin/true"], cwd: "/nowhere", auto_proceed: true)
    [:ready, {:error, 2, :chdir}] = life(session)
  end

  def run(:terminal, soak) do
    script = "read line; echo \"<$line>\"; stty size; exit 3"
    session = spawn!(argv: sh(script, soak), stdio: :pty, auto_proceed: true)
    :ok = P.pty_set_winsize(session, {Enum.random(10..99), 80, 0, 0})
    line = String.duplicate("linx ", Enum.random(1..200))
    :ok = P.pty_write(session, [line, ?\n])
    {:ok, {:exited, 3}} = P.wait(session)
    output = for {:pty_out, bytes} <- events(), into: "", do: bytes
    true = output =~ "<#{String.trim(line)}>\r\n"
    true = output =~ ~r/\d\d 80\r\n$/
    finish(session)
  end

  def run(:children, soak) do
    script = "sleep #{soak.mark} & (sleep #{soak.mark} & sleep #{soak.mark}) & exit 5"
    session = spawn!(argv: sh(script, soak), stdio: :devnull, auto_proceed: true)
    [:ready, :running, {:exited, 5}] = life(session)
  end

  def run(:daemon, soak) do
    daemon = "trap '' HUP INT TERM; sleep #{soak.mark} & exec sleep #{soak.mark}"
    script = "(setsid sh -c \"#{daemon}\" &); exit 6"
    session = spawn!(argv: sh(script, soak), stdio: :devnull, auto_proceed: true)
    [:ready, :running, {:exited, 6}] = life(session)
  end

  def run(:signal, soak) do
    session = spawn!(argv: sleep(soak), auto_proceed: true)
    running()
    number = Enum.random([1, 2, 9, 10, 12, 15])
    :ok = P.signal(session, number, to: Enum.random([:process, :group, :tree]))
    [{:signaled, ^number}] = life(session)
  end

  def run(:stop, soak) do
    script = "sleep #{soak.mark} & exec sleep #{soak.mark}"
    session = spawn!(argv: sh(script, soak), stdio: :devnull, auto_proceed: true)
    if Enum.random([true, false]), do: running()
    :ok = P.stop(session)
    true = List.last(events()) in [:aborted, {:signaled, 15}]
  end

  def run(:grace, soak) do
    script = "trap '' TERM; echo go; while :; do sleep #{soak.mark}; done"
    session = spawn!(argv: sh(script, soak), stdio: :pty, auto_proceed: true)
    running()
    await({:linx_process, :pty_out, _})
    :ok = P.stop(session, grace: Enum.random(0..20))
    {:signaled, 9} = List.last(events())
  end

  def run(:dedicated, _soak) do
    session = spawn!(argv: ["/bin/true"], agent: :dedicated, auto_proceed: true)
    [:ready, :running, {:exited, 0}] = life(session)
  end

  def run(:killed_session, soak), do: kill_session(soak, [])
  def run(:killed_dedicated, soak), do: kill_session(soak, agent: :dedicated)

  def run(:killed_agent, soak) do
    session = spawn!(argv: sleep(soak), agent: :dedicated, auto_proceed: true)
    all = processes(ready())
    running()
    # One of the two lives to see it.
    {pid, _born} = all |> Enum.take(-2) |> Enum.random()
    Tree.kill(pid, :KILL)
    [{:error, 137, :agent_died}] = life(session)
    Enum.each(all, &gone/1)
  end

  def run(:killed_subreaper, soak) do
    session = spawn!(argv: sleep(soak), auto_proceed: true)
    all = [_main, {subreaper, _born} | _agents] = processes(ready())
    running()
    Tree.kill(subreaper, :KILL)
    [{:signaled, 9}] = life(session)
    Enum.each(all, &gone/1)
  end

  def run(:linked, soak) do
    job = self()
    opts = [argv: sleep(soak), owner: job, auto_proceed: true, grace: @grace]

    parent =
      spawn(fn ->
        {:ok, session} = P.spawn(opts)
        send(job, {:session, session})
        Process.sleep(:infinity)
      end)

    {:session, session} = await({:session, _})
    monitor = Process.monitor(session)
    running()
    Process.exit(parent, Enum.random([:kill, :shutdown]))
    await({:DOWN, ^monitor, :process, _, _})
    [{:signaled, 15}] = events()
  end

  def run(:supervised, soak) do
    child = {P, argv: sleep(soak), owner: self(), auto_proceed: true, grace: @grace}
    {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one, max_restarts: 10)
    [{_, session, _, _}] = Supervisor.which_children(supervisor)
    running()
    # Its successor.
    :ok = P.signal(session, 9)
    {:linx_process, :signaled, 9} = await({:linx_process, :signaled, _})
    running()
    :ok = Supervisor.stop(supervisor)
    await({:EXIT, ^supervisor, :normal})
    [{:signaled, 15}] = events() -- [:ready]
  end

  def run(:socket, soak) do
    path = Path.join(soak.dir, "#{System.unique_integer([:positive])}.sock")
    {:ok, listener} = :gen_tcp.listen(0, ifaddr: {:local, path}, mode: :binary, active: false)
    stdio = [stdin: :devnull, stdout: {:connect_unix, path}, stderr: :devnull]
    session = spawn!(argv: sh("echo over; exit 7", soak), stdio: stdio, auto_proceed: true)
    {:ok, socket} = :gen_tcp.accept(listener, @patience)
    {:ok, "over\n"} = :gen_tcp.recv(socket, 0, @patience)
    {:error, :closed} = :gen_tcp.recv(socket, 0, @patience)
    for socket <- [socket, listener], do: :gen_tcp.close(socket)
    File.rm!(path)
    [:ready, :running, {:exited, 7}] = life(session)
  end

  def run(:waits, soak) do
    session = spawn!(argv: sh("sleep 0.0#{Enum.random(0..9)}", soak), auto_proceed: true)

    waiters =
      for _ <- 1..5,
          do: Task.async(fn -> P.wait(session, Enum.random([0, 1, 5, 30, :infinity])) end)

    allowed = [{:error, :timeout}, {:ok, {:exited, 0}}]
    for answer <- Task.await_many(waiters, @patience), do: true = answer in allowed
    [:ready, :running, {:exited, 0}] = life(session)
    for %{pid: pid} <- waiters, do: await({:EXIT, ^pid, :normal})
  end

  def run(:environment, soak) do
    value = String.duplicate("v", Enum.random(100..1_000))
    env = for n <- 1..500, do: "NAME#{n}=#{value}#{n}"
    script = "test \"$NAME1\" = #{value}1 && test \"$NAME500\" = #{value}500 && exit 8"
    session = spawn!(argv: sh(script, soak), env: env, auto_proceed: true)
    [:ready, :running, {:exited, 8}] = life(session)
  end

  # The worker has others meanwhile.
  def run(:held, soak) do
    {stdio, how} = {Enum.random([:devnull, :pty]), Enum.random([:signal, :stop, :link])}
    session = spawn!(argv: sleep(soak), stdio: stdio, auto_proceed: true)
    host_pid = ready()
    running()
    Process.sleep(Enum.random(50..1_000))
    {:ok, ^host_pid} = P.host_pid(session)
    true = Helpers.alive?(host_pid)

    case how do
      :signal ->
        :ok = P.signal(session, 15)
        [{:signaled, 15}] = life(session)

      :stop ->
        :ok = P.stop(session)
        [{:signaled, 15}] = events()

      :link ->
        Process.exit(session, :shutdown)
        await({:EXIT, ^session, :shutdown})
        [{:signaled, 15}] = events()
    end

    false = Helpers.alive?(host_pid)
  end

  def run(:enter, soak) do
    code = Enum.random(0..255)
    {:ok, session} = P.enter(soak.target, argv: sh("exit #{code}", soak), auto_proceed: true)
    [:ready, :running, {:exited, ^code}] = life(session)
  end

  def run(:enter_without_pid, soak) do
    opts = [argv: sleep(soak), namespaces: [:net, :uts], auto_proceed: true, grace: @grace]
    {:ok, session} = P.enter(soak.target, opts)
    running()
    :ok = P.stop(session)
    [{:signaled, 15}] = events()
  end

  def run(:pid_namespace, soak) do
    script = "sleep #{soak.mark} & (setsid sleep #{soak.mark} &) ; exit 4"
    session = spawn!(argv: sh(script, soak), namespaces: [:pid], auto_proceed: true)
    [:ready, :running, {:exited, 4}] = life(session)
  end

  def run(:net_namespace, _soak) do
    session = spawn!(argv: ["/bin/true"], namespaces: [:net])
    ready()
    :ok = if Enum.random([true, false]), do: P.proceed(session), else: P.abort(session)
    true = List.last(life(session)) in [:aborted, {:exited, 0}]
  end

  def run(:namespaces, _soak) do
    all = [:net, :mount, :pid, :uts, :ipc, :cgroup]
    session = spawn!(argv: ["/bin/true"], namespaces: all, auto_proceed: true)
    [:ready, :running, {:exited, 0}] = life(session)
  end

  defp spawn!(opts) do
    {:ok, session} = P.spawn([grace: @grace] ++ opts)
    session
  end

  defp sh(script, soak), do: ["/bin/sh", "-c", "#{script} # #{soak.mark}"]
  defp sleep(soak), do: ["sleep", soak.mark]

  # The events of a session up to its end, and with that the end of the session.
  defp life(session) do
    result = P.wait(session)
    events = events()
    last = List.last(events)

    case result do
      {:ok, ^last} -> :ok
      {:error, %Error{code: code, stage: stage}} -> {:error, ^code, ^stage} = last
    end

    ^result = P.info(session).result
    {:error, :no_process} = P.signal(session, 9)
    finish(session)
    events
  end

  defp finish(session) do
    :ok = P.stop(session)
    [] = events()
  end

  defp ready do
    {:linx_process, :ready, host_pid} = await({:linx_process, :ready, _})
    host_pid
  end

  defp running do
    await({:linx_process, :running})

    receive do
      {:linx_process, :ready, _} -> :ok
    after
      0 -> :ok
    end
  end

  # What has come so far.
  defp events do
    receive do
      {:linx_process, :ready, _} -> [:ready | events()]
      {:linx_process, event} -> [event | events()]
      {:linx_process, event, one} -> [{event, one} | events()]
      {:linx_process, :error, code, stage} -> [{:error, code, stage} | events()]
    after
      0 -> []
    end
  end

  defp kill_session(soak, opts) do
    stdio = Enum.random([:devnull, :pty])
    session = spawn!([argv: sleep(soak), stdio: stdio, auto_proceed: true] ++ opts)
    all = processes(ready())
    if Enum.random([true, false]), do: running()
    Process.exit(session, :kill)
    await({:EXIT, ^session, :killed})
    {:error, :no_process} = P.wait(session)
    Enum.each(all, &gone/1)
    events()
  end

  # The main process, its subreaper, and, but for a host's, the agent and the guardian, each with its birth.
  defp processes(main) do
    above = Enum.take_while(Helpers.ancestors(main), &(Helpers.comm(&1) != "erl_child_setup"))
    for pid <- [main | above] -- Helpers.hosts(), do: {pid, Helpers.born(pid)}
  end

  defp gone({pid, born}) do
    Helpers.eventually(fn -> Helpers.born(pid) != born or Helpers.stat(pid) == "Z" end)
  end
end
