defmodule Linx.Daemon.Server do
  @moduledoc false

  # The GenServer that keeps one program running: what a run means for the next one, and for those who
  # ask. It takes no part in the output, so it answers however slow the logger is.

  use GenServer

  alias Linx.Daemon.{Backoff, Log, Options, Run, Stats}
  alias Linx.Process.{Callers, Info}

  # A daemon to which nothing happens for so long, in ms, gives back the memory it does not need.
  @quiet 500

  # A crash report shows this, and neither environments nor files.
  @derive {Inspect, only: [:run, :stats]}
  defstruct [
    :options,
    :tally,
    :backoff,
    :run,
    stats: %Stats{},
    was_ready?: false,
    callers: Callers.new()
  ]

  @spec start_link(Options.t()) :: GenServer.on_start()
  def start_link(options) do
    name = if options.name, do: [name: options.name], else: []
    GenServer.start_link(__MODULE__, options, [hibernate_after: @quiet] ++ name)
  end

  @doc """
  Asks a daemon something; one that is gone, or goes meanwhile, has the answer `{:error, :no_process}`.
  """
  @spec call(GenServer.server(), term) :: term
  def call(daemon, request) do
    GenServer.call(daemon, request, :infinity)
  catch
    :exit, _reason -> {:error, :no_process}
  end

  @doc "Stops the program and then the daemon; returns when both are gone."
  @spec stop(GenServer.server(), grace :: non_neg_integer | nil) :: :ok | {:error, :no_process}
  def stop(daemon, grace) do
    GenServer.call(daemon, {:stop, grace}, :infinity)
  catch
    :exit, {reason, _call} when reason in [:normal, :shutdown] -> :ok
    :exit, {{:shutdown, _why}, _call} -> :ok
    :exit, _reason -> {:error, :no_process}
  end

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    state = %__MODULE__{options: Options.of_daemon(options, self()), tally: Stats.tally()}

    case options.restart do
      :supervisor ->
        {:ok, state, {:continue, :start}}

      {:backoff, min, max} ->
        {:ok, %{state | backoff: Backoff.new(min, max)}, {:continue, :start}}
    end
  end

  @impl true
  def handle_continue(:start, state), do: start(state)

  @impl true
  def handle_call(:stats, _from, state), do: {:reply, stats(state), state}
  def handle_call(:session, _from, %{run: nil} = state), do: {:reply, {:error, :waiting}, state}
  def handle_call(:session, _from, state), do: {:reply, {:ok, state.run.session}, state}
  def handle_call(:os_pid, _from, %{run: nil} = state), do: {:reply, {:error, :waiting}, state}

  def handle_call(:os_pid, _from, %{run: %{os_pid: nil}} = state),
    do: {:reply, {:error, :not_ready}, state}

  def handle_call(:os_pid, _from, state), do: {:reply, {:ok, state.run.os_pid}, state}

  def handle_call({:await_ready, _timeout}, _from, %{run: %{ready_since: since}} = state)
      when since != nil do
    {:reply, :ok, state}
  end

  def handle_call({:await_ready, timeout}, from, state) do
    {_id, callers} = Callers.add(state.callers, from, timeout)
    {:noreply, %{state | callers: callers}}
  end

  # The answer is the daemon's end: only then its name is free, and nothing of it is left.
  def handle_call({:stop, grace}, _from, state) do
    options = %{state.options | grace: grace || state.options.grace}
    {:stop, :normal, %{state | options: options}}
  end

  @impl true
  def handle_info({:linx_process, :ready, os_pid}, %{run: %Run{} = run} = state) do
    {:noreply, %{state | run: %{run | os_pid: os_pid}}}
  end

  def handle_info({:linx_process, :running}, %{run: %Run{} = run} = state) do
    state = %{state | run: Run.running(run, state.options.ready)}
    if state.options.ready == :running, do: {:noreply, ready(state)}, else: {:noreply, state}
  end

  def handle_info(event, %{run: %Run{} = run} = state)
      when elem(event, 0) == :linx_process and
             elem(event, 1) in [:exited, :signaled, :aborted, :error] do
    {:noreply, %{state | run: Run.ended(run)}}
  end

  def handle_info({ref, :ready}, %{run: %{ref: ref}} = state), do: {:noreply, ready(state)}

  def handle_info({ref, :never_ready, why}, %{run: %{ref: ref}} = state) do
    {:noreply, fail(state, {:ready, why})}
  end

  def handle_info({ref, :news, news}, %{run: %{ref: ref} = run} = state) do
    Run.heard(run)
    stats = %{state.stats | status: Map.get(news, :status, state.stats.status)}
    state = %{state | stats: stats}
    if news[:ready], do: {:noreply, ready(state)}, else: {:noreply, state}
  end

  def handle_info({ref, :ready_timeout}, %{run: %{ref: ref, ready_since: nil}} = state) do
    {:noreply, fail(state, :ready_timeout)}
  end

  def handle_info({ref, :ended, info}, %{run: %{ref: ref} = run} = state) do
    {outcome, usage} = outcome(run, info)
    Run.clear(run)
    over(state, outcome, usage)
  end

  def handle_info(:start_again, state), do: start(state)

  def handle_info({:EXIT, pid, reason}, %{run: %{probe: pid}} = state) when reason != :normal do
    {:noreply, fail(state, {:ready, reason})}
  end

  # What has become of the program is known when its last line has been logged.
  def handle_info({:EXIT, pid, reason}, %{run: %{session: pid} = run} = state) do
    {:noreply, %{state | run: %{run | gone: {:session, reason}}}}
  end

  def handle_info({:EXIT, _pid, :normal}, state), do: {:noreply, state}

  # Whatever the daemon is linked to takes it along, as it would any process.
  def handle_info({:EXIT, _pid, reason}, state), do: {:stop, reason, state}

  def handle_info(message, state) do
    case Callers.dismiss(state.callers, message) do
      {_id, callers} -> {:noreply, %{state | callers: callers}}
      :unrelated -> {:noreply, state}
    end
  end

  @impl true
  def terminate(_reason, %{run: nil}), do: :ok
  def terminate(_reason, state), do: Run.stop(state.run, state.options.grace)

  # A run begins, and gets ready

  defp start(state) do
    stats = %{state.stats | starts: state.stats.starts + 1, status: nil}
    state = %{state | stats: stats}

    case Run.start(state.options, state.tally) do
      {:ok, run} -> {:noreply, %{state | run: run}}
      {:error, reason} -> over(state, reason, nil)
    end
  end

  defp ready(%{run: %{ready_since: nil, failure: nil} = run} = state) do
    on_ready(state.options.on_ready)
    callers = Callers.answer_all(state.callers, :ok)
    %{state | run: Run.ready(run), callers: callers, was_ready?: true}
  end

  defp ready(state), do: state

  defp on_ready(nil), do: :ok
  defp on_ready(fun) when is_function(fun, 0), do: Task.start(fun)

  defp on_ready(fun) when is_function(fun, 1) do
    daemon = self()
    Task.start(fn -> fun.(daemon) end)
  end

  defp on_ready({whom, message}) do
    with pid when pid != nil <- GenServer.whereis(whom), do: send(pid, message)
  end

  defp fail(%{run: %{failure: nil} = run} = state, why) do
    %{state | run: Run.fail(run, state.options.grace, why)}
  end

  defp fail(state, _why), do: state

  # A run ends

  defp outcome(_run, %Info{} = info) do
    {_ok_or_error, outcome} = info.result
    {outcome, info.usage}
  end

  # The session has gone without a word, and why is on its way at least.
  defp outcome(%{gone: nil, session: session}, nil) do
    receive do
      {:EXIT, ^session, reason} -> {{:session, reason}, nil}
    end
  end

  defp outcome(%{gone: gone}, nil), do: {gone, nil}

  defp over(%{run: run, stats: stats} = state, outcome, usage) do
    stats = %{stats | last_exit: outcome, usage: Stats.sum(stats.usage, usage)}
    state = %{state | run: nil, stats: stats}

    {why, reason} =
      case run do
        %{failure: failure} when failure != nil -> {failure, failure}
        _as_it_ended -> {outcome, reason(outcome, state.options)}
      end

    if state.backoff == nil or shutdown?(reason) or gives_up?(state) do
      {:stop, reason, %{state | callers: Callers.answer_all(state.callers, {:error, why})}}
    else
      {:noreply, start_later(state, run, reason)}
    end
  end

  defp reason({:session, reason}, _options), do: reason
  defp reason(:aborted, _options), do: {:shutdown, :aborted}

  defp reason({how, _number} = status, %{exit_status_to_reason: fun})
       when how in [:exited, :signaled] and fun != nil do
    fun.(status)
  end

  defp reason({:exited, 0}, _options), do: :normal
  defp reason({how, _number} = status, _options) when how in [:exited, :signaled], do: status
  defp reason(error, _options), do: {:error, error}

  defp shutdown?(:shutdown), do: true
  defp shutdown?({:shutdown, _why}), do: true
  defp shutdown?(_reason), do: false

  # Who has started it and waits wants to know.
  defp gives_up?(state), do: state.options.await_ready and not state.was_ready?

  defp start_later(state, run, reason) do
    {delay, backoff} = state.backoff |> Backoff.after_run(Run.ready_for(run)) |> Backoff.next()
    said = "ended with #{inspect(reason)}, and starts again in #{delay} ms"
    Log.notice(state.options.log, :warning, said)
    Process.send_after(self(), :start_again, delay)
    %{state | backoff: backoff}
  end

  # What it knows

  defp stats(%{run: run, stats: stats} = state) do
    stats = Stats.count(%{stats | restarts: max(stats.starts - 1, 0)}, state.tally)

    if run,
      do: %{stats | state: Run.state(run), os_pid: run.os_pid, uptime: Run.uptime(run)},
      else: %{stats | state: :waiting}
  end
end
