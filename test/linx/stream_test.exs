defmodule Linx.StreamTest do
  use ExUnit.Case, async: true

  import Linx.Test.Command
  import Linx.Test.Helpers

  alias Linx.ExitError
  alias Linx.Process.Error

  doctest Linx, only: [stream!: 2], import: false

  describe "the elements" do
    test "are the output, as it comes" do
      assert Linx.stream!(["printf", "a\\0\\377"]) |> Enum.join() == <<"a", 0, 255>>
      assert Linx.stream!("true") |> Enum.to_list() == []

      assert Linx.stream!(["seq", "100000"]) |> Enum.join() ==
               Enum.map_join(1..100_000, &"#{&1}\n")

      # The first is there before the program has ended.
      {mark, argv} = shell("echo first; sleep MARK")
      assert Linx.stream!(argv) |> Enum.take(1) == ["first\n"]
      assert_nothing_left(mark)
    end

    test "are lines, when asked" do
      lines = for n <- 1..20_000, do: "#{n}"
      assert Linx.stream!(["seq", "20000"], lines: true) |> Enum.to_list() == lines

      text = ["printf", "a\\r\\n\\nlonger\\nend"]
      assert Linx.stream!(text, lines: true) |> Enum.to_list() == ["a", "", "longer", "end"]
      assert Linx.stream!(text, lines: 4) |> Enum.to_list() == ["a", "", "long", "er", "end"]
      assert Linx.stream!(text, lines: false) |> Enum.join() == "a\r\n\nlonger\nend"
    end

    test "say where they come from, when standard error is among them" do
      script = "echo out; echo err >&2; printf 'o' ; printf 'e' >&2"
      elements = Linx.stream!(["sh", "-c", script], stderr: :element) |> Enum.to_list()
      assert for({:stdout, bytes} <- elements, into: "", do: bytes) == "out\no"
      assert for({:stderr, bytes} <- elements, into: "", do: bytes) == "err\ne"

      elements =
        Linx.stream!(["sh", "-c", script], stderr: :element, lines: true, exit: :element)
        |> Enum.to_list()

      assert Enum.sort(Enum.drop(elements, -1)) ==
               [{:stderr, "e"}, {:stderr, "err"}, {:stdout, "o"}, {:stdout, "out"}]

      assert List.last(elements) == {:exit, {:exited, 0}}
    end

    test "are of standard error, too, or not at all" do
      script = "echo out; echo err >&2"
      assert Linx.stream!(["sh", "-c", script], stderr: :stdout) |> Enum.join() == "out\nerr\n"
      assert Linx.stream!(["sh", "-c", script], stderr: :devnull) |> Enum.join() == "out\n"
    end

    test "come from a terminal, too" do
      assert Linx.stream!(["sh", "-c", "echo hi; tty"], stdio: :pty) |> Enum.join() =~
               ~r"\Ahi\r\n/dev/pts/\d+\r\n\z"
    end
  end

  describe "laziness" do
    test "nothing starts before the stream is enumerated, and each time anew" do
      path = Path.join(tmp_dir(), "runs")
      stream = Linx.stream!(["sh", "-c", "echo run >> #{path}; cat #{path}"])
      refute File.exists?(path)
      assert Enum.join(stream) == "run\n"
      assert Enum.join(stream) == "run\nrun\n"
    end

    test "a mistake is found at once" do
      for opts <- [
            [lines: 0],
            [lines: :all],
            [stderr: :pipe],
            [exit: :error],
            [input: :atom],
            [max_output: 1],
            [timeout: -1],
            [typo: 1],
            [active: true],
            [linger: true],
            [stdio: :devnull, input: "x"],
            :typo
          ] do
        assert_raise ArgumentError, fn -> Linx.stream!("true", opts) end
      end

      for command <- [[], "", :atom, [~c"charlist"]] do
        assert_raise ArgumentError, fn -> Linx.stream!(command) end
      end
    end

    test "a program that is not there is missed when it is needed" do
      path = Path.join(tmp_dir(), "later")
      missing = [Linx.stream!(path), Linx.stream!("no-such-program")]
      for stream <- missing, do: assert_raise(Error, ~r/ENOENT/, fn -> Enum.to_list(stream) end)
      assert_raise Error, ~r/chdir/, fn -> Linx.stream!("true", cwd: path) |> Enum.to_list() end

      File.write!(path, "#!/bin/sh\necho here")
      File.chmod!(path, 0o755)
      assert Enum.join(hd(missing)) == "here\n"
      assert_nothing_left()
    end

    test "a program whose output nobody takes waits" do
      {mark, argv} = shell("yes MARK")
      before = total_memory()

      {:suspended, _chunk, continue} =
        Enumerable.reduce(Linx.stream!(argv), {:cont, nil}, fn chunk, _ -> {:suspend, chunk} end)

      [yes] = eventually(fn -> blocked(mark) end)
      assert written(yes) in 1..1_000_000
      assert total_memory() - before < 3_000_000

      {:halted, nil} = continue.({:halt, nil})
      assert_nothing_left(mark)
    end
  end

  # Those that wait until somebody reads what they write, once they do.
  defp blocked(mark) do
    pids =
      for pid <- processes(mark),
          comm(pid) == "yes",
          do: pid

    if pids != [] and Enum.all?(pids, &waits_to_write?/1), do: pids
  end

  # Of the process that reads, and of the session.
  defp total_memory do
    for pid <- [self() | sessions()], reduce: 0 do
      sum ->
        {:memory, heap} = Process.info(pid, :memory)
        {:binary, binaries} = Process.info(pid, :binary)
        sum + heap + (for({_id, size, _refs} <- binaries, do: size) |> Enum.sum())
    end
  end

  describe "the end" do
    test "raises unless the program exited with 0" do
      stream = Linx.stream!(["sh", "-c", "echo all of it; exit 3"])
      test = self()
      error = assert_raise ExitError, fn -> Enum.each(stream, &send(test, &1)) end
      assert %{status: {:exited, 3}, argv: ["sh", "-c", _], timed_out?: false} = error
      assert_received "all of it\n"

      error =
        assert_raise ExitError, fn ->
          Linx.stream!(["sh", "-c", "kill -9 $$"]) |> Enum.to_list()
        end

      assert error.status == {:signaled, 9}
      assert_nothing_left()
    end

    test "is an element" do
      run = fn script, opts ->
        Linx.stream!(["sh", "-c", script], [exit: :element] ++ opts) |> Enum.to_list()
      end

      assert run.("", []) == [{:exit, {:exited, 0}}]
      assert run.("echo a; exit 3", []) == ["a\n", {:exit, {:exited, 3}}]
      assert run.("printf a; kill -9 $$", lines: true) == ["a", {:exit, {:signaled, 9}}]
      assert run.("echo a; sleep 60", timeout: 1_000) == ["a\n", {:exit, :timeout}]
    end

    test "is ignored" do
      assert Linx.stream!(["sh", "-c", "echo a; exit 3"], exit: :ignore) |> Enum.join() == "a\n"
      # Not to be run at all is no way to end.
      assert_raise Error, fn -> Linx.stream!("/no/such", exit: :ignore) |> Enum.to_list() end
    end

    test "is not waited for by who wants no more" do
      {mark, argv} = shell("trap '' TERM; echo a; echo b; sleep MARK; exit 3")
      assert Linx.stream!(argv, lines: true) |> Enum.take(2) == ["a", "b"]
      assert_nothing_left(mark)
    end

    test "comes after the timeout" do
      {mark, argv} = shell("yes MARK")
      error = assert_raise ExitError, fn -> Linx.stream!(argv, timeout: 200) |> Stream.run() end
      assert %{timed_out?: true, status: {:signaled, 15}} = error
      assert Exception.message(error) =~ ~r/: timed out, killed by SIGTERM$/
      assert_nothing_left(mark)
    end
  end

  describe "nothing is left" do
    @tree "(trap '' TERM; setsid sleep MARK &) ; sleep MARK & yes MARK"

    test "when the stream is halted" do
      {mark, argv} = shell(@tree)
      stream = Linx.stream!(argv, lines: true)

      for take <- [
            &Enum.take(&1, 3),
            &Enum.at(&1, 10_000),
            &Enum.find(&1, fn line -> line == mark end),
            &Enum.zip(&1, [1, 2]),
            &(&1 |> Stream.take(2) |> Stream.run()),
            &(&1 |> Stream.flat_map(fn line -> [line] end) |> Enum.take(1))
          ] do
        assert take.(stream)
        assert_nothing_left(mark)
      end
    end

    test "when the consumer raises, throws or exits" do
      {mark, argv} = shell(@tree)

      for leave <- [fn -> raise "oops" end, fn -> throw(:ball) end, fn -> exit(:reason) end] do
        try do
          Enum.each(Linx.stream!(argv), fn _chunk -> leave.() end)
          flunk("it went on")
        catch
          kind, what when kind in [:error, :throw, :exit] ->
            assert what in [%RuntimeError{message: "oops"}, :ball, :reason]
        end

        assert_nothing_left(mark)
      end
    end

    test "when the consumer is killed" do
      {mark, argv} = shell(@tree)
      test = self()

      for consume <- [
            &Stream.run/1,
            fn stream -> Enum.each(stream, fn _ -> Process.sleep(:infinity) end) end
          ] do
        consumer =
          spawn(fn -> argv |> Linx.stream!() |> Stream.each(&send(test, &1)) |> consume.() end)

        assert_receive bytes when is_binary(bytes)
        Process.exit(consumer, :kill)
        eventually(fn -> processes(mark) == [] and sessions(consumer) == [] end)
        flush()
      end
    end

    defp flush do
      receive do
        _message -> flush()
      after
        0 -> :ok
      end
    end

    test "of a pipeline of programs, whichever end it comes from" do
      {mark, yes} = shell("yes MARK")
      {other, cat} = shell("cat; : MARK")
      {third, cat_again} = shell("cat; : MARK")

      pipeline = fn source ->
        Linx.stream!(cat_again, input: Linx.stream!(cat, input: source), lines: true)
      end

      assert Enum.take(pipeline.(Linx.stream!(yes)), 2) == [mark, mark]
      for each <- [mark, other, third], do: assert_nothing_left(each)

      failing = Linx.stream!(["sh", "-c", "echo one; exit 3"])
      error = assert_raise ExitError, fn -> Enum.to_list(pipeline.(failing)) end
      assert error.argv == ["sh", "-c", "echo one; exit 3"]
      for each <- [mark, other, third], do: assert_nothing_left(each)

      counted = Linx.stream!(["seq", "10000"])
      assert Enum.to_list(pipeline.(counted)) == for(n <- 1..10_000, do: "#{n}")
      assert_nothing_left()
    end
  end

  describe ":input" do
    test "is taken as the program reads it" do
      test = self()

      input =
        Stream.repeatedly(fn -> :binary.copy("x", 10_000) end)
        |> Stream.each(fn _ -> send(test, :taken) end)

      {mark, argv} = shell("echo; sleep MARK; cat")

      {:suspended, "\n", continue} =
        Enumerable.reduce(Linx.stream!(argv, input: input), {:cont, nil}, fn chunk, _ ->
          {:suspend, chunk}
        end)

      # The pipe takes some of it, the agent and the session as much, and no more.
      for _n <- 1..7, do: assert_receive(:taken)
      assert settled(7) < 60
      {:halted, nil} = continue.({:halt, nil})
      assert_nothing_left(mark)
    end

    test "of a stream that is suspended may be finished by another process" do
      stream = Linx.stream!(["cat"], input: Stream.map(["a", "b"], & &1))

      for how <- [:cont, :halt] do
        {:suspended, first, continue} =
          Enumerable.reduce(stream, {:cont, ""}, fn chunk, all -> {:suspend, all <> chunk} end)

        task = Task.async(fn -> finish(continue, how, first) end)
        assert {ending, all} = Task.await(task)
        assert ending in [:done, :halted]
        assert all == "ab" or (how == :halt and all == first)
        assert_nothing_left()
      end
    end

    defp finish(continue, how, all) do
      case continue.({how, all}) do
        {:suspended, more, continue} -> finish(continue, how, more)
        ended -> ended
      end
    end

    # How many were taken when no more have been for a while.
    defp settled(n) do
      receive do
        :taken -> settled(n + 1)
      after
        300 -> n
      end
    end

    test "that crashes is raised by the enumeration" do
      input =
        Stream.map(1..3, fn
          3 -> raise "oops"
          n -> "#{n}\n"
        end)

      assert_raise RuntimeError, "oops", fn ->
        Linx.stream!("cat", input: input) |> Stream.run()
      end

      assert_nothing_left()
    end

    test "ends with a stream that is halted" do
      test = self()

      input = fn sink ->
        send(test, {:writer, self()})
        Enum.into(Stream.repeatedly(fn -> "more\n" end), sink)
      end

      assert Linx.stream!("cat", input: input, lines: true) |> Enum.take(2) == ["more", "more"]
      assert_received {:writer, writer}
      refute Process.alive?(writer)
      assert_nothing_left()
    end
  end
end
