defmodule Linx.Command.CollectorTest do
  use ExUnit.Case, async: true

  alias Linx.Command.Collector

  # What is kept of these chunks, and what was said of each.
  defp collect(chunks, limit) do
    {said, collector} = Enum.map_reduce(chunks, Collector.new(limit), &Collector.add(&2, &1))
    {said, Collector.result(collector)}
  end

  test "without a limit everything is kept" do
    assert collect(["a", "", "bc", <<0, 255>>], :infinity) ==
             {[:cont, :cont, :cont, :cont], {<<"abc", 0, 255>>, false}}

    assert collect([], :infinity) == {[], {"", false}}
  end

  test ":truncate keeps the first bytes" do
    assert collect(["abc", "de"], {5, :truncate}) == {[:cont, :cont], {"abcde", false}}
    assert collect(["abc", "def"], {5, :truncate}) == {[:cont, :cont], {"abcde", true}}
    assert collect(["abcdef", "g"], {5, :truncate}) == {[:cont, :cont], {"abcde", true}}
    assert collect(["a"], {0, :truncate}) == {[:cont], {"", true}}
    assert collect([], {0, :truncate}) == {[], {"", false}}
  end

  test ":kill keeps the first bytes, and says when there are more" do
    assert collect(["abc", "de"], {5, :kill}) == {[:cont, :cont], {"abcde", false}}
    assert collect(["abc", "def"], {5, :kill}) == {[:cont, :kill], {"abcde", true}}
    assert collect(["a"], {0, :kill}) == {[:kill], {"", true}}
  end

  test ":tail keeps the last bytes" do
    assert collect(["abc", "de"], {5, :tail}) == {[:cont, :cont], {"abcde", false}}
    assert collect(["abc", "def"], {5, :tail}) == {[:cont, :cont], {"bcdef", true}}
    assert collect(["abcdefghijkl"], {5, :tail}) == {[:cont], {"hijkl", true}}
    assert collect(["abc", "d", "e", "f", "g"], {2, :tail}) |> elem(1) == {"fg", true}
    assert collect(["a"], {0, :tail}) == {[:cont], {"", true}}
    assert collect([], {5, :tail}) == {[], {"", false}}
  end

  test ":tail, whatever the sizes of the chunks" do
    text = for n <- 1..500, into: "", do: "#{n} "

    for size <- [1, 2, 3, 7, 64, 5000], max <- [1, 5, 64, 100, 5000] do
      chunks = for <<chunk::binary-size(size) <- text>>, do: chunk
      whole = IO.iodata_to_binary(chunks)
      kept = binary_part(whole, byte_size(whole), -min(max, byte_size(whole)))
      assert {_said, {^kept, truncated?}} = collect(chunks, {max, :tail})
      assert truncated? == byte_size(whole) > max
    end
  end

  test "what is kept does not hold the chunks it comes from" do
    chunk = :binary.copy("x", 1_000_000)

    for policy <- [:truncate, :tail] do
      {_said, {kept, true}} = collect([chunk, chunk], {100, policy})
      assert :binary.referenced_byte_size(kept) < 1_000
    end
  end

  test ":tail stays small over many tiny chunks" do
    collector =
      Enum.reduce(1..100_000, Collector.new({1_000, :tail}), fn _n, collector ->
        {:cont, collector} = Collector.add(collector, "x")
        collector
      end)

    assert :erts_debug.flat_size(collector) < 1_000
    assert {kept, true} = Collector.result(collector)
    assert kept == String.duplicate("x", 1_000)
  end
end
