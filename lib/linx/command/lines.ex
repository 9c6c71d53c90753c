defmodule Linx.Command.Lines do
  @moduledoc false

  # Cuts chunks of output into lines, wherever the chunks end. A line comes without its end, which is
  # "\n" or "\r\n", as the line mode of a port has it.

  import Bitwise, only: [&&&: 2]

  defstruct max: :infinity, partial: [], size: 0, cut?: false

  @typedoc "The beginning of a line whose end has not come yet."
  @opaque t :: %__MODULE__{
            max: pos_integer | :infinity,
            partial: iodata,
            size: non_neg_integer,
            cut?: boolean
          }

  @doc """
  No output yet. A line of more than `max` bytes comes in pieces of so many, or of up to three less where
  that would end within a character.
  """
  @spec new(max :: pos_integer | :infinity) :: t
  def new(max \\ :infinity), do: %__MODULE__{max: max}

  @doc "The lines that end in `chunk`, the first of which may have begun before it."
  @spec split(t, binary) :: {[binary], t}
  def split(lines, chunk) do
    {done, lines} = chunk |> :binary.split("\n", [:global]) |> split_parts([], lines)
    {Enum.reverse(done), lines}
  end

  @doc "What is left at the end of the output: a last line without an end, or none."
  @spec rest(t) :: [binary]
  def rest(%{size: 0}), do: []
  def rest(lines), do: [IO.iodata_to_binary(lines.partial)]

  # All parts but the last end with a newline.
  defp split_parts([last], done, lines), do: cut(last, done, lines)

  defp split_parts([part | parts], done, %{size: 0, max: :infinity} = lines) do
    split_parts(parts, [without_return(part) | done], lines)
  end

  defp split_parts([part | parts], done, lines) do
    {done, lines} = cut(part, done, lines)
    line = lines.partial |> IO.iodata_to_binary() |> without_return()
    # What remains of a line that has been cut may be nothing.
    done = if line == "" and lines.cut?, do: done, else: [line | done]
    split_parts(parts, done, new(lines.max))
  end

  # In the order of terms every number is less than :infinity.
  defp cut(part, done, %{max: max, size: size} = lines) when size + byte_size(part) <= max do
    {done, %{lines | partial: [lines.partial | part], size: size + byte_size(part)}}
  end

  defp cut(part, done, lines) do
    {done, rest} = [lines.partial | part] |> IO.iodata_to_binary() |> pieces(done, lines.max)
    # A copy, which does not keep all that came with it.
    {done, %{lines | partial: :binary.copy(rest), size: byte_size(rest), cut?: true}}
  end

  defp pieces(line, done, max) when byte_size(line) <= max, do: {done, line}

  defp pieces(line, done, max) do
    size = before_character(line, max, max(max - 3, 1))
    <<piece::binary-size(size), rest::binary>> = line
    pieces(rest, [piece | done], max)
  end

  # Bytes of the form 10xxxxxx continue a character; it has at most three of them.
  defp before_character(line, size, least) do
    Enum.find(size..least//-1, size, &((:binary.at(line, &1) &&& 0xC0) != 0x80))
  end

  defp without_return(""), do: ""

  defp without_return(line) do
    length = byte_size(line) - 1

    case line do
      <<line::binary-size(length), ?\r>> -> line
      _no_return -> line
    end
  end
end
