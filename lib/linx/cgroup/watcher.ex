defmodule Linx.Cgroup.Watcher do
  @moduledoc false

  # Tells a process of the processes that the kernel has killed in a cgroup for want of memory.
  #
  # The kernel would wake whoever polls memory.events, or has an inotify watch on it; the BEAM can do
  # neither, so the file is read again and again. That takes some 20 µs.

  use GenServer

  alias Linx.Cgroup
  alias Linx.Cgroup.{Error, Files, Stats}

  @spec start(Cgroup.t(), pid, pos_integer) :: {:ok, pid} | {:error, Error.t()}
  def start(cgroup, subscriber, interval) do
    file = Path.join(cgroup.path, "memory.events")

    with {:ok, content} <- Files.read(file) do
      state = %{
        cgroup: cgroup,
        subscriber: subscriber,
        interval: interval,
        file: file,
        count: kills(content)
      }

      # Not linked: it is there for the subscriber, and goes with it.
      GenServer.start(__MODULE__, state)
    end
  end

  @spec stop(pid) :: :ok
  def stop(watcher) do
    GenServer.stop(watcher)
  catch
    :exit, _gone -> :ok
  end

  @impl true
  def init(state) do
    Process.monitor(state.subscriber)
    {:ok, later(state)}
  end

  @impl true
  def handle_info(:look, state) do
    case Files.peek(state.file) do
      nil ->
        send(state.subscriber, {:linx_cgroup, :deleted, state.cgroup})
        {:stop, :normal, state}

      content ->
        {:noreply, content |> kills() |> tell(state) |> later()}
    end
  end

  def handle_info({:DOWN, _ref, :process, _subscriber, _reason}, state),
    do: {:stop, :normal, state}

  defp tell(count, state) do
    if count > state.count do
      send(state.subscriber, {:linx_cgroup, :oom_kill, state.cgroup, count})
    end

    %{state | count: count}
  end

  defp later(state) do
    Process.send_after(self(), :look, state.interval)
    state
  end

  defp kills(content), do: content |> Stats.memory_events() |> Map.get(:oom_kill, 0)
end
