defmodule Linx.RunTest do
  use ExUnit.Case, async: true

  import Linx.Test.Command
  import Linx.Test.Helpers

  alias Linx.{ExitError, Result}
  alias Linx.Process, as: P
  alias Linx.Process.Error

  doctest Linx, only: [run: 2, run!: 2], import: false
  doctest Linx, only: [:moduledoc], import: false
  doctest Linx.ExitError, import: false

  describe "the result" do
    test "has both streams, each as it was written" do
      assert {:ok, %Result{} = result} =
               Linx.run(["sh", "-c", "printf 'a\\0'; printf '\\377' >&2"])

      assert result.status == {:exited, 0}
      assert result.stdout == <<"a", 0>>
      assert result.stderr == <<255>>
      refute result.timed_out?
      refute result.truncated?
      assert_nothing_left()
    end

    test "tells an exit status from a signal" do
      for code <- [0, 1, 126, 127, 137, 255] do
        assert {:ok, %Result{status: {:exited, ^code}}} = Linx.run(["sh", "-c", "exit #{code}"])
      end

      for n <- [1, 9, 13, 15] do
        assert {:ok, %Result{status: {:signaled, ^n}}} = Linx.run(["sh", "-c", "kill -#{n} $$"])
      end

      assert_nothing_left()
    end

    test "has the duration in microseconds" do
      {us, {:ok, result}} = :timer.tc(fn -> Linx.run(["sleep", "0.2"]) end)
      assert result.duration in 200_000..us
    end

    test "has what the program used" do
      busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.01"
      {:ok, %Result{usage: %Linx.Usage{} = usage}} = Linx.run(["sh", "-c", busy])
      assert usage.user_time + usage.system_time > 0
      assert usage.max_rss in 100_000..100_000_000
      assert usage.minor_faults > 0
      assert usage.voluntary_switches > 0
    end

    test "of a program without arguments" do
      assert {:ok, %Result{stdout: "Linux\n"}} = Linx.run("uname")
      assert {:ok, %Result{status: {:exited, 1}}} = Linx.run(["false"])
    end

    test "is there although more was written than a pipe holds" do
      {:ok, result} = Linx.run(["sh", "-c", "seq 100000 | tee /dev/stderr"])
      expected = Enum.map_join(1..100_000, &"#{&1}\n")
      assert result.stdout == expected
      assert result.stderr == expected
    end
  end

  describe "errors" do
    test "a program that is not executed is none that exited" do
      assert {:error, %Error{stage: :execve, errno: :enoent}} = Linx.run("no-such-program")
      assert {:error, %Error{stage: :execve, errno: :enoent}} = Linx.run("/no/such/program")
      assert {:error, %Error{stage: :execve, errno: :eacces}} = Linx.run("/etc/passwd")
      assert {:error, %Error{stage: :execve, errno: :eacces}} = Linx.run("/tmp")
      assert {:error, %Error{stage: :chdir, errno: :enoent}} = Linx.run("true", cwd: "/no/such")
      assert_nothing_left()
    end

    test "a mistake is named before anything starts" do
      path = Path.join(tmp_dir(), "started")

      for {opts, mistake} <- [
            {[input: :atom], {:bad_input, :atom}},
            {[input: ["a" | :b]], {:bad_input, ["a" | :b]}},
            {[input: &self/0], {:bad_input, &self/0}},
            {[max_output: -1], {:bad_max_output, -1}},
            {[max_output: {1, :cut}], {:bad_max_output, {1, :cut}}},
            {[stderr: :element], {:bad_stderr, :element}},
            {[timeout: -1], {:bad_timeout, -1}},
            {[grace: :long], {:bad_grace, :long}},
            {[cwd: ""], {:bad_cwd, ""}},
            {[stdio: [stdin: :devnull], input: "x"], {:bad_stdio, [stdin: :devnull]}},
            {[stdio: :inherit, input: "x"], {:bad_stdio, :inherit}},
            {[stdio: [1]], {:bad_stdio, 1}},
            {[typo: 1], {:bad_option, :typo}},
            {[argv: ["true"]], {:bad_option, :argv}},
            {[active: true], {:bad_option, :active}},
            {[linger: true], {:bad_option, :linger}},
            {[lines: true], {:bad_option, :lines}},
            {[:typo], {:bad_options, [:typo]}},
            {:typo, {:bad_options, :typo}}
          ] do
        assert {opts, Linx.run(["touch", path], opts)} == {opts, {:error, mistake}}
        if is_list(opts), do: assert_raise(ArgumentError, fn -> Linx.run!("true", opts) end)
      end

      for command <- [[], "", [~c"charlist"], [<<0>>], :atom, ["a" | "b"]] do
        assert Linx.run(command) in [
                 {:error, {:bad_argv, command}},
                 {:error, {:bad_argv, [command]}}
               ]

        assert_raise ArgumentError, fn -> Linx.run!(command) end
      end

      refute File.exists?(path)
      assert_nothing_left()
    end

    test "a name that is free again when the program has ended" do
      for agent <- [:host, :dedicated], _again <- 1..10 do
        assert {:ok, _result} = Linx.run("true", name: __MODULE__.Again, agent: agent)
      end
    end

    test "a name that is taken" do
      {:ok, holder} = Agent.start_link(fn -> nil end, name: __MODULE__)
      assert Linx.run("true", name: __MODULE__) == {:error, {:already_started, holder}}
      assert_raise ArgumentError, ~r/taken/, fn -> Linx.run!("true", name: __MODULE__) end
      Agent.stop(holder)
    end
  end

  describe "run!" do
    test "returns the result of a success" do
      assert %Result{stdout: "hi\n"} = Linx.run!(["echo", "hi"])
    end

    test "raises for everything else" do
      error = assert_raise ExitError, fn -> Linx.run!(["sh", "-c", "echo why >&2; exit 3"]) end
      assert %{status: {:exited, 3}, timed_out?: false, result: %Result{}} = error
      assert Exception.message(error) == ~s(sh -c "echo why >&2; exit 3": exit status 3\n\nwhy\n)

      error = assert_raise ExitError, fn -> Linx.run!(["sh", "-c", "kill -9 $$"]) end
      assert Exception.message(error) == ~s(sh -c "kill -9 $$": killed by SIGKILL)

      error = assert_raise ExitError, fn -> Linx.run!(["sleep", "60"], timeout: 20) end
      assert Exception.message(error) == "sleep 60: timed out, killed by SIGTERM"

      # Also if it makes the best of it, for which it has to have come that far.
      polite = ["sh", "-c", "trap 'exit 0' TERM; echo; while :; do sleep 0.01; done"]

      assert Enum.any?(1..10, fn n ->
               timeout = 50 * 2 ** n
               error = assert_raise ExitError, fn -> Linx.run!(polite, timeout: timeout) end
               assert error.timed_out?
               error.status == {:exited, 0}
             end)

      assert_raise Error, ~r/ENOENT/, fn -> Linx.run!("/no/such/program") end
      assert_nothing_left()
    end

    test "shows the end of what was written to standard error, if it is text" do
      message = fn stderr ->
        Exception.message(%ExitError{
          argv: ["x"],
          status: :unknown,
          result: %Result{status: :unknown, stderr: stderr}
        })
      end

      long = message.(String.duplicate("ö", 5_000) <> "!")
      assert String.valid?(long)
      assert String.ends_with?(long, "öö!")
      assert String.length(long) < 1_200
      assert message.(<<255, 0>>) =~ "<<255, 0>>"
      assert message.("") == "x: how it ended is not known"
    end
  end

  describe ":max_output" do
    test "keeps the first bytes, and the program goes on" do
      path = Path.join(tmp_dir(), "went-on")
      script = "seq 100000; seq 100000 >&2; touch #{path}; exit 3"

      for max <- [10, {10, :truncate}] do
        assert {:ok, result} = Linx.run(["sh", "-c", script], max_output: max)
        assert %{status: {:exited, 3}, truncated?: true} = result
        assert result.stdout == "1\n2\n3\n4\n5\n"
        assert result.stderr == "1\n2\n3\n4\n5\n"
        assert File.exists?(path)
        File.rm!(path)
      end
    end

    test "keeps the last bytes" do
      {:ok, result} = Linx.run(["seq", "100000"], max_output: {10, :tail})
      assert %{stdout: "99\n100000\n", truncated?: true, status: {:exited, 0}} = result
    end

    test "kills the program and all that it has started" do
      {mark, argv} = shell("trap '' TERM; sleep MARK & yes MARK")
      {:ok, result} = Linx.run(argv, max_output: {10, :kill})
      assert %{status: {:signaled, 9}, truncated?: true, timed_out?: false} = result
      assert byte_size(result.stdout) == 10
      assert_nothing_left(mark)
    end

    test "of one stream is none of the other" do
      {:ok, result} = Linx.run(["sh", "-c", "echo 12345; echo 123456 >&2"], max_output: 6)
      assert %{stdout: "12345\n", stderr: "123456", truncated?: true} = result
      {:ok, result} = Linx.run(["sh", "-c", "echo 12345; echo 12345 >&2"], max_output: {6, :kill})
      assert %{stdout: "12345\n", stderr: "12345\n", truncated?: false} = result
    end
  end

  describe ":stderr" do
    test "goes where standard output goes, in order" do
      script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
      {:ok, result} = Linx.run(["sh", "-c", script], stderr: :stdout)
      assert result.stdout == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
      assert result.stderr == ""
    end

    test "is thrown away, or is the BEAM's" do
      assert {:ok, %{stdout: "", stderr: ""}} = Linx.run(["ls", "/no/such"], stderr: :devnull)
      {:ok, result} = Linx.run(["readlink", "/proc/self/fd/2"], stderr: :inherit)
      assert result.stdout == File.read_link!("/proc/self/fd/2") <> "\n"
    end
  end

  describe ":input" do
    test "is nothing without the option" do
      assert {:ok, %{stdout: "/dev/null\n"}} = Linx.run(["readlink", "/proc/self/fd/0"])
      assert {:ok, %{stdout: ""}} = Linx.run("cat")
    end

    test "is iodata, an enumerable, or a function" do
      path = Path.join(tmp_dir(), "in")
      File.write!(path, "from a file\n")

      for {input, expected} <- [
            {"", ""},
            {"bytes", "bytes"},
            {["io", [?d, "ata"] | <<0, 255>>], <<"iodata", 0, 255>>},
            {[], ""},
            {1..3 |> Stream.map(&[to_string(&1), ?\s]), "1 2 3 "},
            {MapSet.new(["one"]), "one"},
            {File.stream!(path), "from a file\n"},
            {Stream.resource(
               fn -> 3 end,
               &if(&1 > 0, do: {["x"], &1 - 1}, else: {:halt, 0}),
               & &1
             ), "xxx"},
            {Stream.map(["a", "", "b"], & &1), "ab"},
            {&Enum.into(["a", "b"], &1), "ab"},
            {fn _sink -> :nothing end, ""},
            {fn sink -> Enum.into(["b"], Enum.into(["a"], sink)) end, "ab"}
          ] do
        assert {:ok, %{stdout: ^expected, status: {:exited, 0}}} = Linx.run("cat", input: input)
      end

      assert_nothing_left()
    end

    test "comes as it is enumerated, and not only at its end" do
      test = self()

      input =
        Stream.unfold(0, fn
          3 ->
            nil

          n ->
            # What went in before has come out.
            receive do
              {:seen, ^n} -> {"#{n + 1}\n", n + 1}
            end
        end)

      reader =
        Task.async(fn ->
          Linx.stream!("cat",
            input: fn sink -> send(test, {:writer, self()}) && Enum.into(input, sink) end
          )
          |> Enum.each(&send(test, {:out, &1}))
        end)

      assert_receive {:writer, writer}

      for n <- 0..2 do
        send(writer, {:seen, n})
        line = "#{n + 1}\n"
        assert_receive {:out, ^line}
      end

      Task.await(reader)
    end

    test "that nobody reads is no error" do
      large = :binary.copy("x", 10_000_000)
      endless = Stream.repeatedly(fn -> large end)

      for input <- [large, [large, large], endless, &Enum.into(endless, &1)] do
        assert {:ok, %{status: {:exited, 3}}} = Linx.run(["sh", "-c", "exit 3"], input: input)
        assert {:ok, %{stdout: "xx"}} = Linx.run(["head", "-c", "2"], input: input)

        assert {:ok, %{stdout: "on\n"}} =
                 Linx.run(["sh", "-c", "exec <&-; echo on"], input: input)
      end

      assert_nothing_left()
    end

    test "that never comes does not keep a program that ends" do
      forever = Stream.map([1], fn _ -> Process.sleep(:infinity) end)
      assert {:ok, %{status: {:exited, 0}}} = Linx.run("true", input: forever)
      assert {:ok, %{timed_out?: true}} = Linx.run("cat", input: forever, timeout: 50)
      assert_nothing_left()
    end

    test "that crashes is a crash of the caller, with its own stacktrace" do
      {mark, argv} = shell("trap '' TERM; cat; sleep MARK")

      boom = fn what ->
        Stream.map(1..2, fn
          1 -> "x"
          2 -> what.()
        end)
      end

      run = fn what -> Linx.run(argv, input: boom.(what)) end

      assert_raise RuntimeError, "oops", fn -> run.(fn -> raise "oops" end) end
      assert_nothing_left(mark)
      assert catch_throw(run.(fn -> throw(:ball) end)) == :ball
      assert_nothing_left(mark)
      assert catch_exit(run.(fn -> exit(:reason) end)) == :reason
      assert_nothing_left(mark)
      # What is no iodata is found when it comes.
      assert_raise ArgumentError, fn -> run.(fn -> :atom end) end
      assert_nothing_left(mark)
      # A writer that is killed cannot say anything.
      assert catch_exit(run.(fn -> Process.exit(self(), :kill) end)) == :killed
      assert_nothing_left(mark)

      [{_, _, _, location} | _] =
        try do
          run.(fn -> raise "oops" end)
        rescue
          _error -> __STACKTRACE__
        end

      assert location[:file] == ~c"test/linx/run_test.exs"
    end

    test "that crashes at once is a crash of the caller, too" do
      # The caller has its turn last.
      Process.flag(:priority, :low)
      others = for _n <- 1..(2 * System.schedulers_online()), do: spawn(&spin/0)

      for _again <- 1..20 do
        assert catch_exit(Linx.run("cat", input: fn _sink -> exit(:at_once) end)) == :at_once
      end

      Enum.each(others, &Process.exit(&1, :kill))
      assert_nothing_left()
    end

    defp spin do
      :erlang.yield()
      spin()
    end

    test "that exits normally ends there" do
      input =
        Stream.map(1..3, fn
          3 -> exit(:normal)
          n -> "#{n}"
        end)

      assert {:ok, %{stdout: "12", status: {:exited, 0}}} = Linx.run("cat", input: input)
    end

    test "is written by a process that knows whom it works for, and leaves with the session" do
      test = self()

      input = fn _sink ->
        send(test, {:writer, self(), Process.get(:"$callers")})
        Process.sleep(:infinity)
      end

      caller = spawn(fn -> Linx.run("cat", input: input) end)
      assert_receive {:writer, writer, [^caller]}
      Process.exit(caller, :kill)
      eventually(fn -> not Process.alive?(writer) and sessions(caller) == [] end)

      {caller, ref} = spawn_monitor(fn -> Linx.run("cat", input: input) end)
      assert_receive {:writer, writer, [^caller]}
      [session] = sessions(caller)
      Process.exit(session, :kill)
      assert_receive {:DOWN, ^ref, :process, ^caller, :normal}
      refute Process.alive?(writer)
    end

    test "may be another program" do
      {mark, yes} = shell("yes MARK")
      assert {:ok, result} = Linx.run(["head", "-n", "2"], input: Linx.stream!(yes))
      assert result.stdout == "#{mark}\n#{mark}\n"
      assert_nothing_left(mark)

      {mark, silent} = shell("sleep MARK")
      assert {:ok, %{status: {:exited, 0}}} = Linx.run("true", input: Linx.stream!(silent))
      assert_nothing_left(mark)

      failing = Linx.stream!(["sh", "-c", "echo one; exit 3"])
      error = assert_raise ExitError, fn -> Linx.run("cat", input: failing) end
      assert error.status == {:exited, 3}
      assert_nothing_left()
    end
  end

  describe ":timeout" do
    test "ends all that has been started, and keeps what was written" do
      {mark, argv} =
        shell("echo begun; sleep MARK & (setsid sleep MARK &); sh -c 'sleep MARK; :'; echo late")

      {us, {:ok, result}} = :timer.tc(fn -> Linx.run(argv, timeout: 1_000) end)
      assert %{timed_out?: true, stdout: "begun\n", status: {:signaled, 15}} = result
      assert us >= 1_000_000
      assert result.duration in 1_000_000..us
      assert_nothing_left(mark)
    end

    test "has a grace" do
      {mark, argv} = shell("trap '' TERM; echo deaf; while :; do sleep 0.01; : MARK; done")
      {us, {:ok, result}} = :timer.tc(fn -> Linx.run(argv, timeout: 1_000, grace: 200) end)
      assert %{timed_out?: true, stdout: "deaf\n", status: {:signaled, 9}} = result
      assert us >= 1_200_000
      assert_nothing_left(mark)
    end

    test "sends the stop signal" do
      script = "trap 'echo hup; exit 4' HUP; echo; while :; do sleep 0.01; done"
      opts = [timeout: 1_000, stop_signal: :sighup]

      assert {:ok, %{timed_out?: true, status: {:exited, 4}}} =
               Linx.run(["sh", "-c", script], opts)
    end
  end

  describe "the options of sessions" do
    test "work as there" do
      assert {:ok, %{stdout: "/usr\n"}} = Linx.run("pwd", cwd: "/usr")
      assert {:ok, %{stdout: "A=1\n"}} = Linx.run("env", env: ["A=1"])
      assert {:ok, %{stdout: "hi\n"}} = Linx.run(["echo", "hi"], agent: :dedicated)

      assert {:ok, %{stdout: "NoNewPrivs:\t1\n"}} =
               Linx.run(["grep", "NoNewPrivs", "/proc/self/status"], no_new_privs: true)
    end

    test "chain: one program after another, while each succeeds" do
      chain = [["echo", "two"], ["sh", "-c", "exit 3"], ["echo", "not this"]]
      assert {:ok, result} = Linx.run(["echo", "one"], chain: chain)
      assert %{stdout: "one\ntwo\n", status: {:exited, 3}} = result
    end

    test "files: what the program finds" do
      dir = tmp_dir()
      files = %{Path.join(dir, "a") => "in a file\n"}
      assert {:ok, %{stdout: "in a file\n"}} = Linx.run(["cat", "a"], cwd: dir, files: files)
    end

    test "a terminal's output is taken for standard output" do
      {:ok, result} = Linx.run(["sh", "-c", "tty; echo err >&2"], stdio: :pty)
      assert result.stdout =~ ~r"\A/dev/pts/\d+\r\nerr\r\n\z"

      {:ok, result} = Linx.run(["stty", "size"], stdio: :pty, winsize: {24, 80})
      assert result.stdout == "24 80\r\n"

      {:ok, result} = Linx.run(["head", "-n", "1"], stdio: :pty, input: "typed\n")
      assert result.stdout =~ "typed\r\n"
    end

    test "some descriptors lead elsewhere" do
      path = Path.join(tmp_dir(), "out")

      {:ok, result} =
        Linx.run(["sh", "-c", "echo out; echo err >&2"], stdio: [stdout: {:file, path}])

      assert %{stdout: "", stderr: "err\n"} = result
      assert File.read!(path) == "out\n"
    end

    test "another process prepares the place at the checkpoint" do
      test = self()

      run =
        Task.async(fn ->
          Linx.run(["echo", "prepared"], name: :linx_run_test, owner: test, auto_proceed: false)
        end)

      host_pid = await_ready()
      assert alive?(host_pid)
      :ok = P.proceed(:linx_run_test)
      assert {:ok, %{stdout: "prepared\n"}} = Task.await(run)

      run =
        Task.async(fn ->
          Linx.run(["echo", "never"], name: :linx_run_test, owner: test, auto_proceed: false)
        end)

      _host_pid = eventually(fn -> P.host_pid(:linx_run_test) |> elem(1) |> is_integer() end)
      :ok = P.abort(:linx_run_test)
      assert Task.await(run) == {:error, :aborted}
    end

    @tag :root
    test "namespaces of its own" do
      {:ok, result} =
        Linx.run(["sh", "-c", "hostname box; hostname; echo $$"], namespaces: [:uts, :pid])

      assert result.stdout == "box\n1\n"
    end

    test "output: :until_eof waits for what the program leaves in the background" do
      script = "(sleep 0.2; echo late) & echo early"
      assert {:ok, %{stdout: "early\n"}} = Linx.run(["sh", "-c", script])

      assert {:ok, %{stdout: "early\nlate\n", status: {:exited, 0}}} =
               Linx.run(["sh", "-c", script], output: :until_eof)
    end
  end
end
