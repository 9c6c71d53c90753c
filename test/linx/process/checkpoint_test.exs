defmodule Linx.Process.CheckpointTest do
  # What a session is told to do at its checkpoint: the kernel's verdict comes with the call, and what is held is
  # carried out in an order of its own.
  use ExUnit.Case, async: true

  import Bitwise
  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Checkpoint, Error}
  alias Linx.Test.{RawAgent, Tree}

  @x86_64? to_string(:erlang.system_info(:system_architecture)) =~ "x86_64"
  @numbers if @x86_64?,
             do: [seccomp: 317, capset: 126, uname: 63, prctl: 157],
             else: [seccomp: 277, capset: 91, uname: 160, prctl: 167]

  @eperm 1
  @allow 0x7FFF_0000
  @errno 0x0005_0000
  @kill_process 0x8000_0000

  # cBPF: `{code, jump if true, jump if false, constant}`
  defp program(instructions) do
    for {code, jt, jf, k} <- instructions, into: "", do: <<code::native-16, jt, jf, k::native-32>>
  end

  defp returning(action), do: program([{0x06, 0, 0, action}])

  defp denying(name) do
    load_number = {0x20, 0, 0, 0}

    program([
      load_number,
      {0x15, 0, 1, @numbers[name]},
      {6, 0, 0, @errno + @eperm},
      {6, 0, 0, @allow}
    ])
  end

  # Instructions that do nothing, and allow everything.
  defp long(length) do
    program(List.duplicate({0x20, 0, 0, 0}, length - 1) ++ [{6, 0, 0, @allow}])
  end

  # A session in a user namespace of its own, for want of rights.
  defp start(argv, opts) do
    defaults = [argv: argv, stdio: [stdout: :pipe], owner: nil] ++ in_namespaces(opts[:in] || [])
    {:ok, session} = P.spawn(Keyword.merge(defaults, Keyword.delete(opts, :in)))
    session
  end

  defp sh(script, opts \\ []), do: start(["/bin/sh", "-c", script], opts)

  defp parked(session) do
    eventually(fn -> P.info(session).stage == :ready end)
    P.info(session).host_pid
  end

  defp output(session) do
    assert P.proceed(session) == :ok
    text = read_output(session)
    assert P.wait(session) == {:ok, {:exited, 0}}
    text
  end

  describe "a verdict" do
    test "is good for what the program will have" do
      session =
        sh("""
        umask; ulimit -Sn; ulimit -Hn; nice; cat /proc/self/oom_score_adj
        grep -E '^(Cpus_allowed|NoNewPrivs|Seccomp|CapBnd):' /proc/self/status
        """)

      for step <- [
            {:umask, 0o027},
            {:rlimit, 7, 100, 200},
            {:nice, 3},
            {:oom_score_adj, 900},
            {:cpu_affinity, <<1>>},
            {:cap_drop_bounding, 1 <<< 5 ||| 1},
            :no_new_privs,
            {:seccomp, returning(@allow)}
          ] do
        assert {step, Checkpoint.confine(session, step)} == {step, :ok}
      end

      assert ["0027", "100", "200", "3", "900", bounding | others] =
               session |> output() |> String.split("\n", trim: true)

      assert "CapBnd:\t" <> mask = Enum.find([bounding | others], &(&1 =~ "CapBnd"))
      assert (String.to_integer(mask, 16) &&& 0b100001) == 0
      assert "NoNewPrivs:\t1" in [bounding | others]
      assert "Seccomp:\t2" in [bounding | others]
      assert Enum.any?(others, &(&1 =~ ~r/^Cpus_allowed:\t0*1$/))
    end

    test "is the kernel's when it refuses, and the session's end" do
      dir = tmp_dir()

      for {step, stage, {errno, code}} <- [
            {{:rlimit, 7, 200, 100}, :setrlimit, {:einval, 22}},
            {{:oom_score_adj, 2000}, :oom_score_adj, {:einval, 22}},
            {{:cpu_affinity, <<0>>}, :cpu_affinity, {:einval, 22}},
            {{:cpu_affinity, ""}, :cpu_affinity, {:einval, 22}},
            {{:cap_drop_bounding, 1 <<< 63}, :cap_drop_bounding, {:einval, 22}},
            {{:securebits, 1 <<< 20}, :securebits, {:eperm, 1}},
            {{:cap_set_thread, 1, 0, 0}, :cap_set_thread, {:eperm, 1}},
            {{:cap_set_ambient, 1}, :cap_set_ambient, {:eperm, 1}},
            {{:cap_set_ambient, 1 <<< 63}, :cap_set_ambient, {:einval, 22}},
            {{:seccomp, ""}, :seccomp_install, {:einval, 22}},
            {{:seccomp, "1234567"}, :seccomp_install, {:einval, 22}},
            {{:seccomp, program([{0xFF, 0, 0, 0}])}, :seccomp_install, {:einval, 22}},
            # One that has no end.
            {{:seccomp, program([{0x20, 0, 0, 0}])}, :seccomp_install, {:einval, 22}}
          ] do
        path = Path.join(dir, "ran")
        session = sh("touch #{path}")
        pid = parked(session)
        error = %Error{stage: stage, errno: errno, code: code}
        assert {step, Checkpoint.confine(session, step)} == {step, {:error, error}}
        assert P.wait(session) == {:error, error}
        # Everything that might come now comes too late.
        assert P.proceed(session) == {:error, :no_process}
        assert Checkpoint.confine(session, {:umask, 0}) == {:error, :no_process}
        assert Checkpoint.setup(session, :loopback) == {:error, :no_process}
        refute alive?(pid)
        refute File.exists?(path)
      end
    end

    test "is that of all that is held, whichever came last" do
      session = sh("true")
      assert Checkpoint.confine(session, {:cap_set_thread, 0, 0, 0}) == :ok
      # In its place before the other it would have been refused by nobody.
      assert Checkpoint.confine(session, {:cap_drop_bounding, 1}) == :ok
      # But this one comes behind it, and it is not this one that is wrong by itself.
      assert {:error, %Error{stage: :cap_set_ambient, errno: :eperm}} =
               Checkpoint.confine(session, {:cap_set_ambient, 1})
    end

    test "is one of the request's confinements when those are wrong" do
      session = P.spawn(argv: ["true"], rlimits: [nofile: {4, 4}], owner: nil) |> elem(1)
      parked(session)
      assert Checkpoint.confine(session, {:umask, 0}) == :ok
      assert P.stop(session) == :ok
    end

    test "is EPERM, and nothing worse, for whom the filter kills" do
      session = sh("true", stdio: :devnull)
      assert Checkpoint.confine(session, {:seccomp, returning(@kill_process)}) == :ok
      assert P.proceed(session) == :ok
      assert {:error, %Error{stage: :execve, errno: :eio, signal: 31}} = P.wait(session)

      session = sh("true", stdio: :devnull)
      assert Checkpoint.confine(session, {:seccomp, returning(@kill_process)}) == :ok
      # The rehearsal of the second dies of the first.
      assert {:error, %Error{stage: :seccomp_install, errno: :eperm}} =
               Checkpoint.confine(session, {:seccomp, returning(@allow)})

      for action <- [@errno + @eperm, @errno] do
        session = sh("true", stdio: :devnull)
        assert Checkpoint.confine(session, {:seccomp, returning(action)}) == :ok
        assert P.proceed(session) == :ok
        assert {:error, %Error{stage: :execve, errno: :eperm}} = P.wait(session)
      end
    end

    test "of filters is in the order in which they come" do
      {denying, other} = {{:seccomp, denying(:seccomp)}, {:seccomp, denying(:uname)}}
      session = sh("uname 2>/dev/null || echo denied")
      assert Checkpoint.confine(session, other) == :ok
      assert Checkpoint.confine(session, denying) == :ok
      assert output(session) == "denied\n"

      session = sh("true")
      assert Checkpoint.confine(session, denying) == :ok

      assert {:error, %Error{stage: :seccomp_install, errno: :eperm}} =
               Checkpoint.confine(session, other)
    end
  end

  describe "the order of the calls" do
    @kept 1 <<< 10

    # What depends on the order: a filter without which nothing else could be done, and sets without which there
    # is no right to drop from the bounding set.
    test "is not that of the steps" do
      thread_sets = {:cap_set_thread, @kept, @kept, @kept}
      ambient = {:cap_set_ambient, @kept}
      steps = [{:cap_drop_bounding, 1 <<< 21}, thread_sets, ambient, {:seccomp, denying(:capset)}]

      results =
        for steps <- permutations(steps) do
          session = sh("grep -E '^(Cap|Seccomp:)' /proc/self/status")
          answers = for step <- steps, do: Checkpoint.confine(session, step)

          # What another step makes possible is refused before that: the verdict is on what is held by then.
          if Enum.find_index(steps, &(&1 == ambient)) <
               Enum.find_index(steps, &(&1 == thread_sets)) do
            assert {:error, %Error{stage: :cap_set_ambient, errno: :eperm}} = P.wait(session)
            nil
          else
            assert {steps, answers} == {steps, [:ok, :ok, :ok, :ok]}
            output(session)
          end
        end

      assert length(results) == 24
      assert [status] = results |> Enum.reject(&is_nil/1) |> Enum.uniq()
      assert status =~ ~r/^CapAmb:\t0000000000000400$/m
      assert status =~ ~r/^Seccomp:\t2$/m
    end

    @tag :root
    test "nor is that of a request: another user keeps its ambient capability" do
      # SECBIT_KEEP_CAPS
      steps = [
        {:securebits, 1 <<< 4},
        {:cap_set_thread, @kept, @kept, @kept},
        {:cap_set_ambient, @kept}
      ]

      path = Path.join(tmp_dir(), "status")

      for steps <- permutations(steps), more <- [%{}, %{namespaces: [:pid], init: true}] do
        argv = ["/bin/grep", "-E", "^(Uid|CapEff|CapAmb):", "/proc/self/status"]
        stdio = [stdout: {:file, path, [:write]}]

        request =
          Map.merge(%{argv: argv, stdio: stdio, uid: 65_534, gid: 65_534, confine: steps}, more)

        assert {events, 0} = RawAgent.session([{:spawn, request}, :proceed])
        assert {:status, :exited, 0} in events

        assert ["Uid:\t65534" <> _, effective, ambient] =
                 path |> File.read!() |> String.split("\n", trim: true)

        assert {effective, ambient} == {"CapEff:\t0000000000000400", "CapAmb:\t0000000000000400"}
      end
    end

    defp permutations([]), do: [[]]

    defp permutations(list),
      do: for(one <- list, rest <- permutations(list -- [one]), do: [one | rest])
  end

  describe "what is held" do
    test "is not in force in the parked child" do
      session = sh("true", stdio: :devnull)
      pid = parked(session)
      look = fn -> {proc(pid, "limits"), proc(pid, "status"), proc(pid, "oom_score_adj")} end
      before = look.()

      for step <- [
            {:umask, 0o777},
            {:rlimit, 7, 10, 10},
            {:oom_score_adj, 1000},
            {:cpu_affinity, <<1>>},
            {:cap_drop_bounding, 1},
            {:cap_set_thread, 0, 0, 0},
            :no_new_privs,
            {:seccomp, denying(:uname)}
          ] do
        assert Checkpoint.confine(session, step) == :ok
        assert {step, look.()} == {step, before}
      end

      assert children(pid) == []
      assert P.stop(session) == :ok
    end

    # Without what changes as it goes.
    defp proc(pid, file) do
      "/proc/#{pid}/#{file}"
      |> File.read!()
      |> String.split("\n")
      |> Enum.reject(&(&1 =~ ~r/^(\w*ctxt_switches|Vm|Rss|State|SigQ|x86)/))
    end

    test "is for every program of a chain" do
      program = ["sh", "-c", "uname 2>/dev/null || echo denied; umask"]
      session = start(program, chain: [program, program])
      assert Checkpoint.confine(session, {:seccomp, denying(:uname)}) == :ok
      assert Checkpoint.confine(session, {:umask, 0o077}) == :ok
      assert output(session) == String.duplicate("denied\n0077\n", 3)
    end

    test "may be what the agent itself would need: stdio, directory and files come first" do
      dir = tmp_dir()
      path = Path.join(dir, "staged")
      session = sh("cat #{path}", cwd: dir, files: %{path => "staged"})
      # No descriptor can be opened by a number of 3 or more, no file written.
      assert Checkpoint.confine(session, {:rlimit, 1, 0, 0}) == :ok
      assert {:error, %Error{stage: :stage_file, errno: :efbig}} = proceed_and_wait(session)
    end

    defp proceed_and_wait(session) do
      assert P.proceed(session) == :ok
      P.wait(session)
    end
  end

  describe "an operation" do
    test "is done at once, and refused at once" do
      session = sh("hostname; grep -c 127.0.0.1 /proc/net/fib_trie", in: [:uts, :net])
      pid = parked(session)
      assert Checkpoint.setup(session, {:hostname, "box"}) == :ok
      # Whoever enters sees it.
      assert {"box\n", {:ok, {:exited, 0}}} = capture(["hostname"], [], &P.enter(pid, &1))
      assert Checkpoint.setup(session, {:hostname, "other"}) == :ok
      assert Checkpoint.setup(session, :loopback) == :ok
      assert ["other", count] = session |> output() |> String.split("\n", trim: true)
      assert String.to_integer(count) > 0

      session = sh("true", in: [:uts])
      error = %Error{stage: :hostname, errno: :einval, code: 22}
      assert Checkpoint.setup(session, {:hostname, String.duplicate("x", 65)}) == {:error, error}
      assert P.wait(session) == {:error, error}
    end

    # The stacks of an agent's children are side by side in its memory, and nothing stands between them.
    test "or a confinement takes less than half of the stack that there is for it" do
      dir = tmp_dir()

      session =
        sh("exec sleep 60",
          in: [:mount, :uts, :net],
          agent: :dedicated,
          stdio: :devnull,
          cwd: "/tmp",
          files: %{Path.join(dir, "file") => "x"}
        )

      pid = parked(session)
      tree = Enum.map_join(1..20, &"/mnt/#{&1}")

      for operation <- [
            {:hostname, "box"},
            :loopback,
            {:mount, {:file_system, "tmpfs", "linx", "/mnt", [], []}},
            {:mount, {:make_directory, tree, 0o755}},
            {:mount, {:make_file, tree <> "/file", 0o644, "x"}},
            {:mount, {:bind, "/usr", tree, [:recursive]}}
          ] do
        assert {operation, Checkpoint.setup(session, operation)} == {operation, :ok}
      end

      for step <- [
            {:oom_score_adj, 900},
            {:cap_drop_bounding, 1},
            {:landlock, 1, [:fs], [{:path, "/", [:read, :write, :execute]}]},
            {:seccomp, long(4096)}
          ] do
        answer = Checkpoint.confine(session, step)
        assert answer == :ok or match?({:landlock, {:ok, _enforced}}, {elem(step, 0), answer})
      end

      {size, touched} = stacks(pid)
      assert touched > 0
      # 64 of them are mapped at a time.
      assert touched < div(size, 64 * 2), "#{touched} of #{div(size, 64)} kB"
      assert P.proceed(session) == :ok
      eventually(fn -> P.info(session).stage != :ready end)
      assert P.info(session).stage == :running
      assert P.stop(session) == :ok
    end

    # The memory that they are in, and what of it the parked child has used, in kB.
    defp stacks(pid) do
      [_, size, touched] =
        Regex.run(
          ~r{/dev/zero \(deleted\)\nSize: +(\d+) kB\n(?:.*\n)*?Rss: +(\d+) kB},
          File.read!("/proc/#{pid}/smaps")
        )

      {String.to_integer(size), String.to_integer(touched)}
    end

    test "needs rights where it is done" do
      unless root?() do
        for {operation, stage} <- [{{:hostname, "x"}, :hostname}, {:loopback, :loopback}] do
          {:ok, session} = P.spawn(argv: ["true"], owner: nil)

          assert {:error, %Error{stage: ^stage, errno: :eperm}} =
                   Checkpoint.setup(session, operation)
        end
      end
    end
  end

  describe "a call" do
    test "that comes early waits for the checkpoint" do
      for _round <- 1..20 do
        session = sh("umask")
        assert Checkpoint.confine(session, {:umask, 0o011}) == :ok
        assert output(session) == "0011\n"
      end
    end

    test "that comes when the program runs is too late, and does nothing" do
      session = sh("read line", stdio: [stdin: :pipe])
      assert P.proceed(session) == :ok

      for late <- [{:umask, 0}, {:rlimit, 7, 200, 100}, :no_new_privs, {:seccomp, ""}] do
        assert Checkpoint.confine(session, late) == {:error, :running}
      end

      assert Checkpoint.setup(session, :loopback) == {:error, :running}
      assert P.write(session, "\n") == :ok
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert Checkpoint.confine(session, {:umask, 0}) == {:error, :no_process}
    end

    test "that is none ends the session, as every command does that is malformed" do
      wrong = [:nonsense, {:umask, -1}, {:rlimit, 16, 0, 0}, {:seccomp, [1]}, nil]

      for nonsense <- wrong, call <- [&Checkpoint.confine/2, &Checkpoint.setup/2] do
        session = sh("true", stdio: :devnull)
        assert {:error, %Error{stage: :malformed_request} = error} = call.(session, nonsense)
        assert P.wait(session) == {:error, error}
      end
    end

    test "to a child that somebody has killed has no verdict" do
      session = sh("true", stdio: :devnull)
      pid = parked(session)
      Tree.kill!(pid, :STOP)
      waiting = Task.async(fn -> Checkpoint.confine(session, {:umask, 0}) end)
      Tree.kill!(pid, :KILL)
      assert Task.await(waiting) == {:error, :no_process}
      assert {:error, %Error{stage: :checkpoint, errno: :eio, signal: 9}} = P.wait(session)
    end

    test "may be one of many at a time" do
      session = sh("grep -E '^Seccomp_filters' /proc/self/status; true")
      filter = {:seccomp, returning(@allow)}

      tasks = for _n <- 1..50, do: Task.async(fn -> Checkpoint.confine(session, filter) end)
      assert Enum.uniq(Task.await_many(tasks, 30_000)) == [:ok]
      # Not all kernels count them.
      assert output(session) in ["Seccomp_filters:\t50\n", ""]
    end

    test "that comes beside the word to go on is either before it or behind it" do
      for _round <- 1..10 do
        session = sh("grep -E '^Seccomp_filters' /proc/self/status; true")
        filter = {:seccomp, returning(@allow)}
        tasks = for _n <- 1..8, do: Task.async(fn -> Checkpoint.confine(session, filter) end)
        text = output(session)
        answers = Task.await_many(tasks)

        assert Enum.all?(answers, &(&1 in [:ok, {:error, :running}, {:error, :no_process}]))
        count = Enum.count(answers, &(&1 == :ok))
        assert text in ["Seccomp_filters:\t#{count}\n", ""]
      end
    end
  end

  describe "more than there is room for" do
    test "is refused as the kernel does" do
      too_long = :binary.copy(<<0>>, 40_000)

      for {step, stage, errno} <- [
            {{:seccomp, long(4097)}, :seccomp_install, :einval},
            {{:seccomp, :binary.copy(long(4096), 16)}, :seccomp_install, :e2big},
            {{:cpu_affinity, too_long}, :cpu_affinity, :e2big}
          ] do
        session = sh("true", stdio: :devnull)
        assert {:error, %Error{stage: ^stage, errno: ^errno}} = Checkpoint.confine(session, step)
        assert {:error, %Error{stage: ^stage}} = P.wait(session)
      end

      session = sh("true", stdio: :devnull)
      answer = Checkpoint.setup(session, {:hostname, too_long})
      assert {:error, %Error{stage: :hostname, errno: :e2big}} = answer
    end

    test "is refused when it is too much together" do
      session = sh("true")
      answers = for _n <- 1..8, do: Checkpoint.confine(session, {:seccomp, long(4096)})
      {taken, [refused | late]} = Enum.split_while(answers, &(&1 == :ok))
      # The kernel takes 32768 instructions, of which it makes more than it is given.
      assert length(taken) in 3..7
      assert {:error, %Error{stage: :seccomp_install, errno: :enomem}} = refused
      assert Enum.all?(late, &(&1 == {:error, :no_process}))
    end
  end
end
