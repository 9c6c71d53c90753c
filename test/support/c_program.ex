defmodule Linx.Test.CProgram do
  @moduledoc false

  # Programs in C, for what neither a shell nor Elixir can do, compiled when a test first wants them.

  import ExUnit.Assertions

  @doc "Its path. It is compiled when it is not there, or older than one of its sources."
  def path(name, sources, options \\ []) do
    path = Path.join(Mix.Project.build_path(), name)
    newest = sources |> Enum.map(&mtime/1) |> Enum.max()
    if mtime(path) <= newest, do: compile(path, sources, options)
    path
  end

  defp mtime(path) do
    case File.stat(path, time: :posix) do
      {:ok, stat} -> stat.mtime
      {:error, :enoent} -> 0
    end
  end

  # Under another name first: a test that runs at the same time may need it, too.
  defp compile(path, sources, options) do
    fresh = "#{path}.#{System.unique_integer([:positive])}"
    sources = Enum.filter(sources, &(Path.extname(&1) == ".c"))
    arguments = ~w(-Wall -Wextra -Werror -O1) ++ options ++ ["-o", fresh | sources]
    assert {"", 0} = System.cmd("cc", arguments, stderr_to_stdout: true)
    File.rename!(fresh, path)
  end
end
