defmodule Linx.Process.Writes do
  @moduledoc false

  # Bytes on their way to a terminal: one write after the other, each in chunks, and never more than
  # one chunk under way, so that what is queued outside the session stays bounded.

  alias Linx.Process.Callers

  @chunk_size 32 * 1024

  defstruct queue: [], under_way: nil

  @opaque t :: %__MODULE__{
            queue: [{Callers.id(), rest :: binary}],
            under_way: Callers.id() | nil
          }

  @doc "Nothing to write."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Puts a write at the end of the queue."
  @spec add(t, Callers.id(), binary) :: t
  def add(writes, id, bytes), do: %{writes | queue: writes.queue ++ [{id, bytes}]}

  @doc "The writes that are not done."
  @spec ids(t) :: [Callers.id()]
  def ids(writes), do: for({id, _rest} <- writes.queue, do: id)

  @doc "Forgets a write. A chunk of it that is under way stays under way."
  @spec drop(t, Callers.id()) :: t
  def drop(writes, id), do: %{writes | queue: List.keydelete(writes.queue, id, 0)}

  @doc "The chunk to send now, if there is one."
  @spec next(t) :: {:send, chunk :: binary, t} | :wait
  def next(%{under_way: nil, queue: [{id, bytes} | others]} = writes) do
    {chunk, rest} = split(bytes)
    {:send, chunk, %{writes | under_way: id, queue: [{id, rest} | others]}}
  end

  def next(_writes), do: :wait

  @doc "The chunk under way has been taken. If it was the last of its write, that one is done."
  @spec taken(t) :: {:done, Callers.id(), t} | {:more, t}
  def taken(%{under_way: id, queue: [{id, ""} | others]}) do
    {:done, id, %__MODULE__{queue: others}}
  end

  def taken(writes), do: {:more, %{writes | under_way: nil}}

  @doc "The chunk under way has been refused, and with it the write it belongs to."
  @spec refused(t) :: {Callers.id(), t}
  def refused(%{under_way: id} = writes), do: {id, drop(%{writes | under_way: nil}, id)}

  defp split(<<chunk::binary-size(@chunk_size), rest::binary>>), do: {chunk, rest}
  defp split(chunk), do: {chunk, ""}
end
