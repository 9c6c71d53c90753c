defmodule Linx.Top.Table do
  @moduledoc false

  # How a `Linx.Top` looks in iex.

  import Bitwise

  @columns [
    {"PID", :right},
    {"STATE", :left},
    {"AGE", :right},
    {"CPU%", :right},
    {"TIME", :right},
    {"MEM", :right},
    {"PROCS", :right},
    {"SESSION", :left},
    {"COMMAND", :left}
  ]

  # A command is cut where the line would be too long, but not to less than this.
  @least 20

  @doc "The table, as wide and as long as the options of `inspect/2` allow."
  @spec render(Linx.Top.t(), Inspect.Opts.t()) :: String.t()
  def render(%{rows: []} = top, _opts), do: heading(top)

  def render(top, opts) do
    {shown, rest} = split(top.rows, opts.limit)
    width = if is_integer(opts.width), do: opts.width, else: 1_000_000
    lines = [Enum.map(@columns, &elem(&1, 0)) | Enum.map(shown, &cells/1)]
    table = lines |> align() |> Enum.map(&line(&1, width))
    more = if rest == [], do: [], else: ["  … #{length(rest)} more"]
    Enum.join([heading(top) | table] ++ more, "\n")
  end

  defp split(rows, limit) when is_integer(limit), do: Enum.split(rows, limit)
  defp split(rows, _infinity), do: {rows, []}

  defp heading(%{rows: rows} = top) do
    total = fn key -> rows |> Enum.map(&Map.fetch!(&1, key)) |> Enum.sum() end

    "#Linx.Top<#{count(length(rows), "workload")}, #{count(total.(:processes), "process")}, " <>
      "CPU #{percent(total.(:cpu_percent))}%, memory #{bytes(total.(:memory))}, by #{top.sort}" <>
      if(top.interval, do: ", over #{duration(top.interval)}>", else: ">")
  end

  defp count(1, what), do: "1 #{what}"
  defp count(n, "process"), do: "#{n} processes"
  defp count(n, what), do: "#{n} #{what}s"

  defp cells(row) do
    [
      to_string(row.host_pid),
      if(row.stage == :running, do: row.state, else: to_string(row.stage)),
      duration(row.age),
      percent(row.cpu_percent),
      duration(div(row.cpu_time, 1_000)),
      bytes(row.memory),
      to_string(row.processes),
      inspect(row.name || row.session),
      command(row.argv)
    ]
  end

  # All columns but the last are as wide as what is in them.
  defp align(lines) do
    widths =
      for cells <- Enum.zip(lines) do
        cells |> Tuple.to_list() |> Enum.map(&String.length/1) |> Enum.max()
      end

    for line <- lines do
      [command | others] =
        Enum.reverse(
          for {cell, width, {_name, side}} <- Enum.zip([line, widths, @columns]) do
            if side == :right,
              do: String.pad_leading(cell, width),
              else: String.pad_trailing(cell, width)
          end
        )

      {others |> Enum.reverse() |> Enum.join(" "), String.trim_trailing(command)}
    end
  end

  defp line({others, command}, width) do
    room = max(width - String.length(others) - 3, @least)

    command =
      if String.length(command) > room,
        do: String.slice(command, 0, room - 1) <> "…",
        else: command

    "  #{others} #{command}"
  end

  # An argument may be anything: what a terminal would obey, and what is no text, is shown as inspect/1
  # does, and so is what would be taken for several arguments.
  defp command([program | arguments]) do
    Enum.map_join([Path.basename(program) | arguments], " ", fn argument ->
      # No more than anybody has the room for.
      start = String.slice(argument, 0, 500)

      if start != "" and String.printable?(start) and not (start =~ ~r/[[:cntrl:][:space:]"]/u),
        do: start,
        else: inspect(start)
    end)
  end

  defp percent(percent), do: :erlang.float_to_binary(percent / 1, decimals: 1)

  @units [{1 <<< 40, "T"}, {1 <<< 30, "G"}, {1 <<< 20, "M"}, {1 <<< 10, "K"}]

  defp bytes(bytes) do
    case Enum.find(@units, fn {size, _unit} -> bytes >= size end) do
      {size, unit} -> "#{:erlang.float_to_binary(bytes / size, decimals: 1)}#{unit}"
      nil -> "#{bytes}"
    end
  end

  @second 1_000
  @minute 60 * @second
  @hour 60 * @minute
  @day 24 * @hour

  defp duration(ms) when ms < @second, do: "#{ms}ms"

  defp duration(ms) when ms < @minute do
    "#{:erlang.float_to_binary(ms / @second, decimals: 1)}s"
  end

  defp duration(ms) when ms < @hour, do: two(ms, @minute, "m", @second, "s")
  defp duration(ms) when ms < @day, do: two(ms, @hour, "h", @minute, "m")
  defp duration(ms), do: two(ms, @day, "d", @hour, "h")

  defp two(ms, large, its_name, small, the_other) do
    rest = ms |> rem(large) |> div(small) |> to_string() |> String.pad_leading(2, "0")
    "#{div(ms, large)}#{its_name}#{rest}#{the_other}"
  end
end
