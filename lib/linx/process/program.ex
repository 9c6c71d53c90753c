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
  its relative directories are taken from `cwd`, where the program will be started. `outside` says where
  on the host a path of its place is.
  """
  @spec find(binary, [binary] | nil, binary | nil, (binary -> {:ok, binary} | :error)) ::
          {:ok, binary} | {:error, Error.t()}
  def find(program, env, cwd, outside \\ &{:ok, &1}) do
    if :binary.match(program, "/") == :nomatch do
      candidates =
        for directory <- env |> path() |> :binary.split(":", [:global]) do
          directory |> Path.absname(cwd || ".") |> Path.join(program) |> Path.absname()
        end

      pick(candidates, :enoent, outside)
    else
      {:ok, program}
    end
  end

  defp path(env) do
    Environment.get(env || [], "PATH") || System.get_env("PATH", @default_path)
  end

  # A file that may not be executed is passed over, and remembered for the error.
  defp pick([], errno, _outside) do
    {:ok, code} = Errno.number(errno)
    {:error, Error.new(:execve, code)}
  end

  defp pick([candidate | others], errno, outside) do
    with {:ok, path} <- outside.(candidate),
         {:ok, %{type: :regular, mode: mode}} when (mode &&& 0o111) != 0 <- File.stat(path) do
      {:ok, candidate}
    else
      {:ok, _not_a_program} -> pick(others, :eacces, outside)
      {:error, :eacces} -> pick(others, :eacces, outside)
      _not_there -> pick(others, errno, outside)
    end
  end
end
