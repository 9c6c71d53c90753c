defmodule Linx.Command.BytesTest do
  # Every byte arrives, in order, however much there is and whatever else is going on.
  use ExUnit.Case, async: false

  import Linx.Test.Command

  @much 200_000_000

  # So much of the numbers, and the sum of that: no part of it is like another.
  @numbers "seq 100000000 2>/dev/null | head -c #{@much}"

  defp md5sum(command) do
    {<<sum::binary-size(32), _name::binary>>, 0} =
      System.cmd("sh", ["-c", command <> " | md5sum"])

    sum
  end

  # Keeps all schedulers busy while `fun` runs.
  defp busy(fun) do
    spinners = for _n <- 1..(2 * System.schedulers_online()), do: spawn(&spin/0)
    result = fun.()
    Enum.each(spinners, &Process.exit(&1, :kill))
    result
  end

  defp spin do
    Enum.sum(1..1_000)
    :erlang.yield()
    spin()
  end

  # A list of chunks that is taken with many breaks.
  defp slowly(stream) do
    stream
    |> Stream.with_index()
    |> Enum.map(fn {chunk, n} ->
      if rem(n, 64) == 0, do: Process.sleep(1)
      chunk
    end)
  end

  describe "200 MB arrive as they were written:" do
    test "through standard output" do
      sum = md5sum(@numbers)
      assert {^sum, @much} = ["sh", "-c", @numbers] |> Linx.stream!() |> md5()
      assert_nothing_left()
    end

    test "through standard output, to a slow reader, in odd chunks, while the BEAM is busy" do
      sum = md5sum(@numbers)
      stream = Linx.stream!(["sh", "-c", @numbers <> " | dd bs=4099 status=none"])
      # The sum itself would take its time then.
      chunks = busy(fn -> slowly(stream) end)
      assert md5(chunks) == {sum, @much}
      assert_nothing_left()
    end

    test "through standard input, to a slow reader, in odd chunks, while the BEAM is busy" do
      input = chunks(@much, [1, 4_099, 70_001, 1_000_003, 2, 300_000])
      {sum, @much} = md5(input)
      argv = ["sh", "-c", "sleep 0.2; dd bs=4099 status=none | md5sum"]

      assert {:ok, %{stdout: <<^sum::binary-size(32), _name::binary>>}} =
               busy(fn -> Linx.run(argv, input: input) end)
    end

    test "both ways at once, through cat" do
      input = @much |> chunks([65_536]) |> Enum.to_list()
      assert Linx.stream!("cat", input: input) |> md5() == md5(input)
      assert_nothing_left()
    end
  end

  test "standard output and standard error do not wait for each other" do
    size = 20_000_000
    numbers = "seq 100000000 2>/dev/null | head -c #{size}"
    sum = md5sum(numbers)

    for script <- ["(#{numbers}) >&2 & #{numbers}; wait", "(#{numbers}) >&2; #{numbers}"] do
      assert {:ok, result} = Linx.run(["sh", "-c", script])
      assert md5([result.stdout]) == {sum, size}
      assert md5([result.stderr]) == {sum, size}
    end
  end

  test "a thousand commands with output at a time" do
    run = fn n ->
      text = String.duplicate("#{n} ", rem(n, 50) * 100 + 1)

      case rem(n, 3) do
        0 -> assert Linx.cmd("cat", [], input: text) == {text, 0}
        1 -> assert {:ok, %{stderr: ^text}} = Linx.run(["sh", "-c", "cat >&2"], input: [text])
        2 -> assert Linx.stream!("cat", input: Stream.map([text], & &1)) |> Enum.join() == text
      end
    end

    # They begin when all are there.
    commands =
      for n <- 1..1_000 do
        spawn_monitor(fn ->
          receive do
            :go -> run.(n)
          end

          assert_nothing_left()
        end)
      end

    for {pid, _ref} <- commands, do: send(pid, :go)
    for {pid, ref} <- commands, do: assert_receive({:DOWN, ^ref, _, ^pid, :normal}, 50_000)
  end

  test "whatever bytes they are" do
    every = for a <- 0..255, b <- 0..255, into: "", do: <<a, b>>

    for bytes <- [
          every,
          <<0>>,
          <<0, 0, 10, 0>>,
          <<255, 254, 0xED, 0xA0, 0x80>>,
          "\n",
          "\r\n",
          "é"
        ] do
      assert Linx.cmd("cat", [], input: bytes) == {bytes, 0}
      assert Linx.stream!("cat", input: bytes) |> Enum.join() == bytes
      assert {:ok, %{stderr: ^bytes}} = Linx.run(["sh", "-c", "cat >&2"], input: bytes)
    end
  end

  test "sizes around those of pipes, pages, chunks and credits" do
    for around <- [1, 4_096, 10_240, 32_768, 65_536, 131_072, 262_144, 327_680, 1_048_576],
        size <- [around - 1, around, around + 1] do
      bytes = size |> chunks([1_000_000]) |> Enum.join()
      assert {^bytes, 0} = Linx.cmd("cat", [], input: bytes)
      assert {:ok, %{stdout: ^bytes}} = Linx.run("cat", input: chunks(size, [4_097]))
    end
  end
end
