defmodule Linx.Agent.Hosts do
  @moduledoc false

  # The hosts, under the application's supervisor, and the table by which a session chooses one.
  #
  # So many as `config :linx, hosts: n` says, by default as many as the BEAM has schedulers, but no
  # more than four.

  use Supervisor

  alias Linx.Agent.Host

  @table __MODULE__
  @most 4

  @spec start_link(term) :: Supervisor.on_start()
  def start_link(_arg), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  The host with the fewest sessions, of several the first, with its number and its witness. So sessions that follow
  one another have the same one. `:error` when there is none, as without the application.
  """
  @spec pick() :: {:ok, {index :: pos_integer, host :: pid, witness :: pid}} | :error
  def pick do
    @table
    |> :ets.tab2list()
    |> Enum.filter(fn {_index, _load, host, _witness} -> Process.alive?(host) end)
    |> Enum.min_by(fn {index, load, _host, _witness} -> {load, index} end, fn -> nil end)
    |> case do
      nil ->
        :error

      {index, _load, host, witness} ->
        # It counts from now on: others choose at the same time.
        :ets.update_counter(@table, index, {2, 1})
        {:ok, {index, host, witness}}
    end
  rescue
    ArgumentError -> :error
  end

  @doc "The caller is the host with this number."
  @spec enrol(index :: pos_integer, witness :: pid) :: :ok
  def enrol(index, witness) do
    :ets.insert(@table, {index, 0, self(), witness})
    :ok
  end

  @doc "So many sessions a host has."
  @spec loaded(index :: pos_integer, non_neg_integer) :: :ok
  def loaded(index, load) do
    :ets.update_element(@table, index, {2, load})
    :ok
  end

  @impl true
  def init(nil) do
    :ets.new(@table, [:named_table, :public])
    hosts = for index <- 1..count()//1, do: Supervisor.child_spec({Host, index}, id: index)
    # Starting one cannot fail, and whoever kills many shall not end the application by that.
    Supervisor.init(hosts, strategy: :one_for_one, max_restarts: 1_000)
  end

  defp count do
    Application.get_env(:linx, :hosts, min(System.schedulers_online(), @most))
  end
end
