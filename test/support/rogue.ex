defmodule Linx.Test.Rogue do
  @moduledoc false

  # A program, in C, for what a shell cannot do: see rogue.c beside this file.

  import ExUnit.Assertions

  alias Linx.Test.CProgram

  @source Path.join(__DIR__, "rogue.c")
  @external_resource @source

  @doc "Its path. It is compiled when it is not there, or older than its source."
  def path do
    CProgram.path("rogue", [@source], ["-pthread"])
  end

  @doc "The argv of a program that commits these deeds before it becomes what it is."
  def commits(deeds, [program | arguments]) do
    [path() | deeds] ++ ["--", program, Path.basename(program) | arguments]
  end

  @doc """
  Makes everybody wait who opens `path`, also to execute it: whoever opens a file that another has
  leased is kept until that one has let go of it, see `fcntl(2)`.
  """
  def lease(path), do: start(["lease", path], "held")

  @doc "Waits until somebody waits for the lease."
  def await_asked(lease), do: await_line(lease, "asked")

  @doc "Makes the next workload of an agent be born stopped."
  def hold(os_pid), do: start(["hold", "#{os_pid}"], "seized")

  @doc "Waits for its birth."
  def await_held(hold), do: await_line(hold, "held")

  defp start(args, line) do
    port = Port.open({:spawn_executable, path()}, [:binary, line: 80, args: args])
    await_line(port, line)
    port
  end

  defp await_line(port, line) do
    assert_receive {^port, {:data, {:eol, ^line}}}, 10_000
  end
end
