defmodule Linx.User.IdMap do
  @moduledoc false

  # A map of ids as a list, and as the kernel reads and writes it.

  # UID_GID_MAP_MAX_EXTENTS of the kernel.
  @most_entries 340

  # The last of the 32-bit numbers is no id.
  @max_id 0xFFFF_FFFE

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type t :: [{inside :: non_neg_integer, outside :: non_neg_integer, count :: pos_integer}]

  @doc "A map that the kernel may take; the error is what is wrong in it."
  @spec check(term) :: {:ok, t} | {:error, {:bad_map, term}}
  def check(map) when is_proper_list(map) and map != [] and length(map) <= @most_entries do
    with [] <- Enum.reject(map, &entry?/1),
         [] <- overlaps(map, 0),
         [] <- overlaps(map, 1) do
      {:ok, map}
    else
      bad -> {:error, {:bad_map, bad}}
    end
  end

  def check(other), do: {:error, {:bad_map, other}}

  @doc "Whether it is what everybody may write: the one own id."
  @spec own?(t, non_neg_integer) :: boolean
  def own?([{_inside, own, 1}], own), do: true
  def own?(_map, _own), do: false

  @doc "What is written: all of it in one go, or it is refused."
  @spec format(t) :: String.t()
  def format(map) do
    Enum.map_join(map, fn {inside, outside, count} -> "#{inside} #{outside} #{count}\n" end)
  end

  @spec parse(String.t()) :: t
  def parse(content) do
    for line <- String.split(content, "\n", trim: true) do
      line |> String.split() |> Enum.map(&String.to_integer/1) |> List.to_tuple()
    end
  end

  defp entry?({inside, outside, count})
       when is_integer(inside) and is_integer(outside) and is_integer(count) do
    count > 0 and Enum.all?([inside, outside], &(&1 >= 0 and &1 + count - 1 <= @max_id))
  end

  defp entry?(_other), do: false

  # The first two entries that share an id on one side.
  defp overlaps(map, side) do
    sorted = Enum.sort_by(map, &elem(&1, side))

    sorted
    |> Enum.zip(Enum.drop(sorted, 1))
    |> Enum.find_value([], fn {one, next} ->
      if elem(one, side) + elem(one, 2) > elem(next, side), do: [one, next]
    end)
  end
end
