defmodule Bench.Rows.Input do
  @moduledoc false

  # A lot of input for a program, which reads it all and ends.

  alias Bench.{Measure, Peers, Settings, Table}

  @mib 1024 * 1024

  def name, do: "input"

  def run(settings) do
    size = Settings.pick(settings, 100, 8)
    bytes = size * @mib
    input = :binary.copy("x", bytes)

    # It ends by itself, since behind a port there is no end of the input.
    argv = [
      System.find_executable("dd"),
      "of=/dev/null",
      "bs=131072",
      "count=#{bytes}",
      "iflag=fullblock,count_bytes",
      "status=none"
    ]

    contenders =
      for peer <- Peers.who_can(:feed), do: Peers.contender_of(peer, :feed, [argv, input])

    floor = Measure.program("bare C", &(["pipe", "input", &1, bytes] ++ argv))

    [
      "input, #{size} MiB"
      |> Measure.table(contenders ++ [floor], Settings.pick(settings, 15, 1), 1)
      |> Map.merge(%{unit: {:rate, bytes}, ours: "Linx.run"})
      |> Table.target("Linx.run", :at_least, 1.00, "Exile")
      |> Table.note("a port takes all of it at once, into a queue without a limit")
    ]
  end
end
