defmodule Linx.Telemetry do
  @moduledoc """
  What happens to sessions, as events of `:telemetry`.

  Linx does not depend on [telemetry](https://hexdocs.pm/telemetry), but where an application brings it,
  every session tells of itself. A handler runs in the session, so one that is slow slows it down.

      :telemetry.attach(
        "slow commands",
        [:linx, :session, :stop],
        fn _event, %{duration: duration}, %{argv: argv}, _config ->
          ms = System.convert_time_unit(duration, :native, :millisecond)
          if ms > 1_000, do: Logger.warning("\#{inspect(argv)} took \#{ms} ms")
        end,
        nil
      )

  | event | when |
  |---|---|
  | `[:linx, :session, :start]` | a session has started |
  | `[:linx, :session, :ready]` | the child is parked at the checkpoint |
  | `[:linx, :session, :running]` | it has become the program |
  | `[:linx, :session, :stop]` | the program has ended, or was taken away by `Linx.Process.abort/1` |
  | `[:linx, :session, :exception]` | it never ran, or how it ended is not known, or the session was killed |

  After each `:start` comes exactly one of `:stop` and `:exception`.

  ## Measurements

  Times are in native units, see `System.convert_time_unit/3`.

  | measurement | events | |
  |---|---|---|
  | `:monotonic_time` | all | when it happened |
  | `:system_time` | `:start` | the same, by the clock |
  | `:duration` | all but `:start` | the time since `:start` |
  | `:user_cpu_time`, `:system_cpu_time` | `:stop`, `:exception` | the processor time that the program and the children it has waited for have used; only where that is known |
  | `:max_rss` | `:stop`, `:exception` | the most memory that one of them has had, in bytes; likewise |

  ## Metadata

  | key | events | |
  |---|---|---|
  | `:session` | all | the pid of the session |
  | `:name` | all | the name it is registered under, or `nil` |
  | `:argv` | all | the program and its arguments |
  | `:mode` | all | `:spawn` or `:enter` |
  | `:host_pid` | all but `:start` | the pid of the program as the host sees it, `nil` if it was never born |
  | `:result` | `:stop` | `{:exited, code}`, `{:signaled, number}` or `:aborted` |
  | `:timed_out?` | `:stop`, `:exception` | whether the session's `:timeout` ended it |
  | `:usage` | `:stop`, `:exception` | a `Linx.Usage`, or `nil` where it is not known |
  | `:kind`, `:reason`, `:stacktrace` | `:exception` | as in all telemetry: `:error` and a `Linx.Process.Error`, or `:exit` and `:killed` for a session that was killed; there is no stack, so that is `[]` |
  """

  alias Linx.Process.{Entry, Info}

  @compile {:no_warn_undefined, :telemetry}

  @doc false
  # The calling session has come to the stage that `info` has.
  @spec reached(Info.t(), GenServer.name() | nil, began :: integer) :: :ok
  def reached(info, name, began) do
    if heard?() do
      tell(info, began, %{session: self(), name: name, argv: info.argv, mode: info.mode})
    end

    :ok
  end

  @doc false
  # A session was killed, and could not say so itself.
  @spec killed(Entry.t(), began :: integer, reason :: term) :: :ok
  def killed(entry, began, reason) do
    if heard?() do
      metadata =
        entry
        |> Map.take([:session, :name, :argv, :mode, :host_pid])
        |> Map.merge(%{usage: nil, timed_out?: false})

      # Handlers may take their time, and the caller has others to look after.
      spawn(fn -> failed(since(began), metadata, :exit, reason) end)
    end

    :ok
  end

  # Whoever has attached a handler has loaded the module. So this is all that is done for nobody.
  defp heard?, do: function_exported?(:telemetry, :execute, 3)

  defp tell(%Info{stage: :starting}, began, metadata) do
    now = %{monotonic_time: began, system_time: began + System.time_offset()}
    execute(:start, now, metadata)
  end

  defp tell(%Info{stage: :spawned}, _began, _metadata), do: :ok

  defp tell(%Info{stage: :terminated} = info, began, metadata) do
    measurements = Map.merge(since(began), used(info.usage))
    metadata = Map.merge(metadata, Map.take(info, [:host_pid, :usage, :timed_out?]))

    case info.result do
      {:ok, outcome} -> execute(:stop, measurements, Map.put(metadata, :result, outcome))
      {:error, error} -> failed(measurements, metadata, :error, error)
    end
  end

  defp tell(info, began, metadata) do
    execute(info.stage, since(began), Map.put(metadata, :host_pid, info.host_pid))
  end

  defp failed(measurements, metadata, kind, reason) do
    metadata = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: []})
    execute(:exception, measurements, metadata)
  end

  defp since(began) do
    now = System.monotonic_time()
    %{monotonic_time: now, duration: now - began}
  end

  defp used(nil), do: %{}

  defp used(usage) do
    %{
      user_cpu_time: System.convert_time_unit(usage.user_time, :microsecond, :native),
      system_cpu_time: System.convert_time_unit(usage.system_time, :microsecond, :native),
      max_rss: usage.max_rss
    }
  end

  defp execute(event, measurements, metadata) do
    :telemetry.execute([:linx, :session, event], measurements, metadata)
  end
end
