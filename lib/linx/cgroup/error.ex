defmodule Linx.Cgroup.Error do
  @moduledoc """
  What the kernel refused of a cgroup.

    * `:operation` – `:create`, `:delete`, `:enable` (controllers, in a parent), `:read`, `:write`, `:add`,
      `:freeze` or `:kill`;
    * `:path` – the file or directory that it was about;
    * `:errno` – the kernel's error by name, such as `:ebusy`, see `Linx.Errno`;
    * `:code` – its number.

        iex> error = %Linx.Cgroup.Error{operation: :delete, path: "/sys/fs/cgroup/a", errno: :ebusy, code: 16}
        iex> Exception.message(error)
        "delete /sys/fs/cgroup/a: device or resource busy (EBUSY): there are processes in it, or cgroups below it"
  """

  alias Linx.Errno

  @enforce_keys [:operation, :path, :errno, :code]
  defexception @enforce_keys

  @type t :: %__MODULE__{
          operation: atom,
          path: String.t(),
          errno: Errno.t(),
          code: non_neg_integer
        }

  @doc false
  @spec new(atom, Path.t(), Errno.t()) :: t
  def new(operation, path, errno) do
    code =
      case Errno.number(errno) do
        {:ok, code} -> code
        :error -> 0
      end

    %__MODULE__{operation: operation, path: path, errno: errno, code: code}
  end

  @impl true
  def message(%{operation: operation, path: path, errno: errno}) do
    name = errno |> Atom.to_string() |> String.upcase()
    "#{operation} #{path}: #{Errno.message(errno)} (#{name})#{hint(operation, errno)}"
  end

  defp hint(:create, errno) when errno in [:eacces, :eperm, :erofs],
    do: ": that place is not delegated to the user of the BEAM"

  defp hint(:create, :eexist), do: ": a cgroup is never used again"
  defp hint(:delete, :ebusy), do: ": there are processes in it, or cgroups below it"

  defp hint(:enable, :ebusy),
    do: ": it has processes of its own, and then the cgroups below it can have no limits"

  defp hint(:kill, :enoent),
    do: ": there is no such cgroup, or the kernel is older than Linux 5.14"

  defp hint(_operation, _errno), do: ""
end
