defmodule Linx.PeersTest do
  # What goes wrong with other libraries that run programs, each seen, does not go wrong here.
  use ExUnit.Case, async: false

  import Linx.Test.Command
  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error

  # Of the agents that serve commands, in bytes.
  defp agent_memory do
    pids = if hosted?(), do: hosts(), else: agents()
    Enum.sum(for pid <- pids, alive?(pid), do: memory(pid))
  end

  defp memory(pid) do
    [kilobytes, "kB"] = pid |> status_field("VmRSS") |> String.split()
    String.to_integer(kilobytes) * 1024
  end

  test "output is complete when the program ends at once" do
    for size <- [10_240, 10_241, 65_536, 300_000], _again <- 1..10 do
      assert {output, 0} = Linx.cmd("head", ["-c", "#{size}", "/dev/zero"])
      assert byte_size(output) == size
      assert {:ok, result} = Linx.run(["sh", "-c", "head -c #{size} /dev/zero >&2"])
      assert {byte_size(result.stderr), result.status} == {size, {:exited, 0}}
    end
  end

  test "a program that reads its input finds that, nothing else, and its end" do
    assert Linx.cmd("cat") == {"", 0}
    assert Linx.cmd("wc", ["-c"]) == {"0\n", 0}
    assert Linx.cmd("cat", [], input: "") == {"", 0}
    assert Linx.cmd("cat", [], input: "all of it") == {"all of it", 0}
    assert {:ok, %{stdout: ""}} = Linx.run("cat")
    assert Enum.to_list(Linx.stream!("cat")) == []

    # Also one that has been told nothing yet, and is stopped, signalled and asked meanwhile.
    {:ok, s} = P.spawn(argv: ["cat"], stdio: :pipe, auto_proceed: true, owner: nil)
    :ok = P.signal(s, :sigcont)
    :ok = P.write(s, "one")
    :ok = P.signal(s, :sigcont, to: :tree)
    :ok = P.write(s, "two")
    :ok = P.close_stdin(s)
    assert P.wait(s) == {:ok, {:exited, 0}}
    assert read_output(s) == "onetwo"
    :ok = P.stop(s)
  end

  test "a consumer that does not read costs no memory, however much a program writes" do
    {mark, argv} = shell("head -c 1000000000 /dev/zero; : MARK")
    Linx.cmd("true")
    before = {:erlang.memory(:total), agent_memory()}

    {:suspended, first, continue} =
      Enumerable.reduce(Linx.stream!(argv), {:cont, nil}, fn chunk, _ -> {:suspend, chunk} end)

    assert byte_size(first) > 0
    [head] = eventually(fn -> with [] <- waiting_to_write(mark), do: nil end)
    {total, agent} = before
    assert :erlang.memory(:total) - total < 10_000_000
    assert agent_memory() - agent < 10_000_000
    assert Process.info(self(), :message_queue_len) == {:message_queue_len, 0}
    assert alive?(head)

    {:halted, nil} = continue.({:halt, nil})
    assert_nothing_left(mark)
  end

  # The children of the process that bears the mark which have written and write no more.
  defp waiting_to_write(mark) do
    for shell <- processes(mark),
        pid <- children(shell),
        comm(pid) == "head",
        waits_to_write?(pid),
        do: pid
  end

  test "input that is not read is not kept in the agent" do
    Linx.cmd("true")
    before = agent_memory()
    {mark, argv} = shell("sleep MARK")
    {:ok, s} = P.spawn(argv: argv, stdio: [stdin: :pipe], auto_proceed: true, owner: nil)
    assert P.write(s, :binary.copy("x", 100_000_000), 500) == {:error, :timeout}
    assert agent_memory() - before < 10_000_000
    :ok = P.stop(s, grace: 0)
    assert_nothing_left(mark)
  end

  describe "a full input pipe holds nothing up:" do
    # A program that does not read, whose pipe is full, and a writer that waits for it.
    defp full(opts \\ []) do
      {mark, argv} = shell("trap 'echo got it' USR1; while :; do sleep 0.01; : MARK; done")
      {:ok, s} = P.spawn([argv: argv, stdio: :pipe, auto_proceed: true, owner: nil] ++ opts)
      assert fill(s, 0) >= 65_536
      {mark, s, Task.async(fn -> P.write(s, :binary.copy("x", 10_000_000)) end)}
    end

    # How much goes in until no more does.
    defp fill(s, written) do
      case P.write(s, :binary.copy("x", 4_096), 200) do
        :ok -> fill(s, written + 4_096)
        {:error, :timeout} -> written
      end
    end

    test "not the close of the input" do
      {mark, s, writer} = full()
      assert P.close_stdin(s) == :ok
      assert P.write(s, "more") == {:error, :closed}
      :ok = P.stop(s, grace: 0)
      assert {:error, _gone} = Task.await(writer)
      assert_nothing_left(mark)
    end

    test "not a signal, nor what the program writes" do
      {_mark, s, writer} = full()
      assert P.signal(s, :sigusr1) == :ok
      assert P.recv(s, :stdout, 10_000) == {:ok, "got it\n"}
      :ok = P.stop(s, grace: 0)
      assert {:error, _gone} = Task.await(writer)
    end

    test "not the end of the program, nor the timeout" do
      {mark, s, writer} = full(timeout: 1_000)
      assert P.wait(s) == {:ok, {:signaled, 15}}
      assert P.info(s).timed_out?
      assert {:error, _gone} = Task.await(writer)
      assert processes(mark) == []
      :ok = P.stop(s)

      endless = Stream.repeatedly(fn -> :binary.copy("x", 100_000) end)
      assert Linx.cmd("sleep", ["60"], input: endless, timeout: 200) == {"", :timeout}
      assert_nothing_left()
    end

    test "not the death of the caller" do
      {mark, [program | args]} = shell("sleep MARK")
      endless = Stream.repeatedly(fn -> :binary.copy("x", 100_000) end)
      caller = spawn(fn -> Linx.cmd(program, args, input: endless) end)
      eventually(fn -> length(processes(mark)) == 2 end)
      Process.exit(caller, :kill)
      eventually(fn -> processes(mark) == [] and sessions(caller) == [] end)
    end

    test "not the death of the BEAM" do
      {mark, argv} = shell("sleep MARK")

      code = """
      {:ok, _started} = Application.ensure_all_started(:linx)
      Application.put_env(:linx, :agent, #{inspect(Application.fetch_env!(:linx, :agent))})
      opts = [argv: #{inspect(argv)}, stdio: [stdin: :pipe], auto_proceed: true]
      {:ok, s} = Linx.Process.spawn(opts)
      full = &(Linx.Process.write(s, :binary.copy("x", 65_536), 200) == {:error, :timeout} and &1 > 2)
      Enum.find(Stream.iterate(0, &(&1 + 1)), full)
      IO.puts("full")
      Linx.Process.write(s, :binary.copy("x", 10_000_000))
      """

      ebin = Path.join(:code.lib_dir(:linx), "ebin")
      args = ["--erl", "+S 1", "-pa", ebin, "-e", code]

      port =
        Port.open({:spawn_executable, System.find_executable("elixir")}, [:binary, args: args])

      {:os_pid, beam} = Port.info(port, :os_pid)
      assert_receive {^port, {:data, "full\n"}}, 30_000

      pids = for pid <- processes(mark), pid != beam, do: {pid, born(pid)}
      assert length(pids) == 2
      {"", 0} = System.cmd("kill", ["-KILL", "#{beam}"])
      eventually(fn -> Enum.all?(pids, fn {pid, born} -> born(pid) != born end) end)
    end
  end

  test "a program that cannot be executed is an error, and no exit status" do
    text = Path.join(tmp_dir(), "text")
    File.write!(text, "no program")
    program = Path.join(tmp_dir(), "no-shebang")
    File.write!(program, "echo")
    File.chmod!(program, 0o755)

    for {path, errno} <- [
          {"/no/such/program", :enoent},
          {"/etc/passwd/program", :enotdir},
          {text, :eacces},
          {"/", :eacces},
          {program, :enoexec}
        ] do
      assert {:error, %Error{stage: :execve, errno: ^errno}} = Linx.run(path)
      assert %{original: ^errno} = assert_raise(ErlangError, fn -> Linx.cmd(path) end)
      assert %{errno: ^errno} = assert_raise(Error, fn -> Enum.to_list(Linx.stream!(path)) end)
      assert %{errno: ^errno} = assert_raise(Error, fn -> Linx.run!(path) end)
    end

    # And a program that says so itself is no error.
    for code <- [1, 126, 127] do
      assert {:ok, %{status: {:exited, ^code}}} = Linx.run(["sh", "-c", "exit #{code}"])
    end

    assert_nothing_left()
  end

  test "many writers at a time meet no end that is not there" do
    write = fn n ->
      {:ok, s} = P.spawn(argv: ["cat"], stdio: :pipe, auto_proceed: true, owner: nil)
      text = String.duplicate("#{n} ", 10)
      for _times <- 1..20, do: :ok = P.write(s, text)
      :ok = P.close_stdin(s)
      assert read_output(s) == String.duplicate(text, 20)
      assert P.wait(s) == {:ok, {:exited, 0}}
      P.stop(s)

      input = Stream.map(1..20, fn _ -> text end)
      assert Linx.cmd("cat", [], input: input) == {String.duplicate(text, 20), 0}
    end

    1..200
    |> Task.async_stream(write, max_concurrency: 100, timeout: 50_000, ordered: false)
    |> Enum.each(&assert {:ok, _} = &1)
  end

  @tag :root
  test "another user has no group of root's" do
    script = "id -u; id -g; id -G; grep ^Groups: /proc/self/status"
    {:ok, result} = Linx.run(["sh", "-c", script], user: "nobody")
    {uid, 0} = System.cmd("id", ["-u", "nobody"])
    {gid, 0} = System.cmd("id", ["-g", "nobody"])
    assert [^uid, ^gid, ^gid, "Groups:" <> groups] = lines(result.stdout)
    assert String.trim(groups) in ["", String.trim(gid)]
    assert {:error, {:bad_user, "no-such-user"}} = Linx.run("id", user: "no-such-user")
  end

  defp lines(text), do: text |> String.split("\n", trim: true) |> Enum.map(&keep_newline/1)
  defp keep_newline("Groups:" <> _ = line), do: line
  defp keep_newline(line), do: line <> "\n"

  test "what a shell has in the foreground does not outlive the timeout" do
    for run <- [
          &Linx.cmd(hd(&1), tl(&1), timeout: 100),
          &Linx.run(&1, timeout: 100),
          &Enum.to_list(Linx.stream!(&1, timeout: 100, exit: :ignore))
        ] do
      {mark, argv} = shell("sleep MARK; :")
      run.(argv)
      assert_nothing_left(mark)
    end
  end

  test "a call returns although something in the background holds the pipe" do
    for run <- [
          fn [program | args] -> Linx.cmd(program, args) end,
          fn argv -> with {:ok, result} <- Linx.run(argv), do: {result.stdout, 0} end,
          fn argv -> {argv |> Linx.stream!() |> Enum.join(), 0} end
        ] do
      {mark, argv} = shell("sleep MARK & (setsid sleep MARK &) ; echo hi")
      assert run.(argv) == {"hi\n", 0}
      assert_nothing_left(mark)
    end

    # And when it is to be left alone.
    {mark, argv} = shell("sleep MARK & echo hi")
    assert {:ok, %{stdout: "hi\n"}} = Linx.run(argv, descendants: :leave)
    [sleep] = processes(mark)
    {"", 0} = System.cmd("kill", ["#{sleep}"])
  end
end
