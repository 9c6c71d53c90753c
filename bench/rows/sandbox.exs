defmodule Bench.Rows.Sandbox do
  @moduledoc false

  # /bin/true in the strict sandbox, from the call to its exit status, and behind the same walls as others
  # build them.

  alias Bench.{Measure, Peers, Settings, Table}

  @argv ["/bin/true"]
  @walls "seven namespaces, one user, a read-only root of binds and new file systems, loopback, no capability, " <>
           "no new privileges, limits, a seccomp filter"

  def name, do: "sandbox"

  def run(settings) do
    {rounds, count} = Settings.pick(settings, {20, 10}, {2, 3})

    contenders =
      ours() ++
        Peers.Walls.contenders(@argv) ++
        [
          Measure.timed("Linx, no sandbox", fn -> Peers.Linx.run(@argv, []) end),
          Measure.program("clone", &(["spawn", "one", &1, 0, "muipCnU"] ++ @argv))
        ]

    [
      Measure.table("/bin/true in the strict sandbox", contenders, rounds, count)
      |> Table.target("Linx", :at_most, 0.60, "bwrap")
      |> Table.target("Linx", :at_most, 0.25, "crun")
      |> Table.target("Linx.cmd", :at_most, 0.60, "bwrap")
      |> Table.target("Linx.cmd", :at_most, 0.25, "crun")
      |> Table.note("the walls: #{@walls}")
      |> Table.note(
        "bwrap: no filter, no limits, no files made for /etc; it takes a filter from a shell only, beside it"
      )
      |> Table.note(
        "crun: started by C; its root, with files and links, is there already; its filter looks at no " <>
          "arguments, and nobody is pid 1 but the program"
      )
      |> Table.note(
        "bare C: no limits, no options of file systems, nobody is pid 1 but the program"
      )
      |> Table.note("clone: the namespaces alone; neither of them nor the others have Landlock")
    ]
  end

  defp ours do
    [program | args] = @argv

    [
      Measure.timed("Linx", fn -> Peers.Linx.run(@argv, sandbox: :strict) end),
      Measure.timed("Linx, checkpoint", fn ->
        Peers.Linx.run_through_checkpoint(@argv, sandbox: :strict)
      end),
      Measure.timed("Linx.cmd", fn -> {"", 0} = Linx.cmd(program, args, sandbox: :strict) end),
      Measure.timed("Linx.run", fn -> Linx.run!(@argv, sandbox: :strict) end)
    ]
  end
end
