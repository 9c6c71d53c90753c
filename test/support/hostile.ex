defmodule Linx.Test.Hostile do
  @moduledoc false

  # Programs that try to get out of a sandbox: see hostile/main.c beside this file.

  import ExUnit.Assertions

  @sources Path.wildcard(Path.join(__DIR__, "hostile/*.{c,h}"))
  for source <- @sources, do: @external_resource(source)

  @doc "The path of the program that has them all, static so that it runs where there is no library."
  def path do
    path = Path.join(Mix.Project.build_path(), "hostile")
    if mtime(path) <= @sources |> Enum.map(&mtime/1) |> Enum.max(), do: compile(path)
    path
  end

  defp mtime(path) do
    case File.stat(path, time: :posix) do
      {:ok, stat} -> stat.mtime
      {:error, :enoent} -> 0
    end
  end

  # Under another name first: somebody may execute it at the same time.
  defp compile(path) do
    fresh = "#{path}.#{System.unique_integer([:positive])}"
    sources = Enum.filter(@sources, &(Path.extname(&1) == ".c"))
    options = ~w(-static -Wall -Wextra -Werror -Wno-unused-result -O1 -o) ++ [fresh | sources]
    assert {"", 0} = System.cmd("cc", options, stderr_to_stdout: true)
    File.rename!(fresh, path)
  end
end
