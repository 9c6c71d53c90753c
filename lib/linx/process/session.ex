defmodule Linx.Process.Session do
  @moduledoc false

  # A session: the GenServer between one workload and those who care for it.
  #
  # It decides little itself. The agent knows what the workload does, and what a command means at
  # that moment: commands are passed on in the order they come, and answered with its answer. What is
  # kept here is what the agent has told, who is to be told, and who waits.

  use GenServer

  alias Linx.Agent
  alias Linx.Agent.Wire
  alias Linx.Process.{Callers, Error, Info, Options, Remains, Writes}

  # How long the agent may take to clean up once the grace is over, in ms.
  @cleaning_up 2_000

  # A session to which nothing happens for so long, in ms, gives back the memory it does not need.
  @quiet 500

  # So many calls the agent is left to answer. Of those that wait for the checkpoint it takes 64.
  @most_calls 60

  @enotty 25
  @eproto 71
  @emsgsize 90

  defstruct [
    :info,
    :owner,
    :linger,
    :grace,
    :agent,
    exit_status: 0,
    stopping: false,
    next_ref: 0,
    calls: %{},
    commands: :queue.new(),
    callers: Callers.new(),
    writes: Writes.new()
  ]

  @doc "Starts a session, linked to the caller."
  @spec start_link(Options.t()) :: GenServer.on_start()
  def start_link(options) do
    name = if options.name, do: [name: options.name], else: []
    GenServer.start_link(__MODULE__, options, [hibernate_after: @quiet] ++ name)
  end

  @doc """
  Asks a session something; one that is gone, or goes meanwhile, has the answer
  `{:error, :no_process}`.

    * `:info` – what the session knows;
    * `{:wait, timeout}` – how it ends;
    * `{:set_owner, owner}` – who gets the events;
    * `{:command, command}` – what the agent answers to it;
    * `{:write, bytes, timeout}` – types into the terminal.
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

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    state = %__MODULE__{
      info: %Info{mode: options.mode, pty?: options.stdio == :pty},
      owner: options.owner,
      linger: options.linger,
      grace: options.grace
    }

    {:ok, state, {:continue, {:open, options}}}
  end

  @impl true
  def handle_continue({:open, options}, state) do
    Remains.await_none(options.slot)

    case Agent.open(options) do
      {:ok, agent} ->
        # Before there is anything that could be left.
        Remains.register(options.slot, agent)
        request(%{state | agent: agent}, options)

      {:error, errno} ->
        state |> ended({:error, Error.new(:agent, errno)}) |> closed()
    end
  end

  defp request(state, options) do
    case Agent.request(state.agent, options.mode, Map.from_struct(options)) do
      {:ok, agent} -> {:noreply, %{state | agent: agent}}
      {:error, errno, stage} -> state |> ended({:error, Error.new(stage, errno)}) |> abandon()
    end
  end

  @impl true
  def handle_call(:info, _from, state), do: {:reply, state.info, state}

  def handle_call({:set_owner, owner}, _from, state) do
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

  def handle_call({:stop, _grace}, _from, %{agent: nil} = state), do: {:stop, :normal, state}

  def handle_call({:stop, grace}, _from, state) do
    grace = grace || state.grace
    stop_workload(state, grace)
    Process.send_after(self(), :overdue, grace + @cleaning_up)
    {:noreply, %{state | stopping: true}}
  end

  def handle_call(_about_the_workload, _from, %{info: %{stage: :terminated}} = state) do
    {:reply, {:error, :no_process}, state}
  end

  def handle_call({:command, command}, from, state) do
    {:noreply, command(state, command, from)}
  end

  def handle_call({:write, bytes, timeout}, from, state) do
    {id, callers} = Callers.add(state.callers, from, timeout)
    {:noreply, write(%{state | callers: callers, writes: Writes.add(state.writes, id, bytes)})}
  end

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

  @impl true
  def terminate(_reason, %{agent: nil}), do: :ok

  def terminate(_reason, state) do
    stop_workload(state, state.grace)
    await_close(state, now() + state.grace + @cleaning_up)
  end

  # What the agent tells

  defp handle_event({:spawned, host_pid}, state) do
    update(state, stage: :spawned, host_pid: host_pid)
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

  defp handle_event({:pty_out, bytes}, state) do
    notify(state, {:linx_process, :pty_out, bytes})
    state
  end

  defp handle_event({:reply, ref, answer}, state) do
    case Map.pop(state.calls, ref) do
      {nil, _calls} ->
        state

      {:write, calls} ->
        written(answer, %{state | calls: calls})

      {from, calls} ->
        GenServer.reply(from, answer(answer))
        next_command(%{state | calls: calls})
    end
  end

  defp handle_event({:ended, outcome}, state), do: ended(state, result(outcome))

  # Commands and their answers

  # An abort waits for nothing, here as in the agent.
  defp command(state, :abort, from), do: call_agent(state, :abort, from)

  defp command(state, command, from) do
    next_command(%{state | commands: :queue.in({command, from}, state.commands)})
  end

  defp next_command(state) when map_size(state.calls) >= @most_calls, do: state

  defp next_command(state) do
    case :queue.out(state.commands) do
      {{:value, {command, from}}, others} ->
        call_agent(%{state | commands: others}, command, from)

      {:empty, _none} ->
        state
    end
  end

  defp call_agent(%{next_ref: ref} = state, command, from) do
    frame = Wire.call(ref, command)
    state = %{state | next_ref: ref + 1, calls: Map.put(state.calls, ref, from)}

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

  defp answer({:error, @enotty, stage}) when stage in [:pty_in, :pty_winsize, :pty_master] do
    {:error, :not_pty}
  end

  defp answer({:error, errno, stage}), do: {:error, Error.new(stage, errno)}
  defp answer(done), do: done

  defp write(state) do
    case Writes.next(state.writes) do
      {:send, chunk, writes} -> call_agent(%{state | writes: writes}, {:pty_in, chunk}, :write)
      :wait -> state
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

  # The end

  defp result({:error, errno, stage, cause}), do: {:error, Error.new(stage, errno, cause)}
  defp result(outcome), do: {:ok, outcome}

  # Only the first end counts: what follows one is the agent on its way out.
  defp ended(%{info: %{result: nil}} = state, result) do
    state = update(state, stage: :terminated, result: result)
    notify(state, last_event(result))

    waiting = for {_command, from} <- :queue.to_list(state.commands), do: from

    for from <- Map.values(state.calls) ++ waiting, from != :write do
      GenServer.reply(from, {:error, :no_process})
    end

    callers =
      Enum.reduce(Writes.ids(state.writes), state.callers, fn id, callers ->
        Callers.answer(callers, id, {:error, :no_process})
      end)

    %{
      state
      | calls: %{},
        commands: :queue.new(),
        writes: Writes.new(),
        callers: Callers.answer_all(callers, result)
    }
  end

  defp ended(state, _result), do: state

  defp last_event({:ok, {how, number}}), do: {:linx_process, how, number}
  defp last_event({:ok, :aborted}), do: {:linx_process, :aborted}
  defp last_event({:error, error}), do: {:linx_process, :error, error.code, error.stage}

  # A closed agent means that nothing is left of the workload, so that a successor may start.
  defp closed(state) do
    state = %{state | agent: nil}

    cond do
      state.stopping -> {:stop, :normal, state}
      state.linger -> {:noreply, state}
      true -> {:stop, exit_reason(state.info.result), state}
    end
  end

  defp exit_reason({:ok, {:exited, 0}}), do: :normal
  defp exit_reason({:ok, :aborted}), do: {:shutdown, :aborted}
  defp exit_reason({:ok, outcome}), do: outcome
  defp exit_reason({:error, error}), do: {:error, error}

  # An agent that has told the end is on its way out, and reads no more. A write could close the port
  # before the agent does.
  defp stop_workload(%{info: %{result: nil}} = state, grace) do
    Agent.write(state.agent, Wire.command({:stop, grace}))
  end

  defp stop_workload(_state, _grace), do: :ok

  # That it has closed will be told.
  defp abandon(state) do
    if state.agent, do: Agent.close(state.agent)
    {:noreply, state}
  end

  defp await_close(%{agent: nil}, _deadline), do: :ok

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

  # Whatever the session is linked to takes it along, as it would any process.
  defp handle_other({:EXIT, pid, reason}, state) when is_pid(pid) and reason != :normal do
    {:stop, if(state.agent, do: reason, else: :normal), state}
  end

  defp handle_other(message, state) do
    case Callers.dismiss(state.callers, message) do
      {id, callers} ->
        {:noreply, %{state | callers: callers, writes: Writes.drop(state.writes, id)}}

      :unrelated ->
        {:noreply, state}
    end
  end

  defp update(state, changes), do: %{state | info: struct!(state.info, changes)}

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
end
