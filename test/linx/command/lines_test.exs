defmodule Linx.Command.LinesTest do
  use ExUnit.Case, async: true

  alias Linx.Command.Lines

  defp lines(chunks, max \\ :infinity) do
    {lines, rest} =
      Enum.flat_map_reduce(chunks, Lines.new(max), fn chunk, state ->
        Lines.split(state, chunk)
      end)

    lines ++ Lines.rest(rest)
  end

  # The text in chunks of one size.
  defp chunks("", _size), do: []

  defp chunks(text, size) do
    {chunk, rest} = String.split_at(text, size)
    [chunk | chunks(rest, size)]
  end

  @texts %{
    "" => [],
    "\n" => [""],
    "\n\n" => ["", ""],
    "a" => ["a"],
    "a\n" => ["a"],
    "a\nb" => ["a", "b"],
    "a\n\nb\n" => ["a", "", "b"],
    "a\r\nb\rc\n" => ["a", "b\rc"],
    "\r\n\r\n" => ["", ""],
    "x\r\r\n" => ["x\r"],
    "a\r" => ["a\r"],
    "abcdefghij\r\nk" => ["abcdefghij", "k"]
  }

  test "lines come without their ends, wherever the chunks end" do
    for {text, expected} <- @texts, size <- [1, 2, 3, 5, 100] do
      assert {text, size, lines(chunks(text, size))} == {text, size, expected}
    end
  end

  test "they are what the line mode of a port makes of them" do
    path = Path.join(System.tmp_dir!(), "linx-lines-#{System.pid()}")
    on_exit(fn -> File.rm(path) end)

    for {text, _expected} <- @texts, String.ends_with?(text, "\n") do
      File.write!(path, text)
      assert {text, lines([text])} == {text, port_lines(path)}
    end
  end

  defp port_lines(path) do
    cat = System.find_executable("cat")
    port = Port.open({:spawn_executable, cat}, [:binary, :exit_status, line: 1000, args: [path]])
    port_lines(port, [])
  end

  defp port_lines(port, lines) do
    receive do
      {^port, {:data, {:eol, line}}} -> port_lines(port, [line | lines])
      {^port, {:exit_status, 0}} -> Enum.reverse(lines)
    end
  end

  test "binary data keeps its bytes" do
    assert lines([<<255, 0, ?\n, 254>>, <<0, 10>>]) == [<<255, 0>>, <<254, 0>>]
  end

  test "a line that is too long comes in pieces" do
    for size <- [1, 2, 3, 5, 100] do
      assert lines(chunks("abcdefg\nhi\n", size), 3) == ["abc", "def", "g", "hi"]
      assert lines(chunks("abc\nabcdef\n\nx", size), 3) == ["abc", "abc", "def", "", "x"]
      assert lines(chunks("abcdefg", size), 3) == ["abc", "def", "g"]
    end
  end

  test "no piece is made of a line's end alone" do
    for size <- [1, 2, 3, 5, 100] do
      assert lines(chunks("abc\r\nabcdef\r\nx\r\n", size), 3) == ["abc", "abc", "def", "x"]
      assert lines(chunks("abcdef", size), 3) == ["abc", "def"]
    end
  end

  test "no piece ends within a character" do
    text = "aäöü€😀😀ß"

    for cut <- 0..byte_size(text), max <- 4..9 do
      <<first::binary-size(cut), second::binary>> = text
      pieces = lines([first, second, "\n"], max)
      assert Enum.join(pieces) == text
      assert Enum.all?(pieces, &(String.valid?(&1) and byte_size(&1) <= max))
    end

    # What is no text is cut all the same.
    for max <- 1..5 do
      pieces = lines([String.duplicate(<<0x80>>, 17)], max)
      assert Enum.join(pieces) == String.duplicate(<<0x80>>, 17)
      assert Enum.all?(pieces, &(byte_size(&1) in 1..max))
    end
  end

  test "a line of many chunks takes time by its length" do
    chunk = String.duplicate("x", 10)
    assert [line] = lines(List.duplicate(chunk, 100_000))
    assert byte_size(line) == 1_000_000
  end
end
