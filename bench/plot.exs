defmodule Bench.Plot do
  @moduledoc false

  # docs/benchmarks.svg, two plots one below the other: how many times the floor everybody takes, row by
  # row, and what the start of a session costs, by how many are live.

  alias Bench.{Report, Stats, Table}

  @width 900
  @left 300
  @right 40
  @row 30
  @lines_height 260

  # What plays the part of the floor, and what stands out among the others.
  @floors ["posix_spawn", "clone", "bare C", "parked fork", "kill"]
  @ours "Linx"
  @rival "System.cmd"

  @colours %{
    @ours => "#6741d9",
    "Linx, dedicated" => "#b197fc",
    @rival => "#e8590c",
    "Port" => "#e8590c",
    "C agent" => "#2b8a3e"
  }
  @grey "#868e96"

  def svg(tables) do
    bars = tables |> Enum.map(&bar/1) |> Enum.reject(&is_nil/1)

    series =
      tables |> Enum.flat_map(& &1.series) |> Enum.reject(fn {_name, points} -> points == [] end)

    bars_height = 90 + length(bars) * @row
    height = bars_height + 70 + @lines_height + 60

    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" width="#{@width}" height="#{height}" viewBox="0 0 #{@width} #{height}" ),
      ~s(font-family="system-ui, sans-serif" font-size="12">\n),
      ~s(<rect width="100%" height="100%" fill="white"/>\n),
      bars(bars),
      ~s|<g transform="translate(0 #{bars_height + 40})">\n|,
      lines(series),
      "</g>\n</svg>\n"
    ]
  end

  # Times the floor

  defp bar(table) do
    with [floor | _] <- for({name, _} <- table.columns, name in @floors, do: name),
         ours when ours != nil <- Table.column(table, @ours) do
      times =
        for {name, samples} <- table.columns,
            name != floor,
            do: {name, times(table, samples, floor)}

      {table.title, Map.new(times)}
    else
      _no_floor -> nil
    end
  end

  # A rate is drawn by the time it takes, so that left is always better.
  defp times(table, samples, floor),
    do: Stats.median(samples) / Stats.median(Table.column(table, floor))

  defp bars(bars) do
    all = Enum.flat_map(bars, fn {_title, times} -> Map.values(times) end)
    scale = log_scale(Enum.min([0.8 | all]), Enum.max([2.0 | all]) * 1.1, @left, @width - @right)
    bottom = 60 + length(bars) * @row

    [
      heading("How many times the floor it takes (logarithmic; further left is better)"),
      for times <- [1, 2, 5, 10, 20, 50], x = scale.(times), x <= @width - @right do
        [
          line(x, 50, x, bottom, if(times == 1, do: "black", else: "#dee2e6")),
          text(x, bottom + 16, "#{times}×", "middle")
        ]
      end,
      for {{title, times}, index} <- Enum.with_index(bars) do
        y = 60 + index * @row
        from = scale.(1)
        to = scale.(times[@ours])

        [
          text(@left - 12, y + 17, title, "end"),
          ~s|<rect x="#{round2(min(from, to))}" y="#{y + 6}" width="#{round2(max(abs(to - from), 1.0))}" height="16" fill="#{@colours[@ours]}"/>\n|,
          for(
            {name, value} <- times,
            name not in [@ours, @rival],
            do: mark(scale.(value), y + 14, name, value)
          ),
          if(rival = times[@rival], do: diamond(scale.(rival), y + 14, @rival, rival), else: [])
        ]
      end,
      legend(bottom + 34)
    ]
  end

  defp mark(x, y, name, value) do
    colour = Map.get(@colours, name, @grey)

    ~s|<circle cx="#{round2(x)}" cy="#{y}" r="4" fill="#{colour}" stroke="white">#{title(name, value)}</circle>\n|
  end

  defp diamond(x, y, name, value) do
    x = round2(x)

    ~s|<path d="M#{x} #{y - 8}l7 8l-7 8l-7 -8z" fill="#{@colours[name]}" stroke="white">#{title(name, value)}</path>\n|
  end

  defp title(name, value), do: "<title>#{escape(name)}: #{round2(value)}×</title>"

  defp legend(y) do
    [
      ~s(<rect x="60" y="#{y - 9}" width="12" height="10" fill="#{@colours[@ours]}"/>\n),
      text(78, y, "Linx", "start"),
      ~s(<path d="M132 #{y - 12}l7 8l-7 8l-7 -8z" fill="#{@colours[@rival]}"/>\n),
      text(144, y, "System.cmd", "start"),
      ~s(<circle cx="236" cy="#{y - 4}" r="4" fill="#{@grey}"/>\n),
      text(
        246,
        y,
        "others, the C agent in green (each has its name for the pointer); the black line is C alone",
        "start"
      )
    ]
  end

  # Cost against live sessions

  defp lines([]), do: [heading("What the start of a session costs: not measured")]

  defp lines(series) do
    points = Enum.flat_map(series, &elem(&1, 1))
    {sizes, costs} = Enum.unzip(points)
    x = log_scale(1, Enum.max([10 | sizes]), 90, @width - 180)
    y = log_scale(Enum.min(costs) / 1.5, Enum.max(costs) * 1.5, 50 + @lines_height, 50)

    [
      heading(
        "What the start of the last hundred costs, by how many are live (logarithmic; lower is better)"
      ),
      for size <- sizes |> Enum.uniq() |> Enum.sort() do
        [
          line(x.(size), 50, x.(size), 50 + @lines_height, "#dee2e6"),
          text(x.(size), 68 + @lines_height, "#{size} live", "middle")
        ]
      end,
      for(exponent <- 4..8, factor <- [1, 2, 5], do: round(factor * :math.pow(10, exponent)))
      |> Enum.filter(&(&1 > Enum.min(costs) / 1.5 and &1 < Enum.max(costs) * 1.5))
      |> Enum.map(fn ns ->
        [
          line(90, y.(ns), @width - 180, y.(ns), "#dee2e6"),
          text(82, y.(ns) + 4, Report.time(ns), "end")
        ]
      end),
      for {name, points} <- series do
        colour = Map.get(@colours, name, @grey)
        {last_size, last_cost} = List.last(points)

        path =
          Enum.map_join(points, " ", fn {size, cost} ->
            "#{round2(x.(size))},#{round2(y.(cost))}"
          end)

        [
          ~s(<polyline points="#{path}" fill="none" stroke="#{colour}" stroke-width="2"/>\n),
          for(
            {size, cost} <- points,
            do:
              ~s|<circle cx="#{round2(x.(size))}" cy="#{round2(y.(cost))}" r="3" fill="#{colour}"/>\n|
          ),
          text(x.(last_size) + 8, y.(last_cost) + 4, name, "start")
        ]
      end
    ]
  end

  # SVG

  defp log_scale(low, high, from, to) do
    fn value ->
      from +
        (:math.log(value) - :math.log(low)) / (:math.log(high) - :math.log(low)) * (to - from)
    end
  end

  defp heading(words),
    do: ~s|<text x="20" y="28" font-size="15" font-weight="bold">#{escape(words)}</text>\n|

  defp text(x, y, words, anchor) do
    ~s|<text x="#{round2(x)}" y="#{round2(y)}" text-anchor="#{anchor}">#{escape(words)}</text>\n|
  end

  defp line(x1, y1, x2, y2, colour) do
    ~s|<line x1="#{round2(x1)}" y1="#{round2(y1)}" x2="#{round2(x2)}" y2="#{round2(y2)}" stroke="#{colour}"/>\n|
  end

  defp round2(number), do: Float.round(number * 1.0, 2)

  defp escape(words) do
    words
    |> String.replace("&", "&amp;")
    |> String.replace("<", "&lt;")
    |> String.replace(">", "&gt;")
  end
end
