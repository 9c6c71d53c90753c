defmodule Linx.Cgroup.OwnTest do
  # Cgroups that sessions have for themselves, in the machine's own tree.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Cgroup
  alias Linx.Cgroup.{Own, Stats}
  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.Tree

  @moduletag :capture_log

  # What another test's session had is no business of the next one.
  setup do
    eventually(fn -> keepers() == 0 end)
    :ok
  end

  # A session that has come to its checkpoint, with its cgroup, which is there and has nobody but the child.
  defp start(argv, opts \\ []) do
    {:ok, session} = P.spawn([argv: argv, cgroup: [], stdio: :devnull] ++ opts)
    pid = await_ready()
    %Info{cgroup: path, cgroup_stats: nil} = P.info(session)
    assert Cgroup.procs(path) == {:ok, [pid]}
    {session, path, pid}
  end

  defp run(session) do
    :ok = P.proceed(session)
    await_running()
  end

  # The cgroup of a process, as a directory.
  defp cgroup_of(pid) do
    {:ok, root} = Cgroup.root()
    [_, path] = Regex.run(~r/^0::(.*)$/m, File.read!("/proc/#{pid}/cgroup"))
    Path.join(root, path)
  end

  # As they are in a name.
  defp namespaces do
    Enum.map_join(["pid", "time"], "-", &File.stat!("/proc/self/ns/#{&1}").inode)
  end

  defp keepers, do: DynamicSupervisor.count_children(Linx.Cgroup.Keepers).active

  describe "a program with a cgroup of its own" do
    @describetag :root

    for agent <- [:host, :dedicated] do
      test "is born in it, and it goes with the program (#{agent})" do
        {:ok, result} = Linx.run(["cat", "/proc/self/cgroup"], cgroup: [], agent: unquote(agent))
        {:ok, place} = Cgroup.current()

        assert [_, name] =
                 Regex.run(~r"^0::.*/(linx-\d+-\d+-#{System.pid()}-\d+-\d+)$"m, result.stdout)

        refute File.exists?(Path.join(place, name))
        assert %Stats{cpu: %{usage: usage}} = result.cgroup_stats
        assert usage > 0
        assert keepers() == 0
      end
    end

    test "can be asked for what it uses meanwhile, and afterwards" do
      {session, path, pid} = start(["sleep", "1000"])
      run(session)
      assert cgroup_of(pid) == path
      assert {:ok, %Stats{cpu: %{usage: _}}} = Cgroup.stats(path)
      assert P.cancel(session, 0) == :ok
      assert {:ok, {:signaled, _}} = P.wait(session)
      assert %Info{cgroup: ^path, cgroup_stats: %Stats{cpu: %{usage: usage}}} = P.info(session)
      assert usage > 0
      P.stop(session)
    end

    test "has none of another's" do
      {one, first, _pid} = start(["sleep", "1000"])
      {other, second, _pid} = start(["sleep", "1000"])
      assert first != second
      assert keepers() == 2
      P.stop(one)
      refute File.exists?(first)
      assert File.exists?(second)
      P.stop(other)
      refute File.exists?(second)
    end

    test "takes along the cgroups that it has made itself" do
      {session, path, _pid} = start(["sh", "-c", "exec sleep 1000"])
      run(session)
      {:ok, inner} = Cgroup.create(Path.join(path, "inner"))
      port = Port.open({:spawn_executable, "/bin/sleep"}, args: ["1000"])
      {:os_pid, pid} = Port.info(port, :os_pid)
      :ok = Cgroup.add(inner, pid)
      :ok = P.stop(session)
      refute File.exists?(path)
      refute alive?(pid)
    end

    test "may be frozen when its session ends" do
      {session, path, pid} = start(["sleep", "1000"], grace: 50)
      run(session)
      :ok = Cgroup.freeze(path)
      :ok = P.stop(session)
      refute File.exists?(path)
      refute alive?(pid)
    end

    test "may enter the namespaces of another" do
      {:ok, session} = P.enter(Tree.target(), argv: ["true"], cgroup: [], stdio: :devnull)
      pid = await_ready()
      %Info{cgroup: path} = P.info(session)
      assert Cgroup.procs(path) == {:ok, [pid]}
      run(session)
      assert P.wait(session) == {:ok, {:exited, 0}}
      refute File.exists?(path)
    end

    test "may be a daemon, and goes with that" do
      mark = mark()
      {:ok, daemon} = Linx.Daemon.start_link(argv: ["sleep", mark], cgroup: [])
      [pid] = eventually(fn -> match?([_], running(mark)) and running(mark) end)
      path = cgroup_of(pid)
      assert Path.basename(path) =~ ~r/\Alinx-\d+-\d+-#{System.pid()}-/
      GenServer.stop(daemon)
      refute File.exists?(path)
    end

    test "is one of many at the same time" do
      results =
        1..40
        |> Task.async_stream(fn _ -> Linx.run(["cat", "/proc/self/cgroup"], cgroup: []) end)
        |> Enum.map(fn {:ok, {:ok, result}} -> result.stdout end)

      assert results |> Enum.uniq() |> length() == 40
      assert keepers() == 0
    end
  end

  defp running(mark) do
    for %{argv: [_sleep, ^mark], stage: :running, host_pid: pid} <- Linx.list(), do: pid
  end

  # At whatever moment, and whoever is the cause: who has been told the end does not find the cgroup.
  @ends [
    exits: :running,
    signal: :running,
    stop: :running,
    cancel: :running,
    timeout: :running,
    link: :running,
    agent_killed: :running,
    abort: :checkpoint,
    stop: :checkpoint,
    agent_killed: :checkpoint,
    refused: :checkpoint
  ]

  for agent <- [:host, :dedicated], {how, stage} <- @ends do
    @tag :root
    @tag how: how, stage: stage, agent: agent
    test "it is gone with a session that ends by #{how} (#{stage}, #{agent})", context do
      opts = [agent: context.agent, grace: 50]
      opts = if context.how == :timeout, do: [timeout: 300] ++ opts, else: opts
      opts = if context.how == :refused, do: [cwd: "/nowhere"] ++ opts, else: opts
      argv = if context.how == :exits, do: ["true"], else: ["sleep", "1000"]
      {session, path, pid} = start(argv, opts)
      if context.stage == :running and context.how != :exits, do: run(session)
      finish(context.how, session, pid)
      refute File.exists?(path)
      refute alive?(pid)
      eventually(fn -> keepers() == 0 end)
    end
  end

  defp finish(:exits, session, _pid) do
    run(session)
    assert P.wait(session) == {:ok, {:exited, 0}}
  end

  defp finish(:signal, session, _pid) do
    :ok = P.signal(session, :sigkill)
    assert P.wait(session) == {:ok, {:signaled, 9}}
  end

  defp finish(:stop, session, _pid), do: assert(P.stop(session) == :ok)

  defp finish(:cancel, session, _pid) do
    :ok = P.cancel(session, 0)
    assert {:ok, {:signaled, _}} = P.wait(session)
  end

  defp finish(:timeout, session, _pid), do: assert({:ok, {:signaled, 15}} = P.wait(session))

  # What it is linked to fails.
  defp finish(:link, session, _pid) do
    Process.flag(:trap_exit, true)
    Process.exit(session, :boom)
    assert_receive {:EXIT, ^session, :boom}
  end

  defp finish(:agent_killed, session, pid) do
    Tree.kill!(agent_of(pid), :KILL)
    assert {:error, %Error{stage: :agent_died}} = P.wait(session)
  end

  defp finish(:abort, session, _pid) do
    :ok = P.abort(session)
    assert P.wait(session) == {:ok, :aborted}
  end

  defp finish(:refused, session, _pid) do
    :ok = P.proceed(session)
    assert {:error, %Error{stage: :chdir, errno: :enoent}} = P.wait(session)
  end

  describe "nobody has to be there to remove it:" do
    @describetag :root

    for agent <- [:host, :dedicated], stage <- [:running, :checkpoint] do
      test "the session may be killed (#{stage}, #{agent})" do
        {session, path, pid} = start(["sleep", "1000"], agent: unquote(agent))
        if unquote(stage) == :running, do: run(session)
        Process.unlink(session)
        Process.exit(session, :kill)
        eventually(fn -> not File.exists?(path) end)
        refute alive?(pid)
        eventually(fn -> keepers() == 0 end)
      end
    end

    test "the session may be killed at any moment" do
      {:ok, place} = Cgroup.current()
      "linx" <> _ = beam = "linx-#{namespaces()}-#{System.pid()}-"

      for microseconds <- Enum.take_every(0..6_000, 100) do
        {:ok, session} = P.spawn(argv: ["sleep", "1000"], cgroup: [], owner: nil)
        Process.unlink(session)
        wait_until(System.monotonic_time(:microsecond) + microseconds)
        Process.exit(session, :kill)
      end

      eventually(fn -> keepers() == 0 end)
      assert Enum.filter(File.ls!(place), &String.starts_with?(&1, beam)) == []
    end

    test "the keeper may be killed; then another BEAM does it" do
      {session, path, _pid} = start(["sleep", "1000"])
      Process.exit(:sys.get_state(session).keeper, :kill)
      eventually(fn -> keepers() == 0 end)
      assert P.stop(session) == :ok
      assert File.exists?(path)
      # It is not stale as long as this one is there.
      Own.sweep(Path.dirname(path))
      assert Cgroup.delete(path) == :ok
    end

    test "the BEAM may stop" do
      {beam, path} = start_beam()
      Tree.kill(beam, :TERM)
      eventually(fn -> not alive?(beam) end)
      refute File.exists?(path)
    end

    test "the BEAM may be killed; then the next one does it" do
      {beam, path} = start_beam()
      Tree.kill(beam, :KILL)
      eventually(fn -> not alive?(beam) end)
      {another, _path} = start_beam()
      eventually(fn -> not File.exists?(path) end)
      Tree.kill(another, :KILL)
      eventually(fn -> not alive?(another) end)
      Own.sweep(Path.dirname(path))
    end
  end

  # Accurate to much less than a process needs to be scheduled again.
  defp wait_until(time), do: if(System.monotonic_time(:microsecond) < time, do: wait_until(time))

  # Another BEAM, with the cgroup of a session of it.
  defp start_beam do
    tree = Tree.new(:plain, cgroup: [])
    [elixir | args] = Tree.beam_argv(tree, :running)
    env = [{~c"LINX_AGENT", String.to_charlist(Linx.Agent.Binary.path())}]
    options = [:binary, line: 1_000, args: args, env: env]
    port = Port.open({:spawn_executable, elixir}, options)
    assert_receive {^port, {:data, {:eol, "pids " <> pids}}}, 20_000
    [beam, pid] = pids |> String.split() |> Enum.map(&String.to_integer/1)
    on_exit(fn -> Tree.kill(beam, :KILL) end)
    path = cgroup_of(pid)
    assert Path.basename(path) =~ ~r/\Alinx-\d+-\d+-#{beam}-/
    {beam, path}
  end

  describe "what dead BEAMs have left" do
    @describetag :root

    setup do
      {:ok, place} = Cgroup.create("linx-test-#{mark()}")
      on_exit(fn -> Cgroup.delete(place, kill: true) end)
      [_, born] = Regex.run(~r/\) \S+(?: \S+){18} (\d+)/, File.read!("/proc/self/stat"))
      %{place: place.path, born: born}
    end

    test "is known by its name, and removed with what is in it", context do
      %{place: place, born: born} = context
      namespaces = namespaces()

      # Of a process that began at another time, and of one that there cannot be.
      stale = ["linx-#{namespaces}-#{System.pid()}-1-5", "linx-#{namespaces}-4194305-#{born}-5"]

      kept = [
        "linx-#{namespaces}-#{System.pid()}-#{born}-5",
        "linx-1-#{namespaces}-#{System.pid()}-1-5",
        "linx-1-1-#{System.pid()}-1-5",
        "linx-#{namespaces}-#{System.pid()}-1",
        "linx-test-1",
        "other"
      ]

      for name <- stale ++ kept, do: {:ok, _cgroup} = Cgroup.create(Path.join(place, name))
      port = Port.open({:spawn_executable, "/bin/sleep"}, args: ["1000"])
      {:os_pid, pid} = Port.info(port, :os_pid)
      :ok = Cgroup.add(Path.join(place, hd(stale)), pid)

      assert Own.sweep(place) == :ok
      left = for name <- File.ls!(place), File.dir?(Path.join(place, name)), do: name
      assert Enum.sort(left) == Enum.sort(kept)
      refute alive?(pid)
    end

    test "is also of one that nobody has reaped", %{place: place} do
      # Its parent, which has become another program, does not know of it.
      port =
        Port.open({:spawn_executable, "/bin/sh"}, [
          :binary,
          args: ["-c", "sh -c 'read _ _ _ _ x < /proc/self/stat; echo $$' & exec sleep 1000"]
        ])

      {:os_pid, parent} = Port.info(port, :os_pid)
      on_exit(fn -> Tree.kill(parent, :KILL) end)
      assert_receive {^port, {:data, line}}
      zombie = String.trim(line)
      eventually(fn -> stat(zombie) == "Z" end)
      born = stat_field(zombie, 19)
      name = "linx-#{namespaces()}-#{zombie}-#{born}-5"
      {:ok, cgroup} = Cgroup.create(Path.join(place, name))
      assert Own.sweep(place) == :ok
      refute File.exists?(cgroup.path)
    end
  end

  describe "what cannot be" do
    test "is found before anything is started" do
      assert Linx.run(["true"], cgroup: [memory: -1]) == {:error, {:bad_cgroup, [memory: -1]}}
      assert Linx.run(["true"], cgroup: [:pids]) == {:error, {:bad_cgroup, [:pids]}}
      left = {:error, {:bad_orphan, :leave}}
      assert Linx.run(["true"], cgroup: [], orphan: :leave) == left
      left = {:error, {:bad_descendants, :leave}}
      assert Linx.run(["true"], cgroup: [], descendants: :leave) == left

      assert_raise ArgumentError, ~r/:cgroup with value \[pids: :many\]/, fn ->
        Linx.cmd("true", [], cgroup: [pids: :many])
      end
    end

    test "is a limit without its controller" do
      {:ok, root} = Cgroup.root()
      available = Cgroup.Tree.available(root)

      for {name, _value} = limit <- [memory: 1_000_000_000, pids: 100, cpu: 2],
          name not in available do
        answer = Linx.run(["true"], cgroup: [limit])
        assert {:error, {:no_controller, ^name, there}} = answer
        assert there -- available == []

        assert_raise ArgumentError, ~r/no controller #{inspect(name)} here/, fn ->
          Linx.cmd("true", [], cgroup: [limit])
        end
      end
    end

    test "is a place that is not the BEAM's" do
      unless Cgroup.delegated?() do
        assert {:error, %Error{stage: :cgroup, errno: :eacces}} = Linx.run(["true"], cgroup: [])
        assert keepers() == 0
      end
    end
  end

  describe "limits" do
    @describetag :controllers
    @describetag :root

    test "hold for all that a program starts" do
      forks = "i=0; while [ $i -lt 10 ]; do sleep 1000 & i=$((i+1)); done; exit 0"
      {:ok, result} = Linx.run(["sh", "-c", forks], cgroup: [pids: 4], stderr: :stdout)
      assert result.status != {:exited, 0}
      assert result.cgroup_stats.pids.max == 4
      assert result.cgroup_stats.pids.peak in [nil, 4]
    end

    test "of memory end in a kill, which is told" do
      limits = [memory: 32 * 1024 * 1024]
      # Without this one, a machine that swaps would take its time.
      limits = Enum.find([[swap: 0] ++ limits, limits], &Own.usable?/1)
      {:ok, result} = Linx.run(["tail", "/dev/zero"], cgroup: limits)
      assert result.status == {:signaled, 9}
      assert result.cgroup_stats.memory.events.oom_kill >= 1
    end
  end
end
