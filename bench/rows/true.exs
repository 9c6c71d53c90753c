defmodule Bench.Rows.True do
  @moduledoc false

  # /bin/true from the call to its exit status, one after another. Most of that is the kernel's and the
  # dynamic linker's, which nobody can save; so there is also a static program that does next to nothing.

  alias Bench.{Measure, Peers, Programs, Settings, Table}

  def name, do: "true"

  def run(settings) do
    back_to_back = Settings.pick(settings, {40, 10}, {2, 5})
    spaced = Settings.pick(settings, {10, 10}, {2, 3})

    [
      table("/bin/true, back to back", ["/bin/true"], 0, back_to_back) |> targets(),
      table("/bin/true, 30 ms apart", ["/bin/true"], 30, spaced) |> targets(),
      table(
        "a tiny static program, back to back",
        [Programs.path("first"), "/dev/null"],
        0,
        back_to_back
      )
    ]
  end

  defp table(title, argv, pause, {rounds, count}) do
    contenders =
      for peer <- Peers.Linx.commands() ++ Peers.commands(),
          do: Peers.contender(peer, argv, [], pause)

    floor = Measure.program("posix_spawn", &(["spawn", "one", &1, pause, "none"] ++ argv))
    Measure.table(title, contenders ++ [floor], rounds, count)
  end

  defp targets(table) do
    table
    |> Table.target("Linx", :at_most, 0.60, "System.cmd")
    |> Table.target("Linx", :at_most, 1.35, "posix_spawn")
    |> Table.target("Linx, checkpoint", :at_most, 0.75, "System.cmd")
    |> Table.target("Linx.cmd", :at_most, 0.65, "System.cmd")
    |> floor_beside("System.cmd")
  end

  # What could be reached at best.
  defp floor_beside(table, name) do
    case Table.ratio(table, "posix_spawn", name) do
      nil -> table
      ratio -> Table.note(table, "posix_spawn takes #{Float.round(ratio, 2)} × #{name}")
    end
  end
end
