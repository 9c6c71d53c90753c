defmodule Bench.Table do
  @moduledoc false

  # What one row, or one part of it, has found: samples by contender, and the targets they are held
  # against. The first column is ours.
  #
  # Samples are nanoseconds when the unit is `:time` or `{:rate, bytes}`, the time for so many bytes.

  alias Bench.Stats

  defstruct [
    :row,
    :title,
    unit: :time,
    # Whether the columns do the same, and can be divided: ours by each of the others.
    ratios?: true,
    ours: "Linx",
    # If each of the others is divided by a column instead, which it is.
    plain: nil,
    columns: [],
    # What the plot draws: lists of {sessions, nanoseconds} by contender.
    series: [],
    targets: [],
    not_run: [],
    notes: []
  ]

  defmodule Target do
    @moduledoc false
    # `met?` is nil when what it takes was not measured.
    defstruct [:text, :reached, :met?]
  end

  def column(table, name) do
    with {^name, samples} <- List.keyfind(table.columns, name, 0), do: samples
  end

  @doc "How often the median of `to` goes into that of `of`; for a rate, in bytes a second. nil without both."
  def ratio(table, of, to) do
    with [_ | _] = mine <- column(table, of), [_ | _] = theirs <- column(table, to) do
      ratio = Stats.median(mine) / max(Stats.median(theirs), 1)
      if match?({:rate, _}, table.unit), do: 1 / ratio, else: ratio
    else
      _missing -> nil
    end
  end

  @doc "Holds a ratio of two columns against a limit."
  def target(table, of, op, limit, to) do
    add_target(
      table,
      "#{of} #{sign(op)} #{decimal(limit)} × #{to}",
      op,
      limit,
      ratio(table, of, to)
    )
  end

  @doc "Holds any number against a limit."
  def add_target(table, text, op, limit, value) do
    target = %Target{
      text: text,
      reached: value && decimal(value),
      met?: value && met?(op, value, limit)
    }

    %{table | targets: table.targets ++ [target]}
  end

  @doc "Holds a yes or no against yes."
  def add_target(table, text, yes?, reached) do
    %{table | targets: table.targets ++ [%Target{text: text, reached: reached, met?: yes?}]}
  end

  def note(table, note), do: %{table | notes: table.notes ++ [note]}

  defp met?(:at_most, value, limit), do: value <= limit
  defp met?(:at_least, value, limit), do: value >= limit

  defp sign(:at_most), do: "≤"
  defp sign(:at_least), do: "≥"

  defp decimal(number), do: :erlang.float_to_binary(number * 1.0, decimals: 2)
end
