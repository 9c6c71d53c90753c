defmodule Linx.Test.Guide do
  @moduledoc false

  # Runs what a guide in docs/ shows, section by section, as a reader would who types it into iex.
  #
  # A block of Elixir whose lines begin with `iex>` is run expression by expression. What is shown below
  # an expression is a pattern that its value has to match, so that a guide may say `_pid`; or it is an
  # exception, as in a doctest. A block without `iex>` is run as a whole. What one block of a section
  # binds, aliases or requires, the next ones know.

  import ExUnit.Assertions

  defstruct [:title, :line, root?: false, blocks: []]

  @type t :: %__MODULE__{title: String.t(), line: pos_integer, root?: boolean, blocks: [block]}
  @type block :: {line :: pos_integer, [String.t()]}

  @doc """
  The sections of a guide, which begin with a heading. One in which is the comment `<!-- root -->` needs
  to be run as root. Blocks whose first line is a comment with one of the words in `others`, and no more,
  are somebody else's code.
  """
  @spec sections(Path.t(), [String.t()]) :: [t]
  def sections(path, others \\ []) do
    path
    |> File.read!()
    |> String.split("\n")
    |> Enum.with_index(1)
    |> read(%__MODULE__{title: Path.basename(path), line: 1}, [])
    |> Enum.map(fn section -> %{section | blocks: reject(section.blocks, others)} end)
    |> Enum.reject(&(&1.blocks == []))
  end

  defp read([], section, done), do: Enum.reverse([finish(section) | done])

  defp read([{"```elixir", _number} | lines], section, done) do
    {[{_line, number} | _] = block, [_fence | lines]} =
      Enum.split_while(lines, fn {line, _number} -> line != "```" end)

    block = {number, Enum.map(block, &elem(&1, 0))}
    read(lines, %{section | blocks: [block | section.blocks]}, done)
  end

  # What else is in fences has no headings.
  defp read([{"```" <> _language, _number} | lines], section, done) do
    [_fence | lines] = Enum.drop_while(lines, fn {line, _number} -> line != "```" end)
    read(lines, section, done)
  end

  defp read([{"<!-- root -->", _number} | lines], section, done) do
    read(lines, %{section | root?: true}, done)
  end

  defp read([{"#" <> _ = heading, number} | lines], section, done) do
    title = String.trim_leading(heading, "#") |> String.trim()
    read(lines, %__MODULE__{title: title, line: number}, [finish(section) | done])
  end

  defp read([_text | lines], section, done), do: read(lines, section, done)

  defp finish(section), do: %{section | blocks: Enum.reverse(section.blocks)}

  defp reject(blocks, others) do
    Enum.reject(blocks, fn {_number, [first | _]} -> first in Enum.map(others, &"# #{&1}") end)
  end

  @doc "Runs the blocks of a section, and fails where one does not do what it shows."
  @spec run(t, Path.t()) :: :ok
  def run(section, path) do
    Enum.reduce(section.blocks, {[], fresh_env()}, fn {number, lines}, known ->
      Enum.reduce(steps(lines, number), known, &step(&1, &2, path))
    end)

    :ok
  end

  defp fresh_env do
    {_value, _binding, env} = Code.eval_quoted_with_env(quote(do: :ok), [], Code.env_for_eval([]))
    env
  end

  # A step is {line, code, what is shown}.
  defp steps(lines, number) do
    if Enum.any?(lines, &String.starts_with?(&1, "iex>")) do
      lines |> Enum.with_index(number) |> prompts([])
    else
      [{number, Enum.join(lines, "\n"), ""}]
    end
  end

  defp prompts([], steps), do: Enum.reverse(steps)

  defp prompts([{"iex> " <> first, number} | lines], steps) do
    {more, lines} = Enum.split_while(lines, fn {line, _number} -> line =~ ~r/^\.\.\.>/ end)
    code = [first | Enum.map(more, fn {"...>" <> line, _number} -> line end)]
    {shown, lines} = Enum.split_while(lines, fn {line, _} -> not (line =~ ~r/^iex>|^$/) end)
    shown = Enum.map_join(shown, "\n", &elem(&1, 0))
    prompts(lines, [{number, Enum.join(code, "\n"), shown} | steps])
  end

  defp prompts([{"", _number} | lines], steps), do: prompts(lines, steps)

  defp step({number, code, "** (" <> exception}, {binding, env}, path) do
    [name, message] = String.split(exception, ") ", parts: 2)

    error =
      try do
        evaluate(code, binding, env, path, number)
      rescue
        error -> error
      else
        {value, _, _} -> flunk("#{path}:#{number} did not raise, it was #{inspect(value)}")
      end

    assert {inspect(error.__struct__), Exception.message(error)} == {name, message},
           "#{path}:#{number} raised #{inspect(error)}"

    {binding, env}
  end

  defp step({number, code, shown}, {binding, env}, path) do
    {value, binding, env} = evaluate(code, binding, env, path, number)

    if shown != "" do
      {matches?, _, _} =
        evaluate("match?(#{shown}, its_value)", [its_value: value] ++ binding, env, path, number)

      assert matches?, "#{path}:#{number}: #{code}\nis #{inspect(value)}\nnot #{shown}"
    end

    {binding, env}
  end

  defp evaluate(code, binding, env, path, number) do
    quoted = Code.string_to_quoted!(code, file: path, line: number)
    Code.eval_quoted_with_env(quoted, binding, %{env | file: path, line: number})
  end
end
