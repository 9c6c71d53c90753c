defmodule Linx.Test.RawAgent do
  @moduledoc false

  # An agent without Linx.Process in front of it: frames as they stand on the wire.

  import ExUnit.Assertions
  import Linx.Test.Helpers, only: [alive?: 1, eventually: 1]

  @patience 10_000

  @doc "Starts an agent, in the mode of the C agent unless the request says otherwise."
  def start, do: open([])

  @doc "Starts a host: its frames are `{id, term}`, both ways."
  def start_host, do: open(["--host"])

  defp open(args) do
    Port.open({:spawn_executable, Linx.Agent.Binary.path()}, [
      :nouse_stdio,
      :binary,
      :exit_status,
      args: args,
      packet: 4
    ])
  end

  @doc "Sends a term, or a frame as it is."
  def send_frame(agent, frame) when is_binary(frame), do: Port.command(agent, frame)
  def send_frame(agent, term), do: send_frame(agent, :erlang.term_to_binary(term))

  @doc "Starts an agent and sends it all of these."
  def start(frames) do
    agent = start()
    Enum.each(frames, &send_frame(agent, &1))
    agent
  end

  @doc "The next frame's term."
  def next(agent) do
    assert_receive {^agent, {:data, frame}}, @patience
    :erlang.binary_to_term(frame)
  end

  @doc "The next frame's bytes."
  def next_bytes(agent) do
    assert_receive {^agent, {:data, frame}}, @patience
    frame
  end

  @doc "Passes frames until one that matches."
  def skip_to(agent, fun) do
    term = next(agent)
    if fun.(term), do: term, else: skip_to(agent, fun)
  end

  @doc "Ends speaking and listening, and waits until the agent, and with it all that it kills, is gone."
  def close(agent) do
    {:os_pid, os_pid} = Port.info(agent, :os_pid)
    Port.close(agent)
    eventually(fn -> not alive?(os_pid) end)
  end

  @doc "All further terms, and the exit status behind them."
  def rest(agent, terms \\ []) do
    receive do
      {^agent, {:data, frame}} -> rest(agent, [:erlang.binary_to_term(frame) | terms])
      {^agent, {:exit_status, status}} -> {Enum.reverse(terms), status}
    after
      @patience -> flunk("the agent has not ended; so far it said #{inspect(terms)}")
    end
  end

  @doc "A whole session: these frames, and everything that comes back."
  def session(frames), do: frames |> start() |> rest()

  @doc "A whole session, pids of the host replaced by `:pid`."
  def transcript(frames) do
    {terms, status} = session(frames)
    {Enum.map(terms, &without_pid/1), status}
  end

  defp without_pid({:status, event, pid})
       when event in [:spawned, :ready, :aborted] and pid > 1 do
    {:status, event, :pid}
  end

  defp without_pid(term), do: term
end
