defmodule Linx.Test.Command do
  @moduledoc false

  # What tests of commands have in common: whether anything is left, and bytes whose order shows.

  import ExUnit.Assertions
  import Linx.Test.Helpers

  alias Linx.Process.Session

  @doc """
  Asserts that a command of the calling process has left nothing: no message, no session, and no
  process that bears this mark.
  """
  def assert_nothing_left(mark \\ nil) do
    if mark, do: assert(processes(mark) == [])
    assert Process.info(self(), :messages) == {:messages, []}
    # A session that has told its end is still closing its books.
    eventually(fn -> sessions() == [] end)
    assert Process.info(self(), :messages) == {:messages, []}
    assert Process.info(self(), :links) == {:links, []}
    assert Process.info(self(), :monitors) == {:monitors, []}
  end

  @doc "The sessions that a process has started and that are still there."
  def sessions(starter \\ self()) do
    for pid <- Process.list(),
        {:dictionary, dictionary} <- [Process.info(pid, :dictionary)],
        dictionary[:"$initial_call"] == {Session, :init, 1},
        List.first(dictionary[:"$ancestors"] || []) == starter,
        do: pid
  end

  @doc "A shell script that is `body`, in which MARK is a number by which it can be found."
  def shell(body) do
    mark = mark()
    {mark, ["sh", "-c", String.replace(body, "MARK", mark)]}
  end

  # A prime number, so that what repeats does not do so where chunks end.
  @period 1_000_003

  @doc """
  So many bytes in chunks of these sizes, one after the other and again, and not like each other.
  """
  def chunks(total, sizes) do
    pattern = pattern()
    sizes = List.to_tuple(sizes)

    Stream.unfold({0, 0}, fn
      {^total, _n} ->
        nil

      {from, n} ->
        size = min(elem(sizes, rem(n, tuple_size(sizes))), total - from)
        {binary_part(pattern, rem(from, @period), size), {from + size, n + 1}}
    end)
  end

  # Twice the same, so that there is a chunk of up to one period at each of its bytes.
  defp pattern do
    :rand.seed(:exsss, {1, 2, 3})
    once = :rand.bytes(@period)
    once <> once
  end

  @doc "The MD5 sum of chunks, as md5sum(1) prints it, and how many bytes they are."
  def md5(chunks) do
    {context, size} =
      Enum.reduce(chunks, {:erlang.md5_init(), 0}, fn chunk, {context, size} ->
        {:erlang.md5_update(context, chunk), size + byte_size(chunk)}
      end)

    {context |> :erlang.md5_final() |> Base.encode16(case: :lower), size}
  end
end

defmodule Linx.Test.Fussy do
  @moduledoc false

  # A collectable that tells a process how it is treated, and raises at the second thing it is given.

  defstruct [:pid]

  defimpl Collectable do
    def into(fussy) do
      {0,
       fn
         1, {:cont, thing} -> raise "no more: #{thing}"
         0, {:cont, _thing} -> 1
         n, what -> send(fussy.pid, {what, n})
       end}
    end
  end
end
