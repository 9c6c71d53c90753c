defmodule Linx.Process.Confinement do
  @moduledoc false

  # The options that say where a program runs and what it may do there, in the words of the agent. Each is
  # understood by the module of its facility; here they come together.

  alias Linx.{Capabilities, Cgroup, Landlock, Mount, Seccomp, User}
  alias Linx.Cgroup.Own
  alias Linx.Process.{Attributes, Credentials}

  # What the agent is told, beside what other options say of the namespaces and of whom the program runs as.
  # A cgroup that is yet to be made, `:own_cgroup`, is the session's business.
  @type t :: %{optional(:setup | :confine | :uid_map | :gid_map | :own_cgroup | atom) => term}

  @attributes Attributes.keys()
  @options [:uid_map, :gid_map, :setgroups, :init, :cgroup, :loopback, :mounts] ++
             [:capabilities, :seccomp, :landlock] ++ @attributes

  # From `Linx.Sandbox`, and no business of users.
  @internal [:setup, :confine]

  @doc "The options that this is about."
  @spec options() :: [atom]
  def options, do: @options

  @doc "The same, and what a sandbox is made into."
  @spec keys() :: [atom]
  def keys, do: @options ++ @internal

  @doc """
  What the agent is told of them, for a program that is born in `namespaces`; the error is a mistake.
  """
  @spec resolve(keyword, map) ::
          {:ok, t | nil} | {:error, {atom, term} | Cgroup.no_controller()}
  def resolve([], _options), do: {:ok, nil}

  def resolve(opts, options) do
    opts =
      opts
      |> Enum.uniq_by(fn {key, _value} -> key end)
      # Mounts may hide what the others need.
      |> Enum.sort_by(fn {key, _value} -> key in [:setup, :mounts] end)

    with {:ok, fields} <- each(opts, options) do
      {:ok, fields |> by_whom() |> mapped(options)}
    end
  end

  defp each(opts, options) do
    Enum.reduce_while(opts, {:ok, %{}}, fn {key, value}, {:ok, fields} ->
      case field(key, value, options) do
        {:ok, more} -> {:cont, {:ok, Map.merge(fields, more, &both/3)}}
        {:error, mistake} -> {:halt, {:error, mistake}}
      end
    end)
  end

  # Lists add up, in the order of the options.
  defp both(_key, before, more) when is_list(before), do: before ++ more

  defp field(key, map, options) when key in [:uid_map, :gid_map] do
    with true <- fresh?(options, :user), {:ok, map} <- User.map(map) do
      {:ok, %{key => map}}
    else
      false -> {:error, {:"bad_#{key}", :no_user_namespace}}
      {:error, {:bad_map, wrong}} -> {:error, {:"bad_#{key}", wrong}}
    end
  end

  defp field(:setgroups, may, options) when may in [:allow, :deny] do
    if fresh?(options, :user),
      do: {:ok, %{setgroups: may}},
      else: {:error, {:bad_setgroups, :no_user_namespace}}
  end

  defp field(:setgroups, other, _options), do: {:error, {:bad_setgroups, other}}
  defp field(:init, false, _options), do: {:ok, %{}}

  defp field(:init, true, options) do
    if fresh?(options, :pid),
      do: {:ok, %{init: true}},
      else: {:error, {:bad_init, :no_pid_namespace}}
  end

  defp field(:init, other, _options), do: {:error, {:bad_init, other}}

  # One of its own takes along what is in it.
  defp field(:cgroup, limits, %{orphan: :leave}) when is_list(limits),
    do: {:error, {:bad_orphan, :leave}}

  defp field(:cgroup, limits, %{descendants: :leave}) when is_list(limits),
    do: {:error, {:bad_descendants, :leave}}

  # The session makes it, and says where it is.
  defp field(:cgroup, limits, _options) when is_list(limits) do
    case Own.plan(limits) do
      {:ok, plan} -> {:ok, %{own_cgroup: plan}}
      {:error, {:bad_limits, wrong}} -> {:error, {:bad_cgroup, wrong}}
      {:error, :not_mounted} -> {:error, {:bad_cgroup, :not_mounted}}
      no_controller -> no_controller
    end
  end

  defp field(:cgroup, cgroup, _options) do
    with {:ok, path} <- Cgroup.path(cgroup), do: {:ok, %{cgroup: path}}
  end

  defp field(:loopback, false, _options), do: {:ok, %{}}

  defp field(:loopback, true, options) do
    if fresh?(options, :net),
      do: {:ok, %{setup: [:loopback]}},
      else: {:error, {:bad_loopback, :no_net_namespace}}
  end

  defp field(:loopback, other, _options), do: {:error, {:bad_loopback, other}}

  defp field(key, terms, _options) when key in @internal, do: {:ok, %{key => terms}}

  defp field(:mounts, mounts, options) do
    with true <- fresh?(options, :mount), {:ok, operations} <- Mount.terms(mounts) do
      {:ok, %{setup: Enum.map(operations, &{:mount, &1})}}
    else
      false -> {:error, {:bad_mounts, :no_mount_namespace}}
      error -> error
    end
  end

  defp field(:capabilities, sets, _options), do: confine(Capabilities.steps(sets))
  defp field(:seccomp, filters, _options), do: confine(Seccomp.steps(filters))
  defp field(:landlock, rules, _options), do: confine(Landlock.steps(rules))

  defp field(key, value, options) when key in @attributes,
    do: Attributes.field(key, value, fresh(options))

  defp field(key, value, options), do: Attributes.field(key, value, options.namespaces)

  defp confine({:ok, confinements}), do: {:ok, %{confine: confinements}}
  defp confine(error), do: error

  defp fresh?(options, namespace), do: namespace in fresh(options)

  # The namespaces that the program is born in.
  defp fresh(%{mode: :spawn, namespaces: namespaces}), do: namespaces
  defp fresh(_enter), do: []

  # Root may write any map, and so may its agent; others, their own. What else they may have takes programs,
  # for which the agent does not wait. Whoever maps other groups than the own one may also leave that.
  defp by_whom(fields) when is_map_key(fields, :uid_map) or is_map_key(fields, :gid_map) do
    case Credentials.own() do
      {0, _gid} ->
        Map.put_new(fields, :setgroups, :allow)

      {uid, gid} ->
        other_users? = other?(fields[:uid_map], uid)
        other_groups? = other?(fields[:gid_map], gid)

        fields
        |> Map.put_new(:setgroups, if(other_groups?, do: :allow, else: :deny))
        |> Map.put(:mapped_by, if(other_users? or other_groups?, do: :beam))
    end
  end

  defp by_whom(fields), do: fields

  defp other?(nil, _own), do: false
  defp other?(map, own), do: not User.IdMap.own?(map, own)

  # In a namespace whose ids are mapped the program is its first user, unless it is to be another.
  defp mapped(fields, options)
       when is_map_key(fields, :uid_map) or is_map_key(fields, :gid_map) do
    fields
    |> put_first(:uid, options.uid, fields[:uid_map])
    |> put_first(:gid, options.gid, fields[:gid_map])
  end

  defp mapped(fields, _options), do: fields

  defp put_first(fields, _key, id, map) when id != nil or map == nil, do: fields

  defp put_first(fields, key, nil, map) do
    Map.put(fields, key, map |> Enum.map(&elem(&1, 0)) |> Enum.min())
  end
end
