defmodule Linx.Process.Session do
  @moduledoc false

  # A session: the GenServer between one workload and those who care for it.
  #
  # It decides little itself. The agent knows what the workload does, and what a command means at
  # that moment: commands are passed on in the order they come, and answered with its answer. What is
  # kept here is what the agent has told, who is to be told, and who waits; `Calls` knows of the
  # commands, `Writes` of what the workload is to read, `Output` of what it has written.

  use GenServer

  alias Linx.Agent
  alias Linx.Agent.Wire
  alias Linx.Cgroup.Keeper

  alias Linx.Process.{
    Callers,
    Calls,
    Error,
    Info,
    Mapping,
    Options,
    Output,
    Remains,
    Stdio,
    Writes
  }

  alias Linx.{Sessions, Telemetry, Usage}

  # How long the agent may take to clean up once the grace is over, in ms.
  @cleaning_up 2_000

  # A session to which nothing happens for so long, in ms, gives back the memory it does not need.
  @quiet 500

  @sigterm 15

  @esrch 3
  @ebadf 9
  @enotty 25
  @epipe 32
  @eproto 71
  @emsgsize 90

  # `callers` wait for a write, or for the end; `receivers` for output.
  defstruct [
    :info,
    :name,
    :began,
    :owner,
    :linger,
    :grace,
    :stop_signal,
    :timer,
    :lifeline,
    :input,
    :output,
    :usage,
    :mapping,
    :agent,
    :keeper,
    exit_status: 0,
    stopping: false,
    calls: Calls.new(),
    writes: Writes.new(),
    callers: Callers.new(),
    receivers: Callers.new()
  ]

  @doc "Starts a session. It is linked to the caller, unless it has another lifeline."
  @spec start(Options.t()) :: GenServer.on_start()
  def start(options) do
    name = if options.name, do: [name: options.name], else: []
    start = if options.lifeline, do: :start, else: :start_link
    apply(GenServer, start, [__MODULE__, options, [hibernate_after: @quiet] ++ name])
  end

  @doc """
  Asks a session something; one that is gone, or goes meanwhile, has the answer
  `{:error, :no_process}`.

    * `:info` – what the session knows;
    * `{:wait, timeout}` – how it ends, and `:try_wait` whether it has;
    * `{:set_owner, owner}` – who gets the events;
    * `{:command, command}` – what the agent answers to it;
    * `{:write, input, bytes, timeout}` – gives the workload something to read, by the command `input`
      or, for `:any`, by the one that there is;
    * `:close_stdin` – nothing more;
    * `{:receive, want, timeout}` – what it has written;
    * `{:set_active, active}` – who gets that;
    * `{:cancel, grace}` – ends the workload, and waits for nothing.
  """
  @spec call(GenServer.server(), term) :: term
  def call(session, request) do
    GenServer.call(session, request, :infinity)
  catch
    :exit, _reason -> {:error, :no_process}
  end

  @doc "Stops the workload and then the session; returns when both are gone."
  @spec stop(GenServer.server(), grace :: non_neg_integer | nil) :: :ok | {:error, :no_process}
  def stop(session, grace) do
    # The answer is the session's end: only then its name is free, and nothing of it is left.
    GenServer.call(session, {:stop, grace}, :infinity)
  catch
    :exit, {reason, _call} when reason in [:normal, :shutdown] -> :ok
    :exit, {{:shutdown, _why}, _call} -> :ok
    :exit, _reason -> {:error, :no_process}
  end

  @doc """
  The next piece of output, from any source, and behind the last one how the session has ended. Only
  while the owner does not get the output.
  """
  @spec next(GenServer.server()) ::
          {:output, Stdio.source(), binary} | {:ended, Info.t()} | {:error, :active | :no_process}
  def next(session), do: call(session, {:receive, :next, :infinity})

  @doc "Gives the workload something to read, for which nobody waits."
  @spec feed(GenServer.server(), iodata) :: :ok
  def feed(session, data), do: GenServer.cast(session, {:feed, IO.iodata_to_binary(data)})

  @doc "The workload finds the end of its input behind what it has been given."
  @spec close_input(GenServer.server()) :: :ok
  def close_input(session), do: GenServer.cast(session, :close_input)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    state = %__MODULE__{
      info: %Info{
        mode: options.mode,
        argv: options.argv,
        pty?: options.stdio == :pty,
        cgroup: options.confinement[:cgroup],
        started_at: DateTime.utc_now()
      },
      name: options.name,
      began: System.monotonic_time(),
      owner: options.owner,
      linger: options.linger,
      grace: options.grace,
      stop_signal: options.stop_signal,
      timer: start_timer(options.timeout),
      lifeline: options.lifeline && Process.monitor(options.lifeline),
      input: Stdio.input(options.stdio),
      output: Output.new(Stdio.outputs(options.stdio), options.active),
      mapping: Mapping.new(options)
    }

    Sessions.add(options, state.info.started_at, state.began)
    Telemetry.reached(state.info, state.name, state.began)
    {:ok, state, {:continue, {:open, options}}}
  end

  defp start_timer(:infinity), do: nil
  defp start_timer(ms), do: Process.send_after(self(), :time_is_up, ms)

  @impl true
  def handle_continue({:open, options}, state) do
    Remains.await_none(options.slot)

    case own_cgroup(options.confinement, state) do
      {:ok, confinement, state} -> open(%{options | confinement: confinement}, state)
      {:error, errno} -> state |> ended({:error, Error.new(:cgroup, errno)}) |> closed()
    end
  end

  defp own_cgroup(%{own_cgroup: plan} = confinement, state) do
    with {:ok, keeper, path} <- Keeper.start(plan) do
      {:ok, Map.put(confinement, :cgroup, path), update(%{state | keeper: keeper}, cgroup: path)}
    end
  end

  defp own_cgroup(confinement, state), do: {:ok, confinement, state}

  defp open(options, state) do
    case Agent.open(options) do
      {:ok, agent} ->
        state = %{state | agent: agent}
        Sessions.update(agent: Agent.kind(agent))

        # Before there is anything that could be left.
        case Remains.register(options.slot, agent) do
          :ok -> request(state, options)
          {:error, :orphan} -> state |> ended({:error, Error.new(:agent, @esrch)}) |> abandon()
        end

      {:error, errno} ->
        state |> ended({:error, Error.new(:agent, errno)}) |> closed()
    end
  end

  defp request(state, options) do
    fields = options |> Map.from_struct() |> Map.put(:usage, true)

    case Agent.request(state.agent, options.mode, fields) do
      {:ok, agent} -> {:noreply, %{state | agent: agent}}
      {:error, errno, stage} -> state |> ended({:error, Error.new(stage, errno)}) |> abandon()
    end
  end

  @impl true
  def handle_call(:info, _from, state), do: {:reply, state.info, state}

  def handle_call({:set_owner, owner}, _from, state) do
    Sessions.update(owner: owner)
    {:reply, :ok, %{state | owner: owner}}
  end

  def handle_call({:wait, _timeout}, _from, %{info: %{result: result}} = state)
      when result != nil do
    {:reply, result, state}
  end

  def handle_call({:wait, timeout}, from, state) do
    {_id, callers} = Callers.add(state.callers, from, timeout)
    {:noreply, %{state | callers: callers}}
  end

  def handle_call(:try_wait, _from, state), do: {:reply, state.info.result || :running, state}

  def handle_call({:stop, _grace}, _from, %{agent: nil} = state), do: {:stop, :normal, state}

  def handle_call({:stop, grace}, _from, state) do
    {:noreply, cancel(%{state | stopping: true}, grace || state.grace)}
  end

  def handle_call({:cancel, _grace}, _from, %{info: %{stage: :terminated}} = state) do
    {:reply, :ok, state}
  end

  def handle_call({:cancel, grace}, _from, state), do: {:reply, :ok, cancel(state, grace)}

  def handle_call({:receive, want, timeout}, from, state) do
    case Output.take(state.output, want) do
      {:ok, answer, effects, output} ->
        GenServer.reply(from, answer)
        settle(perform(effects, %{state | output: output}))

      :wait ->
        {id, receivers} = Callers.add(state.receivers, from, timeout)
        output = Output.wait(state.output, id, want)
        {:noreply, %{state | receivers: receivers, output: output}}
    end
  end

  def handle_call({:set_active, active}, from, state) do
    case Output.set_active(state.output, active) do
      {:ok, effects, output} ->
        GenServer.reply(from, :ok)
        settle(perform(effects, %{state | output: output}))

      error ->
        {:reply, error, state}
    end
  end

  def handle_call(_about_the_workload, _from, %{info: %{stage: :terminated}} = state) do
    {:reply, {:error, :no_process}, state}
  end

  # An abort waits for nothing, here as in the agent.
  def handle_call({:command, :abort}, from, state) do
    {frame, calls} = Calls.begin(state.calls, :abort, from)
    {:noreply, send_frame(%{state | calls: calls}, frame)}
  end

  def handle_call({:command, command}, from, state) do
    {:noreply, send_calls(%{state | calls: Calls.add(state.calls, command, from)})}
  end

  def handle_call({:write, input, bytes, timeout}, from, state) do
    cond do
      input != :any and input != state.input -> {:reply, {:error, :not_pty}, state}
      state.input == nil -> {:reply, {:error, :not_piped}, state}
      Writes.closed?(state.writes) -> {:reply, {:error, :closed}, state}
      true -> {:noreply, write(state, bytes, from, timeout)}
    end
  end

  def handle_call(:close_stdin, _from, %{input: :stdin} = state) do
    {:reply, :ok, end_input(state)}
  end

  def handle_call(:close_stdin, _from, state), do: {:reply, {:error, :not_piped}, state}

  @impl true
  def handle_cast(_about_the_workload, %{info: %{stage: :terminated}} = state) do
    {:noreply, state}
  end

  def handle_cast({:feed, bytes}, state) do
    if state.input == nil or Writes.closed?(state.writes),
      do: {:noreply, state},
      else: {:noreply, write(%{state | writes: Writes.add(state.writes, nil, bytes)})}
  end

  def handle_cast(:close_input, %{input: :stdin} = state), do: {:noreply, end_input(state)}
  def handle_cast(:close_input, state), do: {:noreply, state}

  @impl true
  def handle_info(message, state) do
    case Agent.message(state.agent, message) do
      {:event, event} ->
        {:noreply, handle_event(event, state)}

      {:exit_status, status} ->
        {:noreply, %{state | exit_status: status}}

      :closed ->
        state |> ended({:error, Error.agent_died(state.exit_status)}) |> closed()

      :garbage ->
        state |> ended({:error, Error.new(:agent, @eproto)}) |> abandon()

      :unrelated ->
        handle_other(message, state)
    end
  end

  # What has not been read goes with the session.
  @impl true
  def terminate(_reason, state) do
    state = if state.agent, do: end_workload(state), else: state
    {effects, _output} = Output.abandon(state.output)
    perform(effects, state)
    :ok
  end

  defp end_workload(state) do
    stop_workload(state, state.grace)
    await_close(state, now() + state.grace + @cleaning_up)
  end

  # What the agent tells

  defp handle_event({:unmapped, host_pid}, state) do
    %{state | mapping: Mapping.begin(state.mapping, host_pid)}
  end

  defp handle_event({:spawned, host_pid}, state) do
    write(update(state, stage: :spawned, host_pid: host_pid))
  end

  defp handle_event({:ready, child_pid}, state) do
    state = update(state, stage: :ready, child_pid: child_pid)
    notify(state, {:linx_process, :ready, state.info.host_pid})
    state
  end

  defp handle_event(:running, state) do
    notify(state, {:linx_process, :running})
    update(state, stage: :running)
  end

  defp handle_event({:pty_out, bytes}, state), do: output(state, :pty, bytes)
  defp handle_event({:stdout, bytes}, state), do: output(state, :stdout, bytes)
  defp handle_event({:stderr, bytes}, state), do: output(state, :stderr, bytes)

  defp handle_event({:eof, source}, state) do
    {effects, output} = Output.eof(state.output, source)
    perform(effects, %{state | output: output})
  end

  # It belongs to the end, which follows.
  defp handle_event({:usage, rusage}, state), do: %{state | usage: Usage.new(rusage)}

  defp handle_event({:reply, ref, answer}, state) do
    case Calls.done(state.calls, ref) do
      {nil, _calls} ->
        state

      {:input, calls} ->
        written(answer, send_calls(%{state | calls: calls}))

      {from, calls} ->
        GenServer.reply(from, answer(answer))
        send_calls(%{state | calls: calls})
    end
  end

  defp handle_event({:ended, outcome}, state) do
    ended(state, Mapping.result(state.mapping, result(outcome)))
  end

  # Commands and their answers

  # An agent that has read as many as may wait would not come to `:mapped`.
  defp send_calls(%{mapping: mapping} = state) when mapping != nil, do: state

  defp send_calls(state) do
    case Calls.next(state.calls) do
      {:send, frame, calls} -> send_calls(send_frame(%{state | calls: calls}, frame))
      :wait -> state
    end
  end

  defp send_frame(state, frame) do
    if Wire.too_big?(frame) do
      Agent.close(state.agent)
      ended(state, {:error, Error.new(:command_too_big, @emsgsize)})
    else
      Agent.write(state.agent, frame)
      state
    end
  end

  defp answer({:error, _errno, :running}), do: {:error, :running}
  defp answer({:error, _errno, :ended}), do: {:error, :no_process}
  defp answer({:error, @epipe, :stdin}), do: {:error, :epipe}
  defp answer({:error, @ebadf, :stdin}), do: {:error, :closed}

  defp answer({:error, @enotty, stage}) when stage in [:pty_in, :pty_winsize, :pty_master] do
    {:error, :not_pty}
  end

  defp answer({:error, errno, stage}), do: {:error, Error.new(stage, errno)}
  defp answer(done), do: done

  # What the workload reads

  defp write(state, bytes, from, timeout) do
    {id, callers} = Callers.add(state.callers, from, timeout)
    write(%{state | callers: callers, writes: Writes.add(state.writes, id, bytes)})
  end

  defp end_input(state), do: write(%{state | writes: Writes.close(state.writes)})

  # The agent keeps only so much of what comes before there is anybody to read it.
  defp write(%{info: %{stage: :starting}} = state), do: state

  defp write(state) do
    case Writes.next(state.writes) do
      {:send, chunk, writes} ->
        {frame, calls} = Calls.begin(state.calls, {state.input, chunk}, :input)
        send_frame(%{state | writes: writes, calls: calls}, frame)

      {:close, writes} ->
        send_frame(%{state | writes: writes}, Wire.command(:close_stdin))

      :wait ->
        state
    end
  end

  defp written(:ok, state) do
    case Writes.taken(state.writes) do
      {:more, writes} -> write(%{state | writes: writes})
      {:done, id, writes} -> write(answer_writer(%{state | writes: writes}, id, :ok))
    end
  end

  defp written(error, state) do
    {id, writes} = Writes.refused(state.writes)
    write(answer_writer(%{state | writes: writes}, id, answer(error)))
  end

  defp answer_writer(state, id, answer) do
    %{state | callers: Callers.answer(state.callers, id, answer)}
  end

  # What the workload writes

  defp output(state, source, bytes) do
    {effects, output} = Output.put(state.output, source, bytes)
    perform(effects, %{state | output: output})
  end

  defp perform(effects, state), do: Enum.reduce(effects, state, &perform_one/2)

  defp perform_one({:event, event}, state) do
    notify(state, event)
    state
  end

  defp perform_one({:answer, id, answer}, state) do
    %{state | receivers: Callers.answer(state.receivers, id, answer)}
  end

  defp perform_one({:credit, source, n}, state) do
    Agent.write(state.agent, Wire.command({:credit, source, n}))
    state
  end

  # The end

  defp result({:error, errno, stage, cause}), do: {:error, Error.new(stage, errno, cause)}
  defp result(outcome), do: {:ok, outcome}

  # Only the first end counts: what follows one is the agent on its way out.
  defp ended(%{info: %{result: nil}} = state, result) do
    if state.timer, do: Process.cancel_timer(state.timer)

    state =
      update(state,
        stage: :terminated,
        result: result,
        duration: microseconds_since(state.began),
        usage: state.usage,
        cgroup_stats: Keeper.remove(state.keeper)
      )

    state = %{state | mapping: Mapping.cancel(state.mapping)}

    for from <- Calls.callers(state.calls), do: GenServer.reply(from, {:error, :no_process})

    callers =
      Enum.reduce(Writes.ids(state.writes), state.callers, fn id, callers ->
        Callers.answer(callers, id, {:error, :no_process})
      end)

    {effects, output} = Output.finish(state.output, last_event(result), state.info)

    state = perform(effects, %{state | output: output, calls: Calls.new(), writes: Writes.new()})

    %{state | callers: Callers.answer_all(callers, result)}
  end

  defp ended(state, _result), do: state

  defp last_event({:ok, {how, number}}), do: {:linx_process, how, number}
  defp last_event({:ok, :aborted}), do: {:linx_process, :aborted}
  defp last_event({:error, error}), do: {:linx_process, :error, error.code, error.stage}

  # A closed agent means that nothing is left of the workload, so that a successor may start.
  defp closed(state), do: settle(%{state | agent: nil})

  # An owner who is to get the output in messages gets all of it.
  defp settle(%{agent: nil} = state) do
    cond do
      state.stopping -> {:stop, :normal, state}
      state.linger or not Output.told?(state.output) -> {:noreply, state}
      true -> {:stop, exit_reason(state.info.result), state}
    end
  end

  defp settle(state), do: {:noreply, state}

  defp exit_reason({:ok, {:exited, 0}}), do: :normal
  defp exit_reason({:ok, :aborted}), do: {:shutdown, :aborted}
  defp exit_reason({:ok, outcome}), do: outcome
  defp exit_reason({:error, error}), do: {:error, error}

  # An agent that has told the end is on its way out, and reads no more. A write could close the port
  # before the agent does.
  defp stop_workload(%{info: %{result: nil}} = state, grace) do
    Agent.write(state.agent, Wire.command(stop_command(grace, state.stop_signal)))
  end

  defp stop_workload(_state, _grace), do: :ok

  defp stop_command(grace, @sigterm), do: {:stop, grace}
  defp stop_command(grace, signal), do: {:stop, grace, signal}

  # An agent that does not do it in time, because it has been stopped or is hung up, is given up.
  defp cancel(state, grace) do
    stop_workload(state, grace)
    Process.send_after(self(), :overdue, grace + @cleaning_up)
    state
  end

  # That it has closed will be told.
  defp abandon(state) do
    if state.agent, do: Agent.close(state.agent)
    {:noreply, state}
  end

  defp await_close(%{agent: nil} = state, _deadline), do: state

  defp await_close(state, deadline) do
    receive do
      message ->
        case handle_info(message, state) do
          {:noreply, state} -> await_close(state, deadline)
          {:stop, _reason, state} -> await_close(state, deadline)
        end
    after
      max(deadline - now(), 0) ->
        Agent.close(state.agent)
        ended(state, {:error, Error.agent_died(state.exit_status)})
    end
  end

  # Other messages

  defp handle_other(:overdue, state), do: abandon(state)

  defp handle_other(:time_is_up, %{info: %{result: nil}} = state) do
    {:noreply, state |> update(timed_out?: true) |> cancel(state.grace)}
  end

  # Whoever the session is for has gone: nobody waits for it to end in good order.
  defp handle_other({:DOWN, ref, :process, _pid, _reason}, %{lifeline: ref} = state) do
    {:stop, :normal, %{state | grace: 0}}
  end

  # Whatever the session is linked to takes it along, as it would any process.
  defp handle_other({:EXIT, pid, reason}, state) when is_pid(pid) and reason != :normal do
    {:stop, if(state.agent, do: reason, else: :normal), state}
  end

  defp handle_other(message, state) do
    with {:mapping, :unrelated} <- {:mapping, Mapping.message(state.mapping, message)},
         {:writes, :unrelated} <- {:writes, Callers.dismiss(state.callers, message)},
         {:output, :unrelated} <- {:output, Callers.dismiss(state.receivers, message)} do
      {:noreply, state}
    else
      {:mapping, :done} ->
        Agent.write(state.agent, Wire.command(:mapped))
        {:noreply, send_calls(%{state | mapping: nil})}

      {:mapping, {:failed, mapping}} ->
        Agent.write(state.agent, Wire.command(:abort))
        {:noreply, %{state | mapping: mapping}}

      {:writes, {id, callers}} ->
        {:noreply, %{state | callers: callers, writes: Writes.drop(state.writes, id)}}

      {:output, {id, receivers}} ->
        {:noreply, %{state | receivers: receivers, output: Output.drop(state.output, id)}}
    end
  end

  # That it has come to another stage is told to those who are no owners, too.
  defp update(state, changes) do
    info = struct!(state.info, changes)

    if info.stage != state.info.stage do
      Sessions.update(changes)
      Telemetry.reached(info, state.name, state.began)
    end

    %{state | info: info}
  end

  defp notify(state, event) do
    case whereis(state.owner) do
      nil -> :nobody
      owner -> send(owner, event)
    end
  end

  defp whereis(owner) do
    GenServer.whereis(owner)
  rescue
    # A registry that is not running, at the moment, has nobody registered.
    _error -> nil
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp microseconds_since(native) do
    System.convert_time_unit(System.monotonic_time() - native, :native, :microsecond)
  end
end
