defmodule Bench.Rows.Sessions do
  @moduledoc false

  # More and more live sessions: what the first and the last hundred of them cost to start, and what it
  # costs each to answer, and to die on command.

  alias Bench.{Family, Live, Machine, Measure, Settings, Stats, Table}

  @sizes [1, 100, 1_000, 10_000]
  @aim List.last(@sizes)

  # A guess at what a process takes, with what it shares.
  @process 256 * 1024

  # The peers are there to be compared with, not to be tested.
  @peers_at_most 1_000

  def name, do: "sessions"

  def run(settings) do
    case needs() do
      {:ok, needs} -> run(settings, needs)
      {:error, why} -> [%Table{title: "live sessions", not_run: [{"Linx", why}]}]
    end
  end

  defp run(settings, needs) do
    sizes = Enum.filter(@sizes, &(&1 <= Settings.pick(settings, @aim, 100)))
    {possible, impossible} = Enum.split_with(sizes, &(obstacle(needs, &1) == nil))

    results =
      for size <- possible,
          {name, start} <- Live.contenders(),
          name in ["Linx", "posix_spawn"] or size <= @peers_at_most do
        {name, size, Measure.isolated(fn -> measure(start, size) end)}
      end

    not_run =
      for(size <- impossible, do: {"Linx, #{size} live sessions", obstacle(needs, size)}) ++
        for {name, size, {:error, why}} <- results, do: {"#{name}, #{size} live", why}

    done = for {name, size, {:ok, measured}} <- results, do: {name, size, measured}
    [starts(done, not_run), answers(done), deaths(done)] |> aim(done, settings)
  end

  defp measure(start, size) do
    Live.warm_up(start)
    family = length(Family.pids())
    live = start.(size)
    info = if live.info, do: timed(live.info, size)
    kill = div(live.kill.(), size)
    Family.await(family)

    %{
      first: Enum.take(live.times, 100),
      last: Enum.take(live.times, -100),
      info: info,
      kill: kill
    }
  end

  defp timed(fun, size) do
    began = Measure.now()
    fun.()
    div(Measure.now() - began, size)
  end

  defp starts(done, not_run) do
    columns =
      for {name, size, measured} <- done,
          part <- parts(size),
          do: {"#{name}, #{part_name(part, size)}", measured[part]}

    series =
      for {name, _} <- Live.contenders() do
        {name, for({^name, size, %{last: last}} <- done, do: {size, Stats.median(last)})}
      end

    table = %Table{
      title: "the start of a live session",
      ratios?: false,
      columns: columns,
      series: series,
      not_run: not_run
    }

    Table.note(table, "for a port until it is open, for the others until the program runs")
  end

  defp parts(size) when size <= 100, do: [:last]
  defp parts(_size), do: [:first, :last]

  defp part_name(:last, size) when size <= 100, do: "#{size} live"
  defp part_name(part, size), do: "#{part} 100 of #{size} live"

  defp answers(done) do
    columns =
      for {name, size, %{info: ns}} when ns != nil <- done, do: {"#{name}, #{size} live", [ns]}

    %Table{title: "info of all live sessions, for each", ratios?: false, columns: columns}
  end

  defp deaths(done) do
    columns = for {name, size, %{kill: ns}} <- done, do: {"#{name}, #{size} live", [ns]}

    %Table{
      title: "all live sessions killed on command, for each",
      ratios?: false,
      columns: columns
    }
  end

  defp aim([starts | others], done, settings) do
    largest = done |> Enum.filter(&match?({"Linx", _, _}, &1)) |> List.last()

    starts =
      case largest do
        {"Linx", size, measured} when size > 100 ->
          starts
          |> Table.add_target(
            "#{@aim} live sessions start, answer and die on command",
            size >= @aim,
            "#{size}"
          )
          |> Table.add_target(
            "last ≤ 1.50 × first",
            :at_most,
            1.5,
            Stats.median(measured.last) / Stats.median(measured.first)
          )

        _too_few ->
          quick = if settings.quick?, do: " (a quick run does not try)", else: ""

          Table.add_target(
            starts,
            "#{@aim} live sessions start, answer and die on command#{quick}",
            nil,
            nil
          )
      end

    [starts | others]
  end

  # What a session takes of what is limited, found with a few of them.
  defp needs do
    few = 10

    Measure.isolated(fn ->
      Live.warm_up(&Live.linx(&1, []))
      family = length(Family.pids())
      before = usage()
      live = Live.linx(few, [])
      now = usage()
      live.kill.()
      Family.await(family)
      Map.new(now, fn {key, used} -> {key, (used - before[key]) / few} end)
    end)
  end

  defp usage do
    agents = Family.running([Path.basename(Linx.Agent.Binary.path())])
    open = agents |> Enum.map(&Family.descriptors/1) |> Enum.max(fn -> 0 end)

    %{
      processes: length(Family.pids()),
      beam_files: Family.descriptors(System.pid()),
      agent_files: open
    }
  end

  # Why there cannot be so many sessions on this machine, or nil.
  defp obstacle(needs, size) do
    processes = ceil(needs.processes * size)
    files = ceil(max(needs.beam_files, needs.agent_files) * size)
    memory = div(Machine.meminfo("MemAvailable"), @process)
    # A tenth is left to others.
    free = Machine.number("/proc/sys/kernel/pid_max") - Machine.processes()
    pids = div(free * 9, 10)
    files_limit = Machine.limit("Max open files")
    processes_limit = Machine.limit("Max processes")

    cond do
      processes > pids ->
        "they are #{processes} processes, and kernel.pid_max has room for #{pids}"

      processes_limit && processes > processes_limit ->
        "they are #{processes} processes, and RLIMIT_NPROC is #{processes_limit}"

      files_limit && files > files_limit * 0.95 ->
        "they take #{files} descriptors, and RLIMIT_NOFILE is #{files_limit}"

      processes > memory ->
        "they are #{processes} processes, and memory is enough for #{memory}"

      true ->
        nil
    end
  end
end
