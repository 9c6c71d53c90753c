defmodule Linx.Daemon.Run do
  @moduledoc false

  # One run of a daemon's program: a session, and what belongs to it, all linked to the daemon. That is
  # the process that reads its output, and whatever finds out when it is ready.
  #
  # It is over when its last line has been logged.

  alias Linx.Daemon.{Notify, Options, Output, Readiness, Stats}

  # How long, in ms, a stopped session may take beyond its grace, and the logger for the last lines.
  @cleaning_up 2_000
  @last_lines 1_000

  @enforce_keys [:ref, :session, :output]
  defstruct [
    :ref,
    :session,
    :output,
    :notify,
    :probe,
    :timer,
    :os_pid,
    :running_since,
    :ready_since,
    :failure,
    :gone
  ]

  @typedoc "`failure` is why it has been stopped, `gone` why its session went away."
  @type t :: %__MODULE__{
          ref: reference,
          session: pid,
          output: pid,
          notify: pid | nil,
          probe: pid | nil,
          timer: reference | nil,
          os_pid: pos_integer | nil,
          running_since: integer | nil,
          ready_since: integer | nil,
          failure: term,
          gone: {:session, term} | nil
        }

  @doc "How much longer than its grace it may take until nothing is left of a run, in ms."
  @spec overtime() :: pos_integer
  def overtime, do: 2 * @cleaning_up + @last_lines

  @doc """
  Starts the program. The caller gets the session's events, and

    * `{ref, :ready}` – the program is ready, as it has written, or as has been found out;
    * `{ref, :never_ready, why}` – the function that should know by its lines has raised;
    * `{ref, :news, news}` – what it says of itself, to be followed by `heard/1`;
    * `{ref, :ready_timeout}` – it should have been by now;
    * `{ref, :ended, info}` – its last line has been logged; `info` is `nil` when the session has gone
      without a word.
  """
  @spec start(Options.t(), Stats.tally()) :: {:ok, t} | {:error, term}
  def start(options, tally) do
    ref = make_ref()

    with {:ok, notify, env} <- notify(ref, options),
         {:ok, session} <- session(notify, env ++ options.session) do
      output =
        Output.start_link(%Output{
          daemon: self(),
          run: ref,
          session: session,
          log: options.log,
          tally: tally,
          max_line: options.max_line,
          awaited: Readiness.awaited_line(options.ready)
        })

      timer = timer(ref, options.ready_timeout)
      {:ok, %__MODULE__{ref: ref, session: session, output: output, notify: notify, timer: timer}}
    end
  end

  defp notify(ref, %{ready: :notify} = options) do
    with {:ok, notify, path} <- Notify.start_link(ref) do
      {:ok, notify, [env: Notify.environment(options.session[:env], path)]}
    end
  end

  defp notify(_ref, _options), do: {:ok, nil, []}

  defp session(notify, opts) do
    with {:error, reason} <- Linx.Process.start_link(opts) do
      if notify, do: Notify.stop(notify)
      {:error, reason}
    end
  end

  defp timer(_ref, :infinity), do: nil
  defp timer(ref, timeout), do: Process.send_after(self(), {ref, :ready_timeout}, timeout)

  @doc "The program runs: from now on it is looked at, if that is how to find out whether it is ready."
  @spec running(t, Readiness.t()) :: t
  def running(run, ready) do
    %{
      run
      | running_since: run.running_since || now(),
        probe: probe(run.ref, Readiness.probe(ready))
    }
  end

  defp probe(_ref, nil), do: nil

  defp probe(ref, probe) do
    daemon = self()

    {:ok, pid} =
      Task.start_link(fn ->
        Readiness.await(probe)
        send(daemon, {ref, :ready})
      end)

    pid
  end

  @doc "The program is ready. That it runs is another's news, which may come later."
  @spec ready(t) :: t
  def ready(run) do
    now = now()
    %{run | running_since: run.running_since || now, ready_since: now}
  end

  @doc "The news have been taken, and there may be more."
  @spec heard(t) :: :ok
  def heard(run), do: Notify.next(run.notify)

  @doc "Stops the program, because of this. Its end will be told."
  @spec fail(t, grace :: non_neg_integer, why :: term) :: t
  def fail(run, grace, why) do
    Linx.Process.cancel(run.session, grace)
    %{stop_probe(run) | failure: why}
  end

  @doc "The program has ended, however long its last lines take."
  @spec ended(t) :: t
  def ended(run), do: %{stop_probe(run) | os_pid: nil}

  @doc "Stops the program, and returns when nothing is left of the run."
  @spec stop(t, grace :: non_neg_integer) :: :ok
  def stop(%{ref: ref} = run, grace) do
    run = stop_probe(run)
    Linx.Process.cancel(run.session, grace)
    Linx.Process.wait(run.session)

    receive do
      {^ref, :ended, _info} -> :ok
    after
      @last_lines -> :ok
    end

    clear(run)
  end

  @doc "Sees to it that nothing is left of a run that has ended, and that no word of it comes later."
  @spec clear(t) :: :ok
  def clear(run) do
    Linx.Process.stop(run.session, grace: 0)
    stop_probe(run)
    if run.timer, do: Process.cancel_timer(run.timer)
    Enum.each([run.output, run.session], &unlink/1)
    Process.exit(run.output, :kill)
    if run.notify, do: Notify.stop(run.notify)
    flush_events()
  end

  defp stop_probe(%{probe: nil} = run), do: run

  defp stop_probe(run) do
    unlink(run.probe)
    Process.exit(run.probe, :kill)
    %{run | probe: nil}
  end

  defp unlink(pid) do
    Process.unlink(pid)

    receive do
      {:EXIT, ^pid, _reason} -> :ok
    after
      0 -> :ok
    end
  end

  # A session's events do not say whose they are.
  defp flush_events do
    receive do
      event when is_tuple(event) and elem(event, 0) == :linx_process -> flush_events()
    after
      0 -> :ok
    end
  end

  @doc "How far it is."
  @spec state(t) :: :starting | :running | :ready
  def state(%{running_since: nil}), do: :starting
  def state(%{ready_since: nil}), do: :running
  def state(_run), do: :ready

  @doc "How long it has been running, in µs."
  @spec uptime(t) :: non_neg_integer | nil
  def uptime(%{running_since: nil}), do: nil
  def uptime(run), do: now() - run.running_since

  @doc "How long it has been ready, in ms."
  @spec ready_for(t | nil) :: non_neg_integer
  def ready_for(%{ready_since: since}) when since != nil, do: div(now() - since, 1_000)
  def ready_for(_run), do: 0

  defp now, do: System.monotonic_time(:microsecond)
end
