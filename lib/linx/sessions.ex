defmodule Linx.Sessions do
  @moduledoc false

  # The sessions there are, in a table: who wants to know asks nobody, so that a session which is busy
  # holds up no list.
  #
  # A session writes its own row, and nobody else does. The process here only takes away the rows of
  # those that have ended, and speaks for those that were killed. Without the application there is no
  # table, and a session is in no list.

  use GenServer

  alias Linx.Process.{Entry, Options}
  alias Linx.Telemetry

  @table __MODULE__

  # A row is {session, {name, argv, mode, started_at, began}, agent, owner, stage, host_pid}: what stays, and
  # from the third element on what may change.
  @positions %{agent: 3, owner: 4, stage: 5, host_pid: 6}

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_arg), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  Makes the table, which is the caller's: it outlives the process here, so that no session is lost when
  that one is.
  """
  @spec new_table() :: :ok
  def new_table do
    :ets.new(@table, [:named_table, :public, write_concurrency: true])
    :ok
  end

  @doc "The caller is a session, which began at this moment, by both clocks."
  @spec add(Options.t(), started_at :: DateTime.t(), began :: integer) :: :ok
  def add(options, started_at, began) do
    stays = {options.name, options.argv, options.mode, started_at, began}
    :ets.insert(@table, {self(), stays, nil, options.owner, :starting, nil})
    GenServer.cast(__MODULE__, {:watch, self()})
  rescue
    ArgumentError -> :ok
  end

  @doc "Something has changed in the calling session; what is in no row is no matter."
  @spec update(keyword) :: :ok
  def update(changes) do
    elements = for {key, value} <- changes, position = @positions[key], do: {position, value}
    :ets.update_element(@table, self(), elements)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "All of them, those first that have been there longest."
  @spec list() :: [Entry.t()]
  def list do
    # That a session has died may not have been told here yet.
    for row <- Enum.sort_by(rows(), &{began(&1), &1}), Process.alive?(elem(row, 0)) do
      entry(row)
    end
  end

  defp rows do
    :ets.tab2list(@table)
  rescue
    ArgumentError -> []
  end

  defp began({_session, {_name, _argv, _mode, _started_at, began}, _, _, _, _}), do: began

  defp entry({session, stays, agent, owner, stage, host_pid}) do
    {name, argv, mode, started_at, began} = stays
    age = System.monotonic_time() - began

    %Entry{
      session: session,
      name: name,
      argv: argv,
      mode: mode,
      agent: agent,
      owner: owner,
      stage: stage,
      host_pid: host_pid,
      started_at: started_at,
      age: System.convert_time_unit(age, :native, :millisecond)
    }
  end

  @impl true
  def init(nil) do
    # Those that a predecessor has looked after.
    for row <- rows(), do: Process.monitor(elem(row, 0))
    {:ok, nil}
  end

  @impl true
  def handle_cast({:watch, session}, state) do
    Process.monitor(session)
    {:noreply, state}
  end

  @impl true
  def handle_info({:DOWN, _ref, :process, session, reason}, state) do
    for row <- :ets.take(@table, session), %Entry{stage: stage} = entry <- [entry(row)] do
      if stage != :terminated, do: Telemetry.killed(entry, began(row), reason)
    end

    {:noreply, state}
  end
end
