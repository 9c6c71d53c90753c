defmodule Bench.Rows.Memory do
  @moduledoc false

  # What a live session costs beside its workload: in the BEAM, in the processes that serve it, and in the
  # kernel, as far as that can be seen.

  alias Bench.{Family, Live, Machine, Measure, Settings, Stats, Table}

  @kib 1024

  def name, do: "memory"

  def run(settings) do
    count = Settings.pick(settings, 1000, 100)

    measured =
      for {name, start} <- Live.contenders(),
          do: {name, Measure.isolated(fn -> cost(start, count) end)}

    # The floor is the workload alone.
    {_, {:ok, %{kernel: workload}}} = List.last(measured)

    costs =
      for {name, {:ok, cost}} <- measured, do: {name, %{cost | kernel: cost.kernel - workload}}

    not_run = for {name, {:error, why}} <- measured, do: {name, why}

    table = fn title, key ->
      columns = for {name, cost} <- costs, name != "posix_spawn", do: {name, [cost[key]]}

      %Table{
        title: "#{title}, for each of #{count} live sessions",
        unit: :bytes,
        ratios?: false,
        columns: columns,
        not_run: not_run
      }
    end

    [
      table.("memory of the BEAM", :beam)
      |> at_most(6)
      |> Table.note(
        "a second after the last was started, and nobody told them to collect garbage#{own(costs)}"
      ),
      table.("memory of the agents (PSS)", :agents) |> at_most(8),
      table.("memory of the kernel, beside the workload", :kernel)
      |> Table.note(
        "slab that cannot be reclaimed, page tables and kernel stacks; the workload alone has #{kib(workload)}"
      )
    ]
  end

  defp at_most(table, kib) do
    value = with [bytes] <- Table.column(table, "Linx"), do: bytes / @kib
    Table.add_target(table, "Linx ≤ #{kib} KiB", :at_most, kib, value)
  end

  defp own(costs) do
    for {"Linx", %{own: bytes}} <- costs, do: "; the process of a session has #{kib(bytes)}"
  end

  defp kib(bytes), do: "#{Float.round(bytes / @kib, 1)} KiB"

  # For each of them, in bytes.
  defp cost(start, count) do
    Live.warm_up(start)
    family = length(Family.pids())
    before = reading(family)
    live = start.(count)
    now = reading(nil)
    own = for(pid <- live.beam, {:memory, bytes} <- [Process.info(pid, :memory)], do: bytes)
    live.kill.()
    Family.await(family)

    now
    |> Map.new(fn {key, bytes} -> {key, (bytes - before[key]) / count} end)
    |> Map.put(:own, if(own == [], do: 0, else: Stats.median(own)))
  end

  # In this order: to look at processes costs the kernel memory.
  defp reading(family) do
    if family, do: Family.await(family)
    # What the kernel frees it frees a little later.
    Process.sleep(1_000)
    :erlang.garbage_collect()
    beam = :erlang.memory(:total)
    kernel = Enum.sum(for key <- ~w(SUnreclaim PageTables KernelStack), do: Machine.meminfo(key))
    %{beam: beam, kernel: kernel, agents: Family.pss(Family.running(agents()))}
  end

  # Erlang's own helper keeps a note of each child.
  defp agents, do: [Path.basename(Linx.Agent.Binary.path()), "c_agent", "erl_child_setup"]
end
