defmodule Linx.Process.Winsize do
  @moduledoc false

  # The size of a terminal.

  @type t :: {rows :: 0..65535, cols :: 0..65535, xpixel :: 0..65535, ypixel :: 0..65535}

  @doc "A size in any form that users may give it."
  @spec check(term) :: {:ok, t} | {:error, {:bad_winsize, term}}
  def check({rows, cols, xpixel, ypixel} = size)
      when rows in 0..65535 and cols in 0..65535 and xpixel in 0..65535 and ypixel in 0..65535 do
    {:ok, size}
  end

  def check(%{rows: rows, cols: cols, xpixel: xpixel, ypixel: ypixel} = size) do
    with {:error, _} <- check({rows, cols, xpixel, ypixel}), do: {:error, {:bad_winsize, size}}
  end

  def check(other), do: {:error, {:bad_winsize, other}}
end
