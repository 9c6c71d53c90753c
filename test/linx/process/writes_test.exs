defmodule Linx.Process.WritesTest do
  use ExUnit.Case, async: true

  alias Linx.Process.Writes

  @chunk 32 * 1024

  # Takes chunk after chunk until there is nothing to send; the order of what happened.
  defp run(writes, log \\ []) do
    case Writes.next(writes) do
      {:send, chunk, writes} ->
        case Writes.taken(writes) do
          {:more, writes} -> run(writes, [byte_size(chunk) | log])
          {:done, id, writes} -> run(writes, [id, byte_size(chunk) | log])
        end

      :wait ->
        Enum.reverse(log)
    end
  end

  test "one write after the other, in chunks" do
    writes =
      Writes.new()
      |> Writes.add(:a, :binary.copy("a", 2 * @chunk + 1))
      |> Writes.add(:b, "")
      |> Writes.add(:c, :binary.copy("c", @chunk))

    assert run(writes) == [@chunk, @chunk, 1, :a, 0, :b, @chunk, :c]
  end

  test "one chunk under way at a time" do
    {:send, "a", writes} =
      Writes.new() |> Writes.add(:a, "a") |> Writes.add(:b, "b") |> Writes.next()

    assert Writes.next(writes) == :wait
    assert {:done, :a, writes} = Writes.taken(writes)
    assert {:send, "b", _writes} = Writes.next(writes)
  end

  test "a dropped write sends nothing more, and its chunk under way finishes for nobody" do
    writes = Writes.new() |> Writes.add(:a, :binary.copy("a", 2 * @chunk)) |> Writes.add(:b, "b")
    {:send, _chunk, writes} = Writes.next(writes)
    writes = Writes.drop(writes, :a)
    assert Writes.ids(writes) == [:b]
    assert Writes.next(writes) == :wait
    assert {:more, writes} = Writes.taken(writes)
    assert run(writes) == [1, :b]
  end

  test "a refused chunk ends its write, and no other" do
    writes = Writes.new() |> Writes.add(:a, :binary.copy("a", 2 * @chunk)) |> Writes.add(:b, "b")
    {:send, _chunk, writes} = Writes.next(writes)
    assert {:a, writes} = Writes.refused(writes)
    assert run(writes) == [1, :b]
  end

  test "small writes that nobody waits for go together, in their order" do
    writes = Enum.reduce(1..1_000, Writes.new(), &Writes.add(&2, nil, "#{&1} "))
    expected = Enum.map_join(1..1_000, &"#{&1} ")
    assert {:send, ^expected, _writes} = Writes.next(writes)

    # Also behind one that is under way, but not past one that somebody waits for.
    {:send, "a", writes} = Writes.new() |> Writes.add(nil, "a") |> Writes.next()
    writes = writes |> Writes.add(nil, "b") |> Writes.add(:c, "c") |> Writes.add(nil, "d")
    assert {:more, writes} = Writes.taken(writes)
    assert run(writes) == [1, nil, 1, :c, 1, nil]

    large = :binary.copy("x", @chunk)
    writes = Writes.new() |> Writes.add(nil, large) |> Writes.add(nil, "y")
    assert run(writes) == [@chunk, nil, 1, nil]
  end
end
