defmodule Linx.Process.AttributesTest do
  # What a program has of the machine, and what its own namespaces look like, as programs see it.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Attributes, Checkpoint, Error}

  @infinity 0xFFFF_FFFF_FFFF_FFFF

  # In the order of their numbers, with what prlimit(1) and /proc/<pid>/limits call them.
  @resources [
    cpu: "Max cpu time",
    fsize: "Max file size",
    data: "Max data size",
    stack: "Max stack size",
    core: "Max core file size",
    rss: "Max resident set",
    nproc: "Max processes",
    nofile: "Max open files",
    memlock: "Max locked memory",
    as: "Max address space",
    locks: "Max file locks",
    sigpending: "Max pending signals",
    msgqueue: "Max msgqueue size",
    nice: "Max nice priority",
    rtprio: "Max realtime priority",
    rttime: "Max realtime timeout"
  ]

  # What this user may do is not a matter of who it is: root may lack capabilities.
  defp may?(capability) do
    {:ok, own} = Linx.Capabilities.read(String.to_integer(System.pid()))
    capability in own.effective
  end

  # What a program writes, and how it ends.
  defp run(argv, opts) do
    stdio = [stdin: :devnull, stdout: :pipe, stderr: :stdout]
    {:ok, session} = P.spawn([argv: argv, stdio: stdio, auto_proceed: true, owner: nil] ++ opts)
    {read_output(session), P.wait(session)}
  end

  defp output(argv, opts) do
    assert {output, {:ok, {:exited, 0}}} = run(argv, opts)
    String.trim(output)
  end

  defp stage(opts) do
    {"", {:error, %Error{stage: stage, errno: errno}}} = run(["true"], opts)
    {stage, errno}
  end

  describe "in the words of the agent" do
    test "are confinements of the program" do
      for {key, value, step} <- [
            {:umask, 0o077, {:umask, 63}},
            {:umask, 0, {:umask, 0}},
            {:nice, -20, {:nice, -20}},
            {:nice, 19, {:nice, 19}},
            {:oom_score_adj, -1000, {:oom_score_adj, -1000}},
            {:oom_score_adj, 1000, {:oom_score_adj, 1000}},
            {:cpu_affinity, [0], {:cpu_affinity, <<1>>}},
            {:cpu_affinity, [9, 0, 1, 1], {:cpu_affinity, <<3, 2>>}}
          ] do
        assert Attributes.field(key, value, []) == {:ok, %{confine: [step]}}
      end

      for {{resource, _name}, number} <- Enum.with_index(@resources) do
        assert Attributes.field(:rlimits, [{resource, 5}], []) ==
                 {:ok, %{confine: [{:rlimit, number, 5, 5}]}}
      end

      assert Attributes.field(:rlimits, [as: :infinity, core: {0, :infinity}, as: 1], []) ==
               {:ok, %{confine: [{:rlimit, 9, @infinity, @infinity}, {:rlimit, 4, 0, @infinity}]}}

      assert Attributes.field(:rlimits, [], []) == {:ok, %{confine: []}}
    end

    test "are operations on its namespaces" do
      assert Attributes.field(:hostname, "box", [:uts]) == {:ok, %{setup: [{:hostname, "box"}]}}

      assert Attributes.field(:time_offsets, [boottime: 1, monotonic: -2], [:net, :time]) ==
               {:ok, %{setup: [{:time_offsets, -2_000_000, 1_000_000}], namespaces: [:net]}}

      assert Attributes.field(:time_offsets, [], [:time]) ==
               {:ok, %{setup: [{:time_offsets, 0, 0}], namespaces: []}}
    end

    test "are nothing when they are wrong, and the wrong part is named" do
      for {key, value, wrong} <- [
            {:umask, 0o1000, 0o1000},
            {:umask, -1, -1},
            {:umask, "077", "077"},
            {:nice, -21, -21},
            {:nice, 20, 20},
            {:nice, nil, nil},
            {:oom_score_adj, 1001, 1001},
            {:oom_score_adj, 1.0, 1.0},
            {:cpu_affinity, [], []},
            {:cpu_affinity, 0, 0},
            {:cpu_affinity, [0 | 1], [0 | 1]},
            {:cpu_affinity, [0, -1, 8192, :all], [-1, 8192, :all]},
            {:rlimits, %{nofile: 1}, %{nofile: 1}},
            {:rlimits, [:nofile], [:nofile]},
            {:rlimits, [nofile: 1, typo: 1], {:typo, 1}},
            {:rlimits, [nofile: -1], {:nofile, -1}},
            {:rlimits, [nofile: @infinity], {:nofile, @infinity}},
            {:rlimits, [nofile: {2, 1}], {:nofile, {2, 1}}},
            {:rlimits, [nofile: {:infinity, 1}], {:nofile, {:infinity, 1}}},
            {:rlimits, [nofile: {1, 2, 3}], {:nofile, {1, 2, 3}}},
            {:hostname, "", ""},
            {:hostname, "a\0b", "a\0b"},
            {:hostname, :box, :box},
            {:hostname, String.duplicate("x", 65), String.duplicate("x", 65)},
            {:time_offsets, 5, 5},
            {:time_offsets, [realtime: 1], {:realtime, 1}},
            {:time_offsets, [boottime: 1.5], {:boottime, 1.5}},
            {:time_offsets, [boottime: 9_223_372_036_855], {:boottime, 9_223_372_036_855}}
          ] do
        mistake = {:error, {:"bad_#{key}", wrong}}
        assert Attributes.field(key, value, [:uts, :time]) == mistake
        # Found before anything is asked of anybody.
        assert P.spawn([argv: ["true"], namespaces: [:uts, :time]] ++ [{key, value}]) == mistake
      end

      assert P.spawn(argv: ["true"], hostname: "box") ==
               {:error, {:bad_hostname, :no_uts_namespace}}

      assert P.spawn(argv: ["true"], time_offsets: [boottime: 1]) ==
               {:error, {:bad_time_offsets, :no_time_namespace}}

      # That of another is not to be changed.
      assert P.enter(1, argv: ["true"], namespaces: [:uts], hostname: "box") ==
               {:error, {:bad_hostname, :no_uts_namespace}}
    end
  end

  describe "the program" do
    test "has the umask" do
      assert output(["sh", "-c", "umask"], umask: 0o027) == "0027"
      # Whoever the agent is.
      assert output(["sh", "-c", "umask"], umask: 0o027, agent: :dedicated) == "0027"
    end

    test "has the nice value, and may only be nicer than others" do
      mine = "nice" |> System.cmd([]) |> elem(0) |> String.trim() |> String.to_integer()
      assert output(["nice"], nice: 19) == "19"
      assert output(["nice"], []) == "#{mine}"

      if may?(:sys_nice),
        do: assert(output(["nice"], nice: -5) == "-5"),
        else: assert(stage(nice: mine - 1) == {:nice, :eacces})
    end

    test "has the OOM score" do
      argv = ["cat", "/proc/self/oom_score_adj"]
      assert output(argv, oom_score_adj: 789) == "789"

      if may?(:sys_resource),
        do: assert(output(argv, oom_score_adj: -789) == "-789"),
        else: assert(stage(oom_score_adj: -1000) == {:oom_score_adj, :eacces})
    end

    test "has the CPUs" do
      allowed = fn opts ->
        line = output(["grep", "Cpus_allowed_list", "/proc/self/status"], opts)
        line |> String.split() |> List.last()
      end

      # Those that the agent has.
      every = allowed.([])
      [first | _] = String.split(every, ~r/[-,]/)
      cpu = String.to_integer(first)
      assert allowed.(cpu_affinity: [cpu]) == first
      assert output(["nproc"], cpu_affinity: [cpu]) == "1"
      # Those that are not there do not count beside one that is.
      assert allowed.(cpu_affinity: [cpu, 8191]) == first
      assert stage(cpu_affinity: [8191]) == {:cpu_affinity, :einval}
    end

    defp limits(opts) do
      output = output(["cat", "/proc/self/limits"], opts)

      for {resource, name} <- @resources, into: %{} do
        [_, soft, hard] = Regex.run(~r/^#{name} +(\S+) +(\S+)/m, output)
        {resource, {amount(soft), amount(hard)}}
      end
    end

    defp amount("unlimited"), do: :infinity
    defp amount(number), do: String.to_integer(number)

    test "has the limits, all of them, and others are as they were" do
      before = limits([])

      for {resource, _name} <- @resources do
        {_soft, hard} = before[resource]
        # Enough to run, and no more than there is.
        wanted = if hard == :infinity, do: 1_000_000_000, else: hard
        after_ = limits(rlimits: [{resource, {div(wanted, 2), wanted}}])
        assert after_ == %{before | resource => {div(wanted, 2), wanted}}
      end

      assert %{core: {0, 0}, nofile: {64, 128}} = limits(rlimits: [nofile: {64, 128}, core: 0])
    end

    test "is stopped by them" do
      path = Path.join(tmp_dir(), "file")
      write = ["sh", "-c", "head -c 100000 /dev/zero > #{path}"]
      assert {_output, {:ok, {:exited, code}}} = run(write, rlimits: [fsize: 4096])
      assert code != 0
      assert File.stat!(path).size == 4096
      assert {_output, {:ok, {:exited, 0}}} = run(write, [])
      spin = ["sh", "-c", "while :; do :; done"]
      # SIGXCPU at the soft limit.
      assert {_output, {:ok, {:signaled, 24}}} = run(spin, rlimits: [cpu: {1, 5}])
    end

    test "may not have more than whoever starts it, without privileges" do
      {_soft, hard} = limits([]).nofile
      more = [rlimits: [nofile: {1, hard + 1}]]

      if may?(:sys_resource),
        do: assert(limits(more).nofile == {1, hard + 1}),
        else: assert(stage(more) == {:setrlimit, :eperm})
    end

    @tag :root
    test "has what the agent may give it, whoever it runs as" do
      opts = [user: "nobody", nice: -5, oom_score_adj: 100, rlimits: [nofile: 77]]
      script = "nice; cat /proc/self/oom_score_adj; ulimit -n; id -un"
      assert output(["sh", "-c", script], opts) == "-5\n100\n77\nnobody"
    end

    test "has what it is told at the checkpoint, too" do
      {:ok, session} =
        P.spawn(argv: ["sh", "-c", "umask; nice"], stdio: [stdout: :pipe], owner: nil)

      assert Checkpoint.confine(session, {:umask, 0o011}) == :ok
      assert Checkpoint.confine(session, {:nice, 18}) == :ok
      {:ok, pid} = P.host_pid(session)
      # Held, and tried in a copy.
      assert stat_field(pid, 16) != "18"

      assert {:error, %Error{stage: :cpu_affinity, errno: :einval} = error} =
               Checkpoint.confine(session, {:cpu_affinity, <<0>>})

      assert P.wait(session) == {:error, error}
    end
  end

  describe "its namespaces" do
    @tag :root
    test "have the hostname" do
      {:ok, host} = :inet.gethostname()
      name = String.duplicate("x", 64)

      for name <- ["box", "Box.example", name], agent <- [:host, :dedicated] do
        assert output(["hostname"], namespaces: [:uts], hostname: name, agent: agent) == name
      end

      assert :inet.gethostname() == {:ok, host}
    end

    test "have the hostname without root, in a user namespace" do
      uid = File.stat!("/proc/self").uid
      maps = [uid_map: [{0, uid, 1}], gid_map: [{0, File.stat!("/proc/self").gid, 1}]]
      opts = [namespaces: [:user, :uts], hostname: "box"] ++ maps
      assert output(["hostname"], opts) == "box"
    end

    # The clocks boottime and monotonic, in seconds.
    defp clocks(opts) do
      # clock_gettime(CLOCK_MONOTONIC), with nothing but what every perl has.
      number =
        if to_string(:erlang.system_info(:system_architecture)) =~ "aarch64", do: 113, else: 228

      monotonic =
        ~s|$t = pack("qq", 0, 0); syscall(#{number}, 1, $t); print((unpack("qq", $t))[0], ".0")|

      script = "cut -d ' ' -f 1 /proc/uptime; perl -e '#{monotonic}'"
      clocks = ["sh", "-c", script] |> output(opts) |> String.split("\n")
      for clock <- clocks, {seconds, _rest} = Float.parse(clock), do: seconds
    end

    @day 86_400

    @tag :root
    test "have clocks of their own" do
      [boottime, monotonic] = clocks([])
      offsets = [boottime: 5 * @day * 1000, monotonic: 2 * @day * 1000]

      for agent <- [:host, :dedicated] do
        opts = [namespaces: [:time], time_offsets: offsets, agent: agent]
        [theirs, their_monotonic] = clocks(opts)
        assert_in_delta theirs, boottime + 5 * @day, 60
        assert_in_delta their_monotonic, monotonic + 2 * @day, 60
      end
    end

    @tag :root
    test "have clocks of their own for the program itself, and back to the host's past" do
      [boottime, _monotonic] = clocks([])
      opts = [namespaces: [:time], time_offsets: [boottime: -trunc(boottime / 2 * 1000)]]
      {seconds, _rest} = ["cat", "/proc/uptime"] |> output(opts) |> Float.parse()
      assert_in_delta seconds, boottime / 2, 60
      # It is there before it executes anything.
      {:ok, session} = P.spawn([argv: ["true"], stdio: :devnull, owner: nil] ++ opts)
      :ok = Checkpoint.confine(session, {:umask, 0o022})
      {:ok, pid} = P.host_pid(session)
      assert File.read_link!("/proc/#{pid}/ns/time") != File.read_link!("/proc/self/ns/time")
      :ok = P.stop(session)
      namespace = ["readlink", "/proc/self/ns/time"]
      assert output(namespace, opts) != output(namespace, [])
    end

    @tag :root
    test "cannot have clocks from before the start" do
      opts = [namespaces: [:time], time_offsets: [monotonic: -1_000_000_000_000]]
      assert stage(opts) == {:time_offsets, :erange}
    end

    test "have clocks of their own without root, in a user namespace" do
      uid = File.stat!("/proc/self").uid
      maps = [uid_map: [{0, uid, 1}], gid_map: [{0, File.stat!("/proc/self").gid, 1}]]
      opts = [namespaces: [:user, :time], time_offsets: [boottime: 1000 * @day * 1000]] ++ maps
      {seconds, _rest} = ["cat", "/proc/uptime"] |> output(opts) |> Float.parse()
      assert seconds > 1000 * @day
    end
  end
end
