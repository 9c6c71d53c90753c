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

  defstruct [:index, :host, :witness, :ref, :port, :id]

  @type t :: %__MODULE__{
          index: pos_integer,
          host: pid,
          witness: pid,
          ref: reference,
          port: port | nil,
          id: Wire.id() | nil
        }

  @doc "A place for the caller."
  @spec new({index :: pos_integer, host :: pid, witness :: pid}) :: t
  def new({index, host, witness}) do
    %__MODULE__{index: index, host: host, witness: witness, ref: Process.monitor(witness)}
  end

  @impl true
  def request(agent, mode, fields) do
    surroundings = Host.surroundings(agent.index)
    adapted = fields |> adapt(surroundings) |> set_out(surroundings)

    with {:ok, frame} <- Wire.sendable_request(mode, adapted) do
      case Host.begin(agent.host, agent.ref, frame, surroundings[:opening]) do
        {:ok, port, id} -> {:ok, %{agent | port: port, id: id}}
        {:error, errno} -> {:error, errno, :agent}
        # Somebody has opened the port since.
        :reopened -> request(agent, mode, fields)
        # The witness will say when it is over.
        :gone -> {:ok, agent}
      end
    end
  end

  # An agent has the environment that the BEAM had when the port was opened. Mostly it still is.
  defp adapt(%{env: nil} = fields, %{environment: environment}) do
    if environment == :os.env(), do: fields, else: %{fields | env: Environment.own()}
  end

  defp adapt(fields, _surroundings), do: fields

  defp set_out(fields, %{directory: path}) when is_binary(path),
    do: Map.put(fields, :origin, path)

  # Where the agent must not look, it has to be told.
  defp set_out(fields, _surroundings) do
    case :file.get_cwd() do
      {:ok, path} -> Map.put(fields, :origin, to_bytes(path))
      {:error, _reason} -> fields
    end
  end

  defp to_bytes(path) do
    :unicode.characters_to_binary(path, :unicode, :file.native_name_encoding())
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
