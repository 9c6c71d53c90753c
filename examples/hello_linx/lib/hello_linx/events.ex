defmodule HelloLinx.Events do
  @moduledoc """
  Receives the events of the workload and keeps them in order.

  It owns the workload by name: whichever of the two is restarted, the next event gets here.
  """

  use GenServer

  @doc "Starts the process, under the name of this module."
  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc """
  The first `count` events, the oldest first, as soon as there are so many.

      [{:linx_process, :ready, os_pid}, {:linx_process, :running}] = HelloLinx.Events.await(2)
  """
  @spec await(non_neg_integer, timeout) :: [tuple]
  def await(count, timeout \\ 5_000), do: GenServer.call(__MODULE__, {:await, count}, timeout)

  @impl true
  def init([]), do: {:ok, %{events: [], waiting: []}}

  @impl true
  def handle_call({:await, count}, caller, state) do
    {:noreply, answer(%{state | waiting: [{caller, count} | state.waiting]})}
  end

  @impl true
  def handle_info(event, state) when elem(event, 0) == :linx_process do
    {:noreply, answer(%{state | events: state.events ++ [event]})}
  end

  defp answer(%{events: events, waiting: waiting} = state) do
    {served, waiting} = Enum.split_with(waiting, fn {_, count} -> count <= length(events) end)
    for {caller, count} <- served, do: GenServer.reply(caller, Enum.take(events, count))
    %{state | waiting: waiting}
  end
end
