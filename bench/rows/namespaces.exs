defmodule Bench.Rows.Namespaces do
  @moduledoc false

  # /bin/true born in namespaces of its own. Beside them our plain spawn, and bwrap started by C, as a
  # shell would.

  alias Bench.{Machine, Measure, Peers, Settings, Table}

  @argv ["/bin/true"]
  @five [:mount, :pid, :uts, :ipc, :cgroup]
  @seven @five ++ [:net, :user]

  def name, do: "namespaces"

  def run(settings) do
    if Machine.root?() do
      amount = Settings.pick(settings, {20, 10}, {2, 3})

      [
        table("/bin/true in five namespaces", @five, "muipC", amount)
        |> Table.target("Linx", :at_most, 1.30, "Linx, no namespaces")
        |> Table.target("Linx", :at_most, 0.30, "bwrap"),
        table("/bin/true in seven namespaces", @seven, "muipCnU", amount)
      ]
    else
      [%Table{title: "/bin/true in namespaces", notes: ["not run: it takes root"]}]
    end
  end

  defp table(title, namespaces, letters, {rounds, count}) do
    contenders =
      Enum.map(Peers.namespacers(), &Peers.contender(&1, @argv, namespaces: namespaces))

    plain = Measure.timed("Linx, no namespaces", fn -> Peers.Linx.run(@argv, []) end)
    floor = Measure.program("clone", &(["spawn", "one", &1, 0, letters] ++ @argv))

    Measure.table(title, contenders ++ [plain, floor], rounds, count)
    |> Table.note(Enum.join(namespaces, ", "))
  end
end
