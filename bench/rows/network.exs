defmodule Bench.Rows.Network do
  @moduledoc false

  # /bin/true in a fresh network namespace and nothing else.

  alias Bench.{Machine, Measure, Peers, Settings, Table}

  @argv ["/bin/true"]

  def name, do: "network"

  def run(settings) do
    if Machine.root?() do
      {rounds, count} = Settings.pick(settings, {20, 10}, {2, 3})
      contenders = Enum.map(Peers.namespacers(), &Peers.contender(&1, @argv, namespaces: [:net]))
      floor = Measure.program("clone", &(["spawn", "one", &1, 0, "n"] ++ @argv))

      [
        Measure.table("/bin/true in a network namespace", contenders ++ [floor], rounds, count)
        |> Table.note("bwrap makes a mount namespace and sets up the loopback interface, too")
      ]
    else
      [%Table{title: "/bin/true in a network namespace", notes: ["not run: it takes root"]}]
    end
  end
end
