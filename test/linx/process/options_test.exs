defmodule Linx.Process.OptionsTest do
  # Every mistake is found before a process starts: there is no agent in these tests.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers, only: [tmp_dir: 0]

  alias Linx.Process.{Error, Options}

  @argv [argv: ["/bin/true"]]

  defp spawn_with(opts), do: Options.spawn(@argv ++ opts)

  defp value(key, opts) do
    {:ok, options} = spawn_with(opts)
    Map.fetch!(options, key)
  end

  test "without options the workload is the BEAM's child like any other, and the caller owns it" do
    assert {:ok, options} = Options.spawn(@argv)
    owner = self()

    assert %{
             mode: :spawn,
             argv: ["/bin/true"],
             namespaces: [],
             env: nil,
             cwd: nil,
             stdio: :inherit,
             owner: ^owner,
             name: nil,
             linger: true,
             auto_proceed: false,
             no_new_privs: false,
             orphan: :kill,
             descendants: :kill,
             grace: 2_000,
             timeout: :infinity,
             stop_signal: 15,
             active: nil,
             credit: nil,
             output: nil,
             winsize: nil,
             uid: nil,
             gid: nil,
             groups: nil,
             files: nil,
             chain: nil,
             lifeline: nil
           } = options
  end

  test "the agent is one of two, and by default what the application's environment says" do
    assert value(:agent, []) == Application.fetch_env!(:linx, :agent)
    for kind <- [:host, :dedicated], do: assert(value(:agent, agent: kind) == kind)

    for bad <- [nil, :shared, "host", self()] do
      assert spawn_with(agent: bad) == {:error, {:bad_agent, bad}}
    end
  end

  test "the public functions refuse what the options refuse, and start nothing" do
    assert Linx.Process.spawn([]) == {:error, :argv_required}
    assert Linx.Process.start_link([]) == {:error, :argv_required}
    assert Linx.Process.enter(1, []) == {:error, :argv_required}

    assert Linx.Process.spawn(argv: ["/bin/true"], namespaces: [:typo]) ==
             {:error, {:bad_namespaces, [:typo]}}
  end

  test "options are a keyword list" do
    for bad <- [nil, :argv, %{argv: ["true"]}, ["true"], [{"argv", ["true"]}], [{:argv, []} | 1]] do
      assert Options.spawn(bad) == {:error, {:bad_options, bad}}
    end
  end

  test "an unknown option is refused by name" do
    assert spawn_with(arg: []) == {:error, {:bad_option, :arg}}
    assert spawn_with(restart: :transient) == {:error, {:bad_option, :restart}}
    assert spawn_with(target: 1) == {:error, {:bad_option, :target}}
  end

  test "the first of several values counts" do
    assert value(:grace, grace: 1, grace: :ignored) == 1
  end

  describe "argv" do
    test "is required" do
      assert Options.spawn([]) == {:error, :argv_required}
      assert Options.spawn(cwd: "/") == {:error, :argv_required}
    end

    test "is a non-empty list of strings without NUL, the first of them not empty" do
      for bad <- [
            nil,
            [],
            "ls",
            ~c"ls",
            [:ls],
            ["ls", 1],
            ["ls" | "x"],
            [""],
            ["a\0b"],
            ["/bin/ls", "\0"]
          ] do
        assert Options.spawn(argv: bad) == {:error, {:bad_argv, bad}}
      end
    end

    test "may hold any other bytes, and empty arguments" do
      argv = ["/bin/echo", "", <<0xFF>>, "é"]
      assert {:ok, %{argv: ^argv}} = Options.spawn(argv: argv)
    end
  end

  describe "a program without a slash" do
    setup do
      dir = tmp_dir()
      File.mkdir!(Path.join(dir, "bin"))

      for {name, mode} <- [{"prog", 0o755}, {"text", 0o644}] do
        path = Path.join([dir, "bin", name])
        File.write!(path, "")
        File.chmod!(path, mode)
      end

      %{dir: dir, bin: Path.join(dir, "bin")}
    end

    defp found(program, opts) do
      with {:ok, %{argv: [path, "arg"]}} <- Options.spawn([argv: [program, "arg"]] ++ opts) do
        path
      end
    end

    test "is looked up on the caller's PATH" do
      assert found("sh", []) == System.find_executable("sh")
    end

    test "is looked up on the PATH of :env when there is one", %{bin: bin} do
      assert found("prog", env: ["PATH=/nowhere:#{bin}"]) == Path.join(bin, "prog")
      assert found("prog", env: %{PATH: bin}) == Path.join(bin, "prog")
      assert found("prog", env: [PATH: bin]) == Path.join(bin, "prog")
      assert {:error, %Error{errno: :enoent}} = found("sh", env: ["PATH=#{bin}"])
    end

    test "is looked up on the caller's PATH when :env has none" do
      assert found("sh", env: []) == System.find_executable("sh")
      assert found("sh", env: ["XPATH=/nowhere"]) == System.find_executable("sh")
      assert found("sh", env: %{PATH: nil}) == System.find_executable("sh")
    end

    test "is found in relative directories as seen from where it will start", %{
      dir: dir,
      bin: bin
    } do
      assert found("prog", env: ["PATH=bin"], cwd: dir) == Path.join(bin, "prog")
      assert found("prog", env: ["PATH="], cwd: bin) == Path.join(bin, "prog")
    end

    test "is an error of execve when it is not there, or cannot be executed", %{bin: bin} do
      assert {:error, %Error{stage: :execve, errno: :enoent, code: 2}} =
               found("no-such-program", [])

      path = ["PATH=#{bin}"]
      assert {:error, %Error{stage: :execve, errno: :eacces, code: 13}} = found("text", env: path)
      path = ["PATH=#{Path.dirname(bin)}"]
      assert {:error, %Error{stage: :execve, errno: :eacces}} = found("bin", env: path)
    end

    test "is passed over where it cannot be executed", %{dir: dir, bin: bin} do
      File.write!(Path.join(dir, "prog"), "")
      assert found("prog", env: ["PATH=#{dir}:#{bin}"]) == Path.join(bin, "prog")
    end

    test "with a slash is left as it is" do
      assert found("./no/such/program", []) == "./no/such/program"
    end
  end

  test "namespaces are the eight that Linux has" do
    all = [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time]
    assert value(:namespaces, namespaces: all) == all
    assert value(:namespaces, namespaces: []) == []
    assert value(:namespaces, namespaces: [:net, :pid, :net]) == [:net, :pid]

    assert spawn_with(namespaces: [:net, :typo, "pid"]) ==
             {:error, {:bad_namespaces, [:typo, "pid"]}}

    for bad <- [:net, nil, [:net | :pid], %{net: true}] do
      assert spawn_with(namespaces: bad) == {:error, {:bad_namespaces, bad}}
    end
  end

  describe "env" do
    test "as a list of \"NAME=value\" is the environment" do
      assert value(:env, env: ["A=1", "B=", "C=x=y", "A=2"]) == ["A=1", "B=", "C=x=y", "A=2"]
      assert value(:env, env: []) == []
    end

    test "as a map or pairs is merged over the caller's" do
      System.put_env("LINX_TEST_KEPT", "kept")
      System.put_env("LINX_TEST_GONE", "gone")

      for env <- [
            %{"LINX_TEST_GONE" => nil, A: "1", LINX_TEST_KEPT: false},
            [{"LINX_TEST_GONE", nil}, {"LINX_TEST_KEPT", false}, {:A, "1"}]
          ] do
        entries = value(:env, env: env)
        assert "A=1" in entries
        assert "PATH=#{System.get_env("PATH")}" in entries
        refute Enum.any?(entries, &(&1 =~ ~r/^LINX_TEST_(KEPT|GONE)=/))
      end

      assert "LINX_TEST_KEPT=kept" in value(:env, env: %{})
      assert "LINX_TEST_KEPT=new" in value(:env, env: [LINX_TEST_KEPT: "new"])
    after
      System.delete_env("LINX_TEST_KEPT")
      System.delete_env("LINX_TEST_GONE")
    end

    test "is refused with what is wrong in it" do
      for {env, offending} <- [
            {:inherit, :inherit},
            {"A=1", "A=1"},
            {["A=1", "B"], "B"},
            {["=1"], "=1"},
            {[""], ""},
            {["A=\0"], "A=\0"},
            {["A=1", A: "1"], {:A, "1"}},
            {[{:A, "1"}, "B=2"], "B=2"},
            {[{:A, "1", 2}], {:A, "1", 2}},
            {["A=1" | "B=2"], ["A=1" | "B=2"]},
            {%{A: 1}, {:A, 1}},
            {%{A: true}, {:A, true}},
            {%{A: "\0"}, {:A, "\0"}},
            {%{"A=B" => "1"}, {"A=B", "1"}},
            {%{"" => "1"}, {"", "1"}},
            {%{"\0" => nil}, {"\0", nil}},
            {%{1 => "1"}, {1, "1"}},
            {[A: ~c"1"], {:A, ~c"1"}},
            {1..2, 1..2}
          ] do
        assert spawn_with(env: env) == {:error, {:bad_env, offending}}
      end
    end
  end

  test "cwd is a path" do
    assert value(:cwd, cwd: "/tmp") == "/tmp"

    for bad <- ["", nil, ~c"/tmp", "/tmp\0", :tmp] do
      assert spawn_with(cwd: bad) == {:error, {:bad_cwd, bad}}
    end
  end

  describe "stdio" do
    test "is one word for all three, or a choice for each" do
      for good <- [
            :inherit,
            :devnull,
            :pipe,
            :pty,
            [],
            [stdout: :pipe, stderr: :stdout],
            [stderr: :stdout],
            [
              stdin: {:file, "in", [:read]},
              stdout: {:file, "/out", [:append, :read, :exclusive]}
            ],
            [stdin: :devnull],
            [stderr: :inherit, stdin: :devnull, stdout: {:connect_unix, "/run/x"}]
          ] do
        assert value(:stdio, stdio: good) == good
      end
    end

    test "is refused with what is wrong in it" do
      long = String.duplicate("x", 108)

      for {stdio, offending} <- [
            {nil, nil},
            {:pipes, :pipes},
            {{:connect_unix, "/x"}, {:connect_unix, "/x"}},
            {[:devnull], :devnull},
            {[stdout: :pty], {:stdout, :pty}},
            {[stdlog: :devnull], {:stdlog, :devnull}},
            {[{1, :devnull}], {1, :devnull}},
            {[stdout: :devnull, stdin: :devnull, stdout: :inherit], {:stdout, :inherit}},
            {[stdin: :inherit, stdin: :inherit], {:stdin, :inherit}},
            {[stdout: :stderr], {:stdout, :stderr}},
            {[stdout: :stdout], {:stdout, :stdout}},
            {[stdin: :stdout], {:stdin, :stdout}},
            {[stdout: {:file, ""}], {:stdout, {:file, ""}}},
            {[stdout: {:file, "a\0"}], {:stdout, {:file, "a\0"}}},
            {[stdout: {:file, ~c"/x"}], {:stdout, {:file, ~c"/x"}}},
            {[stdout: {:file, "/x", []}], {:stdout, {:file, "/x", []}}},
            {[stdout: {:file, "/x", :write}], {:stdout, {:file, "/x", :write}}},
            {[stdout: {:file, "/x", [:create]}], {:stdout, {:file, "/x", [:create]}}},
            {[stdout: {:file, "/x", [:write | :read]}],
             {:stdout, {:file, "/x", [:write | :read]}}},
            {[stdout: {:file, "/x", [:write, :append]}],
             {:stdout, {:file, "/x", [:write, :append]}}},
            {[stdout: {:file, "/x", [:exclusive]}], {:stdout, {:file, "/x", [:exclusive]}}},
            {[stdin: {:file, "/x", [:read, :exclusive]}],
             {:stdin, {:file, "/x", [:read, :exclusive]}}},
            {[stdout: {:connect_unix, ""}], {:stdout, {:connect_unix, ""}}},
            {[stdout: {:connect_unix, "a\0"}], {:stdout, {:connect_unix, "a\0"}}},
            {[stdout: {:connect_unix, ~c"/x"}], {:stdout, {:connect_unix, ~c"/x"}}},
            {[stdout: {:connect_unix, long}], {:stdout, {:connect_unix, long}}},
            {[{:stdin, :devnull} | :pty], [{:stdin, :devnull} | :pty]}
          ] do
        assert spawn_with(stdio: stdio) == {:error, {:bad_stdio, offending}}
      end

      assert value(:stdio, stdio: [stdin: {:connect_unix, binary_part(long, 0, 107)}])
    end

    test "opens a file for reading or writing unless it is told otherwise" do
      assert value(:stdio, stdio: [stdin: {:file, "/i"}, stdout: {:file, "/o"}]) ==
               [stdin: {:file, "/i", [:read]}, stdout: {:file, "/o", [:write]}]
    end

    test "with an output to the session has a credit, and a mode" do
      for {stdio, active} <- [
            {:pipe, false},
            {:pty, true},
            {[stdout: :pipe], false},
            {[stderr: :pipe], false}
          ] do
        assert value(:credit, stdio: stdio) == 262_144
        assert value(:active, stdio: stdio) == active

        for mode <- [true, false, :once, 5],
            do: assert(value(:active, stdio: stdio, active: mode) == mode)
      end

      for stdio <- [:inherit, :devnull, [stdin: :pipe], [stderr: :stdout]] do
        assert value(:credit, stdio: stdio) == nil
        assert value(:active, stdio: stdio) == nil

        for mode <- [true, false] do
          assert spawn_with(stdio: stdio, active: mode) == {:error, {:bad_active, mode}}
        end
      end

      for bad <- [nil, 0, -1, 1.0, :discard, "once"] do
        assert spawn_with(stdio: :pipe, active: bad) == {:error, {:bad_active, bad}}
      end
    end

    test "may have an end of output apart from that of the program" do
      assert value(:output, stdio: :pipe, output: :until_exit) == :exit
      assert value(:output, stdio: :pipe, output: :until_eof) == :eof
      assert value(:output, output: :until_exit) == :exit

      for stdio <- [:inherit, :pty, [stdin: :pipe]] do
        assert spawn_with(stdio: stdio, output: :until_eof) == {:error, {:bad_output, :until_eof}}
      end

      for bad <- [nil, :eof, true],
          do: assert(spawn_with(output: bad) == {:error, {:bad_output, bad}})
    end

    test "with a terminal may have its size" do
      size = {24, 80, 0, 0}
      assert value(:winsize, stdio: :pty, winsize: {24, 80}) == size
      assert value(:winsize, stdio: :pty, winsize: size) == size

      assert value(:winsize, stdio: :pty, winsize: %{rows: 24, cols: 80, xpixel: 0, ypixel: 0}) ==
               size

      for bad <- [{24}, {24, -1}, {65_536, 80}, {24, 80, 0}, [24, 80], nil, %{rows: 24, cols: 80}] do
        assert spawn_with(stdio: :pty, winsize: bad) == {:error, {:bad_winsize, bad}}
      end

      assert spawn_with(stdio: :pipe, winsize: size) == {:error, {:bad_winsize, size}}
      assert spawn_with(winsize: {24, 80}) == {:error, {:bad_winsize, size}}
    end
  end

  test "timeout is a time in milliseconds, or none" do
    for good <- [0, 60_000, :infinity], do: assert(value(:timeout, timeout: good) == good)

    for bad <- [-1, 1.5, nil, "1", 0x1_0000_0000] do
      assert spawn_with(timeout: bad) == {:error, {:bad_timeout, bad}}
    end
  end

  test "stop_signal is a signal by name or number" do
    assert value(:stop_signal, stop_signal: :sigint) == 2
    assert value(:stop_signal, stop_signal: 2) == 2

    for bad <- [:sigfoo, 0, 65, nil, "SIGINT"] do
      assert spawn_with(stop_signal: bad) == {:error, {:bad_stop_signal, bad}}
    end
  end

  describe "files" do
    test "are paths with data, and perhaps a mode" do
      assert value(:files, files: %{"/a" => ["b", ?c]}) == [{"/a", "bc", 0o644}]

      assert value(:files, files: [{"a", "1"}, {"b", "", 0o7777}]) ==
               [{"a", "1", 0o644}, {"b", "", 0o7777}]

      assert value(:files, files: []) == []
    end

    test "are refused with the first that is wrong" do
      for bad <- [
            {"", "x"},
            {"a\0", "x"},
            {~c"a", "x"},
            {"a", :x},
            {"a", ["x", 256]},
            {"a", "x", -1},
            {"a", "x", 0o10000},
            {"a", "x", nil},
            {"a", "x", 0o644, 1},
            "a",
            {"a"}
          ] do
        assert spawn_with(files: [{"/good", "x"}, bad, :later]) == {:error, {:bad_files, bad}}
      end

      for bad <- ["a", nil, [{"a", "x"} | 1], {"a", "x"}] do
        assert spawn_with(files: bad) == {:error, {:bad_files, bad}}
      end

      assert spawn_with(files: %{a: "x"}) == {:error, {:bad_files, {:a, "x"}}}
    end
  end

  describe "arg0" do
    test "is a string" do
      assert value(:arg0, []) == nil
      assert value(:arg0, arg0: "-sh") == "-sh"
      assert value(:arg0, arg0: "") == ""

      for bad <- [1, nil, ~c"sh", "s\0"],
          do: assert(spawn_with(arg0: bad) == {:error, {:bad_arg0, bad}})
    end
  end

  describe "chain" do
    test "is a list of programs, which are looked up" do
      sh = System.find_executable("sh")
      chain = [["sh", "-c", "x"], ["/bin/true"]]
      assert value(:chain, chain: chain) == [[sh, "-c", "x"], ["/bin/true"]]
      assert value(:chain, chain: []) == []

      assert {:error, %Error{stage: :execve, errno: :enoent}} =
               spawn_with(chain: [["sh"], ["no-such-program"]])
    end

    test "is refused with the first that is wrong" do
      for bad <- [[], "ls", [""], ["ls", 1], ["ls" | "x"], ["a\0"], nil] do
        assert spawn_with(chain: [["sh"], bad, :later]) == {:error, {:bad_chain, bad}}
      end

      for bad <- ["sh", nil, :sh, [["sh"] | 1]] do
        assert spawn_with(chain: bad) == {:error, {:bad_chain, bad}}
      end
    end
  end

  test "owner is a process, by pid or by name, or nobody" do
    for good <- [
          self(),
          Some.Name,
          {:name, :node@host},
          {:global, "x"},
          {:via, Registry, {R, 1}},
          nil
        ] do
      assert value(:owner, owner: good) == good
    end

    for bad <- ["name", 1, true, {:via, "x", 1}, {"name", node()}, {:name}, make_ref()] do
      assert spawn_with(owner: bad) == {:error, {:bad_owner, bad}}
    end
  end

  test "name is one that a GenServer may have" do
    for good <- [Some.Name, {:global, "x"}, {:via, Registry, {R, 1}}] do
      assert value(:name, name: good) == good
    end

    for bad <- ["name", nil, true, :undefined, self(), {:name, node()}] do
      assert spawn_with(name: bad) == {:error, {:bad_name, bad}}
    end
  end

  test "flags are true or false" do
    for key <- [:linger, :auto_proceed, :no_new_privs] do
      assert value(key, [{key, true}]) == true
      assert value(key, [{key, false}]) == false

      for bad <- [nil, 1, "true", :yes] do
        assert spawn_with([{key, bad}]) == {:error, {:"bad_#{key}", bad}}
      end
    end
  end

  test "orphan and descendants are a fate" do
    for key <- [:orphan, :descendants] do
      assert value(key, [{key, :kill}]) == :kill
      assert value(key, [{key, :leave}]) == :leave

      for bad <- [nil, true, "kill"] do
        assert spawn_with([{key, bad}]) == {:error, {:"bad_#{key}", bad}}
      end
    end
  end

  test "grace is a time in milliseconds" do
    assert value(:grace, grace: 0) == 0
    assert value(:grace, grace: 60_000) == 60_000

    for bad <- [-1, 1.5, :infinity, nil, 0x1_0000_0000] do
      assert spawn_with(grace: bad) == {:error, {:bad_grace, bad}}
    end
  end

  describe "enter" do
    test "has a target, and all of its namespaces unless some are named" do
      assert {:ok, %{mode: :enter, target: 42, namespaces: nil}} = Options.enter(42, @argv)

      assert {:ok, %{namespaces: [:net]}} = Options.enter(42, @argv ++ [namespaces: [:net]])
      assert {:ok, %{namespaces: []}} = Options.enter(42, @argv ++ [namespaces: []])
    end

    test "refuses what can be no pid" do
      for bad <- [0, -1, 1.0, "1", nil, self(), 0x8000_0000] do
        assert Linx.Process.enter(bad, @argv) == {:error, {:bad_target, bad}}
      end
    end
  end

  describe "the arguments of other functions, on a session that does not even exist" do
    setup do
      {pid, monitor} = spawn_monitor(fn -> :ok end)
      assert_receive {:DOWN, ^monitor, _, _, _}
      %{dead: pid}
    end

    alias Linx.Process, as: P

    test "are refused with what is wrong", %{dead: dead} do
      assert P.signal(dead, :sigfoo) == {:error, {:bad_signal, :sigfoo}}
      assert P.signal(dead, 0) == {:error, {:bad_signal, 0}}
      assert P.signal(dead, 65) == {:error, {:bad_signal, 65}}
      assert P.signal(dead, 9, to: :all) == {:error, {:bad_to, :all}}
      assert P.signal(dead, 9, at: :tree) == {:error, {:bad_option, :at}}
      assert P.signal(dead, 9, :tree) == {:error, {:bad_options, :tree}}
      assert P.wait(dead, -1) == {:error, {:bad_timeout, -1}}
      assert P.wait(dead, 0x1_0000_0000) == {:error, {:bad_timeout, 0x1_0000_0000}}
      assert P.pty_write(dead, :x) == {:error, {:bad_data, :x}}
      assert P.pty_write(dead, ["x", 256]) == {:error, {:bad_data, ["x", 256]}}
      assert P.pty_write(dead, "x", nil) == {:error, {:bad_timeout, nil}}
      assert P.set_owner(dead, "me") == {:error, {:bad_owner, "me"}}
      assert P.stop(dead, grace: -1) == {:error, {:bad_grace, -1}}
      assert P.stop(dead, timeout: 1) == {:error, {:bad_option, :timeout}}
      assert P.stop(dead, 5) == {:error, {:bad_options, 5}}
      assert P.cancel(dead, -1) == {:error, {:bad_grace, -1}}
      assert P.recv(dead, :stdin) == {:error, {:bad_source, :stdin}}
      assert P.recv(dead, :any, :never) == {:error, {:bad_timeout, :never}}
      assert P.write(dead, :x) == {:error, {:bad_data, :x}}
      assert P.write(dead, "x", nil) == {:error, {:bad_timeout, nil}}
      assert P.set_active(dead, :always) == {:error, {:bad_active, :always}}
    end

    test "a window size has four numbers of 16 bits", %{dead: dead} do
      for bad <- [
            {24, 80},
            {24, 80, 0, -1},
            {65_536, 80, 0, 0},
            {24, 80, 0, 1.0},
            [24, 80, 0, 0],
            %{rows: 24, cols: 80},
            %{rows: 24, cols: 80, xpixel: 0, ypixel: "0"}
          ] do
        assert P.pty_set_winsize(dead, bad) == {:error, {:bad_winsize, bad}}
      end
    end

    test "are answered :no_process when nothing is wrong", %{dead: dead} do
      for session <- [dead, :no_such_name, {:global, :no_such_name}, {:name, :no@such_node}] do
        for answer <- [
              P.proceed(session),
              P.abort(session),
              P.signal(session, :sigterm),
              P.signal(session, 15, to: :tree),
              P.wait(session),
              P.wait(session, 10),
              P.info(session),
              P.host_pid(session),
              P.pty_write(session, "x"),
              P.pty_write(session, "x", 10),
              P.pty_set_winsize(session, {24, 80, 0, 0}),
              P.pty_master(session),
              P.set_owner(session, self()),
              P.recv(session),
              P.recv(session, :stdout, 10),
              P.write(session, "x"),
              P.close_stdin(session),
              P.set_active(session, :discard),
              P.try_wait(session),
              P.cancel(session),
              P.stop(session),
              P.stop(session, grace: 0)
            ] do
          assert answer == {:error, :no_process}
        end
      end
    end
  end

  describe "child_spec/1" do
    test "makes a worker that does not linger, and belongs to nobody" do
      spec = Linx.Process.child_spec(@argv)
      assert {Linx.Process, :start_link, [opts]} = spec.start
      assert Keyword.delete(opts, :slot) == [linger: false, owner: nil] ++ @argv

      assert Map.delete(spec, :start) ==
               %{id: Linx.Process, type: :worker, shutdown: 5_000}
    end

    test "gives each child a slot that it shares with its successors only" do
      slot = fn ->
        Linx.Process.child_spec(@argv).start |> elem(2) |> hd() |> Keyword.get(:slot)
      end

      assert is_reference(slot.())
      refute slot.() == slot.()
      assert Linx.Process.spawn(@argv ++ [slot: 1]) == {:error, {:bad_option, :slot}}
    end

    test "takes what is the supervisor's out of the options" do
      spec =
        Linx.Process.child_spec(
          @argv ++
            [id: :a, restart: :transient, shutdown: 1, linger: true, owner: self(), grace: 9]
        )

      assert %{id: :a, restart: :transient, shutdown: 1} = spec
      assert {Linx.Process, :start_link, [opts]} = spec.start

      assert opts |> Keyword.delete(:slot) |> Enum.sort() ==
               Enum.sort(@argv ++ [linger: true, owner: self(), grace: 9])
    end

    test "gives the session three seconds more than its grace, and its name as id" do
      spec = Linx.Process.child_spec(@argv ++ [grace: 10_000, name: My.Session])
      assert %{id: My.Session, shutdown: 13_000} = spec
    end

    test "leaves mistakes to the start" do
      spec = Linx.Process.child_spec(grace: :long)
      assert {module, function, args} = spec.start
      assert apply(module, function, args) == {:error, :argv_required}
    end
  end
end
