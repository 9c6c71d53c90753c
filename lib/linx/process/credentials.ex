defmodule Linx.Process.Credentials do
  @moduledoc false

  # The options `:user`, `:group` and `:groups`: names made into numbers, by the files of the BEAM's
  # own root directory.

  # The last number means to the kernel that nothing is changed.
  @max_id 0xFFFF_FFFE

  @passwd "/etc/passwd"
  @group "/etc/group"

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type id :: 0..0xFFFF_FFFE
  @type t :: %{uid: id | nil, gid: id | nil, groups: [id] | nil}

  @doc "Who the BEAM is to the kernel. That does not change, and asking takes a file."
  @spec own() :: {uid :: id, gid :: id}
  def own do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      %{uid: uid, gid: gid} = File.stat!("/proc/self")
      :persistent_term.put(__MODULE__, {uid, gid})
      {uid, gid}
    end
  end

  @doc "The uid that is meant, with the gid of its primary group if it has one."
  @spec user(term) :: {:ok, {uid :: id, gid :: id | nil}} | :error
  def user(uid) when uid in 0..@max_id do
    case find(@passwd, 2, Integer.to_string(uid)) do
      nil -> {:ok, {uid, nil}}
      entry -> {:ok, {uid, number(Enum.at(entry, 3))}}
    end
  end

  def user(name) when is_binary(name) do
    with [_ | _] = entry <- find(@passwd, 0, name),
         uid when uid != nil <- number(Enum.at(entry, 2)) do
      {:ok, {uid, number(Enum.at(entry, 3))}}
    else
      _none -> :error
    end
  end

  def user(_other), do: :error

  @doc "The gid that is meant."
  @spec group(term) :: {:ok, id} | :error
  def group(gid) when gid in 0..@max_id, do: {:ok, gid}

  def group(name) when is_binary(name) do
    with [_ | _] = entry <- find(@group, 0, name),
         gid when gid != nil <- number(Enum.at(entry, 2)) do
      {:ok, gid}
    else
      _none -> :error
    end
  end

  def group(_other), do: :error

  @doc "The gids that are meant; the error is what means none."
  @spec groups(term) :: {:ok, [id]} | {:error, offending :: term}
  def groups(list) when is_proper_list(list) do
    case Enum.find(list, :none, &(group(&1) == :error)) do
      :none -> {:ok, for(element <- list, {:ok, gid} <- [group(element)], do: gid)}
      offending -> {:error, offending}
    end
  end

  def groups(other), do: {:error, other}

  @doc """
  What the workload is to become. Who changes its user or its group has of the BEAM's own groups none,
  and a user's group is its primary one unless another is given; without any, that is an error.
  """
  @spec resolve({id, id | nil} | nil, id | nil, [id] | nil) ::
          {:ok, t} | {:error, {:bad_user, id}}
  def resolve(nil, nil, groups), do: {:ok, %{uid: nil, gid: nil, groups: groups}}
  def resolve(nil, group, groups), do: {:ok, %{uid: nil, gid: group, groups: groups || []}}
  def resolve({uid, nil}, nil, _groups), do: {:error, {:bad_user, uid}}

  def resolve({uid, primary}, group, groups) do
    {:ok, %{uid: uid, gid: group || primary, groups: groups || []}}
  end

  # The fields of the first line that has `value` at `index`.
  defp find(file, index, value) do
    with {:ok, content} <- File.read(file) do
      content
      |> :binary.split("\n", [:global])
      |> Stream.map(&:binary.split(&1, ":", [:global]))
      |> Enum.find(&(Enum.at(&1, index) == value))
    else
      {:error, _reason} -> nil
    end
  end

  defp number(text) do
    case Integer.parse(text || "") do
      {id, ""} when id in 0..@max_id -> id
      _none -> nil
    end
  end
end
