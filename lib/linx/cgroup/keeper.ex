defmodule Linx.Cgroup.Keeper do
  @moduledoc false

  # Keeps the cgroup of one session: makes it, and removes it, with what is in it, when the session says so,
  # has been killed, or the application stops. It does not give up until the cgroup has gone.

  use GenServer, restart: :temporary

  alias Linx.Cgroup.{Control, Own, Stats}

  @supervisor Linx.Cgroup.Keepers

  # Milliseconds: how long a session waits for a removal, which takes longer when a process hangs in the
  # kernel; and the pause before the next attempt.
  @patience 1_000
  @pause 1_000

  defstruct [:session, :path]

  @doc "What keepers are supervised by. Without the application they are there all the same."
  @spec supervisor() :: Supervisor.child_spec()
  def supervisor, do: {DynamicSupervisor, name: @supervisor, strategy: :one_for_one}

  @doc "A keeper for the caller, and the directory of the cgroup; or the error number that stands against it."
  @spec start(Own.plan()) :: {:ok, pid, path :: String.t()} | {:error, code :: pos_integer}
  def start(plan) do
    {:ok, keeper} = start_keeper(self())
    with {:ok, %{path: path}} <- GenServer.call(keeper, {:create, plan}), do: {:ok, keeper, path}
  end

  defp start_keeper(session) do
    DynamicSupervisor.start_child(@supervisor, {__MODULE__, session})
  catch
    :exit, {:noproc, _call} -> GenServer.start(__MODULE__, session)
  end

  @doc "Removes the cgroup; what has been used in it is the answer. Without a keeper it is `nil`."
  @spec remove(pid | nil) :: Stats.t() | nil
  def remove(nil), do: nil

  def remove(keeper) do
    GenServer.call(keeper, :remove, :infinity)
  catch
    # Somebody has killed it.
    :exit, _reason -> nil
  end

  @spec start_link(session :: pid) :: GenServer.on_start()
  def start_link(session), do: GenServer.start_link(__MODULE__, session)

  @impl true
  def init(session) do
    # So that it has time to remove the cgroup when the application stops.
    Process.flag(:trap_exit, true)
    Process.monitor(session)
    {:ok, %__MODULE__{session: session}}
  end

  @impl true
  def handle_call({:create, plan}, _from, state) do
    case Own.create(plan) do
      {:ok, cgroup} -> {:reply, {:ok, cgroup}, %{state | path: cgroup.path}}
      error -> {:stop, :normal, error, state}
    end
  end

  def handle_call(:remove, from, state) do
    stats = Stats.read(state.path)
    answer = attempt(state)
    GenServer.reply(from, stats)
    answer
  end

  @impl true
  def handle_info({:DOWN, _ref, :process, _session, _reason}, state), do: attempt(state)
  def handle_info(:timeout, state), do: attempt(state)
  def handle_info({:EXIT, _supervisor, reason}, state), do: {:stop, reason, state}

  @impl true
  def terminate(_reason, %{path: nil}), do: :ok
  def terminate(_reason, %{path: path}), do: removed?(path)

  defp attempt(%{path: nil} = state), do: {:stop, :normal, state}

  defp attempt(state) do
    if removed?(state.path),
      do: {:stop, :normal, %{state | path: nil}},
      else: {:noreply, state, @pause}
  end

  # Mostly nothing is in it any more.
  defp removed?(path) do
    Control.remove(path) == :ok or Control.clear(path, @patience) == :ok or not File.dir?(path)
  end
end
