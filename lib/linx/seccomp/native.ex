defmodule Linx.Seccomp.Native do
  @moduledoc false

  # The functions of native/linx_nif, which run on dirty schedulers. They take what is checked already:
  # actions as the numbers a filter returns, system calls by number, names as strings.

  @on_load :load

  @type arch :: :x86_64 | :aarch64
  @type condition :: {
          argument :: 0..5,
          operator :: :eq | :ne | :lt | :le | :gt | :ge | :masked_eq,
          width :: 32 | 64,
          value :: non_neg_integer,
          mask :: non_neg_integer
        }
  @type rule :: {number :: non_neg_integer, action :: non_neg_integer, [condition]}

  # A module that cannot be loaded would keep a release from booting, so what is missing is told when
  # it is needed.
  @doc false
  def load do
    _ = load_library()
    :ok
  end

  @doc "The name and the number of every system call, by number."
  @spec syscalls(arch) :: [{String.t(), non_neg_integer}]
  def syscalls(_arch), do: missing()

  @doc "For each name its number, or what is wrong with it."
  @spec resolve(arch, [String.t()]) :: [non_neg_integer | :other_arch | :unknown]
  def resolve(_arch, _names), do: missing()

  @doc """
  The program that gives the rules' actions to what they match, and `default` to all else; `foreign` to what is of
  another ABI, at least `newer` to what has a number higher than any of `syscalls/1`.
  """
  @spec compile(arch, non_neg_integer, non_neg_integer, non_neg_integer, [rule]) ::
          {:ok, binary} | {:error, {:too_long, pos_integer}}
  def compile(_arch, _default, _foreign, _newer, _rules), do: missing()

  @doc "What the kernel makes of these programs' answers to a system call with these six arguments."
  @spec evaluate([binary], non_neg_integer, non_neg_integer, [non_neg_integer]) ::
          {:ok, non_neg_integer} | {:error, :bad_program}
  def evaluate(_programs, _number, _audit_arch, _arguments), do: missing()

  @doc "A program as text, numbers of system calls with the names of `arch`."
  @spec disassemble(arch, binary) :: {:ok, String.t()} | {:error, :bad_program}
  def disassemble(_arch, _program), do: missing()

  @doc "A JSON text as a term."
  @spec parse_json(binary) :: {:ok, term} | {:error, {:bad_json, String.t()}}
  def parse_json(_text), do: missing()

  @doc "Panics, for the test of what becomes of that."
  @spec panic() :: no_return
  def panic, do: missing()

  @doc "The library: `LINX_NIF` from the environment, or what was built with Linx."
  @spec path() :: Path.t()
  def path do
    case System.get_env("LINX_NIF", "") do
      "" -> Path.join(:code.priv_dir(:linx), "linx_nif.so")
      path -> path
    end
  end

  defp load_library do
    path() |> Path.rootname(".so") |> String.to_charlist() |> :erlang.load_nif(0)
  end

  defp missing do
    why =
      case load_library() do
        {:error, {:load_failed, text}} -> to_string(text)
        {:error, {:reload, _text}} -> "it is the library of another version of Linx"
        {:error, {reason, text}} -> "#{reason}: #{text}"
        :ok -> "it was not there a moment ago"
      end

    message =
      "Linx.Seccomp needs the NIF library #{path()}, which cannot be used: #{why}. " <>
        "Compile Linx where there is cargo, or set LINX_NIF to a prebuilt linx_nif.so"

    # Compilers know that this stands for a function that returns.
    :erlang.nif_error(RuntimeError.exception(message))
  end
end
