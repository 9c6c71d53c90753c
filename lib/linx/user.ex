defmodule Linx.User do
  @moduledoc """
  The users of a user namespace: which ids inside it are which ids outside, user_namespaces(7).

  A program that is born in a user namespace of its own is nobody there until the namespace has maps. While
  it is parked at the checkpoint they are written from the BEAM, by the pid of the `:ready` event:

      {:ok, session} = Linx.Process.spawn(argv: ["id", "-u"], namespaces: [:user])
      host_pid = receive do {:linx_process, :ready, pid} -> pid end

      :ok = Linx.User.setup_maps(host_pid, Linx.User.own_map())
      :ok = Linx.Process.proceed(session)

  It prints 0. With the options `uid_map:` and `gid_map:` of `Linx.Process` the maps are there before
  `:ready`.

  ## Maps

  A map is a list of `{inside, outside, count}`: `count` ids from `inside` on are those from `outside` on.
  It has at most 340 of them, and is written once.

      [{0, 100_000, 65_536}]                   # root inside is 100000 outside, and so on
      [{0, 1000, 1}, {1, 100_000, 65_535}]     # root inside is the user 1000

  Root, or rather `:setuid` and `:setgid` (`Linx.Capabilities`), may map any ids. Everybody may map the
  own one and no other, and a group only where setgroups(2) is denied, so that nobody leaves a group
  that is there to keep its members out. What else somebody may map is in `/etc/subuid` and
  `/etc/subgid`, see `subids/1`; such maps are written by `newuidmap` and `newgidmap`, programs that have
  the right to it, from the package `uidmap`. They are run when the kernel refuses a map to us. So are they for the
  options of `Linx.Process`; the session answers meanwhile, and may be aborted.

  ## Errors

  What the kernel refuses, or these programs do, is a `Linx.User.Error`. A map that cannot be is found
  first: `{:error, {:bad_map, entries}}` has those that are wrong, or overlap; or the whole, when it is empty or
  too long. `{:error, :no_process}` when there is none with this pid.
  """

  alias Linx.Capabilities
  alias Linx.User.{Error, IdMap, Privileged}

  @type id :: 0..0xFFFF_FFFE

  @typedoc "So many ids, from one inside and from one outside."
  @type entry :: {inside :: id, outside :: id, count :: pos_integer}
  @type id_map :: [entry]

  @type mistake :: {:bad_map | :bad_pid | :bad_setgroups | :bad_options | :bad_user, term}
  @type answer :: :ok | {:error, Error.t() | :no_process | mistake}

  @doc """
  Writes both maps of the user namespace of a process, and what becomes of `setgroups(2)` in it, in
  the order that the kernel wants.

      :ok = Linx.User.setup_maps(host_pid, uid: [{0, 100_000, 65_536}], gid: [{0, 100_000, 65_536}])

  ## Options

    * `:uid`, `:gid` – the maps; what is not given is not written;
    * `:setgroups` – `:allow` or `:deny`. Without it, it is denied if it must be: for the own group, without
      `:setgid`.

  If one is refused, those before it are written, and there is no way back: abort the session.
  """
  @spec setup_maps(pos_integer, uid: id_map, gid: id_map, setgroups: :allow | :deny) :: answer
  def setup_maps(host_pid, opts) do
    with :ok <- pid?(host_pid),
         :ok <- options?(opts),
         {:ok, uid} <- given(opts[:uid]),
         {:ok, gid} <- given(opts[:gid]),
         :ok <- setgroups(host_pid, opts[:setgroups] || needed(gid)),
         :ok <- write(:uid_map, host_pid, uid) do
      write(:gid_map, host_pid, gid)
    end
  end

  @doc """
  Writes the uid map of the user namespace of a process.

      :ok = Linx.User.set_uid_map(host_pid, [{0, 1000, 1}])
  """
  @spec set_uid_map(pos_integer, id_map) :: answer
  def set_uid_map(host_pid, map), do: set(:uid_map, host_pid, map)

  @doc """
  Writes the gid map of the user namespace of a process. Without `:setgid`, `setgroups(2)` has to be denied
  there before.

      :ok = Linx.User.set_setgroups(host_pid, :deny)
      :ok = Linx.User.set_gid_map(host_pid, [{0, 1000, 1}])
  """
  @spec set_gid_map(pos_integer, id_map) :: answer
  def set_gid_map(host_pid, map), do: set(:gid_map, host_pid, map)

  defp set(kind, host_pid, map) do
    with :ok <- pid?(host_pid),
         {:ok, map} <- map(map),
         do: write(kind, host_pid, map)
  end

  @doc """
  Says whether `setgroups(2)` is there in the user namespace of a process, which it is at first. It cannot be
  denied any more when there is a gid map, and never allowed again: `:eperm`.

      :ok = Linx.User.set_setgroups(host_pid, :deny)
  """
  @spec set_setgroups(pos_integer, :allow | :deny) :: answer
  def set_setgroups(host_pid, word) when word in [:allow, :deny] do
    with :ok <- pid?(host_pid), do: setgroups(host_pid, word)
  end

  def set_setgroups(_host_pid, other), do: {:error, {:bad_setgroups, other}}

  @doc """
  The maps of the user namespace of a process, as they are seen from that of the BEAM.

      iex> {:ok, maps} = Linx.User.maps(String.to_integer(System.pid()))
      iex> maps.setgroups in [:allow, :deny]
      true

  A namespace without maps has empty ones.
  """
  @spec maps(pos_integer) ::
          {:ok, %{uid: id_map, gid: id_map, setgroups: :allow | :deny}}
          | {:error, Error.t() | :no_process | mistake}
  def maps(pid) do
    with :ok <- pid?(pid),
         {:ok, uid} <- read(:uid_map, pid),
         {:ok, gid} <- read(:gid_map, pid),
         {:ok, setgroups} <- read(:setgroups, pid) do
      word = if String.trim(setgroups) == "deny", do: :deny, else: :allow
      {:ok, %{uid: IdMap.parse(uid), gid: IdMap.parse(gid), setgroups: word}}
    end
  end

  @doc """
  The maps that everybody may write, for `setup_maps/2`: the user and the group of the BEAM are
  `inside`, by default root.

      iex> [uid: [{0, _uid, 1}], gid: [{0, _gid, 1}], setgroups: :deny] = Linx.User.own_map()
      iex> [uid: [{1000, _uid, 1}], gid: [{1000, _gid, 1}], setgroups: :deny] = Linx.User.own_map(1000)
  """
  @spec own_map(id) :: [uid: id_map, gid: id_map, setgroups: :deny]
  def own_map(inside \\ 0) do
    [uid: [{inside, own(:uid_map), 1}], gid: [{inside, own(:gid_map), 1}], setgroups: :deny]
  end

  @doc """
  What `/etc/subuid` and `/etc/subgid` give to a user, by name or number, to use in user namespaces: ranges
  of `{start, count}`. By default it is the user of the BEAM.

      {:ok, %{uid: [{100_000, 65_536}], gid: [{100_000, 65_536}]}} = Linx.User.subids("alice")

  A user who has none has empty lists. One that there is not is `{:error, {:bad_user, user}}`.
  """
  @spec subids(String.t() | id) ::
          {:ok, %{uid: [{id, pos_integer}], gid: [{id, pos_integer}]}} | {:error, mistake}
  def subids(user \\ own(:uid_map)) do
    case names(user) do
      [] ->
        {:error, {:bad_user, user}}

      names ->
        {:ok, %{uid: ranges("/etc/subuid", names), gid: ranges("/etc/subgid", names)}}
    end
  end

  defp ranges(file, names) do
    case File.read(file) do
      {:ok, content} -> Privileged.ranges(content, names)
      {:error, _none} -> []
    end
  end

  # A user by name and by number, as strings. A number need not have a name.
  defp names(uid) when is_integer(uid) and uid >= 0 do
    number = Integer.to_string(uid)

    Enum.find_value(passwd(), [number], fn
      [name, _password, ^number | _] -> [name, number]
      _other -> nil
    end)
  end

  defp names(name) do
    Enum.find_value(passwd(), [], fn
      [^name, _password, uid | _] -> [name, uid]
      _other -> nil
    end)
  end

  defp passwd do
    case File.read("/etc/passwd") do
      {:ok, content} -> content |> String.split("\n") |> Enum.map(&String.split(&1, ":"))
      {:error, _none} -> []
    end
  end

  # A map as the options of `Linx.Process` take it.
  @doc false
  @spec map(term) :: {:ok, id_map} | {:error, {:bad_map, term}}
  defdelegate map(term), to: IdMap, as: :check

  defp given(nil), do: {:ok, nil}
  defp given(map), do: map(map)

  defp pid?(pid) when is_integer(pid) and pid > 0, do: :ok
  defp pid?(other), do: {:error, {:bad_pid, other}}

  defp options?(opts) do
    cond do
      not Keyword.keyword?(opts) ->
        {:error, {:bad_options, opts}}

      (unknown = Keyword.drop(opts, [:uid, :gid, :setgroups])) != [] ->
        {:error, {:bad_options, unknown}}

      opts[:setgroups] in [nil, :allow, :deny] ->
        :ok

      true ->
        {:error, {:bad_setgroups, opts[:setgroups]}}
    end
  end

  defp needed(nil), do: nil

  defp needed(gid) do
    if IdMap.own?(gid, own(:gid_map)) and not capable?(:gid_map), do: :deny
  end

  defp setgroups(_pid, nil), do: :ok
  defp setgroups(pid, word), do: put(:setgroups, pid, Atom.to_string(word))

  defp write(_kind, _pid, nil), do: :ok

  defp write(kind, pid, map) do
    with {:error, %Error{errno: :eperm} = refused} <- put(kind, pid, IdMap.format(map)) do
      # Those who may write any map, or this one, were refused for another reason.
      if capable?(kind) or IdMap.own?(map, own(kind)),
        do: {:error, refused},
        else: Privileged.write(kind, pid, map, refused)
    end
  end

  defp put(kind, pid, content) do
    case File.write(file(kind, pid), content) do
      :ok -> :ok
      {:error, errno} -> {:error, error(kind, pid, errno)}
    end
  end

  defp read(kind, pid) do
    with {:error, errno} <- File.read(file(kind, pid)), do: {:error, error(kind, pid, errno)}
  end

  defp error(_kind, _pid, errno) when errno in [:enoent, :esrch], do: :no_process
  defp error(kind, pid, errno), do: Error.new(kind, file(kind, pid), errno)

  defp file(kind, pid), do: "/proc/#{pid}/#{kind}"

  # The effective id of the BEAM.
  defp own(kind) do
    field = %{uid_map: "Uid", gid_map: "Gid"}[kind]
    [_, id] = Regex.run(~r/^#{field}:\s+\d+\s+(\d+)/m, File.read!("/proc/self/status"))
    String.to_integer(id)
  end

  defp capable?(kind) do
    {:ok, caps} = Capabilities.read(String.to_integer(System.pid()))
    %{uid_map: :setuid, gid_map: :setgid}[kind] in caps.effective
  end
end
