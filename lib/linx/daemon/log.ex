defmodule Linx.Daemon.Log do
  @moduledoc false

  # What becomes of a line that a program has written: an entry of Logger's, or whatever a function
  # makes of it.

  require Logger

  @sources [:stdout, :stderr, :pty]

  defstruct levels: Map.new(@sources, &{&1, :info}),
            function: nil,
            prefix: "",
            transform: nil,
            controls: :keep,
            metadata: []

  @type source :: :stdout | :stderr | :pty
  @type level :: Logger.level()
  @type function_of_line :: (binary -> term) | (binary, source -> term) | {module, atom, list}

  @type t :: %__MODULE__{
          levels: %{source => level | false},
          function: function_of_line | nil,
          prefix: binary,
          transform: (binary -> binary | nil | {level, binary}) | nil,
          controls: :keep | :escape,
          metadata: keyword
        }

  @doc """
  A line as text: bytes that are no UTF-8, and NULs, are written as `\\xFF` and `\\x00`.
  """
  @spec text(binary) :: String.t()
  def text(line) do
    if String.valid?(line) and :binary.match(line, <<0>>) == :nomatch,
      do: line,
      else: line |> escape([]) |> IO.iodata_to_binary()
  end

  defp escape(<<0, rest::binary>>, seen), do: escape(rest, [seen, "\\x00"])
  defp escape(<<char::utf8, rest::binary>>, seen), do: escape(rest, [seen, <<char::utf8>>])

  defp escape(<<byte, rest::binary>>, seen),
    do: escape(rest, [seen, "\\x", Base.encode16(<<byte>>)])

  defp escape(<<>>, seen), do: seen

  @doc "Logs a line of text. Raises what the user's own function raises."
  @spec line(t, source, String.t()) :: term
  def line(%{function: nil} = log, source, text) do
    with {level, text} <- entry(log, source, text), do: put(log, source, level, text)
  end

  def line(%{function: {module, name, args}}, _source, text),
    do: apply(module, name, [text | args])

  def line(%{function: function}, _source, text) when is_function(function, 1),
    do: function.(text)

  def line(%{function: function}, source, text), do: function.(text, source)

  @doc "The line as it is logged, with its level; `nil` when it is not."
  @spec entry(t, source, String.t()) :: {level, String.t()} | nil
  def entry(log, source, text) do
    case log.levels[source] do
      false -> nil
      level -> transformed(log.transform, level, text)
    end
  end

  defp transformed(nil, level, text), do: {level, text}

  defp transformed(transform, level, text) do
    case transform.(text) do
      nil -> nil
      text when is_binary(text) -> {level, text}
      {level, text} when is_atom(level) and is_binary(text) -> {level, text}
    end
  end

  @doc "Logs a line as it is, after the user's own function has raised."
  @spec plain(t, source, String.t()) :: :ok
  def plain(log, source, text) do
    level = log.levels[source]
    if level, do: put(log, source, level, text)
    :ok
  end

  @doc "Logs what the daemon itself has to say."
  @spec notice(t, level, String.t()) :: :ok
  def notice(log, level, text), do: Logger.bare_log(level, log.prefix <> text, log.metadata)

  # Whatever a transform has left in it.
  defp put(log, source, level, text) do
    text = if log.controls == :escape, do: visible(text), else: text
    Logger.bare_log(level, log.prefix <> text, Keyword.put_new(log.metadata, :source, source))
  end

  @doc "A text in which control characters are written as `\\x1B`, so that they control nothing."
  @spec visible(String.t()) :: String.t()
  def visible(text) do
    # C0 but tab and newline, DEL, and C1.
    Regex.replace(~r/[\x{00}-\x{08}\x{0B}-\x{1F}\x{7F}-\x{9F}]/u, text, fn <<char::utf8>> ->
      "\\x" <> String.pad_leading(Integer.to_string(char, 16), 2, "0")
    end)
  end
end
