defmodule Linx.Process.Program do
  @moduledoc false

  # The program that `argv` means: a name without a slash is looked up on the PATH, as a shell does.

  import Bitwise, only: [&&&: 2]

  alias Linx.Errno
  alias Linx.Process.{Environment, Error}

  # What the C library looks through when there is no PATH.
  @default_path "/bin:/usr/bin"

  @doc """
  The path of `program`. The PATH is that of `env`, or the caller's when `env` is `nil` or has none;
  its relative directories are taken from `cwd`, where the program will be started.
  """
  @spec find(binary, [binary] | nil, binary | nil) :: {:ok, binary} | {:error, Error.t()}
  def find(program, env, cwd) do
    if :binary.match(program, "/") == :nomatch do
      candidates =
        for directory <- env |> path() |> :binary.split(":", [:global]) do
          directory |> Path.absname(cwd || ".") |> Path.join(program) |> Path.absname()
        end

      pick(candidates, :enoent)
    else
      {:ok, program}
    end
  end

  defp path(env) do
    Environment.get(env || [], "PATH") || System.get_env("PATH", @default_path)
  end

  # A file that may not be executed is passed over, and remembered for the error.
  defp pick([], errno) do
    {:ok, code} = Errno.number(errno)
    {:error, Error.new(:execve, code)}
  end

  defp pick([candidate | others], errno) do
    case File.stat(candidate) do
      {:ok, %{type: :regular, mode: mode}} when (mode &&& 0o111) != 0 -> {:ok, candidate}
      {:ok, _not_a_program} -> pick(others, :eacces)
      {:error, :eacces} -> pick(others, :eacces)
      {:error, _reason} -> pick(others, errno)
    end
  end
end
