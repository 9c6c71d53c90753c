defmodule Linx.Process.Remains do
  @moduledoc false

  # What sessions leave when they are killed.
  #
  # A session that is killed has no time to wait for the end of its workload; its agent sees to it. A
  # supervisor starts the successor at once, and that one has to wait instead, so that the two
  # workloads never run beside each other. Both have the same slot, a term that the child
  # specification carries, and here is known which agent belongs to which.
  #
  # A session whose starter is killed, which is linked to it, is on its way out, but takes its time. So
  # it counts as left behind from then on: the next one in its slot is that of another starter.

  use GenServer

  alias Linx.Agent

  @name __MODULE__

  # A process that hangs in the kernel holds up nobody for ever, in ms.
  @patience 40_000

  @type slot :: reference

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, nil, name: @name)

  @doc """
  The caller, the session in this slot, is about to have this agent run something. It must not when its
  starter has died: then its successor may already have looked for it here.
  """
  @spec register(slot | nil, Agent.t()) :: :ok | {:error, :orphan}
  def register(nil, _agent), do: :ok

  def register(slot, agent) do
    starter = starter()
    GenServer.cast(@name, {:register, slot, self(), starter, agent})
    if alive?(starter), do: :ok, else: {:error, :orphan}
  end

  defp starter do
    case Process.get(:"$ancestors") do
      [starter | _further] -> GenServer.whereis(starter)
      _none -> nil
    end
  end

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

  # `slots` holds the sessions of each slot, under the reference of the monitor that tells of its end:
  # at first the session's own, then that of a process which waits for the end of what it has left.
  @impl true
  def init(nil), do: {:ok, %{slots: %{}, slot_of: %{}, waiting: %{}}}

  @impl true
  def handle_cast({:register, slot, session, starter, agent}, state) do
    entry = %{session: session, starter: starter, agent: agent}
    {:noreply, put(state, Process.monitor(session), slot, entry)}
  end

  @impl true
  def handle_call({:await_none, slot}, from, state) do
    if remains?(slot, state) do
      {:noreply, %{state | waiting: Map.update(state.waiting, slot, [from], &[from | &1])}}
    else
      {:reply, :ok, state}
    end
  end

  @impl true
  def handle_info({:DOWN, ref, :process, pid, _reason}, state) do
    case pop(state, ref) do
      {slot, %{session: ^pid, agent: agent} = entry, state} ->
        {_pid, ref} = spawn_monitor(fn -> Agent.await_end(agent, pid, @patience) end)
        {:noreply, put(state, ref, slot, entry)}

      {slot, _entry, state} ->
        {:noreply, answer(slot, state)}
    end
  end

  defp put(state, ref, slot, entry) do
    slots = Map.update(state.slots, slot, %{ref => entry}, &Map.put(&1, ref, entry))
    %{state | slots: slots, slot_of: Map.put(state.slot_of, ref, slot)}
  end

  defp pop(state, ref) do
    {slot, slot_of} = Map.pop!(state.slot_of, ref)
    {entry, others} = Map.pop!(state.slots[slot], ref)

    slots =
      if others == %{},
        do: Map.delete(state.slots, slot),
        else: Map.put(state.slots, slot, others)

    {slot, entry, %{state | slots: slots, slot_of: slot_of}}
  end

  defp answer(slot, state) do
    if remains?(slot, state) do
      state
    else
      {waiting, others} = Map.pop(state.waiting, slot, [])
      Enum.each(waiting, &GenServer.reply(&1, :ok))
      %{state | waiting: others}
    end
  end

  # The news that a session has died may still be on its way here; that it has is known.
  defp remains?(slot, state) do
    state.slots
    |> Map.get(slot, %{})
    |> Map.values()
    |> Enum.any?(&(not (alive?(&1.session) and alive?(&1.starter))))
  end

  defp alive?(pid), do: pid != nil and Process.alive?(pid)
end
