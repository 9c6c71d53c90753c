defmodule Linx.Test.RawStream do
  @moduledoc false

  # An agent behind a port that makes no frames: bytes are written as they are given.

  import ExUnit.Assertions

  @patience 15_000

  @doc "Starts an agent. The caller has to trap exits: writing to an agent that has ended closes the port."
  def start do
    Port.open({:spawn_executable, Linx.Agent.Binary.path()}, [
      :nouse_stdio,
      :binary,
      :exit_status
    ])
  end

  @doc "A term, or a body, as a frame."
  def frame(body) when is_binary(body), do: <<byte_size(body)::32, body::binary>>
  def frame(term), do: term |> :erlang.term_to_binary() |> frame()

  @doc "Writes these bytes, unless the agent has ended."
  defdelegate write(agent, bytes), to: Linx.Agent.Port

  @doc "Closes the port, unless the agent has ended."
  defdelegate close(agent), to: Linx.Agent.Port

  @doc """
  Reads until `done?` is true of a term, or to the end. Returns the terms so far and what was read
  behind them, to go on with; at the end that is the exit status, or `:unknown` when a late write has
  closed the port.
  """
  def read(agent, bytes \\ "", done? \\ fn _term -> false end, terms \\ [])

  def read(agent, <<size::32, body::binary-size(size), bytes::binary>>, done?, terms) do
    term = :erlang.binary_to_term(body)
    terms = [term | terms]
    if done?.(term), do: {Enum.reverse(terms), bytes}, else: read(agent, bytes, done?, terms)
  end

  def read(agent, bytes, done?, terms) do
    receive do
      {^agent, {:data, more}} -> read(agent, bytes <> more, done?, terms)
      {^agent, {:exit_status, status}} -> ended(agent, terms, bytes, status)
      {:EXIT, ^agent, _reason} -> ended(agent, terms, bytes, :unknown)
    after
      @patience ->
        close(agent)
        flunk("the agent has not ended; so far it said #{inspect(Enum.reverse(terms))}")
    end
  end

  defp ended(agent, terms, bytes, status) do
    assert bytes == "", "half a frame: #{inspect(bytes)}"

    receive do
      {:EXIT, ^agent, _reason} -> {Enum.reverse(terms), status}
    after
      0 -> {Enum.reverse(terms), status}
    end
  end
end
