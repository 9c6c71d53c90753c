defmodule Linx.Agent do
  @moduledoc false

  # What runs the workload of a session: an agent of its own, or a place in a host, an agent that
  # serves many. A session deals with both in the same way.
  #
  # An agent that has closed has left nothing of the workload.

  alias Linx.Agent.{Dedicated, Hosted, Hosts, Wire}

  @type t :: Dedicated.t() | Hosted.t()

  @type message ::
          {:event, Wire.event()}
          | {:exit_status, 0..255}
          | :closed
          | :garbage
          | :unrelated

  @callback request(t, :spawn | :enter, map) :: {:ok, t} | {:error, Wire.errno(), Wire.stage()}
  @callback write(t, frame :: binary) :: :ok
  @callback message(t, term) :: message
  @callback close(t) :: :ok
  @callback await_end(t, session :: pid, timeout) :: :ok

  @doc """
  An agent for the calling session, or the error number that stands against it. What a host would
  take along that is to be left alive gets an agent of its own.
  """
  @spec open(map) :: {:ok, t} | {:error, Wire.errno()}
  def open(%{agent: :host, orphan: :kill, descendants: :kill}) do
    case Hosts.pick() do
      {:ok, host} -> {:ok, Hosted.new(host)}
      :error -> Dedicated.open()
    end
  end

  def open(_options), do: Dedicated.open()

  @doc "Which of the two it is, as the option `:agent` calls them."
  @spec kind(t) :: :host | :dedicated
  def kind(%kind{}), do: if(kind == Hosted, do: :host, else: :dedicated)

  @doc "Has the agent begin: the request is the first thing it is told."
  @spec request(t, :spawn | :enter, map) :: {:ok, t} | {:error, Wire.errno(), Wire.stage()}
  def request(%kind{} = agent, mode, fields), do: kind.request(agent, mode, fields)

  @doc "Tells the agent more. One that has closed is told nothing: the message that says so is near."
  @spec write(t, frame :: binary) :: :ok
  def write(%kind{} = agent, frame), do: kind.write(agent, frame)

  @doc "What a message of the process that opened the agent says of it."
  @spec message(t | nil, term) :: message
  def message(nil, _message), do: :unrelated
  def message(%kind{} = agent, message), do: kind.message(agent, message)

  @doc """
  Gives the agent up, which ends the workload without another word. That it has closed is told as
  ever, but says nothing of the workload now.
  """
  @spec close(t) :: :ok
  def close(%kind{} = agent), do: kind.close(agent)

  @doc "Returns when nothing is left of a session that has ended, or at the timeout."
  @spec await_end(t, session :: pid, timeout) :: :ok
  def await_end(%kind{} = agent, session, timeout), do: kind.await_end(agent, session, timeout)
end
