defmodule Linx.Cgroup do
  @moduledoc """
  Control groups, version 2: limits for a group of processes, what they use, and their end, cgroups(7).

      {:ok, cgroup} = Linx.Cgroup.create("build-17", memory: 512 * 1024 * 1024, pids: 100, cpu: 1.5)
      {:ok, session} = Linx.Process.spawn(argv: ["make"], cgroup: cgroup, auto_proceed: true)
      {:ok, {:exited, 0}} = Linx.Process.wait(session)
      {:ok, %{memory: %{peak: _bytes}}} = Linx.Cgroup.stats(cgroup)
      :ok = Linx.Cgroup.delete(cgroup, kill: true)

  A cgroup is a directory, and everything here is done by its files. No agent is needed, nor a session.
  A program that is born in one, by the option `cgroup:` of `Linx.Process`, is in it from its
  first instruction, with all that it starts; `add/2` moves what runs already.

  ## Where

  `create/2` makes a cgroup in the one that the BEAM is in, or else in the nearest one above it where the
  user of the BEAM may, and where the limits work: but for the topmost, a cgroup that has processes of its
  own can have no limits on those below it. An absolute path says exactly where.

  Who is not root needs a place that has been delegated, `delegated?/0`. With systemd that is
  `Delegate=yes` in the unit, or `systemd-run --user --scope -p Delegate=yes`. Where nothing above is
  delegated, or visible, as in a container, the BEAM and its port programs make room by moving into a
  leaf themselves, best before they do anything else:

      {:ok, own} = Linx.Cgroup.current()
      {:ok, leaf} = Linx.Cgroup.create(Path.join(own, "beam"))
      {:ok, pids} = Linx.Cgroup.procs(own)
      Enum.each(pids, &Linx.Cgroup.add(leaf, &1))
      {:ok, cgroup} = Linx.Cgroup.create(Path.join(own, "job"), memory: 512 * 1024 * 1024)

  ## One of a session's own

  Limits in place of a cgroup have the session make one for itself, and remove it:

      {:ok, result} = Linx.run(["make"], cgroup: [memory: 512 * 1024 * 1024, pids: 100, cpu: 1.5])
      result.cgroup_stats.memory.events.oom_kill
      #=> 0

  It is where `create/2` puts a name, and is there before the program; `cgroup: []` is one without limits.
  Its directory is the `:cgroup` of `Linx.Process.info/1`, for `stats/1` and the rest here, and what has
  been used in it is the `:cgroup_stats` afterwards, of a `Linx.Result`, too.

  When the session ends, in whatever way, all that is still in there is killed, and the cgroup removed; so
  `orphan: :leave` and `descendants: :leave` beside it are mistakes. What a BEAM that was killed has left is
  removed by the next one that makes such a cgroup in the same place.

  A mistake in the limits is `{:bad_cgroup, limits}`, no cgroup v2 is `{:bad_cgroup, :not_mounted}`. What the
  kernel refuses is the end of the session, a `Linx.Process.Error` with the stage `:cgroup`: `:eacces` where
  nothing is delegated to the user of the BEAM, `:ebusy` where the limits would not work.

  ## Limits

  A keyword list. Each switches the controller on that it needs, in the cgroups above, too; `:max` is no
  limit, and does only that, so that there are statistics.

    * `:memory` – bytes, beyond which the kernel kills processes in the group (`memory.max`);
    * `:memory_high` – bytes, beyond which they are slowed down and their memory is reclaimed;
    * `:memory_low`, `:memory_min` – bytes that are reclaimed from others first, or never from here;
    * `:swap` – bytes;
    * `:oom_group` – whether all of them are killed when one is to be: a boolean;
    * `:pids` – how many processes and threads;
    * `:cpu` – how many processors' time, `0.5` or `2`; at least `0.01`;
    * `:cpu_weight` – the share of a processor for which others wait, 1 to 10000, 100 without it;
    * `:io` – by device, `[{"8:0", rbps: 1_000_000, wiops: 100}]`: bytes and operations per second,
      `:rbps`, `:wbps`, `:riops`, `:wiops`;
    * `:io_weight` – as `:cpu_weight`;
    * `:cpuset`, `:cpuset_mems` – the processors and memory nodes, `[0, 2..3]`.

  ## Errors

  What the kernel refuses is a `Linx.Cgroup.Error`. A controller that there is not, as on machines
  where version 1 has it ("hybrid"), is `{:error, {:no_controller, :memory, [:pids]}}`, with those that
  there are. Limits that are none are `{:error, {:bad_limits, [memory: -1]}}`. Without cgroup v2
  it is `{:error, :not_mounted}`.
  """

  alias Linx.Cgroup.{Control, Error, Files, Limits, Pressure, Stats, Tree, Watcher}
  alias Linx.Process.CString

  @enforce_keys [:path]
  defstruct @enforce_keys

  @type t :: %__MODULE__{path: String.t()}

  @typedoc "A cgroup, or the directory that it is."
  @type cgroup :: t | String.t()

  @type bytes :: non_neg_integer | :max

  @type limit ::
          {:memory | :memory_high | :memory_low | :memory_min | :swap, bytes}
          | {:oom_group, boolean}
          | {:pids, non_neg_integer | :max}
          | {:cpu, number | :max}
          | {:cpu_weight | :io_weight, 1..10_000}
          | {:io, [{String.t(), [{:rbps | :wbps | :riops | :wiops, pos_integer | :max}]}]}
          | {:cpuset | :cpuset_mems, [non_neg_integer | Range.t()]}

  @type no_controller :: {:no_controller, atom, available :: [atom]}
  @type mistake :: {:bad_cgroup | :bad_limits | :bad_pid | :bad_options, term}

  # Milliseconds.
  @patience 5_000
  @interval 100

  @doc """
  Where cgroup v2 is mounted.

      {:ok, "/sys/fs/cgroup"} = Linx.Cgroup.root()

  `{:error, :not_mounted}` when it is not.
  """
  @spec root() :: {:ok, String.t()} | {:error, :not_mounted}
  def root do
    with {:ok, {directory, _root}} <- mount(), do: {:ok, directory}
  end

  @doc """
  The directory of the cgroup that the BEAM is in.

      {:ok, "/sys/fs/cgroup/system.slice/my_app.service"} = Linx.Cgroup.current()

  `{:error, :not_mounted}` also when it is outside of what is mounted.
  """
  @spec current() :: {:ok, String.t()} | {:error, :not_mounted}
  def current do
    with {:ok, mount} <- mount(),
         {:ok, membership} <- File.read("/proc/self/cgroup"),
         {:ok, directory} <- Tree.directory(mount, membership) do
      {:ok, directory}
    else
      _error -> {:error, :not_mounted}
    end
  end

  defp mount do
    with {:ok, mountinfo} <- File.read("/proc/self/mountinfo"),
         {:ok, mount} <- Tree.mount(mountinfo) do
      {:ok, mount}
    else
      _error -> {:error, :not_mounted}
    end
  end

  @doc """
  Whether the user of the BEAM may make cgroups in this one, and move its processes: by default the one
  that the BEAM is in.

      iex> Linx.Cgroup.delegated?("/proc")
      false
  """
  @spec delegated?(cgroup | nil) :: boolean
  def delegated?(cgroup \\ nil)

  def delegated?(nil) do
    case current() do
      {:ok, path} -> Tree.delegated?(path)
      {:error, :not_mounted} -> false
    end
  end

  def delegated?(cgroup) do
    case path(cgroup) do
      {:ok, path} -> Tree.delegated?(path)
      {:error, _mistake} -> false
    end
  end

  @doc """
  Makes a cgroup with these limits. A name is that of a cgroup where there is a place for one, see
  [Where](#module-where); a path is exactly that, and the directory above it has to be there.

      {:ok, cgroup} = Linx.Cgroup.create("build-17", memory: 512 * 1024 * 1024)

  It is always a new one. One that is there already is an error (`:eexist`): a cgroup that has been
  killed would kill what is born in it later. If a limit is refused, no cgroup is left.

  ## Errors

    * `%Linx.Cgroup.Error{}`: `:create`, when it cannot be made; `:enable`, when the cgroup above it cannot
      have limits below it (`:ebusy`: it has processes); `:write`, when a limit is refused;
    * `{:no_controller, name, available}`;
    * `{:bad_cgroup, term}`, `{:bad_limits, [limit]}`; `:not_mounted`.
  """
  @spec create(String.t(), [limit]) ::
          {:ok, t} | {:error, Error.t() | no_controller | :not_mounted | mistake}
  def create(name, limits \\ []) do
    with {:ok, writes} <- Limits.parse(limits),
         {:ok, path} <- place(name, Limits.controllers(writes)),
         :ok <- Tree.enable(Path.dirname(path), Limits.controllers(writes)),
         :ok <- make(path) do
      with {:error, reason} <- write_all(path, writes) do
        File.rmdir(path)
        {:error, reason}
      else
        :ok -> {:ok, %__MODULE__{path: path}}
      end
    end
  end

  defp place("/" <> _ = path, _controllers), do: path(path)

  defp place(name, controllers) do
    with true <- name?(name),
         {:ok, top} <- root(),
         {:ok, current} <- current() do
      {:ok, Path.join(Tree.parent(top, current, controllers), name)}
    else
      false -> {:error, {:bad_cgroup, name}}
      error -> error
    end
  end

  defp name?(name) do
    CString.valid?(name) and not Enum.any?(String.split(name, "/"), &(&1 in ["", ".", ".."]))
  end

  defp make(path) do
    with {:error, errno} <- File.mkdir(path), do: {:error, Error.new(:create, path, errno)}
  end

  @doc """
  Sets limits of a cgroup that is there. Those that are not named stay.

      :ok = Linx.Cgroup.set(cgroup, memory: 1024 * 1024 * 1024, cpu: :max)

  The limits are set one after another. When one is refused those before it are set.

  ## Errors

  Those of `create/2` but `:create`.
  """
  @spec set(cgroup, [limit]) :: :ok | {:error, Error.t() | no_controller | mistake}
  def set(cgroup, limits) do
    with {:ok, writes} <- Limits.parse(limits),
         {:ok, path} <- path(cgroup),
         :ok <- Tree.enable(Path.dirname(path), Limits.controllers(writes)) do
      write_all(path, writes)
    end
  end

  defp write_all(path, writes) do
    Enum.reduce_while(writes, :ok, fn {_controller, file, value}, :ok ->
      case Files.write(Path.join(path, file), value) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  @doc """
  Moves a process into the cgroup, with all its threads. What it has started before stays where it is.

      :ok = Linx.Cgroup.add(cgroup, 41234)

  The user of the BEAM needs the right to write to both cgroups and the nearest one above both. That fails
  as `%Linx.Cgroup.Error{operation: :add}`: `:eacces`, `:esrch` when there is no such process, `:ebusy` when
  there are limits on cgroups below.
  """
  @spec add(cgroup, pos_integer) :: :ok | {:error, Error.t() | mistake}
  def add(cgroup, pid) when is_integer(pid) and pid > 0 do
    with {:ok, path} <- path(cgroup) do
      Files.write(Path.join(path, "cgroup.procs"), "#{pid}", :add)
    end
  end

  def add(_cgroup, pid), do: {:error, {:bad_pid, pid}}

  @doc """
  The pids of the processes in the cgroup itself, not of those in cgroups below it. A process that the
  BEAM's PID namespace does not show is 0.

      {:ok, [41234, 41235]} = Linx.Cgroup.procs(cgroup)
  """
  @spec procs(cgroup) :: {:ok, [non_neg_integer]} | {:error, Error.t() | mistake}
  def procs(cgroup) do
    with {:ok, path} <- path(cgroup),
         {:ok, content} <- Files.read(Path.join(path, "cgroup.procs")) do
      {:ok, content |> String.split() |> Enum.map(&String.to_integer/1)}
    end
  end

  @doc """
  What the cgroup uses and has used, with all that is below it, as a `Linx.Cgroup.Stats`.

      {:ok, %Linx.Cgroup.Stats{memory: %{current: 4_096_000}, cpu: %{usage: 1_200}}} = Linx.Cgroup.stats(cgroup)
  """
  @spec stats(cgroup) :: {:ok, Stats.t()} | {:error, Error.t() | mistake}
  def stats(cgroup) do
    with {:ok, path} <- existing(cgroup), do: {:ok, Stats.read(path)}
  end

  @doc """
  How long its processes have waited for want of something: pressure stall information.

      {:ok, %{cpu: %{some: %{avg10: 1.5, avg60: 0.3, avg300: 0.06, total: 81_520}}}} = Linx.Cgroup.pressure(cgroup)

  For each of `:cpu`, `:memory`, `:io` and `:irq`, `:some` is the time in which some of them waited, `:full` in
  which all did: per cent of the last 10, 60 and 300 seconds, and the total in microseconds. What the kernel
  does not tell is `nil`, which is all of it if it was booted without `psi=1`.
  """
  @spec pressure(cgroup) ::
          {:ok,
           %{optional(:cpu | :memory | :io | :irq) => %{some: map | nil, full: map | nil} | nil}}
          | {:error, Error.t() | mistake}
  def pressure(cgroup) do
    with {:ok, path} <- existing(cgroup), do: {:ok, Pressure.read(path)}
  end

  @doc """
  Whether there is any process in it or below it, and whether they are frozen.

      {:ok, %{populated: true, frozen: false}} = Linx.Cgroup.events(cgroup)
  """
  @spec events(cgroup) ::
          {:ok, %{populated: boolean, frozen: boolean}} | {:error, Error.t() | mistake}
  def events(cgroup) do
    with {:ok, path} <- path(cgroup), do: Control.events(path)
  end

  @doc """
  Has a process told when the kernel kills one in the cgroup, or below it, for want of memory:

      {:ok, subscription} = Linx.Cgroup.subscribe(cgroup, self())

      receive do
        {:linx_cgroup, :oom_kill, ^cgroup, count} -> count
      end

  The count is of all since the cgroup was made. `{:linx_cgroup, :deleted, cgroup}` is the last message.
  The subscription ends then, with the subscriber, or by `unsubscribe/1`.

  The BEAM cannot wait for the file to change, so it is looked at every `:interval` milliseconds, #{@interval} by
  default: so late is the message at the most. What happens in the last interval before the cgroup is
  deleted is not told; `stats/1` before that is exact.

  `{:error, {:no_controller, :memory, available}}` when the cgroup has no memory controller.
  """
  @spec subscribe(cgroup, pid, interval: pos_integer) ::
          {:ok, pid} | {:error, Error.t() | no_controller | mistake}
  def subscribe(cgroup, subscriber \\ self(), opts \\ []) when is_pid(subscriber) do
    with {:ok, %{interval: interval}} <- options(opts, interval: @interval),
         {:ok, path} <- existing(cgroup),
         {:error, %Error{errno: :enoent}} <-
           Watcher.start(%__MODULE__{path: path}, subscriber, interval) do
      {:error, {:no_controller, :memory, Tree.available(path)}}
    end
  end

  @doc "Ends a subscription; it may have ended."
  @spec unsubscribe(subscription :: pid) :: :ok
  def unsubscribe(subscription), do: Watcher.stop(subscription)

  @doc """
  Stops all processes in the cgroup and below it, without a signal, and returns when they have stopped.

      :ok = Linx.Cgroup.freeze(cgroup)
      :ok = Linx.Cgroup.thaw(cgroup)

  A frozen process handles no signal, but it can be killed. `{:error, :timeout}` after #{@patience} ms, or the `:timeout` that is given,
  when one is held up in the kernel; it stops when it comes out of there, unless `thaw/1` comes before.

  Nobody can tell the BEAM when it is done, so that is looked for after 1 ms, then in growing
  intervals of up to 50 ms.
  """
  @spec freeze(cgroup, timeout: pos_integer) :: :ok | {:error, :timeout | Error.t() | mistake}
  def freeze(cgroup, opts \\ []), do: frozen(cgroup, true, opts)

  @doc """
  Lets frozen processes go on, and returns when they do. `{:error, :timeout}`, as of `freeze/1`, when a cgroup
  above it is frozen as well.

      :ok = Linx.Cgroup.thaw(cgroup)
  """
  @spec thaw(cgroup, timeout: pos_integer) :: :ok | {:error, :timeout | Error.t() | mistake}
  def thaw(cgroup, opts \\ []), do: frozen(cgroup, false, opts)

  defp frozen(cgroup, wanted, opts) do
    with {:ok, %{timeout: timeout}} <- options(opts, timeout: @patience),
         {:ok, path} <- path(cgroup),
         do: Control.freeze(path, wanted, timeout)
  end

  @doc """
  Kills all processes in the cgroup and below it, at once and for certain: none can fork its way out.

      :ok = Linx.Cgroup.kill(cgroup)

  It returns when all have been sent SIGKILL. They are gone a moment later, see `events/1`; `delete/2` waits
  for that. Nothing should be born in this cgroup any more: the kernel kills that, too.

  Linux before 5.14 has no means for it: `%Linx.Cgroup.Error{operation: :kill, errno: :enoent}`.
  """
  @spec kill(cgroup) :: :ok | {:error, Error.t() | mistake}
  def kill(cgroup) do
    with {:ok, path} <- path(cgroup), do: Control.kill(path)
  end

  @doc """
  Removes the cgroup, which has to be empty.

      :ok = Linx.Cgroup.delete(cgroup)
      :ok = Linx.Cgroup.delete(cgroup, kill: true)

  With `kill: true` all processes in it and below it are killed first, and the cgroups below it are
  removed, too. That takes up to `:timeout` milliseconds, #{@patience} by default, else it is
  `{:error, :timeout}`, and nothing has been removed.

  Without it, processes or cgroups in it are `%Linx.Cgroup.Error{operation: :delete, errno: :ebusy}`.
  """
  @spec delete(cgroup, kill: boolean, timeout: pos_integer) ::
          :ok | {:error, :timeout | Error.t() | mistake}
  def delete(cgroup, opts \\ []) do
    with {:ok, %{kill: kill?, timeout: timeout}} <-
           options(opts, kill: false, timeout: @patience),
         {:ok, path} <- path(cgroup) do
      if kill?, do: Control.clear(path, timeout), else: Control.remove(path)
    end
  end

  # The directory of a cgroup in any form.
  @doc false
  @spec path(term) :: {:ok, String.t()} | {:error, mistake}
  def path(%__MODULE__{path: path}), do: path(path)

  def path("/" <> _ = path) do
    if CString.valid?(path), do: {:ok, Path.expand(path)}, else: {:error, {:bad_cgroup, path}}
  end

  def path(other), do: {:error, {:bad_cgroup, other}}

  defp existing(cgroup) do
    with {:ok, path} <- path(cgroup) do
      if File.dir?(path), do: {:ok, path}, else: {:error, Error.new(:read, path, :enoent)}
    end
  end

  defp options(opts, defaults) do
    if Keyword.keyword?(opts) and
         Enum.all?(opts, fn {key, value} -> defaults[key] != nil and option?(key, value) end) do
      {:ok, defaults |> Keyword.merge(opts) |> Map.new()}
    else
      {:error, {:bad_options, opts}}
    end
  end

  defp option?(:kill, value), do: is_boolean(value)
  defp option?(_milliseconds, value), do: is_integer(value) and value > 0
end
