defmodule Linx.Agent.Host do
  @moduledoc false

  # One agent that serves many sessions, `linx_process --host`, and the process that owns its port.
  #
  # The port is opened when the first session needs it, and stays open: the next one finds the agent
  # warm. When the agent has ended, all its sessions are told, and the next one opens a new port.
  #
  # Sessions write to the port themselves, all but their request; what the agent says passes through
  # here, is decoded once, and goes to the session whose number it bears as `{ref, message}`, with
  # the messages of `Linx.Agent`.

  use GenServer

  alias Linx.Agent.{Binary, Hosts, Port, Wire, Witness}

  defstruct [
    :index,
    :witness,
    :port,
    :opening,
    :exit_status,
    next_id: 0,
    ended: [],
    sessions: %{},
    ids: %{}
  ]

  # How long a number rests before the agent is told that it has no session any more, in ms.
  @hang_up_after 100

  @doc "Starts the host with this number, and no agent."
  @spec start_link(index :: pos_integer) :: GenServer.on_start()
  def start_link(index), do: GenServer.start_link(__MODULE__, index)

  @typedoc """
  What the agent of a host has found: the environment that the BEAM had when the port was opened, and a
  path by which it finds the directory that the BEAM has at any time, if it may.
  """
  @type surroundings :: %{
          opening: reference,
          environment: [{charlist, charlist}],
          directory: binary | nil
        }

  @doc "The surroundings of the agent of the host with this number; `nil` when it has not had one."
  @spec surroundings(index :: pos_integer) :: surroundings | nil
  def surroundings(index), do: :persistent_term.get({__MODULE__, index}, nil)

  @doc """
  Begins the session of the caller, who will get messages with `ref`, and counts on the surroundings
  of that opening.

  `:reopened` when there are others now, `:gone` when there is no such host, or there was one that ended
  meanwhile.
  """
  @spec begin(pid, reference, frame :: binary, opening :: reference | nil) ::
          {:ok, port, Wire.id()} | {:error, Wire.errno()} | :reopened | :gone
  def begin(host, ref, frame, opening) do
    GenServer.call(host, {:begin, ref, frame, opening}, :infinity)
  catch
    :exit, _reason -> :gone
  end

  @doc "Returns when nothing is left of a session, or at the timeout."
  @spec await_end(pid, session :: pid, timeout) :: :ok | :gone
  def await_end(host, session, timeout) do
    GenServer.call(host, {:await_end, session}, timeout)
  catch
    :exit, {:timeout, _call} -> :ok
    :exit, _reason -> :gone
  end

  @impl true
  def init(index) do
    # That the port has closed is a message.
    Process.flag(:trap_exit, true)
    witness = Witness.start()
    Hosts.enrol(index, witness)
    {:ok, %__MODULE__{index: index, witness: witness}}
  end

  @impl true
  def handle_call({:begin, ref, frame, opening}, {pid, _tag}, state) do
    # Who has seen no agent, or one that has ended, sees a new one if this is what opens it.
    first = state.port == nil and opening == state.opening

    with {:ok, state} <- opened(state) do
      if first or opening == state.opening do
        {id, state} = add(pid, ref, state)
        Port.write(state.port, Wire.address(id, frame))
        {:reply, {:ok, state.port, id}, state}
      else
        {:reply, :reopened, state}
      end
    else
      error -> {:reply, error, state}
    end
  end

  def handle_call({:await_end, session}, from, state) do
    case state.ids do
      %{^session => id} -> {:noreply, update_in(state.sessions[id].awaited_by, &[from | &1])}
      _none -> {:reply, :ok, state}
    end
  end

  @impl true
  # A session that has gone without an end of its workload. Its number is free when the agent says so.
  def handle_info({:DOWN, _ref, :process, pid, _reason}, state) do
    with %{^pid => id} <- state.ids, do: hang_up(state, id)
    {:noreply, state}
  end

  def handle_info(:hang_up, state) do
    for id <- state.ended, not is_map_key(state.sessions, id), do: hang_up(state, id)
    {:noreply, %{state | ended: []}}
  end

  def handle_info(message, state) do
    case Port.message(state.port, message) do
      {:frame, frame} -> handle_frame(frame, state)
      {:exit_status, status} -> {:noreply, %{state | exit_status: status}}
      :closed -> closed(state)
      :unrelated -> {:noreply, state}
    end
  end

  defp handle_frame(frame, state) do
    case Wire.decode_addressed(frame) do
      {:ok, id, event} ->
        {:noreply, handle_event(event, id, state)}

      {:error, id} ->
        tell(state, id, :garbage)
        {:noreply, state}

      :error ->
        # Whose it was cannot be told, and neither what comes next. This process takes its agent along;
        # the witness knows when that has been done.
        for id <- Map.keys(state.sessions), do: tell(state, id, :garbage)
        {:stop, {:shutdown, :garbage}, state}
    end
  end

  defp handle_event({:ended, _outcome} = event, id, state) do
    # First, so that who hears of the end finds the host with the place that has become free.
    forgotten = forget(state, id)
    tell(state, id, {:event, event})
    tell(state, id, :closed)
    hang_up_later(forgotten, id)
  end

  defp handle_event(:hangup, id, state) do
    forgotten = forget(state, id)
    tell(state, id, :closed)
    forgotten
  end

  defp handle_event(event, id, state) do
    tell(state, id, {:event, event})
    state
  end

  defp opened(%{port: nil} = state) do
    surroundings = %{
      opening: make_ref(),
      environment: :os.env(),
      directory: directory(System.pid())
    }

    # A host that stays must not keep a directory busy.
    with {:ok, port} <- Port.open(Path.absname(Binary.path()), args: ["--host"], cd: "/") do
      Witness.watch(state.witness, Port.os_pid(port))
      :persistent_term.put({__MODULE__, state.index}, surroundings)
      {:ok, %{state | port: port, opening: surroundings.opening, exit_status: nil}}
    end
  end

  defp opened(state), do: {:ok, state}

  # Where the BEAM is, as its processes see it: without asking it each time, and whatever that is called. A
  # BEAM with capabilities of its own cannot be looked at like that, and its entry belongs to root.
  defp directory(os_pid) do
    with {:ok, %{uid: owner}} <- File.stat("/proc/#{os_pid}"),
         {:ok, status} <- File.read("/proc/#{os_pid}/status"),
         [_line, effective] <- Regex.run(~r/^Uid:\t\d+\t(\d+)/m, status),
         true <- effective == Integer.to_string(owner) do
      "/proc/#{os_pid}/cwd"
    else
      _hidden -> nil
    end
  end

  # A write to an agent that had just ended has closed the port, and its guardian may still be at
  # work: the witness knows.
  defp closed(%{exit_status: nil} = state), do: {:stop, {:shutdown, :closed}, state}

  # Nothing is left of the sessions, neither of those that live nor of others.
  defp closed(state) do
    for id <- Map.keys(state.sessions) do
      tell(state, id, {:exit_status, state.exit_status})
      tell(state, id, :closed)
    end

    {:noreply, Enum.reduce(Map.keys(state.sessions), %{state | port: nil}, &forget(&2, &1))}
  end

  defp add(pid, ref, state) do
    id = free_id(state.next_id, state.sessions)
    session = %{pid: pid, ref: ref, monitor: Process.monitor(pid), awaited_by: []}
    sessions = Map.put(state.sessions, id, session)
    Hosts.loaded(state.index, map_size(sessions))
    ids = Map.put(state.ids, pid, id)
    {id, %{state | next_id: id + 1, sessions: sessions, ids: ids}}
  end

  defp free_id(id, sessions) do
    cond do
      id > Wire.max_id() -> free_id(0, sessions)
      is_map_key(sessions, id) -> free_id(id + 1, sessions)
      true -> id
    end
  end

  defp forget(state, id) do
    case Map.pop(state.sessions, id) do
      {nil, _sessions} ->
        state

      {session, sessions} ->
        Process.demonitor(session.monitor, [:flush])
        Enum.each(session.awaited_by, &GenServer.reply(&1, :ok))
        Hosts.loaded(state.index, map_size(sessions))
        %{state | sessions: sessions, ids: Map.delete(state.ids, session.pid)}
    end
  end

  # If it was the workload that told the end, in the agent's name, this ends it. There is no hurry.
  defp hang_up_later(state, id) do
    if state.ended == [], do: Process.send_after(self(), :hang_up, @hang_up_after)
    %{state | ended: [id | state.ended]}
  end

  # To a session that has ended it means nothing.
  defp hang_up(state, id), do: Port.write(state.port, Wire.address(id, Wire.command(:hangup)))

  defp tell(state, id, message) do
    with %{^id => session} <- state.sessions, do: send(session.pid, {session.ref, message})
  end
end
