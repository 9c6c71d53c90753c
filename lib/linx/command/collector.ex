defmodule Linx.Command.Collector do
  @moduledoc false

  # Keeps the output of one stream: all of it, or of so many bytes the first or the last.

  @enforce_keys [:max, :policy]
  defstruct [:max, :policy, size: 0, kept: [], older: ""]

  @type policy :: :kill | :truncate | :tail
  @type limit :: :infinity | {max :: non_neg_integer, policy}

  @opaque t :: %__MODULE__{
            max: non_neg_integer | :infinity,
            policy: policy,
            size: non_neg_integer,
            kept: iodata,
            older: binary
          }

  @doc "Nothing yet."
  @spec new(limit) :: t
  def new(:infinity), do: %__MODULE__{max: :infinity, policy: :truncate}
  def new({max, :tail}), do: %__MODULE__{max: max, policy: :tail, kept: ""}
  def new({max, policy}), do: %__MODULE__{max: max, policy: policy}

  @doc "Adds a chunk. `:kill` says that this was more than there may be."
  @spec add(t, binary) :: {:cont | :kill, t}
  def add(%{policy: :tail} = collector, chunk) do
    {:cont, tail(%{collector | size: collector.size + byte_size(chunk)}, chunk)}
  end

  def add(collector, chunk) do
    %{size: size, max: max} = collector
    now = size + byte_size(chunk)

    cond do
      # In the order of terms every number is less than :infinity.
      now <= max ->
        {:cont, %{collector | size: now, kept: [collector.kept | chunk]}}

      size < max ->
        # A copy, lest a few bytes hold a large chunk.
        first = chunk |> binary_part(0, max - size) |> :binary.copy()
        {verdict(collector), %{collector | size: now, kept: [collector.kept | first]}}

      true ->
        {verdict(collector), %{collector | size: now}}
    end
  end

  @doc "What has been kept, as one binary, and whether there was more."
  @spec result(t) :: {binary, truncated? :: boolean}
  def result(%{policy: :tail, max: max} = collector) do
    {last(collector.older <> collector.kept, max), collector.size > max}
  end

  def result(collector) do
    {IO.iodata_to_binary(collector.kept), collector.size > collector.max}
  end

  defp verdict(%{policy: :kill}), do: :kill
  defp verdict(%{policy: :truncate}), do: :cont

  # Two halves, of which the newer one grows in place until it is all that is needed; so every byte is
  # moved a fixed number of times, however small the chunks are.
  defp tail(%{max: max} = collector, chunk) do
    case collector.kept <> last(chunk, max) do
      kept when byte_size(kept) >= max -> %{collector | older: last(kept, max), kept: ""}
      kept -> %{collector | kept: kept}
    end
  end

  defp last(bytes, max) when byte_size(bytes) <= max, do: bytes
  defp last(bytes, max), do: :binary.copy(binary_part(bytes, byte_size(bytes), -max))
end
