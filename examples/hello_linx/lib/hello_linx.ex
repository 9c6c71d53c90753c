defmodule HelloLinx do
  @moduledoc """
  What an application does with Linx: a program under its supervisor, and programs run in passing.
  """

  @doc """
  Runs a program to its end and tells how it ended.

      iex> HelloLinx.run(["/bin/sh", "-c", "exit 7"])
      {:ok, {:exited, 7}}
  """
  @spec run([String.t()]) :: {:ok, {:exited, 0..255} | {:signaled, 1..64}} | {:error, term}
  def run(argv) do
    # Nobody needs the events: wait/1 tells what there is to tell.
    options = [argv: argv, auto_proceed: true, stdio: :devnull, owner: nil]

    with {:ok, session} <- Linx.Process.spawn(options) do
      ending = Linx.Process.wait(session)
      Linx.Process.stop(session)
      ending
    end
  end
end
