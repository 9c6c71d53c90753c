defmodule Linx.Process.Remains do
  @moduledoc false

  # What sessions leave when they are killed.
  #
  # A session that is killed has no time to wait for the end of its workload: its port closes, and
  # the agent sees to it. A supervisor starts the successor at once, and that one has to wait instead,
  # so that the two workloads never run beside each other. Both have the same slot, a term that the
  # child specification carries, and here is known which agent belongs to which.

  use GenServer

  @name __MODULE__

  # An agent is looked after this often, in ms,
  @interval 1
  # and at most this long: a process that hangs in the kernel holds up nobody for ever.
  @patience 40_000

  @type slot :: reference

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, nil, name: @name)

  @doc "The caller, the session in this slot, has an agent with this pid of the host's."
  @spec register(slot | nil, os_pid :: pos_integer) :: :ok
  def register(nil, _os_pid), do: :ok
  def register(slot, os_pid), do: GenServer.cast(@name, {:register, slot, self(), os_pid})

  @doc """
  Returns when nothing is left of the slot's earlier sessions. Without the application nobody knows of
  them, and nobody waits.
  """
  @spec await_none(slot | nil) :: :ok
  def await_none(nil), do: :ok

  def await_none(slot) do
    GenServer.call(@name, {:await_none, slot}, :infinity)
  catch
    :exit, _reason -> :ok
  end

  @impl true
  def init(nil), do: {:ok, %{sessions: %{}, slots: %{}, waiting: %{}}}

  @impl true
  def handle_cast({:register, slot, session, os_pid}, state) do
    ref = Process.monitor(session)
    entry = %{slot: slot, session: session, os_pid: os_pid, deadline: nil}
    slots = Map.update(state.slots, slot, [ref], &[ref | &1])
    {:noreply, %{state | sessions: Map.put(state.sessions, ref, entry), slots: slots}}
  end

  @impl true
  def handle_call({:await_none, slot}, from, state) do
    # The news that a session has died may still be on its way here; that it has is known.
    if Enum.any?(sessions(state, slot), &(not Process.alive?(&1.session) and agent?(&1))) do
      {:noreply, %{state | waiting: Map.update(state.waiting, slot, [from], &[from | &1])}}
    else
      {:reply, :ok, state}
    end
  end

  @impl true
  def handle_info({:DOWN, ref, :process, _session, _reason}, state) do
    {:noreply, look_after(ref, put_in(state.sessions[ref].deadline, now() + @patience))}
  end

  def handle_info({:look_after, ref}, state), do: {:noreply, look_after(ref, state)}

  defp look_after(ref, state) do
    entry = state.sessions[ref]

    if agent?(entry) and now() < entry.deadline do
      Process.send_after(self(), {:look_after, ref}, @interval)
      state
    else
      forget(ref, entry.slot, state)
    end
  end

  defp forget(ref, slot, state) do
    state = %{state | sessions: Map.delete(state.sessions, ref)}

    case List.delete(state.slots[slot], ref) do
      [] -> answer(slot, %{state | slots: Map.delete(state.slots, slot)})
      others -> %{state | slots: Map.put(state.slots, slot, others)}
    end
  end

  # A session that waits has no agent yet, so nothing of the slot is left when the last one has gone.
  defp answer(slot, state) do
    {waiting, others} = Map.pop(state.waiting, slot, [])
    Enum.each(waiting, &GenServer.reply(&1, :ok))
    %{state | waiting: others}
  end

  defp sessions(state, slot),
    do: for(ref <- Map.get(state.slots, slot, []), do: state.sessions[ref])

  # Whoever started it reaps it as soon as it ends.
  defp agent?(entry), do: File.exists?("/proc/#{entry.os_pid}")

  defp now, do: System.monotonic_time(:millisecond)
end
