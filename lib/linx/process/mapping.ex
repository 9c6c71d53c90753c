defmodule Linx.Process.Mapping do
  @moduledoc false

  # The maps of a user namespace that the agent leaves to the BEAM, since it takes programs to write them
  # (newuidmap(1)), for which no agent waits. Nor does the session: a task runs them.

  alias Linx.Process.{Error, Options}
  alias Linx.User

  @esrch 3

  defstruct [:maps, :task, :error]

  @opaque t :: %__MODULE__{maps: keyword, task: Task.t() | nil, error: Error.t() | nil}

  @doc "What is to be written for a session; `nil` if there is nothing, or the agent does it."
  @spec new(Options.t()) :: t | nil
  def new(%{confinement: %{mapped_by: :beam} = fields}) do
    maps = [uid: fields[:uid_map], gid: fields[:gid_map], setgroups: fields[:setgroups]]
    %__MODULE__{maps: maps}
  end

  def new(_options), do: nil

  @doc "Has it written for the namespace of a process."
  @spec begin(t | nil, host_pid :: pos_integer) :: t | nil
  def begin(%__MODULE__{task: nil} = mapping, host_pid) do
    %{mapping | task: Task.async(User, :setup_maps, [host_pid, mapping.maps])}
  end

  def begin(mapping, _host_pid), do: mapping

  @doc "What a message says of it: that it is done, or why it cannot be."
  @spec message(t | nil, term) :: :done | {:failed, t} | :unrelated
  def message(%{task: %{ref: ref}} = mapping, {ref, answer}) do
    Process.demonitor(ref, [:flush])

    case answer do
      :ok -> :done
      {:error, why} -> {:failed, %{mapping | task: nil, error: error(why)}}
    end
  end

  def message(_mapping, _message), do: :unrelated

  defp error(%User.Error{} = error) do
    %{Error.new(stage(error.operation), error.code) | hint: error.hint}
  end

  defp error(:no_process), do: Error.new(:uid_map, @esrch)

  defp stage(:newuidmap), do: :uid_map
  defp stage(:newgidmap), do: :gid_map
  defp stage(:setgroups), do: :setgroups_deny
  defp stage(file), do: file

  @doc "How a session ends: one that could not be mapped was aborted for that."
  @spec result(t | nil, result) :: result when result: Linx.Process.result()
  def result(%{error: %Error{} = error}, {:ok, :aborted}), do: {:error, error}
  def result(_mapping, result), do: result

  @doc "It is not needed any more."
  @spec cancel(t | nil) :: nil
  def cancel(%{task: %Task{} = task}) do
    Task.shutdown(task, :brutal_kill)
    nil
  end

  def cancel(_none), do: nil
end
