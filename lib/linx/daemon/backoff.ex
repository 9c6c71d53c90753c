defmodule Linx.Daemon.Backoff do
  @moduledoc false

  # How long to wait before a program that has ended is started again: twice as long each time, and at
  # random within that, so that daemons which fail together do not start together.

  @enforce_keys [:min, :max, :base]
  defstruct [:min, :max, :base]

  @opaque t :: %__MODULE__{min: pos_integer, max: pos_integer, base: pos_integer}

  @doc "Delays of `min` to `max` ms."
  @spec new(min :: pos_integer, max :: pos_integer) :: t
  def new(min, max), do: %__MODULE__{min: min, max: max, base: min}

  @doc "The next delay, in ms: the base, and up to as much again."
  @spec next(t) :: {delay :: pos_integer, t}
  def next(%{base: base, max: max} = backoff) do
    longest = min(2 * base, max)
    # At the longest delays there is a range, too.
    following = max(base, min(longest, div(max, 2)))
    {base - 1 + :rand.uniform(longest - base + 1), %{backoff | base: following}}
  end

  @doc "Begins anew if a program has been ready for so many ms: as long as the longest delay."
  @spec after_run(t, ready_for :: non_neg_integer) :: t
  def after_run(backoff, ready_for) when ready_for >= backoff.max,
    do: %{backoff | base: backoff.min}

  def after_run(backoff, _ready_for), do: backoff
end
