defmodule Linx.Test.Attacks.Report do
  @moduledoc false

  # What became of each attack, in three columns.

  alias Linx.Test.Attacks

  @type outcome ::
          :won
          | {:stopped, why :: String.t()}
          | {:died, signal :: 1..64}
          | {:not_tried, why :: String.t()}
          | {:mistake, term, said :: String.t()}

  @type row :: %{
          optional(:open | :bwrap | :linx) => outcome,
          optional(:note) => String.t()
        }

  @type t :: %{{theme :: String.t(), what :: String.t()} => row}

  @title "What hostile programs get without confinement, in bubblewrap, and in Linx's sandbox"
  @columns [:open, :bwrap, :linx]

  @doc "All that has been tried, as text."
  @spec text(t) :: String.t()
  def text(rows) do
    themes =
      for {theme, attacks} <- Attacks.table() do
        tried = for {what, _, _} <- attacks, row = rows[{theme, what}], do: {what, row}
        [line(theme, @columns, "") | Enum.map(tried, &row/1)] ++ [""]
      end

    lines = ["", "", @title, ""] ++ Enum.concat(themes) ++ [sums(rows) | absent(rows)]
    Enum.join(lines, "\n")
  end

  defp row({what, row}) do
    why = for {:not_tried, why} <- [row[:open]], do: why
    note = Enum.join(why ++ List.wrap(row[:note]), "; ")
    line("  " <> what, Enum.map(@columns, &cell(row[&1])), note)
  end

  defp line(first, columns, note) do
    columns = Enum.map_join(columns, &String.pad_trailing(to_string(&1), 10))
    String.trim_trailing(String.pad_trailing(first, 70) <> columns <> note)
  end

  defp cell(nil), do: "?"
  defp cell(:won), do: "got it"
  defp cell({:stopped, _why}), do: "stopped"
  defp cell({:died, number}), do: Linx.Signal.name(number) |> to_string() |> String.upcase()
  defp cell({:not_tried, _why}), do: "-"
  defp cell({:mistake, _status, _said}), do: "mistake"

  defp sums(rows) do
    won =
      for column <- @columns, do: Enum.count(rows, fn {_attack, row} -> row[column] == :won end)

    line("Got what they wanted, of #{map_size(rows)}", won, "")
  end

  # Why a whole column is empty.
  defp absent(rows) do
    for column <- @columns -- [:open],
        why <- rows |> Enum.map(fn {_attack, row} -> row[column] end) |> Enum.uniq(),
        {:not_tried, why} <- [why],
        do: "#{column}: #{why}"
  end
end
