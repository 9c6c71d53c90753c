defmodule Linx.Mount do
  @moduledoc """
  What a program sees of the file systems: mounts in a mount namespace of its own, mount_namespaces(7).

  A session that is parked at its checkpoint is told what to mount. The child does it itself, in its own
  namespace; there is no way to enter that from the BEAM, so the session stands for it:

      {:ok, session} = Linx.Process.spawn(argv: ["ls", "/", "/srv"], namespaces: [:mount])

      receive do
        {:linx_process, :ready, _host_pid} -> :ok
      end

      :ok = Linx.Mount.tmpfs(session, "/", size: 1_048_576)
      :ok = Linx.Mount.bind(session, "/usr", "/usr", [:read_only, :make])
      for name <- ["bin", "lib", "lib64"], do: :ok = Linx.Mount.symlink(session, "/" <> name, "usr/" <> name)
      :ok = Linx.Mount.bind(session, "/etc/ssl", "/srv/ssl", [:read_only, :make, :optional])
      :ok = Linx.Mount.pivot_root(session)
      :ok = Linx.Process.proceed(session)

  Or all of it is said at once, by the option `:mounts` of `Linx.Process`, and done before `:ready`:

      Linx.Process.spawn(
        argv: ["ls", "/"],
        namespaces: [:user, :mount, :pid],
        uid_map: [{0, 1000, 1}],
        mounts: [
          {:tmpfs, "/"},
          {:bind, "/usr", "/usr", [:read_only, :make]},
          {:symlink, "/bin", "usr/bin"},
          {:symlink, "/lib", "usr/lib"},
          {:symlink, "/lib64", "usr/lib64"},
          {:proc, "/proc", [:make]}
        ]
      )

  Each element is a function of this module, and its arguments without the session. When there is a new root
  among them, `:pivot_root` comes last of itself.

  ## Targets, and a new root

  A target is an absolute path without `..`. What is mounted at `"/"`, by `bind/4`, `tmpfs/3` or
  `overlay/3`, is the *new root*: every later target is resolved in it, and can never lead out of it,
  whatever symbolic links there are in it, or are put there meanwhile: an absolute one begins at the new root.
  Links of `/proc` that are no paths, such as `/proc/self/root`, are refused (`:eloop`). Sources are paths
  as ever, until `pivot_root/1` makes the new root the root, and leaves nothing of the old one. A program that
  is let go before that stays in the old one.

  `:devnull` and files, as in the option `:stdio`, are opened where the program runs: in a new root they have to
  be there.

  ## The host

  Nothing of this is ever seen outside: the session must have a mount namespace of its own (`namespaces:
  [:mount]`), and before the first operation all mounts in it are made private; `propagation/4` may say something
  else. One that has `enter`ed somebody else's is refused, `:einval`. But what is made in a directory of the
  host's, by the option `:make` without a new root, is made there.

  Mounting needs root, or a user namespace (`namespaces: [:user, :mount]`), and its ids mapped. There the kernel
  allows no more than the caller has: what is read-only for the caller stays so, `bind/4` has to be
  `:recursive` where something is mounted below, `proc/3` needs a `:pid` namespace of its own, `sysfs/3` a `:net`
  one, `mqueue/3` an `:ipc` one, `overlay/3` mostly `userxattr: true`. It takes Linux 5.12; an older one says `:enosys`.

  ## What the program can undo

  A program that has `:sys_admin` in the user namespace to which its mount namespace belongs, as root inside has by
  default, may unmount what was mounted here, and make it writable. One that has not (`capabilities:
  [keep: []]`, see `Linx.Capabilities`) cannot, not even in a user namespace that it makes itself.

  ## Options of mounts

  In a list, where `:read_only` is the same as `read_only: true`.

    * `:read_only`, `:nosuid`, `:nodev`, `:noexec`, `:nosymfollow`, `:nodiratime` – attributes, which a
      mount has before anybody can see it. `tmpfs/3` has `:nosuid` and `:nodev`, `proc/3`, `sysfs/3` and
      `mqueue/3` have also `:noexec`, `devpts/3` has `:nosuid` and `:noexec`, unless they are `false`;
    * `:atime` – `:relatime`, `:noatime` or `:strictatime`;
    * `:make` – make the mount point if it is missing, a directory or an empty file as it has to be, and
      what is missing above it.

  ## Errors

  What the kernel refuses is a `Linx.Process.Error`, and the session ends. Its stage is `:mount_bind` (the source, or
  that it is mounted), `:mount_file_system`, `:mount_target` (a target that is not there, or cannot be
  made), `:mount_attributes`, `:mount_propagation`, `:mount_unmount`, `:mount_make` or `:pivot_root`.

  A call that comes before the checkpoint waits for it; later it is `{:error, :running}` or
  `{:error, :no_process}`. Mistakes are found first: `{:bad_path, path}`, `{:bad_mount_options, [size: -1]}`; in the
  option `:mounts` it is `{:bad_mounts, operations}` with those that are wrong, or
  `{:bad_mounts, :no_mount_namespace}`.
  """

  alias Linx.Mount.{Entry, Error, Operation}
  alias Linx.Process.Checkpoint

  @type session :: Linx.Process.session()

  @typedoc "A path in the new root, or in the root if there is none: absolute, and without `..`."
  @type target :: String.t()

  @type attribute ::
          :read_only | :nosuid | :nodev | :noexec | :nosymfollow | :nodiratime

  @type option ::
          attribute
          | :make
          | {attribute | :make, boolean}
          | {:atime, :relatime | :noatime | :strictatime}

  @type recursive :: :recursive | {:recursive, boolean}
  @type how :: :private | :slave | :shared | :unbindable

  @typedoc "An element of the option `:mounts`: a function, and its arguments without the session."
  @type mount ::
          {:bind, String.t(), target}
          | {:bind, String.t(), target, list}
          | {:tmpfs | :proc | :sysfs | :devpts | :mqueue | :unmount, target}
          | {:tmpfs | :proc | :sysfs | :devpts | :mqueue | :unmount, target, list}
          | {:overlay | :attributes, target, list}
          | {:file_system, String.t(), target}
          | {:file_system, String.t(), target, list}
          | {:propagation, target, how}
          | {:propagation, target, how, list}
          | {:read_only | :make_directory, target}
          | {:read_only | :make_directory, target, list}
          | {:make_file, target, binary}
          | {:make_file, target, binary, list}
          | {:symlink, target, String.t()}
          | :proc
          | :sysfs
          | :pivot_root

  @type mistake :: {:bad_path | :bad_mount_options | :bad_mount, term}

  @type verdict ::
          :ok | {:error, Linx.Process.Error.t() | :running | :no_process | mistake}

  @doc """
  Mounts what is at `source`, a directory or a file, at `target`, too.

      :ok = Linx.Mount.bind(session, "/usr", "/usr", [:read_only, :make])
      :ok = Linx.Mount.bind(session, "/dev/null", "/dev/null", [:make])

  A source is an absolute path, as the child finds it in the root it has; links are followed.

  ## Options

  Those of all mounts, and

    * `:recursive` – with what is mounted below, which gets the same attributes; `true` unless it is
      `false`;
    * `:optional` – do nothing if there is no source.
  """
  @spec bind(session, String.t(), target, [option | recursive | :optional | {:optional, boolean}]) ::
          verdict
  def bind(session, source, target, opts \\ []), do: run(session, {:bind, source, target, opts})

  @doc """
  Mounts an empty file system in memory.

      :ok = Linx.Mount.tmpfs(session, "/tmp", size: 64 * 1_048_576, mode: 0o1777)

  ## Options

  Those of all mounts, and

    * `:size` – how many bytes it may have; half of the memory without it;
    * `:inodes` – how many files and directories;
    * `:mode` – the permissions of its root, `0o1777` without it.
  """
  @spec tmpfs(session, target, [option | {:size | :inodes | :mode, pos_integer}]) :: verdict
  def tmpfs(session, target, opts \\ []), do: run(session, {:tmpfs, target, opts})

  @doc """
  Mounts the processes of the child's PID namespace.

      :ok = Linx.Mount.proc(session)

  ## Options

  Those of all mounts, and

    * `:hidepid` – 0, 1, 2 or `:ptraceable`: whether users see processes of others, proc(5);
    * `:subset` – `:pid` for nothing but processes.
  """
  @spec proc(session, target, [option | {:hidepid, 0..2 | :ptraceable} | {:subset, :pid}]) ::
          verdict
  def proc(session, target \\ "/proc", opts \\ []), do: run(session, {:proc, target, opts})

  @doc """
  Mounts the devices of the child's network namespace, and of the host.

      :ok = Linx.Mount.sysfs(session, "/sys", [:read_only])
  """
  @spec sysfs(session, target, [option]) :: verdict
  def sysfs(session, target \\ "/sys", opts \\ []), do: run(session, {:sysfs, target, opts})

  @doc """
  Mounts a place for terminals that are nobody else's.

      :ok = Linx.Mount.devpts(session, "/dev/pts", [:make])
      :ok = Linx.Mount.symlink(session, "/dev/ptmx", "pts/ptmx")

  ## Options

  Those of all mounts, and

    * `:mode`, `:gid` – the permissions of terminals, and their group;
    * `:ptmxmode` – the permissions of `ptmx` in it, `0o666` without it.
  """
  @spec devpts(session, target, [option | {:mode | :gid | :ptmxmode, non_neg_integer}]) :: verdict
  def devpts(session, target \\ "/dev/pts", opts \\ []), do: run(session, {:devpts, target, opts})

  @doc """
  Mounts the message queues of the child's IPC namespace, mq_overview(7).

      :ok = Linx.Mount.mqueue(session, "/dev/mqueue", [:make])
  """
  @spec mqueue(session, target, [option]) :: verdict
  def mqueue(session, target \\ "/dev/mqueue", opts \\ []),
    do: run(session, {:mqueue, target, opts})

  @doc """
  Mounts directories one over the other: what is written goes to the uppermost.

      :ok = Linx.Mount.overlay(session, "/", lower: ["/srv/app", "/srv/base"], upper: "/srv/new", work: "/srv/work")

  ## Options

  Those of all mounts, and

    * `:lower` – the directories that are only read, the uppermost first, 255 bytes together; or one of
      them;
    * `:upper`, `:work` – the directory that is written to, and one beside it on the same file system; without
      them nothing can be written;
    * `:userxattr` – keep what there is to be remembered in attributes that users have, too: `true` in a
      user namespace, from Linux 5.11 on.
  """
  @spec overlay(session, target, [
          option
          | {:lower, String.t() | [String.t()]}
          | {:upper | :work, String.t()}
          | {:userxattr, boolean}
        ]) :: verdict
  def overlay(session, target, opts), do: run(session, {:overlay, target, opts})

  @doc """
  Mounts any file system that the kernel has.

      :ok = Linx.Mount.file_system(session, "cgroup2", "/sys/fs/cgroup", [:nosuid])
      :ok = Linx.Mount.file_system(session, "ext4", "/srv", source: "/dev/vdb", options: [{"errors", "panic"}, "discard"])

  ## Options

  Those of all mounts, and

    * `:source` – what it is on; the name of the type without it;
    * `:options` – its own options, `"name"` or `{"name", "value"}`, with values of up to 255 bytes. `tmpfs/3`
      and the other functions take them as well.
  """
  @spec file_system(session, String.t(), target, [
          option | {:source, String.t()} | {:options, [String.t() | {String.t(), String.t()}]}
        ]) :: verdict
  def file_system(session, type, target, opts \\ []),
    do: run(session, {:file_system, type, target, opts})

  @doc """
  Says whether mounts that are made below `target` are seen below its peers, and the other way round.

      :ok = Linx.Mount.propagation(session, "/", :slave, [:recursive])

  As the first of all operations this one means that mounts which the host makes later are seen. Later all
  are private, and `:shared` makes peers for namespaces that are copied from this one, not of the host's.
  """
  @spec propagation(session, target, how, [recursive]) :: verdict
  def propagation(session, target, how, opts \\ []),
    do: run(session, {:propagation, target, how, opts})

  @doc """
  Makes what is mounted at `target` read-only, and all that is mounted below, unless `recursive: false`.

      :ok = Linx.Mount.read_only(session, "/usr")
  """
  @spec read_only(session, target, [recursive]) :: verdict
  def read_only(session, target, opts \\ []), do: run(session, {:read_only, target, opts})

  @doc """
  Gives attributes to what is mounted at `target`, and to all that is mounted below, unless `recursive: false`.

      :ok = Linx.Mount.attributes(session, "/home", [:nosuid, :nodev, atime: :noatime])

  None is taken away.
  """
  @spec attributes(session, target, [option | recursive]) :: verdict
  def attributes(session, target, opts), do: run(session, {:attributes, target, opts})

  @doc """
  Unmounts what is mounted at `target` last.

      :ok = Linx.Mount.unmount(session, "/home")

  With `:detach` also what is in use, and what is mounted below. What came from another user namespace
  with what it covers stays (`:einval`).
  """
  @spec unmount(session, target, [:detach | {:detach, boolean}]) :: verdict
  def unmount(session, target, opts \\ []), do: run(session, {:unmount, target, opts})

  @doc """
  Makes a directory, unless it is there, and what is missing above it.

      :ok = Linx.Mount.make_directory(session, "/var/tmp", mode: 0o1777)

  The mode is `0o755` without that option. No umask concerns it.
  """
  @spec make_directory(session, target, mode: 0..0o7777) :: verdict
  def make_directory(session, target, opts \\ []),
    do: run(session, {:make_directory, target, opts})

  @doc """
  Makes a file of up to 32 KiB, and what is missing above it.

      :ok = Linx.Mount.make_file(session, "/etc/hostname", "box\\n", mode: 0o444)

  The mode is `0o644` without that option. No umask concerns it. One that is there is `:eexist`.
  """
  @spec make_file(session, target, binary, mode: 0..0o7777) :: verdict
  def make_file(session, target, data, opts \\ []),
    do: run(session, {:make_file, target, data, opts})

  @doc """
  Makes a symbolic link, and what is missing above it.

      :ok = Linx.Mount.symlink(session, "/bin", "usr/bin")
  """
  @spec symlink(session, target, String.t()) :: verdict
  def symlink(session, target, content), do: run(session, {:symlink, target, content})

  @doc """
  Makes the new root the root of the child, and its directory. Of the old root nothing is left.

      :ok = Linx.Mount.pivot_root(session)

  Without a new root it is `:einval`.
  """
  @spec pivot_root(session) :: verdict
  def pivot_root(session), do: run(session, :pivot_root)

  @doc """
  The same, with a directory for a new root, and all that is mounted in it.

      :ok = Linx.Mount.pivot_root(session, "/srv/rootfs")
  """
  @spec pivot_root(session, String.t()) :: verdict
  def pivot_root(session, new_root) do
    with :ok <- bind(session, new_root, "/"), do: pivot_root(session)
  end

  @doc """
  What a process sees mounted, in the order of mounting, as `Linx.Mount.Entry`.

      iex> {:ok, mounts} = Linx.Mount.list(:self)
      iex> proc = Enum.find(mounts, &(&1.target == "/proc"))
      iex> {proc.type, proc.root}
      {"proc", "/"}

  The process is `:self`, the BEAM; a pid of the host; or a session, for the one that it has.

  ## Errors

  `{:error, :no_process}` when there is none, `{:error, :not_ready}` for a session that has none yet; else a
  `Linx.Mount.Error`, as `:eacces` for a process of somebody else's.
  """
  @spec list(:self | pos_integer | session) ::
          {:ok, [Entry.t()]} | {:error, Error.t() | :no_process | :not_ready | {:bad_pid, term}}
  def list(:self), do: read("self")
  def list(pid) when is_integer(pid) and pid > 0, do: read(pid)
  def list(pid) when is_integer(pid), do: {:error, {:bad_pid, pid}}
  def list(session), do: with({:ok, pid} <- Linx.Process.host_pid(session), do: list(pid))

  @doc false
  @spec terms([mount]) :: {:ok, [term]} | {:error, {:bad_mounts, term}}
  def terms(mounts) when length(mounts) >= 0 do
    terms = Enum.map(mounts, &Operation.term/1)

    case for({mount, {:error, _}} <- Enum.zip(mounts, terms), do: mount) do
      [] -> {:ok, terms |> Enum.map(fn {:ok, term} -> term end) |> pivoted()}
      wrong -> {:error, {:bad_mounts, wrong}}
    end
  end

  def terms(other), do: {:error, {:bad_mounts, other}}

  defp pivoted(terms) do
    if Enum.any?(terms, &Operation.new_root?/1) and :pivot_root not in terms,
      do: terms ++ [:pivot_root],
      else: terms
  end

  defp run(session, operation) do
    with {:ok, term} <- Operation.term(operation) do
      Checkpoint.setup(session, {:mount, term})
    end
  end

  defp read(process) do
    path = "/proc/#{process}/mountinfo"

    case File.read(path) do
      {:ok, lines} -> {:ok, lines |> String.split("\n", trim: true) |> Enum.map(&Entry.parse/1)}
      # A zombie has none.
      {:error, reason} when reason in [:enoent, :esrch, :einval] -> {:error, :no_process}
      {:error, reason} -> {:error, Error.new(:list, reason, path)}
    end
  end
end
