defmodule Bench.Peers.Discard do
  @moduledoc false

  # Counts the bytes that are collected into it, and keeps none of them.

  defstruct bytes: 0

  defimpl Collectable do
    def into(discard) do
      {discard,
       fn
         discard, {:cont, data} -> %{discard | bytes: discard.bytes + IO.iodata_length(data)}
         discard, :done -> discard
         _discard, :halt -> :ok
       end}
    end
  end
end
