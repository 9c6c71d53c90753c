defmodule Linx.Sandbox.Root do
  @moduledoc false

  # The root directory of a sandbox: what is done to make it, in the words of the agent.

  import Bitwise

  alias Linx.Sandbox

  @id 1000

  # Directories of the host's system. On most hosts all but the first are links into that.
  @system ~w(/usr /bin /sbin /lib /lib32 /lib64 /libx32)

  # What programs look for in there and may know: nothing that is about this host's users or secrets.
  @etc ~w(alternatives ca-certificates ca-certificates.conf ld.so.cache ld.so.conf ld.so.conf.d localtime) ++
         ~w(mime.types pki/ca-trust pki/tls/certs protocols services ssl/certs ssl/openssl.cnf terminfo timezone)

  # What only root may use of `/proc`, or sees more in than others.
  @roots ~w(config.gz kallsyms kcore keys key-users kmsg sched_debug slabinfo sysrq-trigger timer_list vmallocinfo)

  @network_etc ~w(gai.conf host.conf hosts resolv.conf)

  # Of which a sandbox has others.
  @own_directories ~w(dev home proc sys tmp)

  @devices ~w(null zero full random urandom tty)

  @links [
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
    {"/dev/ptmx", "pts/ptmx"}
  ]

  @own [:nosuid, :nodev]
  @read_only [:read_only, :nosuid, :nodev, :recursive, :make]

  @nsswitch """
  passwd: files
  group: files
  hosts: files dns
  """

  @doc "Where one may write, if the permissions of the files allow it."
  @spec writable() :: [String.t()]
  def writable, do: ["/tmp", Sandbox.home(), "/dev", "/proc"]

  @doc "Of mounts, where they may be written to."
  @spec written_to([term]) :: [String.t()]
  def written_to(mounts) do
    Enum.flat_map(mounts, fn
      {:bind, _from, to, flags} -> if :read_only in flags, do: [], else: [to]
      {:file_system, _kind, _from, to, _with, flags} -> if :read_only in flags, do: [], else: [to]
      _other -> []
    end)
  end

  @doc """
  What makes the root directory, up to what the caller has mounted; `finish/0` is what comes behind that.
  The error is a directory that cannot be the root.
  """
  @spec operations(map, uid :: non_neg_integer) :: {:ok, [term]} | {:error, {:bad_sandbox, term}}
  def operations(sandbox, uid) do
    with {:ok, system} <- system(sandbox) do
      {:ok,
       [root([{"size", "1048576"}, {"mode", "0755"}])] ++
         system ++
         proc(uid) ++
         dev(sandbox.tmp) ++
         memory("/tmp", sandbox.tmp, "1777") ++
         memory(Sandbox.home(), sandbox.home, "0700") ++
         binds(sandbox)}
    end
  end

  # What is in a directory comes behind the directory, which would cover it.
  defp binds(sandbox) do
    read = Enum.map(sandbox.read, &bind(&1, @read_only))
    write = Enum.map(sandbox.write, &bind(&1, [:nosuid, :nodev, :recursive, :make]))

    Enum.sort_by(read ++ write, fn {:bind, _path, inside, _flags} ->
      length(Path.split(inside))
    end)
  end

  @spec finish() :: [term]
  def finish, do: [{:attributes, "/", [:read_only | @own]}, :pivot_root]

  defp system(%{root: nil} = sandbox) do
    {:ok,
     system_directories() ++
       Enum.map(etc(sandbox), &etc_bind/1) ++
       Enum.map(files(sandbox), fn {name, text} ->
         {:make_file, "/etc/" <> name, 0o644, text}
       end) ++
       Enum.map(~w(/run /srv /mnt /root /var), &{:make_directory, &1, 0o755}) ++
       [{:symlink, "/var/tmp", "/tmp"}]}
  end

  # Nothing is made in that directory: what is in it is put beside what a sandbox has of its own.
  defp system(%{root: directory}) do
    case File.ls(directory) do
      {:ok, names} -> {:ok, Enum.flat_map(names -- @own_directories, &entry(directory, &1))}
      {:error, reason} -> {:error, {:bad_sandbox, {:root, directory, reason}}}
    end
  end

  defp entry(directory, name) do
    path = Path.join(directory, name)

    case File.read_link(path) do
      {:ok, target} -> [{:symlink, "/" <> name, target}]
      {:error, _no_link} -> [{:bind, path, "/" <> name, [:no_symlinks | @read_only]}]
    end
  end

  defp root(options), do: {:file_system, "tmpfs", "tmpfs", "/", options, @own}

  # They stay what they are as long as the BEAM runs, and asking takes files.
  defp system_directories do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      operations = Enum.flat_map(@system, &system_directory/1)
      :persistent_term.put(__MODULE__, operations)
      operations
    end
  end

  defp system_directory(path) do
    case File.read_link(path) do
      {:ok, target} -> [{:symlink, path, target}]
      {:error, :einval} -> [{:bind, path, path, @read_only}]
      {:error, _not_there} -> []
    end
  end

  defp etc(%{net: :host}), do: @etc ++ @network_etc
  defp etc(_own_network), do: @etc

  defp etc_bind(name) do
    path = "/etc/" <> name
    {:bind, path, path, [:optional | @read_only]}
  end

  defp files(sandbox) do
    own_hosts = if sandbox.net == :host, do: [], else: [{"hosts", hosts(sandbox)}]

    own_hosts ++
      [
        {"hostname", sandbox.hostname <> "\n"},
        {"nsswitch.conf", @nsswitch},
        {"passwd",
         "sandbox:x:#{@id}:#{@id}::#{Sandbox.home()}:/bin/sh\n" <>
           "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"},
        {"group", "sandbox:x:#{@id}:\nnogroup:x:65534:\n"}
      ]
  end

  defp hosts(sandbox), do: "127.0.0.1 localhost #{sandbox.hostname}\n::1 localhost\n"

  defp proc, do: {:file_system, "proc", "proc", "/proc", [], [:noexec, :make | @own]}

  # Root of the host is told apart there by its number, whatever capabilities it has.
  defp proc(0) do
    [proc() | Enum.flat_map(File.ls!("/proc"), &of_root/1)]
  end

  defp proc(_uid), do: [proc()]

  # What in `/proc` is no process: interrupts, the buses and their devices, sysctls, pages, …
  defp of_root(name) do
    path = "/proc/" <> name

    case File.lstat(path) do
      {:ok, %{type: :regular, mode: mode}} when name in @roots or (mode &&& 0o004) == 0 ->
        [{:bind, "/dev/null", path, [:read_only, :nosuid]}]

      {:ok, %{type: :regular, mode: mode}} when (mode &&& 0o222) != 0 ->
        [{:bind, path, path, @read_only}]

      {:ok, %{type: :directory}} ->
        if name =~ ~r/^\d+$/, do: [], else: [{:bind, path, path, @read_only}]

      _link ->
        []
    end
  end

  defp dev(size) do
    # A device can be written to all the same, but its owner cannot take it from the host.
    devices =
      for name <- @devices,
          path = "/dev/" <> name,
          do: {:bind, path, path, [:read_only, :nosuid, :make]}

    pts = [{"newinstance", nil}, {"ptmxmode", "0666"}, {"mode", "0620"}]
    pts = for {name, value} <- pts, do: if(value, do: {name, value}, else: name)

    devices ++
      [
        {:file_system, "devpts", "devpts", "/dev/pts", pts, [:nosuid, :noexec, :make]},
        {:file_system, "tmpfs", "shm", "/dev/shm",
         [{"mode", "1777"}, {"size", Integer.to_string(size)}], [:make | @own]}
      ] ++ for({path, target} <- @links, do: {:symlink, path, target})
  end

  defp memory(path, size, mode) do
    options = [{"size", Integer.to_string(size)}, {"mode", mode}]
    [{:file_system, "tmpfs", "tmpfs", path, options, [:make | @own]}]
  end

  # Links on the way have been followed already.
  defp bind({path, inside}, flags), do: {:bind, path, inside, [:no_symlinks | flags]}
end
