defmodule Bench.Rows.Terminals do
  @moduledoc false

  # As many sessions with a terminal as the kernel has terminals, and one too many.

  alias Bench.{Family, Live, Machine, Measure, Settings, Table}

  @aim 4_000

  def name, do: "terminals"

  def run(settings) do
    # All but a few may be in use by others, and there may be fewer than the kernel's limit in a container.
    limit = Settings.pick(settings, Machine.number("/proc/sys/kernel/pty/max") + 1, 50)
    title = "live sessions with a terminal"

    case Measure.isolated(fn -> measure(limit) end) do
      {:ok, measured} -> [measured |> table(title) |> targets(measured, settings)]
      {:error, why} -> [%Table{title: title, not_run: [{"Linx", why}]}]
    end
  end

  defp measure(limit) do
    Process.flag(:trap_exit, true)
    Live.warm_up(&Live.linx(&1, []))
    family = length(Family.pids())
    {sessions, times, error} = start(limit, [], [])
    running = Enum.count(sessions, &match?(%{stage: :running}, Linx.Process.info(&1)))
    kill = Live.linx_kill(sessions)
    Family.await(family)

    %{
      times: Enum.reverse(times),
      error: error,
      running: running,
      kill: div(kill, max(length(sessions), 1))
    }
  end

  defp start(0, sessions, times), do: {sessions, times, nil}

  defp start(limit, sessions, times) do
    began = Measure.now()
    session = Live.linx_session(stdio: :pty)
    start(limit - 1, [session | sessions], [Measure.now() - began | times])
  rescue
    error -> {sessions, times, error}
  end

  defp table(%{times: times} = measured, title) do
    columns = [
      {"Linx, start of the first 100", Enum.take(times, 100)},
      {"Linx, start of the last 100", Enum.take(times, -100)},
      {"Linx, killed on command, each", [measured.kill]}
    ]

    %Table{title: "#{length(times)} #{title}", ratios?: false, columns: columns}
  end

  defp targets(table, _measured, %{quick?: true}) do
    Table.add_target(
      table,
      "#{@aim} of them, and a clear error for one too many (a quick run does not try)",
      nil,
      nil
    )
  end

  defp targets(table, measured, _settings) do
    count = length(measured.times)
    said = if measured.error, do: Exception.message(measured.error), else: "none"

    table
    |> Table.add_target(
      "#{@aim} of them run",
      measured.running == count and count >= @aim,
      "#{measured.running}"
    )
    |> Table.add_target(
      "one too many gets a clear error",
      match?(%Linx.Process.Error{}, measured.error),
      said
    )
  end
end
