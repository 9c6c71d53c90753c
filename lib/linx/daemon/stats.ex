defmodule Linx.Daemon.Stats do
  @moduledoc """
  What a daemon has done so far: the answer of `Linx.Daemon.stats/1`.

    * `:state` – `:starting` until the program runs, `:running` until it is ready, `:ready`, and
      `:waiting` between an end and the next start;
    * `:starts` – how often it has been started, and `:restarts`, how often again. A supervisor's
      restart is a new daemon, which counts from the beginning;
    * `:os_pid` – the program's pid as the host sees it, `nil` when there is none;
    * `:uptime` – how long it has been running, in microseconds, `nil` when it is not;
    * `:lines`, `:bytes` – how much output has been read, of all runs;
    * `:last_exit` – how the last run ended: `{:exited, n}`, `{:signaled, n}`, `:aborted`, a
      `Linx.Process.Error` when it never ran, `{:session, reason}` when its session went away, or `nil`
      when none has ended;
    * `:usage` – what the runs that have ended have used, as a `Linx.Usage`: the sums, and the greatest
      `:max_rss`; `nil` as long as nothing is known;
    * `:status` – what the program says of itself by `STATUS=`, see `ready: :notify`, or `nil`.
  """

  alias Linx.Usage

  defstruct state: :starting,
            starts: 0,
            restarts: 0,
            os_pid: nil,
            uptime: nil,
            lines: 0,
            bytes: 0,
            last_exit: nil,
            usage: nil,
            status: nil

  @type t :: %__MODULE__{
          state: :starting | :running | :ready | :waiting,
          starts: non_neg_integer,
          restarts: non_neg_integer,
          os_pid: pos_integer | nil,
          uptime: non_neg_integer | nil,
          lines: non_neg_integer,
          bytes: non_neg_integer,
          last_exit: Linx.Daemon.outcome() | nil,
          usage: Usage.t() | nil,
          status: String.t() | nil
        }

  # Counted by the process that reads, and read by the one that is asked.
  @typedoc false
  @opaque tally :: :counters.counters_ref()

  @doc false
  @spec tally() :: tally
  def tally, do: :counters.new(2, [])

  @doc false
  @spec add(tally, lines :: non_neg_integer, bytes :: non_neg_integer) :: :ok
  def add(tally, lines, bytes) do
    :counters.add(tally, 1, lines)
    :counters.add(tally, 2, bytes)
  end

  @doc false
  @spec count(t, tally) :: t
  def count(stats, tally) do
    %{stats | lines: :counters.get(tally, 1), bytes: :counters.get(tally, 2)}
  end

  @doc false
  @spec sum(Usage.t() | nil, Usage.t() | nil) :: Usage.t() | nil
  def sum(nil, usage), do: usage
  def sum(usage, nil), do: usage

  def sum(one, other) do
    Map.merge(one, other, fn
      :__struct__, module, module -> module
      :max_rss, a, b -> max(a, b)
      _count, a, b -> a + b
    end)
  end
end
