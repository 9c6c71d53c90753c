defmodule Linx.CmdTest do
  use ExUnit.Case, async: true

  import Linx.Test.Command
  import Linx.Test.Helpers

  alias Linx.Test.Fussy

  doctest Linx, only: [cmd: 3], import: false

  # What a call returns or raises, as far as System.cmd/3 and ours have it in common.
  defp outcome(fun) do
    fun.()
  rescue
    error -> with %ErlangError{original: errno} <- error, do: errno, else: (_ -> error.__struct__)
  end

  defp assert_same(command, args \\ [], opts \\ []) do
    # In a process of its own: where it raises late it leaves messages, and a port.
    expected =
      Task.await(Task.async(fn -> outcome(fn -> System.cmd(command, args, opts) end) end))

    assert {command, args, opts, outcome(fn -> Linx.cmd(command, args, opts) end)} ==
             {command, args, opts, expected}

    assert_nothing_left()
  end

  describe "as System.cmd/3:" do
    test "output and exit status" do
      assert_same("true")
      assert_same("false")
      assert_same("echo", ["hello", "", "two words", "*", "$HOME", "ö"])
      assert_same("printf", ["no newline at the end"])
      assert_same("printf", ["\\000\\377\\376\\n\\000"])
      assert_same("printf", ["%s", <<255, 254>>])
      assert_same("seq", ["100000"])

      for status <- [1, 2, 126, 127, 128, 137, 255],
          do: assert_same("sh", ["-c", "exit #{status}"])
    end

    test "a death by signal is 128 and its number" do
      for n <- [1, 2, 6, 9, 15], do: assert_same("sh", ["-c", "kill -#{n} $$"])
      assert Linx.cmd("sh", ["-c", "kill -9 $$"]) == {"", 137}
    end

    test "where the program is found" do
      dir = tmp_dir()
      program = Path.join(dir, "linx-test-program")
      File.write!(program, "#!/bin/sh\necho found $0; exit 4")
      File.chmod!(program, 0o755)
      assert_same(program)
      assert_same(program, [], cd: "/")
      assert_same("./linx-test-program", [], cd: dir)
      assert_same("linx-test-program", [], env: [{"PATH", dir}])
      assert_same("../bin/true")
      assert_same("no-such-program")
      assert_same("/no/such/program")
      assert_same("/etc/passwd/program")
      assert_same("")
      assert_same(<<"pro", 0, "gram">>)
      assert_same(<<255>>)
    end

    test "a program that may not be executed" do
      path = Path.join(tmp_dir(), "data")
      File.write!(path, "#!/bin/sh\n")
      assert_same(path)
      assert_raise ErlangError, ~r/eacces/, fn -> Linx.cmd(path) end
    end

    test ":cd" do
      assert_same("pwd", [], cd: "/")
      assert_same("pwd", [], cd: "/usr/bin/..")
      assert_same("pwd", [], cd: "..")
      assert_same("pwd", [], cd: ~c"charlist")
      assert_same("pwd", [], cd: nil)
    end

    test ":env" do
      show = ["-c", "echo ${A-unset} ${B-unset} ${HOME-unset} ${PATH:+set}"]
      assert_same("sh", show, env: [])
      assert_same("sh", show, env: %{})
      assert_same("sh", show, env: [{"A", "1"}, {"B", "two = 2"}])
      assert_same("sh", show, env: %{"A" => "1", "HOME" => nil})
      assert_same("sh", show, env: [{"A", "1"}, {"A", "2"}])
      assert_same("sh", show, env: Stream.map(["A", "B"], &{&1, "s"}))
      assert_same("sh", show, env: MapSet.new([{"A", "ö"}]))
      assert_same("sh", show, env: [:a])
      assert_same("sh", show, env: ["A=1"])
      assert_same("sh", show, env: [{"A", "1", "2"}])
      assert_same("sh", show, env: [{"A=B", "1"}])
      assert_same("sh", show, env: [{<<"A", 0>>, "1"}])
      assert_same("sh", show, env: 1)
    end

    test ":arg0" do
      show = ["-c", "echo $0; tr '\\0' ' ' < /proc/$$/cmdline"]
      assert_same("sh", show, arg0: "-another name")
      assert_same("sh", show, arg0: <<255>>)
      assert_same("sh", show, arg0: 1)
      assert_same("/no/such/program", [], arg0: "sh")
    end

    test ":stderr_to_stdout" do
      both = ["-c", "echo out; echo err >&2; echo out again"]
      assert_same("sh", both, stderr_to_stdout: true)
      assert_same("sh", ["-c", "echo out"], stderr_to_stdout: false)
      assert_same("sh", both, stderr_to_stdout: :yes)
    end

    test ":parallelism" do
      assert_same("echo", ["hi"], parallelism: true)
      assert_same("echo", ["hi"], parallelism: false)
      assert_same("echo", ["hi"], parallelism: 1)
    end

    test ":into" do
      print = ["one\\ntwo"]
      assert_same("printf", print, into: "")
      assert_same("printf", print, into: [])
      assert_same("printf", print, into: "before ")
      assert_same("printf", print, into: MapSet.new())
      assert_same("printf", print, into: 1)
      assert_same("printf", print, into: %{})

      for cmd <- [&System.cmd/3, &Linx.cmd/3] do
        path = Path.join(tmp_dir(), "file")
        assert {%File.Stream{}, 0} = cmd.("seq", ["20000"], into: File.stream!(path))
        assert File.read!(path) == Enum.map_join(1..20_000, &"#{&1}\n")
      end
    end

    test "options that do not exist, and things that are no options" do
      assert_same("echo", ["hi"], typo: 1)
      assert_same("echo", ["hi"], into: "", typo: 1)

      assert_raise ArgumentError, "invalid option :typo with value 1", fn ->
        Linx.cmd("echo", ["hi"], typo: 1)
      end

      for opts <- [[:into], :into, [{"into", ""}], nil] do
        assert_raise ArgumentError, fn -> Linx.cmd("echo", ["hi"], opts) end
      end
    end

    test "arguments that are no strings" do
      assert_same("echo", [~c"charlist"])
      assert_same("echo", [:atom])
      assert_same("echo", [1])
      assert_raise FunctionClauseError, fn -> Linx.cmd(~c"echo", ["hi"]) end
      assert_raise FunctionClauseError, fn -> Linx.cmd("echo", "hi") end
    end

    if Version.match?(System.version(), ">= 1.15.0") do
      test ":lines" do
        for text <- ["", "one", "one\\ntwo", "one\\r\\n\\ntwo\\n", "\\n", "\\r"],
            max <- [1, 1024] do
          assert_same("printf", [text], into: [], lines: max)
          assert_same("printf", [text], lines: max)
        end

        for lines <- [0, -1, true, "1"], do: assert_same("echo", ["hi"], lines: lines)
      end

      test ":use_stdio" do
        assert_same("true", [], use_stdio: false)
      end
    end
  end

  describe "beside System.cmd/3:" do
    test ":lines" do
      assert Linx.cmd("seq", ["3"], into: [], lines: 1024) == {["1", "2", "3"], 0}
      assert Linx.cmd("seq", ["3"], lines: 1) == {"123", 0}
      assert Linx.cmd("printf", ["a\\r\\n\\nb"], into: [], lines: 1) == {["a", "", "b"], 0}
      assert Linx.cmd("true", [], into: [], lines: 1) == {[], 0}
      lines = for n <- 1..20_000, do: "#{n}"
      assert Linx.cmd("seq", ["20000"], into: [], lines: 10) == {lines, 0}

      for lines <- [0, -1, true, "1"] do
        assert_raise ArgumentError, fn -> Linx.cmd("echo", ["hi"], lines: lines) end
      end
    end

    test ":use_stdio" do
      assert Linx.cmd("true", [], use_stdio: false) == {"", 0}
      {mark, [program | args]} = shell("readlink /proc/self/fd/0 /proc/$$/fd/2 > $0; : MARK")
      path = Path.join(tmp_dir(), "links")
      assert Linx.cmd(program, args ++ [path], use_stdio: false) == {"", 0}
      links = for fd <- [0, 2], do: File.read_link!("/proc/self/fd/#{fd}") <> "\n"
      assert File.read!(path) == Enum.join(links)
      assert_nothing_left(mark)
    end

    test "what System.cmd/3 takes for an exit status is an error" do
      path = Path.join(tmp_dir(), "script")
      File.write!(path, "echo no shebang\n")
      File.chmod!(path, 0o755)
      assert_raise ErlangError, ~r/enoexec/, fn -> Linx.cmd(path) end
      assert_raise ErlangError, ~r/eacces/, fn -> Linx.cmd("/tmp") end

      error = assert_raise Linx.Process.Error, fn -> Linx.cmd("pwd", [], cd: "/no/such") end
      assert %{stage: :chdir, errno: :enoent} = error

      assert_raise ArgumentError, fn -> Linx.cmd("echo", [<<"a", 0>>]) end
      assert_nothing_left()
    end

    test "a variable may be empty" do
      assert Linx.cmd("sh", ["-c", "echo ${A-unset}"], env: [{"A", ""}]) == {"\n", 0}
    end

    test "nothing is on standard input, and it ends" do
      assert Linx.cmd("cat") == {"", 0}
    end

    test ":input" do
      assert Linx.cmd("cat", [], input: "hello") == {"hello", 0}
      assert Linx.cmd("cat", [], input: ["he", [?l, "lo"]]) == {"hello", 0}
      assert Linx.cmd("cat", [], input: Stream.map(1..3, &to_string/1)) == {"123", 0}
      assert Linx.cmd("cat", [], input: &Enum.into(["a", "b"], &1)) == {"ab", 0}

      for input <- [1, :atom, [:atom], [256], {1}] do
        assert_raise ArgumentError, fn -> Linx.cmd("cat", [], input: input) end
      end
    end

    test ":timeout returns what there is" do
      {mark, [program | args]} = shell("echo begun; sleep MARK; echo not this")
      assert Linx.cmd(program, args, timeout: 1_000) == {"begun\n", :timeout}
      assert_nothing_left(mark)

      assert Linx.cmd("sleep", ["60"], timeout: 50, into: []) == {[], :timeout}
      assert Linx.cmd("echo", ["hi"], timeout: 60_000) == {"hi\n", 0}
      assert_raise ArgumentError, fn -> Linx.cmd("true", [], timeout: -1) end
      assert_nothing_left()
    end

    test "the options of sessions" do
      assert Linx.cmd("pwd", [], cwd: "/usr") == {"/usr\n", 0}
      path = Path.join(tmp_dir(), "log")
      assert Linx.cmd("echo", ["hi"], stdio: [stdout: {:file, path}]) == {"", 0}
      assert File.read!(path) == "hi\n"
      assert Linx.cmd("tty", [], stdio: :pty) |> elem(0) =~ ~r"\A/dev/pts/\d+\r\n\z"

      for opts <- [[argv: ["true"]], [active: true], [linger: false], [lifeline: self()]] do
        assert_raise ArgumentError, fn -> Linx.cmd("true", [], opts) end
      end
    end
  end

  describe "a collectable that raises" do
    test "is told to halt, and the program is gone" do
      {mark, [program | args]} = shell("echo a; echo b; sleep MARK")
      fussy = %Fussy{pid: self()}

      assert_raise RuntimeError, "no more: b", fn ->
        Linx.cmd(program, args, into: fussy, lines: 1024)
      end

      assert_received {:halt, _n}
      assert_nothing_left(mark)
    end

    test "is told to halt when there is no program, and to be done when there is" do
      fussy = %Fussy{pid: self()}
      assert_raise ErlangError, fn -> Linx.cmd("/no/such/program", [], into: fussy) end
      assert_received {:halt, 0}
      assert {_, 0} = Linx.cmd("true", [], into: fussy)
      assert_received {:done, 0}
      assert_nothing_left()
    end
  end

  describe "the caller" do
    test "may trap exits" do
      Process.flag(:trap_exit, true)
      assert Linx.cmd("echo", ["hi"]) == {"hi\n", 0}
      assert Linx.cmd("sleep", ["60"], timeout: 20) == {"", :timeout}

      assert Linx.cmd("head", ["-c", "3"], input: Stream.repeatedly(fn -> "abc" end)) ==
               {"abc", 0}

      catch_error(Linx.cmd("cat", [], input: Stream.map([1], fn _ -> raise "oops" end)))
      assert_nothing_left()
    end

    test "may have a mailbox full of messages, among them some that look like ours" do
      messages =
        for n <- 1..50_000 do
          Enum.at(
            [{:linx_process, :exited, 0}, {make_ref(), :ok}, {:ack, self(), n}, n],
            rem(n, 4)
          )
        end

      Enum.each(messages, &send(self(), &1))
      assert Linx.cmd("echo", ["hi"]) == {"hi\n", 0}
      assert Linx.cmd("cat", [], input: Stream.map(1..10, &"#{&1} ")) |> elem(1) == 0
      assert Process.info(self(), :messages) == {:messages, messages}
    end

    test "takes the program along when it is killed" do
      {mark, [program | args]} = shell("sleep MARK & (setsid sleep MARK &) ; sleep MARK")

      for reason <- [:kill, :shutdown, :oops] do
        caller = spawn(fn -> Linx.cmd(program, args) end)
        eventually(fn -> length(processes(mark)) >= 4 end)
        Process.exit(caller, reason)
        eventually(fn -> processes(mark) == [] and sessions(caller) == [] end)
      end
    end

    test "learns how a session ended that somebody else has ended, and exits when that is not known" do
      {mark, [program | args]} = shell("sleep MARK")
      # Nobody who is told so ends it: it is found among the processes of the BEAM.
      task = Task.async(fn -> Linx.cmd(program, args) end)
      eventually(fn -> length(processes(mark)) == 2 end)
      [session] = sessions(task.pid)
      :ok = Linx.Process.stop(session)
      assert Task.await(task) == {"", 143}
      assert processes(mark) == []

      {caller, ref} = spawn_monitor(fn -> Linx.cmd(program, args) end)
      eventually(fn -> length(processes(mark)) == 2 end)
      [session] = sessions(caller)
      Process.exit(session, :kill)
      assert_receive {:DOWN, ^ref, :process, ^caller, :no_process}
      eventually(fn -> processes(mark) == [] end)
    end
  end
end
