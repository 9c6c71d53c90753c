defmodule Linx.Process.Calls do
  @moduledoc false

  # Commands that the agent answers: those under way to it, and those that wait for their turn, since
  # of what waits for the checkpoint an agent takes only so much.

  alias Linx.Agent.Wire

  # So many the agent is left to answer. Of those that wait for the checkpoint it takes 64.
  @most 60

  defstruct next_ref: 0, under_way: %{}, waiting: :queue.new()

  @typedoc "Whom the answer is for: a caller, or the input of the workload."
  @type asker :: GenServer.from() | :input

  @opaque t :: %__MODULE__{
            next_ref: non_neg_integer,
            under_way: %{non_neg_integer => asker},
            waiting: :queue.queue({Wire.command(), asker})
          }

  @doc "None."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Puts a command behind the others."
  @spec add(t, Wire.command(), asker) :: t
  def add(calls, command, asker) do
    %{calls | waiting: :queue.in({command, asker}, calls.waiting)}
  end

  @doc "The frame to send now, if there is one."
  @spec next(t) :: {:send, frame :: binary, t} | :wait
  def next(calls) when map_size(calls.under_way) >= @most, do: :wait

  def next(calls) do
    case :queue.out(calls.waiting) do
      {{:value, {command, asker}}, waiting} ->
        {frame, calls} = begin(%{calls | waiting: waiting}, command, asker)
        {:send, frame, calls}

      {:empty, _none} ->
        :wait
    end
  end

  @doc "The frame of a command that waits for no other."
  @spec begin(t, Wire.command(), asker) :: {frame :: binary, t}
  def begin(%{next_ref: ref} = calls, command, asker) do
    calls = %{calls | next_ref: ref + 1, under_way: Map.put(calls.under_way, ref, asker)}
    {Wire.call(ref, command), calls}
  end

  @doc "The answer is there: whom it is for. `nil` when nothing of the kind was asked."
  @spec done(t, ref :: non_neg_integer) :: {asker | nil, t}
  def done(calls, ref) do
    {asker, under_way} = Map.pop(calls.under_way, ref)
    {asker, %{calls | under_way: under_way}}
  end

  @doc "No more answers will come: the callers who wait for one."
  @spec callers(t) :: [GenServer.from()]
  def callers(calls) do
    waiting = for {_command, asker} <- :queue.to_list(calls.waiting), do: asker
    Enum.reject(Map.values(calls.under_way) ++ waiting, &(&1 == :input))
  end
end
