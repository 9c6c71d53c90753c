defmodule Linx.User.Error do
  @moduledoc """
  Why a map of a user namespace could not be read or written.

    * `:operation` – `:uid_map`, `:gid_map`, `:setgroups`, or `:newuidmap`, `:newgidmap` when it was these
      programs that refused;
    * `:errno` – the kernel's error by name, such as `:eperm`, see `Linx.Errno`;
    * `:code` – its number;
    * `:path` – the file or the program;
    * `:hint` – what the program has said, or that it is missing, else `nil`;
    * `:message` – all that in words.

  `:eperm` is the answer to everything that the kernel does not let somebody map, and to a second map.
  """

  alias Linx.Errno

  @enforce_keys [:operation, :errno, :code, :path, :hint, :message]
  defexception @enforce_keys

  @type t :: %__MODULE__{
          operation: :uid_map | :gid_map | :setgroups | :newuidmap | :newgidmap,
          errno: Errno.t(),
          code: non_neg_integer,
          path: String.t(),
          hint: String.t() | nil,
          message: String.t()
        }

  @doc false
  @spec new(atom, Path.t(), Errno.t(), hint :: String.t() | nil) :: t
  def new(operation, path, errno, hint \\ nil) do
    code =
      case Errno.number(errno) do
        {:ok, code} -> code
        :error -> 0
      end

    name = errno |> Atom.to_string() |> String.upcase()
    message = "#{operation} #{path}: #{Errno.message(errno)} (#{name})"
    message = if hint, do: "#{message}: #{hint}", else: message

    %__MODULE__{
      operation: operation,
      errno: errno,
      code: code,
      path: path,
      hint: hint,
      message: message
    }
  end
end
