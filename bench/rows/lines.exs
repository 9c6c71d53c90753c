defmodule Bench.Rows.Lines do
  @moduledoc false

  # The output of a program line by line, each of them a binary, from its start to its end.

  alias Bench.{Measure, Peers, Settings, Table}

  @lines 10_000

  def name, do: "lines"

  def run(settings) do
    {rounds, count} = Settings.pick(settings, {20, 5}, {1, 3})
    argv = [System.find_executable("seq"), "1000000", "#{999_999 + @lines}"]
    contenders = for peer <- Peers.who_can(:lines), do: Peers.contender_of(peer, :lines, [argv])
    floor = Measure.program("bare C, no lines", &(["pipe", "output", &1, 0] ++ argv))

    [
      "#{@lines} lines of output"
      |> Measure.table(contenders ++ [floor], rounds, count)
      |> Map.put(:ours, "Linx.stream!")
      |> Table.target("Linx.stream!", :at_most, 1.00, "System.cmd")
      |> Table.note("System.cmd has lines since Elixir 1.15; before, its output is split")
    ]
  end
end
