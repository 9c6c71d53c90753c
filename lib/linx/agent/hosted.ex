defmodule Linx.Agent.Hosted do
  @moduledoc false

  # A place in a host: what a session has instead of a port of its own. It writes to the host's port
  # itself, and gets from the host process what concerns it.
  #
  # What it watches is not the host process but its witness, which ends later than that one: when
  # nothing is left of what a host that was killed ran.

  @behaviour Linx.Agent

  alias Linx.Agent.{Host, Port, Wire}
  alias Linx.Process.Environment

  defstruct [:host, :witness, :ref, :origin, :port, :id]

  @type t :: %__MODULE__{
          host: pid,
          witness: pid,
          ref: reference,
          origin: binary,
          port: port | nil,
          id: Wire.id() | nil
        }

  @doc "A place for the caller. `origin` is the directory it starts out from."
  @spec new({host :: pid, witness :: pid}, origin :: binary) :: t
  def new({host, witness}, origin) do
    %__MODULE__{host: host, witness: witness, ref: Process.monitor(witness), origin: origin}
  end

  @impl true
  def request(agent, mode, %{env: nil} = fields) do
    # A host has the environment that the BEAM had when its port was opened. Mostly it still is.
    case begin(agent, mode, fields, Environment.fingerprint()) do
      :other_environment -> request(agent, mode, %{fields | env: Environment.own()})
      begun -> begun
    end
  end

  def request(agent, mode, fields), do: begin(agent, mode, fields, :any)

  defp begin(agent, mode, fields, environment) do
    with {:ok, frame} <- Wire.sendable_request(mode, Map.put(fields, :origin, agent.origin)) do
      case Host.begin(agent.host, agent.ref, frame, environment) do
        {:ok, port, id} -> {:ok, %{agent | port: port, id: id}}
        {:error, errno} -> {:error, errno, :agent}
        :other_environment -> :other_environment
        # The witness will say when it is over.
        :gone -> {:ok, agent}
      end
    end
  end

  @impl true
  def write(%{id: nil}, _frame), do: :ok
  def write(agent, frame), do: Port.write(agent.port, Wire.address(agent.id, frame))

  @impl true
  def message(%{ref: ref}, {ref, :closed}) do
    Process.demonitor(ref, [:flush])
    :closed
  end

  def message(%{ref: ref}, {ref, message}), do: message
  def message(%{ref: ref}, {:DOWN, ref, :process, _witness, _reason}), do: :closed
  def message(_agent, _message), do: :unrelated

  @impl true
  def close(agent) do
    write(agent, Wire.command(:hangup))
    # Like a port, which does not wait for its program.
    send(self(), {agent.ref, :closed})
    :ok
  end

  @impl true
  def await_end(agent, session, timeout) do
    with :gone <- Host.await_end(agent.host, session, timeout) do
      ref = Process.monitor(agent.witness)

      receive do
        {:DOWN, ^ref, :process, _witness, _reason} -> :ok
      after
        timeout -> :ok
      end
    end
  end
end
