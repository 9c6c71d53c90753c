defmodule Bench.Rows.Output do
  @moduledoc false

  # A lot of output on its way through a pipe to the caller, from the start of the program to its end.
  # Nobody is faster than C that reads the pipe.

  alias Bench.{Measure, Peers, Programs, Settings, Table}

  @mib 1024 * 1024

  def name, do: "output"

  def run(settings) do
    bytes = Settings.pick(settings, 256, 16) * @mib
    # Many short rounds: a rate depends on which processor the kernel wakes whom on.
    rounds = Settings.pick(settings, 15, 1)
    head = [System.find_executable("head"), "-c", "#{bytes}", "/dev/zero"]

    with_file(bytes, fn file ->
      cat = [System.find_executable("cat"), file]

      [
        table("output as it comes: head", :drop, head, bytes, rounds) |> targets("Linx.cmd"),
        table("output as it comes: cat of a file in memory", :drop, cat, bytes, rounds)
        |> targets("Linx.cmd"),
        table("output as one binary: head", :keep, head, bytes, rounds) |> targets("Linx.cmd")
      ]
    end)
  end

  defp table(title, how, argv, bytes, rounds) do
    contenders = for peer <- Peers.who_can(how), do: Peers.contender_of(peer, how, [argv])

    floors = [
      Measure.program("bare C", &(["pipe", "output", &1, 0] ++ argv)),
      Measure.program("bare C, pipe of 1 MiB", &(["pipe", "output", &1, @mib] ++ argv))
    ]

    "#{title}, #{div(bytes, @mib)} MiB"
    |> Measure.table(contenders ++ floors, rounds, 1)
    |> Map.merge(%{unit: {:rate, bytes}, ours: "Linx.cmd"})
  end

  defp targets(table, ours) do
    table
    |> Table.target(ours, :at_least, 0.80, "Port")
    |> Table.target(ours, :at_least, 1.00, "System.cmd")
    |> Table.target(ours, :at_least, 1.30, "Exile")
  end

  # In memory where there is a file system for that.
  defp with_file(bytes, fun) do
    directory =
      if File.dir?("/dev/shm"), do: "/dev/shm", else: Path.dirname(Programs.scratch("x"))

    path = Path.join(directory, "linx-bench-#{System.pid()}")
    block = :binary.copy("x", @mib)

    try do
      path |> File.stream!() |> then(&Enum.into(Stream.duplicate(block, div(bytes, @mib)), &1))
      fun.(path)
    after
      File.rm(path)
    end
  end
end
