defmodule Linx.Process.Callers do
  @moduledoc false

  # Callers of a GenServer whose answer comes later.
  #
  # Each has a time limit, kept here and not in the caller, so that no answer can reach a caller who
  # has stopped waiting for it; and each is watched, so that a dead one leaves no trace.

  @opaque t :: %{id => {GenServer.from(), timer :: reference | nil}}
  @type id :: reference

  @doc "Nobody."
  @spec new() :: t
  def new, do: %{}

  @doc "Takes in a caller, who will be answered `{:error, :timeout}` after `timeout` ms."
  @spec add(t, GenServer.from(), timeout) :: {id, t}
  def add(callers, {pid, _tag} = from, timeout) do
    id = Process.monitor(pid)
    {id, Map.put(callers, id, {from, start_timer(id, timeout)})}
  end

  @doc "Answers one caller, unless that one has gone."
  @spec answer(t, id, term) :: t
  def answer(callers, id, answer) do
    case Map.pop(callers, id) do
      {nil, callers} ->
        callers

      {{from, timer}, callers} ->
        Process.demonitor(id, [:flush])
        if timer, do: Process.cancel_timer(timer)
        GenServer.reply(from, answer)
        callers
    end
  end

  @doc "Answers all of them alike."
  @spec answer_all(t, term) :: t
  def answer_all(callers, answer) do
    Enum.reduce(Map.keys(callers), callers, &answer(&2, &1, answer))
  end

  @doc "If the message says that a caller has died or run out of time, dismisses that one."
  @spec dismiss(t, message :: term) :: {id, t} | :unrelated
  def dismiss(callers, {:DOWN, id, :process, _pid, _reason}) when is_map_key(callers, id) do
    # The answer to a dead caller is lost on the way.
    {id, answer(callers, id, {:error, :no_process})}
  end

  def dismiss(callers, {__MODULE__, :timeout, id}) when is_map_key(callers, id) do
    {id, answer(callers, id, {:error, :timeout})}
  end

  def dismiss(_callers, _message), do: :unrelated

  defp start_timer(_id, :infinity), do: nil
  defp start_timer(id, ms), do: Process.send_after(self(), {__MODULE__, :timeout, id}, ms)
end
