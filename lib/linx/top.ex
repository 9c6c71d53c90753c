defmodule Linx.Top do
  @moduledoc """
  What the workloads of all sessions use at a moment: the answer of `Linx.top/1`.

  In iex it is a table:

      iex> Linx.top()
      #Linx.Top<2 workloads, 5 processes, CPU 118.5%, memory 61.3M, by cpu>
          PID STATE   AGE  CPU%  TIME   MEM PROCS SESSION       COMMAND
        41234 R     3m12s 100.0 3m12s 52.1M     1 #PID<0.151.0> ffmpeg -i in.mkv out.…
        41240 S     42.0s  18.5  7.8s  9.2M     4 MyApp.Web     myd --serve

  `:rows` has the same as a list of `Linx.Top.Row`, in the order that was asked for:

      for row <- Linx.top().rows, row.memory > 1_000_000_000, do: Linx.Process.stop(row.session)

  A row counts the program and all that it has started, daemons too, and the processor time of
  children that have ended. A program at the checkpoint has a row, one that has ended has none. Where the
  program does not run, `STATE` is the stage of its session.

    * `:rows` – see above;
    * `:sort` – what they are sorted by;
    * `:interval` – the milliseconds that `:cpu_percent` is about, `nil` for since the start;
    * `:taken_at` – when.
  """

  alias Linx.Process.Options
  alias Linx.Sessions
  alias Linx.Top.{Procfs, Row, Table}

  @enforce_keys [:rows, :sort, :interval, :taken_at]
  defstruct @enforce_keys

  @type sort :: :cpu | :memory | :age

  @type t :: %__MODULE__{
          rows: [Row.t()],
          sort: sort,
          interval: pos_integer | nil,
          taken_at: DateTime.t()
        }

  # By this name a workload's parent is known to be the process that inherits its orphans.
  @subreaper "linx_subreaper"

  @doc false
  @spec take(sort: sort, interval: pos_integer) :: t | {:error, Linx.Process.mistake()}
  def take(opts) do
    with :ok <- Options.known(opts, [:sort, :interval]),
         {:ok, sort} <- sort(Keyword.get(opts, :sort, :cpu)),
         {:ok, interval} <- interval(Keyword.get(opts, :interval)) do
      take(sort, interval)
    end
  end

  defp sort(key) when key in [:cpu, :memory, :age], do: {:ok, key}
  defp sort(other), do: {:error, {:bad_sort, other}}

  # So long a timer of the BEAM can be.
  defp interval(ms) when ms == nil or ms in 1..0xFFFF_FFFF, do: {:ok, ms}
  defp interval(other), do: {:error, {:bad_interval, other}}

  defp take(sort, interval) do
    earlier = if interval, do: wait(rows(), interval), else: []

    %__MODULE__{
      rows: rows() |> compare(earlier) |> Enum.sort_by(&order(&1, sort), :desc),
      sort: sort,
      interval: interval,
      taken_at: DateTime.utc_now()
    }
  end

  defp wait(rows, interval) do
    Process.sleep(interval)
    rows
  end

  defp order(row, :cpu), do: {row.cpu_percent, row.cpu_time}
  defp order(row, :memory), do: row.memory
  defp order(row, :age), do: row.age

  defp rows do
    entries = Enum.filter(Sessions.list(), &(&1.host_pid && &1.stage != :terminated))
    # There is much to read where there are many processes.
    if entries == [], do: [], else: rows(entries, Procfs.read())
  end

  defp rows(entries, processes) do
    families = Enum.group_by(processes, fn {_pid, stat} -> stat.parent end, &elem(&1, 0))

    for entry <- entries, main = processes[entry.host_pid] do
      {above, tree} = workload(entry.host_pid, main, processes, families)
      stats = Enum.map(tree, &processes[&1])

      %Row{
        session: entry.session,
        name: entry.name,
        argv: entry.argv,
        host_pid: entry.host_pid,
        stage: entry.stage,
        state: main.state,
        age: entry.age,
        cpu_time: sum([above | stats], & &1.reaped) + sum(stats, & &1.used),
        memory: sum(tree, &Procfs.resident/1),
        processes: length(tree)
      }
    end
  end

  # The subreaper has reaped some of the workload, but is no part of it.
  defp workload(pid, main, processes, families) do
    case processes[main.parent] do
      %{name: @subreaper} = above -> {above, below(main.parent, families)}
      _agent -> {%{reaped: 0}, [pid | below(pid, families)]}
    end
  end

  defp below(pid, families) do
    children = Map.get(families, pid, [])
    children ++ Enum.flat_map(children, &below(&1, families))
  end

  # Of a session that has started since, all of its time is compared.
  defp compare(rows, earlier) do
    before = Map.new(earlier, &{&1.session, &1})

    for row <- rows do
      since = Map.get(before, row.session, %Row{session: nil, argv: [], host_pid: nil})
      # Who does not wait for its children takes what they have used out of the sum.
      used = max(row.cpu_time - since.cpu_time, 0)
      # Both are at least one millisecond apart.
      %{row | cpu_percent: used / (max(row.age - since.age, 1) * 1_000) * 100}
    end
  end

  defp sum(list, fun), do: list |> Enum.map(fun) |> Enum.sum()

  defimpl Inspect do
    def inspect(top, opts), do: Table.render(top, opts)
  end
end
