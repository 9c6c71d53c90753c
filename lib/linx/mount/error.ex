defmodule Linx.Mount.Error do
  @moduledoc """
  Why the mounts of a process could not be read.

    * `:operation` – `:list`;
    * `:errno` – the kernel's error by name, such as `:eacces`, see `Linx.Errno`;
    * `:code` – its number;
    * `:path` – the file.
  """

  alias Linx.Errno

  @enforce_keys [:operation, :errno, :code, :path]
  defexception @enforce_keys

  @type t :: %__MODULE__{operation: :list, errno: Errno.t(), code: integer, path: String.t()}

  @doc false
  @spec new(atom, Errno.t(), String.t()) :: t
  def new(operation, errno, path) do
    code = with {:ok, code} <- Errno.number(errno), do: code
    code = if is_integer(code), do: code, else: 0
    %__MODULE__{operation: operation, errno: errno, code: code, path: path}
  end

  @impl true
  def message(%{operation: operation, errno: errno, path: path}) do
    name = errno |> Atom.to_string() |> String.upcase()
    "#{operation} #{path}: #{Errno.message(errno)} (#{name})"
  end
end
