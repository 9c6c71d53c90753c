defmodule Bench.Rows.Heap do
  @moduledoc false

  # /bin/true from a BEAM with 1 GiB of live data: half of it binaries, half of it terms on a heap.

  alias Bench.{Machine, Measure, Peers, Settings, Table}

  @half 512 * 1024 * 1024
  @binary 8 * 1024 * 1024

  # While it is built, the collector copies it.
  @needed 4 * @half

  def name, do: "heap"

  def run(settings) do
    title = "/bin/true from a BEAM with 1 GiB of live data"

    if Machine.meminfo("MemAvailable") > @needed do
      {rounds, count} = Settings.pick(settings, {20, 10}, {2, 3})
      runner = self()
      {holder, ref} = spawn_monitor(fn -> hold(runner) end)

      receive do
        :held -> :ok
        {:DOWN, ^ref, :process, _, reason} -> raise "no live data: #{inspect(reason)}"
      end

      contenders = Enum.map(Peers.commands(), &Peers.contender(&1, ["/bin/true"]))
      held = div(:erlang.memory(:total), 1024 * 1024)
      table = Measure.table(title, contenders, rounds, count)

      Process.exit(holder, :kill)

      receive do
        {:DOWN, ^ref, :process, _, :killed} -> :ok
      end

      [Table.note(table, "#{held} MiB were allocated meanwhile")]
    else
      [
        %Table{
          title: title,
          notes: ["not run: it takes #{div(@needed, 1024 * 1024)} MiB of memory"]
        }
      ]
    end
  end

  defp hold(runner) do
    binaries = for n <- 1..div(@half, @binary), do: :binary.copy(<<n>>, @binary)
    # Two words each.
    terms = Enum.to_list(1..div(@half, 16))
    send(runner, :held)

    receive do
      :never -> {binaries, terms}
    end
  end
end
