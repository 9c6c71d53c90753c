defmodule Linx.Process.CString do
  @moduledoc false

  # A string as the kernel takes it: any bytes but NUL, which would end it early.

  @doc "Whether a term can be given to the kernel as a string."
  @spec valid?(term) :: boolean
  def valid?(term), do: is_binary(term) and :binary.match(term, <<0>>) == :nomatch
end
