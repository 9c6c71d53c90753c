defmodule Linx.Agent.Witness do
  @moduledoc false

  # A process that outlives the owner of an agent's port, and ends when nothing is left of what the
  # agent ran: for those who have to know and can no longer ask the owner, because it was killed.

  alias Linx.Agent.Port

  # A process that hangs in the kernel holds up nobody for ever, in ms.
  @patience 40_000

  @doc "Starts the witness of the caller."
  @spec start() :: pid
  def start do
    owner = self()
    spawn(fn -> witness(Process.monitor(owner), nil) end)
  end

  @doc "The caller has an agent with this pid of the host's now, instead of an earlier one."
  @spec watch(pid, os_pid :: pos_integer | nil) :: :ok
  def watch(witness, os_pid) do
    send(witness, {:watch, os_pid})
    :ok
  end

  defp witness(ref, os_pid) do
    receive do
      {:watch, os_pid} -> witness(ref, os_pid)
      {:DOWN, ^ref, :process, _owner, _reason} -> Port.await_end(os_pid, @patience)
    end
  end
end
