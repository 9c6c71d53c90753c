defmodule Linx.CgroupTest do
  # Cgroups of the machine's own tree, and directories that look like some for what it lacks.
  use ExUnit.Case, async: true
  doctest Linx.Cgroup
  doctest Linx.Cgroup.Error

  import Bitwise
  import Linx.Test.Helpers

  alias Linx.Cgroup
  alias Linx.Cgroup.{Error, Limits, Stats, Tree}

  # A name that no other test uses.
  defp name, do: "linx-test-#{mark()}"

  # A new cgroup of the machine, which does not outlive the test.
  defp cgroup(limits \\ []) do
    {:ok, cgroup} = Cgroup.create(name(), limits)
    on_exit(fn -> Cgroup.delete(cgroup, kill: true) end)
    cgroup
  end

  # A process that waits, in a cgroup.
  defp sleeper(cgroup, script \\ "exec sleep 1000") do
    port = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", script]])
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true) end)
    :ok = Cgroup.add(cgroup, pid)
    pid
  end

  # A directory with these files.
  defp directory(files) do
    path = tmp_dir()
    for {name, content} <- files, do: File.write!(Path.join(path, name), content)
    path
  end

  describe "the tree" do
    test "is where the kernel has mounted it, and the BEAM is in it" do
      {:ok, root} = Cgroup.root()
      {:ok, current} = Cgroup.current()
      assert String.starts_with?(current, root)
      {:ok, pids} = Cgroup.procs(current)
      assert String.to_integer(System.pid()) in pids
    end

    test "is delegated to those who may write to it" do
      {:ok, current} = Cgroup.current()
      {_, status} = System.cmd("test", ["-w", Path.join(current, "cgroup.procs")])
      assert Cgroup.delegated?() == (status == 0)
      assert Cgroup.delegated?(current) == Cgroup.delegated?()
      refute Cgroup.delegated?("/nonexistent")
      refute Cgroup.delegated?(:typo)
    end

    test "is closed to those to whom it is not delegated, and says so" do
      unless Cgroup.delegated?() do
        assert {:error, %Error{operation: :create, errno: :eacces, code: 13} = error} =
                 Cgroup.create(name())

        assert Exception.message(error) =~ "not delegated"
        {:ok, current} = Cgroup.current()
        assert {:error, %Error{operation: :add, errno: :eacces}} = Cgroup.add(current, 1)
        assert {:error, %Error{operation: :kill}} = Cgroup.kill(current)
      end
    end
  end

  describe "a cgroup" do
    @describetag :root

    test "is new, and empty" do
      %Cgroup{path: path} = cgroup = cgroup()
      assert File.dir?(path)
      assert Cgroup.procs(cgroup) == {:ok, []}
      assert Cgroup.events(cgroup) == {:ok, %{populated: false, frozen: false}}
      assert Cgroup.path(cgroup) == {:ok, path}
      assert Cgroup.delegated?(cgroup)

      assert {:error, %Error{operation: :create, path: ^path, errno: :eexist} = error} =
               Cgroup.create(Path.basename(path))

      assert Exception.message(error) =~ "never used again"
      assert {:error, %Error{errno: :eexist}} = Cgroup.create(path)
    end

    test "may be below another, and given by its path" do
      %Cgroup{path: path} = outer = cgroup()
      {:ok, inner} = Cgroup.create(Path.join(path, "inner"))
      assert inner == %Cgroup{path: path <> "/inner"}
      pid = sleeper(inner.path)
      assert Cgroup.procs(inner.path) == {:ok, [pid]}
      # A process is in one cgroup, though what is above knows that there is one.
      assert Cgroup.procs(outer) == {:ok, []}
      assert {:ok, %{populated: true}} = Cgroup.events(path)
      assert {:error, %Error{operation: :delete, errno: :ebusy}} = Cgroup.delete(outer)
      assert {:error, %Error{errno: :enoent}} = Cgroup.create(Path.join(path, "no/such"))
    end

    test "has the processes that are moved there, and what they start" do
      cgroup = cgroup()
      pid = sleeper(cgroup, "read _; sleep 1000 & wait")
      assert Cgroup.procs(cgroup) == {:ok, [pid]}
      [port] = for port <- Port.list(), Port.info(port, :os_pid) == {:os_pid, pid}, do: port
      Port.command(port, "\n")

      assert [_, _] =
               eventually(fn ->
                 match?({:ok, [_, _]}, Cgroup.procs(cgroup)) && elem(Cgroup.procs(cgroup), 1)
               end)

      assert {:error, %Error{operation: :add, errno: :esrch}} = Cgroup.add(cgroup, 0x3FFF_FFFF)
    end

    test "has the program that is born in it, with all that it starts" do
      for agent <- [:host, :dedicated] do
        cgroup = cgroup()
        argv = ["sh", "-c", "cat /proc/self/cgroup; sleep 1000 & wait"]

        {:ok, session} =
          Linx.Process.spawn(
            argv: argv,
            cgroup: cgroup.path,
            agent: agent,
            stdio: [stdout: :pipe]
          )

        # It is there before it runs, and its agent is not.
        pid = await_ready()
        assert Cgroup.procs(cgroup) == {:ok, [pid]}
        :ok = Linx.Process.proceed(session)
        {:ok, said} = Linx.Process.recv(session, :stdout)
        assert said =~ ~r"^0::.*/#{Path.basename(cgroup.path)}$"m
        eventually(fn -> match?({:ok, [_, _]}, Cgroup.procs(cgroup)) end)
        assert Cgroup.delete(cgroup, kill: true) == :ok
        assert Linx.Process.wait(session) == {:ok, {:signaled, 9}}
      end
    end

    test "freezes and thaws" do
      cgroup = cgroup()
      pid = sleeper(cgroup, "trap 'exit 3' TERM; echo ready; read _")
      assert_receive {_port, {:data, "ready\n"}}
      assert Cgroup.freeze(cgroup) == :ok
      assert {:ok, %{populated: true, frozen: true}} = Cgroup.events(cgroup)
      assert Cgroup.freeze(cgroup) == :ok
      # It would handle the signal at once.
      {_, 0} = System.cmd("kill", ["-TERM", "#{pid}"])
      pending = pid |> status_field("ShdPnd") |> String.to_integer(16)
      assert (pending &&& 1 <<< 14) != 0
      assert Cgroup.thaw(cgroup) == :ok
      assert eventually(fn -> not alive?(pid) end)
      assert {:ok, %{frozen: false}} = Cgroup.events(cgroup)
    end

    test "stays frozen as long as one above it is" do
      outer = cgroup()
      {:ok, inner} = Cgroup.create(Path.join(outer.path, "inner"))
      sleeper(inner)
      assert Cgroup.freeze(outer) == :ok
      assert {:ok, %{frozen: true}} = Cgroup.events(inner)
      assert Cgroup.thaw(inner, timeout: 20) == {:error, :timeout}
      assert Cgroup.thaw(outer) == :ok
      assert Cgroup.thaw(inner) == :ok
    end

    test "is killed as a whole" do
      cgroup = cgroup()
      pids = for _ <- 1..3, do: sleeper(cgroup)
      assert Cgroup.kill(cgroup) == :ok
      assert eventually(fn -> not Enum.any?(pids, &alive?/1) end)

      assert eventually(fn ->
               Cgroup.events(cgroup) == {:ok, %{populated: false, frozen: false}}
             end)
    end

    test "is deleted when it is empty" do
      cgroup = cgroup()
      pid = sleeper(cgroup)

      assert {:error, %Error{operation: :delete, errno: :ebusy, code: 16} = error} =
               Cgroup.delete(cgroup)

      assert Exception.message(error) =~ "there are processes in it"
      assert alive?(pid)
      assert Cgroup.kill(cgroup) == :ok
      eventually(fn -> Cgroup.delete(cgroup) == :ok end)
      refute File.exists?(cgroup.path)
      gone = Cgroup.delete(cgroup)
      assert {:error, %Error{operation: :delete, errno: :enoent}} = gone
    end

    test "is deleted with all that is in it, frozen or not" do
      outer = cgroup()
      {:ok, inner} = Cgroup.create(Path.join(outer.path, "inner"))
      {:ok, innermost} = Cgroup.create(Path.join(inner.path, "innermost"))
      pids = for cgroup <- [outer, inner, innermost, innermost], do: sleeper(cgroup)
      assert Cgroup.freeze(inner) == :ok
      assert Cgroup.delete(outer, kill: true) == :ok
      refute File.exists?(outer.path)
      refute Enum.any?(pids, &alive?/1)
      # The name is free again.
      assert {:ok, ^outer} = Cgroup.create(outer.path)
    end

    test "has the statistics that the kernel has" do
      cgroup = cgroup()
      # Also when it is in there it goes on.
      sleeper(cgroup, "while :; do :; done")

      cpu =
        eventually(fn ->
          {:ok, %Stats{cpu: cpu}} = Cgroup.stats(cgroup)
          cpu.usage > 0 and cpu
        end)

      :ok = Cgroup.kill(cgroup)

      assert cpu.user + cpu.system <= cpu.usage + 1
      {:ok, stats} = Cgroup.stats(cgroup)
      # Without a controller there are no files of it.
      for name <- [:memory, :pids] do
        there = File.exists?(Path.join(cgroup.path, "#{name}.current"))
        assert Map.fetch!(stats, name) != nil == there
      end
    end

    test "has its pressure, where the kernel tells it" do
      cgroup = cgroup()
      {:ok, pressure} = Cgroup.pressure(cgroup)

      for resource <- [:cpu, :memory, :io] do
        case File.read(Path.join(cgroup.path, "#{resource}.pressure")) do
          {:ok, _content} ->
            assert %{some: some, full: %{}} = pressure[resource]
            assert %{avg10: 0.0, avg60: 0.0, avg300: 0.0, total: 0} = some

          {:error, _errno} ->
            assert pressure[resource] == nil
        end
      end
    end

    test "that is not there is told from one that has nothing" do
      cgroup = cgroup()
      :ok = Cgroup.delete(cgroup)

      for answer <- [
            Cgroup.procs(cgroup),
            Cgroup.stats(cgroup),
            Cgroup.pressure(cgroup),
            Cgroup.events(cgroup),
            Cgroup.freeze(cgroup),
            Cgroup.thaw(cgroup),
            Cgroup.kill(cgroup),
            Cgroup.add(cgroup, 1),
            Cgroup.subscribe(cgroup),
            Cgroup.delete(cgroup, kill: true)
          ] do
        assert {:error, %Error{errno: :enoent}} = answer
      end
    end

    test "without a controller has no limits of it, and is not made" do
      {:ok, root} = Cgroup.root()
      available = Tree.available(root)

      for {limit, controller} <- [
            {[memory: 1 <<< 30], :memory},
            {[pids: 10], :pids},
            {[cpu: 1], :cpu}
          ],
          controller not in available do
        name = name()
        assert Cgroup.create(name, limit) == {:error, {:no_controller, controller, available}}
        refute File.exists?(Path.join(root, name))
        cgroup = cgroup()
        assert Cgroup.set(cgroup, limit) == {:error, {:no_controller, controller, available}}
      end

      if :memory not in available do
        assert Cgroup.subscribe(cgroup()) == {:error, {:no_controller, :memory, []}}
      end
    end

    test "gets controllers from all above it, and then there are no processes beside" do
      {:ok, root} = Cgroup.root()

      case Tree.available(root) do
        [] ->
          # Nothing can be switched on.
          assert Tree.enable(root, [:memory]) == {:error, {:no_controller, :memory, []}}

        [controller | _] ->
          unless controller in Tree.enabled(root) do
            off = Path.join(root, "cgroup.subtree_control")
            on_exit(fn -> File.write(off, "-#{controller}") end)
          end

          %Cgroup{path: path} = outer = cgroup()
          {:ok, middle} = Cgroup.create(Path.join(path, "middle"))
          {:ok, busy} = Cgroup.create(Path.join(path, "busy"))
          assert Tree.enable(middle.path, [controller]) == :ok
          assert Tree.enabled(path) == [controller]
          {:ok, inner} = Cgroup.create(Path.join(middle.path, "inner"))
          assert controller in Tree.available(inner.path)

          pid = sleeper(busy)
          assert {:error, %Error{operation: :add, errno: :ebusy}} = Cgroup.add(outer, pid)

          assert {:error, %Error{operation: :enable, errno: :ebusy} = error} =
                   Tree.enable(busy.path, [controller])

          assert Exception.message(error) =~ "it has processes of its own"
          # So what is made there without saying where is made further above.
          assert Tree.parent(root, busy.path, [controller]) == path
          assert Tree.parent(root, busy.path, []) == busy.path
      end
    end
  end

  describe "limits that the kernel enforces" do
    @describetag :root
    @describetag :controllers

    test "the number of processes" do
      cgroup = cgroup(pids: 1)
      pid = sleeper(cgroup, "read _; sleep 0; exec sleep 1000")
      assert {:ok, %{pids: %{current: 1, max: 1}}} = Cgroup.stats(cgroup)
      [port] = for port <- Port.list(), Port.info(port, :os_pid) == {:os_pid, pid}, do: port
      Port.command(port, "\n")
      # How often it was reached: sleep 0 is not born.
      eventually(fn -> File.read!(Path.join(cgroup.path, "pids.events")) =~ ~r/^max [1-9]/m end)
    end

    test "memory, and who asks is told" do
      cgroup = cgroup(memory: 16 * 1024 * 1024, swap: 0)
      {:ok, _subscription} = Cgroup.subscribe(cgroup, self(), interval: 10)
      pid = sleeper(cgroup, "read _; exec tail /dev/zero")
      [port] = for port <- Port.list(), Port.info(port, :os_pid) == {:os_pid, pid}, do: port
      Port.command(port, "\n")
      assert_receive {:linx_cgroup, :oom_kill, ^cgroup, 1}
      assert {:ok, %{memory: %{events: %{oom_kill: 1}}}} = Cgroup.stats(cgroup)
      :ok = Cgroup.delete(cgroup, kill: true)
      assert_receive {:linx_cgroup, :deleted, ^cgroup}
    end
  end

  describe "limits" do
    # A cgroup with every file that a limit is written to, below one that has the controllers on.
    @controllers "cpuset cpu io memory pids\n"
    @files ~w(memory.max memory.high memory.low memory.min memory.swap.max memory.oom.group pids.max
              cpu.max cpu.weight io.max io.weight cpuset.cpus cpuset.mems)

    setup do
      above =
        directory([{"cgroup.subtree_control", @controllers}, {"cgroup.controllers", @controllers}])

      path = Path.join(above, "job")
      File.mkdir!(path)
      for file <- @files, do: File.write!(Path.join(path, file), "")
      %{path: path}
    end

    test "are written as the kernel takes them", %{path: path} do
      for {limit, file, written} <- [
            {{:memory, 536_870_912}, "memory.max", "536870912"},
            {{:memory, :max}, "memory.max", "max"},
            {{:memory_high, 0}, "memory.high", "0"},
            {{:memory_low, 4096}, "memory.low", "4096"},
            {{:memory_min, 4096}, "memory.min", "4096"},
            {{:swap, 0}, "memory.swap.max", "0"},
            {{:oom_group, true}, "memory.oom.group", "1"},
            {{:oom_group, false}, "memory.oom.group", "0"},
            {{:pids, 100}, "pids.max", "100"},
            {{:cpu, 0.5}, "cpu.max", "50000 100000"},
            {{:cpu, 2}, "cpu.max", "200000 100000"},
            {{:cpu, 0.01}, "cpu.max", "1000 100000"},
            {{:cpu, :max}, "cpu.max", "max 100000"},
            {{:cpu_weight, 10_000}, "cpu.weight", "10000"},
            {{:io_weight, 1}, "io.weight", "default 1"},
            {{:io, [{"8:0", [rbps: 1_000_000, wiops: :max]}]}, "io.max",
             "8:0 rbps=1000000 wiops=max"},
            {{:cpuset, [0, 2..3, 7]}, "cpuset.cpus", "0,2-3,7"},
            {{:cpuset_mems, [0..0]}, "cpuset.mems", "0-0"}
          ] do
        assert Cgroup.set(path, [limit]) == :ok
        assert File.read!(Path.join(path, file)) == written
      end

      assert Cgroup.set(%Cgroup{path: path}, memory: 1, pids: 2) == :ok
      assert File.read!(Path.join(path, "memory.max")) == "1"
      assert File.read!(Path.join(path, "pids.max")) == "2"
    end

    test "of one device come after those of another" do
      {:ok, writes} = Limits.parse(io: [{"8:0", [rbps: 1]}, {"8:16", [wbps: 2, riops: 3]}])

      assert writes == [{:io, "io.max", "8:0 rbps=1"}, {:io, "io.max", "8:16 wbps=2 riops=3"}]
    end

    test "that the kernel does not have are its error", %{path: path} do
      # Memory without swap accounting.
      File.rm!(Path.join(path, "memory.swap.max"))

      assert {:error, %Error{operation: :write, errno: :enoent, path: file}} =
               Cgroup.set(path, memory: 7, swap: 0)

      assert file == path <> "/memory.swap.max"
      refute File.exists?(file)
      assert File.read!(Path.join(path, "memory.max")) == "7"
    end

    test "that are none are shown, and nothing is done", %{path: path} do
      for bad <- [
            [memory: -1],
            [memory: 1.5],
            [memory: "1G"],
            [swap: nil],
            [oom_group: 1],
            [pids: :infinity],
            [cpu: 0],
            [cpu: -1],
            [cpu: 0.001],
            [cpu_weight: 0],
            [cpu_weight: 10_001],
            [io_weight: 1.0],
            [io: []],
            [io: [{"sda", [rbps: 1]}]],
            [io: [{"8:0\n", [rbps: 1]}]],
            [io: [{"8:0", []}]],
            [io: [{"8:0", [typo: 1]}]],
            [io: [{"8:0", [rbps: 0]}]],
            [io: ["8:0"]],
            [cpuset: []],
            [cpuset: [-1]],
            [cpuset: [3..1//-1]],
            [cpuset: [0..8//2]],
            [cpuset: "0-1"],
            [typo: 1],
            [memory: -1, typo: 1]
          ] do
        assert Cgroup.set(path, [pids: 5] ++ bad) == {:error, {:bad_limits, bad}}
        assert Cgroup.create(Path.join(path, "new"), bad) == {:error, {:bad_limits, bad}}
      end

      for bad <- [:memory, [1], %{memory: 1}, nil] do
        assert Cgroup.set(path, bad) == {:error, {:bad_limits, bad}}
      end

      assert File.read!(Path.join(path, "pids.max")) == ""
      refute File.exists?(Path.join(path, "new"))
    end

    test "that cannot be set leave no cgroup behind", %{path: path} do
      # Here no files come into being with a directory.
      new = Path.join(Path.dirname(path), "new")
      assert {:error, %Error{operation: :write, errno: :enoent}} = Cgroup.create(new, pids: 1)
      refute File.exists?(new)
      assert Cgroup.create(new) == {:ok, %Cgroup{path: new}}
    end
  end

  test "statistics are read from the files of every controller" do
    path =
      directory([
        {"memory.current", "4096\n"},
        {"memory.peak", "8192\n"},
        {"memory.swap.current", "0\n"},
        {"memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\nnew 6\n"},
        {"cpu.stat",
         "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 900\n"},
        {"pids.current", "3\n"},
        {"pids.max", "max\n"},
        {"io.stat",
         "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:0 7:1 rbytes=9 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n7:0\n"}
      ])

    assert Cgroup.stats(path) ==
             {:ok,
              %Stats{
                memory: %{
                  current: 4096,
                  peak: 8192,
                  swap: 0,
                  events: %{low: 0, high: 1, max: 2, oom: 3, oom_kill: 4, oom_group_kill: 5}
                },
                cpu: %{
                  usage: 30,
                  user: 20,
                  system: 10,
                  periods: 3,
                  throttled_periods: 2,
                  throttled: 900
                },
                pids: %{current: 3, max: :max, peak: nil},
                io: %{
                  "8:16" => %{rbytes: 1, wbytes: 2, rios: 3, wios: 4, dbytes: 5, dios: 6},
                  "8:0" => %{rbytes: 9, wbytes: 0, rios: 1, wios: 0, dbytes: 0, dios: 0},
                  "7:0" => %{}
                }
              }}

    assert Cgroup.stats(directory([])) == {:ok, %Stats{}}
  end

  test "pressure is read as the kernel writes it" do
    path =
      directory([
        {"cpu.pressure", "some avg10=1.53 avg60=0.30 avg300=0.06 total=81520\n"},
        {"io.pressure",
         "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=100.00 avg60=0.00 avg300=0.00 total=3\n"}
      ])

    assert Cgroup.pressure(path) ==
             {:ok,
              %{
                cpu: %{some: %{avg10: 1.53, avg60: 0.3, avg300: 0.06, total: 81_520}, full: nil},
                io: %{
                  some: %{avg10: 0.0, avg60: 0.0, avg300: 0.0, total: 7},
                  full: %{avg10: 100.0, avg60: 0.0, avg300: 0.0, total: 3}
                },
                memory: nil,
                irq: nil
              }}
  end

  describe "a subscription" do
    setup do
      path = directory([{"memory.events", "oom 5\noom_kill 2\n"}])
      # What is written is there at once, as in the kernel's file.
      count = fn kills ->
        File.write!(path <> ".new", "oom 5\noom_kill #{kills}\n")
        File.rename!(path <> ".new", Path.join(path, "memory.events"))
      end

      %{cgroup: %Cgroup{path: path}, count: count}
    end

    test "tells of every kill since, and of the end", %{cgroup: cgroup, count: count} do
      {:ok, subscription} = Cgroup.subscribe(cgroup.path, self(), interval: 1)
      reference = Process.monitor(subscription)
      count.(3)
      assert_receive {:linx_cgroup, :oom_kill, ^cgroup, 3}
      count.(7)
      assert_receive {:linx_cgroup, :oom_kill, ^cgroup, 7}
      File.rm_rf!(cgroup.path)
      assert_receive {:linx_cgroup, :deleted, ^cgroup}
      assert_receive {:DOWN, ^reference, :process, ^subscription, :normal}
      # What was there before is no news.
      refute_received {:linx_cgroup, _, _, _}
      assert Cgroup.unsubscribe(subscription) == :ok
    end

    test "ends when it is told to, and with the subscriber", %{cgroup: cgroup} do
      {:ok, subscription} = Cgroup.subscribe(cgroup)
      assert Cgroup.unsubscribe(subscription) == :ok
      refute Process.alive?(subscription)

      subscriber = spawn(fn -> Process.sleep(:infinity) end)
      {:ok, subscription} = Cgroup.subscribe(cgroup, subscriber)
      reference = Process.monitor(subscription)
      Process.exit(subscriber, :kill)
      assert_receive {:DOWN, ^reference, :process, ^subscription, :normal}
    end
  end

  test "mistakes are found before anything is done" do
    for bad <- [:typo, "relative", "", nil, 1, "/a\0b", %Cgroup{path: "relative"}] do
      shown = if is_struct(bad), do: bad.path, else: bad
      assert Cgroup.path(bad) == {:error, {:bad_cgroup, shown}}
      assert Cgroup.procs(bad) == {:error, {:bad_cgroup, shown}}
      assert Cgroup.delete(bad, kill: true) == {:error, {:bad_cgroup, shown}}
    end

    for bad <- ["", ".", "..", "a/../b", "a//b", "a/", "a\0b", :name, nil, 1] do
      assert Cgroup.create(bad) == {:error, {:bad_cgroup, bad}}
    end

    for bad <- [0, -1, "1", nil] do
      assert Cgroup.add("/nonexistent", bad) == {:error, {:bad_pid, bad}}
    end

    for bad <- [[timeout: 0], [timeout: :infinity], [typo: 1], :kill, [kill: nil]] do
      assert Cgroup.delete("/nonexistent", bad) == {:error, {:bad_options, bad}}
    end

    assert Cgroup.freeze("/nonexistent", kill: true) == {:error, {:bad_options, [kill: true]}}
    assert Cgroup.subscribe("/", self(), interval: 0) == {:error, {:bad_options, [interval: 0]}}
  end
end
