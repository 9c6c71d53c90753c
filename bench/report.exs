defmodule Bench.Report do
  @moduledoc false

  # Tables as text for a terminal, and as Markdown for docs/benchmarks.md.

  alias Bench.{Stats, Table}

  def print(table) do
    IO.puts("\n#{table.title}  (#{table.row})")
    rows = rows(table)

    widths =
      for column <- Enum.zip_with(rows, & &1),
          do: column |> Enum.map(&String.length/1) |> Enum.max()

    if table.columns != [], do: Enum.each(rows, &IO.puts("  " <> padded(&1, widths)))
    Enum.each(table.notes, &IO.puts("  #{&1}"))
  end

  def print_targets(tables) do
    if Enum.any?(tables, &(&1.targets != [])), do: IO.puts("\nTargets")

    for table <- tables, target <- table.targets do
      IO.puts("  #{verdict(target)}  #{table.title}: #{target.text}: #{target.reached || "–"}")
    end
  end

  def print_not_run(tables) do
    case not_run(tables) do
      [] -> :ok
      lines -> IO.puts(["\nNot run\n" | Enum.map(lines, &"  #{&1}\n")])
    end
  end

  def markdown(tables, machine) do
    """
    # Benchmarks

    Written by `make bench`; [bench/README.md](../bench/README.md) tells how to read it. The contenders of a table took
    turns within one run, so their ratios are worth more than the times, which are this machine's. *Linx ÷ it* below 1
    means that Linx is ahead; for rates, above 1. So does another name in its place.

    ![How far from the floor](benchmarks.svg)

    | | |
    |---|---|
    #{Enum.map_join(machine, "\n", fn {what, it} -> "| #{what} | #{it} |" end)}

    ## Targets

    | | target | reached | |
    |---|---|---|---|
    #{for table <- tables, target <- table.targets, do: "| #{table.title} | #{target.text} | #{target.reached || "–"} | #{verdict(target)} |\n"}
    ## Measurements
    #{Enum.map(tables, &markdown_table/1)}
    ## Not run

    #{tables |> not_run() |> Enum.map(&"- #{&1}\n")}\
    """
  end

  defp markdown_table(table) do
    [header | lines] = rows(table)
    alignment = ["---" | for(_ <- tl(header), do: "---:")]
    rows = for row <- [header, alignment | lines], do: "| #{Enum.join(row, " | ")} |\n"

    [
      "\n### #{table.title}\n",
      if(table.columns != [], do: ["\n" | rows], else: []),
      for(note <- table.notes, do: "\n#{note}\n")
    ]
  end

  defp verdict(%{met?: true}), do: "met"
  defp verdict(%{met?: false}), do: "missed"
  defp verdict(%{met?: nil}), do: "not measured"

  # A line for each contender and reason, and the rows it is missing in.
  defp not_run(tables) do
    missing = for table <- tables, {name, why} <- table.not_run, do: {{name, why}, table.row}

    for {{name, why}, rows} <- Enum.group_by(missing, &elem(&1, 0), &elem(&1, 1)) do
      "#{name} (#{rows |> Enum.uniq() |> Enum.join(", ")}): #{why}"
    end
  end

  # The last column is for what can be divided.
  defp rows(table) do
    lines =
      for {name, samples} <- table.columns do
        [name, value(table, Stats.median(samples)), p95(table, samples), ratio(table, name)]
      end

    rows = [["", "median", "p95", ratio_header(table)] | lines]
    if table.ratios?, do: rows, else: Enum.map(rows, &Enum.drop(&1, -1))
  end

  # One value, or a handful, has no tail.
  defp p95(_table, samples) when length(samples) < 5, do: ""
  defp p95(table, samples), do: value(table, Stats.p95(samples))

  defp ratio_header(%{plain: nil, ours: ours}), do: "#{ours} ÷ it"
  defp ratio_header(%{plain: plain}), do: "÷ #{plain}"

  defp ratio(%{ratios?: true, plain: plain} = table, name) when plain != nil and name != plain do
    if ratio = Table.ratio(table, name, plain), do: decimals(ratio, 2), else: ""
  end

  defp ratio(%{ratios?: true, plain: nil, ours: ours} = table, name) when name != ours do
    if ratio = Table.ratio(table, ours, name), do: decimals(ratio, 2), else: ""
  end

  defp ratio(_table, _name), do: ""

  defp value(%{unit: :time}, ns), do: time(ns)
  defp value(%{unit: {:rate, bytes}}, ns), do: "#{decimals(bytes / ns * 1.0e9 / 1.0e6, 0)} MB/s"

  defp value(%{unit: :bytes}, bytes) when bytes >= 10_240 * 1_024,
    do: "#{decimals(bytes / 1024 / 1024, 1)} MiB"

  defp value(%{unit: :bytes}, bytes), do: "#{decimals(bytes / 1024, 1)} KiB"

  def time(ns) when abs(ns) < 10_000, do: "#{decimals(ns / 1.0e3, 1)} µs"
  def time(ns) when abs(ns) < 1_000_000, do: "#{decimals(ns / 1.0e3, 0)} µs"
  def time(ns) when abs(ns) < 100_000_000, do: "#{decimals(ns / 1.0e6, 2)} ms"
  def time(ns), do: "#{decimals(ns / 1.0e6, 0)} ms"

  defp decimals(number, decimals), do: :erlang.float_to_binary(number * 1.0, decimals: decimals)

  defp padded([first | rest], [width | widths]) do
    cells = for {cell, width} <- Enum.zip(rest, widths), do: String.pad_leading(cell, width + 2)
    Enum.join([String.pad_trailing(first, width) | cells])
  end
end
