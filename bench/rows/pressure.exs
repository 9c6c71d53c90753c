defmodule Bench.Rows.Pressure do
  @moduledoc false

  # What the BEAM keeps of a program's output that nobody reads, or not as fast as it comes.

  alias Bench.{Machine, Measure, Peers, Settings, Table}
  alias Bench.Peers.Peer

  @mib 1024 * 1024

  # Who has kept so much has shown that it knows no limit, and shall not have the whole machine.
  @enough 512 * @mib

  def name, do: "pressure"

  def run(settings) do
    watch = Settings.pick(settings, 2_000, 300)
    # Whoever lets it run until nobody listens shall not have it complain.
    argv = ["/bin/sh", "-c", "exec cat /dev/zero 2>/dev/null"]

    [
      table("nobody reads", argv, :infinity, watch),
      table("a piece every 5 ms is read", argv, 5, watch)
    ]
  end

  defp table(title, argv, pause, watch) do
    {peers, not_run} = Enum.split_with(Peers.who_can(:hold), &is_struct(&1, Peer))

    measured =
      for peer <- peers,
          do: {peer.name, Measure.isolated(fn -> growth(peer, argv, pause, watch) end)}

    %Table{
      title: "memory of the BEAM, output without end: #{title}",
      unit: :bytes,
      ratios?: false,
      ours: "Linx.stream!",
      columns: for({name, {:ok, bytes}} <- measured, do: {name, [bytes]}),
      not_run:
        for({name, {:error, why}} <- measured, do: {name, why}) ++
          for({:not_run, name, why} <- not_run, do: {name, why})
    }
    |> Table.note(
      "the most it has grown within #{watch} ms, or until it had #{div(@enough, @mib)} MiB; Linx.Process is `active: true`"
    )
    |> flat()
  end

  defp flat(table) do
    mib = with [bytes] <- Table.column(table, "Linx.stream!"), do: bytes / @mib
    Table.add_target(table, "Linx.stream! ≤ 2 MiB", :at_most, 2, mib)
  end

  # The reader is killed in the end, which takes the program along.
  defp growth(peer, argv, pause, watch) do
    :erlang.garbage_collect()
    before = :erlang.memory(:total)
    most = before + min(@enough, div(Machine.meminfo("MemAvailable"), 4))
    {reader, ref} = spawn_monitor(fn -> peer.hold.(argv, pause) end)
    until = System.monotonic_time(:millisecond) + watch
    peak = watch(before, most, until)
    Process.exit(reader, :kill)

    receive do
      {:DOWN, ^ref, :process, ^reader, :killed} -> peak - before
      {:DOWN, ^ref, :process, ^reader, reason} -> exit(reason)
    end
  end

  defp watch(peak, most, until) do
    peak = max(peak, :erlang.memory(:total))

    if peak >= most or System.monotonic_time(:millisecond) >= until do
      peak
    else
      Process.sleep(5)
      watch(peak, most, until)
    end
  end
end
