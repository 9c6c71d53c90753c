defmodule Linx.Agent.Dedicated do
  @moduledoc false

  # An agent that serves one session, behind a port that belongs to the session.

  @behaviour Linx.Agent

  alias Linx.Agent.{Binary, Port, Wire}

  defstruct [:port, :os_pid]

  @type t :: %__MODULE__{port: port, os_pid: pos_integer | nil}

  @spec open() :: {:ok, t} | {:error, Wire.errno()}
  def open do
    with {:ok, port} <- Port.open(Binary.path()) do
      {:ok, %__MODULE__{port: port, os_pid: Port.os_pid(port)}}
    end
  end

  @impl true
  def request(agent, mode, fields) do
    with {:ok, frame} <- Wire.sendable_request(mode, fields) do
      write(agent, frame)
      {:ok, agent}
    end
  end

  @impl true
  def write(agent, frame), do: Port.write(agent.port, frame)

  @impl true
  def message(agent, message) do
    case Port.message(agent.port, message) do
      {:frame, frame} ->
        with {:ok, event} <- Wire.decode(frame), do: {:event, event}, else: (:error -> :garbage)

      other ->
        other
    end
  end

  @impl true
  def close(agent), do: Port.close(agent.port)

  @impl true
  def await_end(agent, _session, timeout), do: Port.await_end(agent.os_pid, timeout)
end
