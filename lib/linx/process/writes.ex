defmodule Linx.Process.Writes do
  @moduledoc false

  # Bytes on their way to a workload: one write after the other, each in chunks, and never more than
  # one chunk under way, so that what is queued outside the session stays bounded. Behind the last of
  # them may be the end of the input.

  alias Linx.Process.Callers

  @chunk_size 32 * 1024

  defstruct queue: [], under_way: :none, closing: nil

  @typedoc "Who waits for a write; `nil` is nobody."
  @type writer :: Callers.id() | nil

  @opaque t :: %__MODULE__{
            queue: [{writer, rest :: binary}],
            under_way: :none | writer,
            closing: nil | :asked | :sent
          }

  @doc "Nothing to write."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc """
  Puts a write at the end of the queue. Small ones that nobody waits for go together: each by itself
  would take a round trip to the agent.
  """
  @spec add(t, writer, binary) :: t
  def add(%{queue: [_ | _] = queue} = writes, nil, bytes) do
    case List.last(queue) do
      {nil, rest} when byte_size(rest) < @chunk_size ->
        %{writes | queue: List.replace_at(queue, -1, {nil, rest <> bytes})}

      _other ->
        %{writes | queue: queue ++ [{nil, bytes}]}
    end
  end

  def add(writes, writer, bytes), do: %{writes | queue: writes.queue ++ [{writer, bytes}]}

  @doc "Nothing is written behind what is in the queue."
  @spec close(t) :: t
  def close(%{closing: nil} = writes), do: %{writes | closing: :asked}
  def close(writes), do: writes

  @doc "Whether there is an end to the input."
  @spec closed?(t) :: boolean
  def closed?(writes), do: writes.closing != nil

  @doc "Those who wait for writes that are not done."
  @spec ids(t) :: [Callers.id()]
  def ids(writes), do: for({id, _rest} when id != nil <- writes.queue, do: id)

  @doc "Forgets a write. A chunk of it that is under way stays under way."
  @spec drop(t, Callers.id()) :: t
  def drop(writes, id), do: %{writes | queue: List.keydelete(writes.queue, id, 0)}

  @doc "What is to be sent now: a chunk, or that no more follows."
  @spec next(t) :: {:send, chunk :: binary, t} | {:close, t} | :wait
  def next(%{under_way: :none, queue: [{writer, bytes} | others]} = writes) do
    {chunk, rest} = split(bytes)
    {:send, chunk, %{writes | under_way: writer, queue: [{writer, rest} | others]}}
  end

  def next(%{under_way: :none, queue: [], closing: :asked} = writes) do
    {:close, %{writes | closing: :sent}}
  end

  def next(_writes), do: :wait

  @doc "The chunk under way has been taken. If it was the last of its write, that one is done."
  @spec taken(t) :: {:done, writer, t} | {:more, t}
  def taken(%{under_way: writer, queue: [{writer, ""} | others]} = writes) do
    {:done, writer, %{writes | under_way: :none, queue: others}}
  end

  def taken(writes), do: {:more, %{writes | under_way: :none}}

  @doc "The chunk under way has been refused, and with it the write it belongs to."
  @spec refused(t) :: {writer, t}
  def refused(%{under_way: writer} = writes) do
    {writer, drop(%{writes | under_way: :none}, writer)}
  end

  defp split(<<chunk::binary-size(@chunk_size), rest::binary>>), do: {chunk, rest}
  defp split(chunk), do: {chunk, ""}
end
