defmodule Linx.Capabilities do
  @moduledoc """
  What a process may do of what root may do: capabilities(7), by name.

  A capability is an atom, the kernel's name without its prefix: `:net_bind_service`. Wherever names are
  taken, `:cap_net_bind_service` and `"CAP_NET_BIND_SERVICE"` are the same, and so is the number.

  ## Reading

  `read/1` tells the sets of any process, as this struct:

    * `:effective` – what counts when the kernel asks;
    * `:permitted` – what the process may make effective;
    * `:inheritable` – what a program with file capabilities may get from it;
    * `:bounding` – what programs can get at the most when they are executed;
    * `:ambient` – what any program keeps that is executed;
    * `:no_new_privs?` – whether executing a program gives it nothing that it did not have before.

  ## Confining

  A session that is parked at its checkpoint is told what its program will have. Mostly that is `keep/2`,
  *only these*, whoever the program runs as and whatever it executes:

      {:ok, session} = Linx.Process.spawn(argv: ["my-server"], user: "nobody")

      receive do
        {:linx_process, :ready, _host_pid} -> :ok
      end

      :ok = Linx.Capabilities.keep(session, [:net_bind_service])
      :ok = Linx.Process.proceed(session)

  `drop_bounding/2`, `set_thread_sets/2` and `set_ambient/2` are the parts that it is made of. Whatever the
  order of the calls, the steps are taken as the kernel needs them: the bounding set, the securebits,
  user and groups, the thread sets, the ambient set; and then the program is executed, which
  changes the sets once more. So the `:effective` set of one that is executed as root without securebits is
  the bounding set again.

  All of it is for the namespaces of the program: one that may make a user namespace has every
  capability inside it. What stops that is `Linx.Seccomp`.

  ## Errors

  What the kernel refuses is a `Linx.Process.Error` with the stage `:cap_drop_bounding`, `:securebits`,
  `:cap_set_thread` or `:cap_set_ambient`, and the session ends. `:eperm` at the first two means that the
  caller has no `:setpcap`: to give something up for good, too, needs it. Without root, a user namespace
  (`namespaces: [:user]`) has it; `no_new_privs: true` does much the same and needs nothing.

  Before the checkpoint a call waits for it. After it the answer is `{:error, :running}`, or
  `{:error, :no_process}`. Names that there are not are `{:error, {:bad_capabilities, [:typo]}}`.
  """

  alias Linx.Capabilities.Names
  alias Linx.Process.{Checkpoint, Error}

  @enforce_keys [:effective, :permitted, :inheritable, :bounding, :ambient, :no_new_privs?]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          effective: [capability],
          permitted: [capability],
          inheritable: [capability],
          bounding: [capability],
          ambient: [capability],
          no_new_privs?: boolean
        }

  @typedoc "A capability by name, or by its number when it has none here."
  @type capability :: atom | 0..63

  @typedoc "A capability as it may be given."
  @type name :: capability | String.t()

  @type mistake :: {:bad_capabilities, term}

  @type verdict ::
          :ok | {:error, Error.t() | :running | :no_process | mistake}

  # SECBIT_NOROOT and SECBIT_NO_SETUID_FIXUP, each with its lock, and SECBIT_KEEP_CAPS_LOCKED. The last
  # is a lock on the bit being clear. SECBIT_NO_CAP_AMBIENT_RAISE cannot be there before the ambient set
  # is, and adds nothing: only what is permitted can be raised.
  @only_these 0b10_1111

  @doc """
  All names, in the order of their numbers.

      iex> Linx.Capabilities.all() |> Enum.take(2)
      [:chown, :dac_override]
      iex> length(Linx.Capabilities.all())
      41
  """
  @spec all() :: [atom]
  defdelegate all, to: Names

  @doc """
  What the running kernel knows, in the order of the numbers. One that is newer than this library may
  know more, which have no names here: those are numbers.

      iex> :checkpoint_restore in Linx.Capabilities.known()
      true
  """
  @spec known() :: [capability]
  def known, do: names(known_mask())

  @doc """
  The mask that the kernel has for a list of capabilities: bit N is the one with the number N.

      iex> Linx.Capabilities.mask([:chown, "CAP_NET_BIND_SERVICE"])
      {:ok, 0x401}
      iex> Linx.Capabilities.mask([:chown, :typo])
      {:error, {:bad_capabilities, [:typo]}}
  """
  @spec mask([name]) :: {:ok, non_neg_integer} | {:error, mistake}
  defdelegate mask(names), to: Names

  @doc """
  The capabilities in a mask. A bit that has no name is given as its number.

      iex> Linx.Capabilities.names(0x401)
      [:chown, :net_bind_service]
      iex> Linx.Capabilities.names(0x8000000000000001)
      [:chown, 63]
  """
  @spec names(non_neg_integer) :: [capability]
  defdelegate names(mask), to: Names

  @doc """
  The sets of a process of the host, given by its pid, or of a session's workload.

      iex> {:ok, caps} = Linx.Capabilities.read(String.to_integer(System.pid()))
      iex> caps.effective -- caps.permitted
      []

  At the checkpoint, what a session has been told is not to be seen yet: the steps are taken after
  `Linx.Process.proceed/1`.

  ## Errors

  `:no_process` when there is none; `:not_ready` for a session whose workload is not there yet.
  """
  @spec read(pos_integer | Linx.Process.session()) ::
          {:ok, t} | {:error, :no_process | :not_ready}
  def read(pid) when is_integer(pid) do
    case File.read("/proc/#{pid}/status") do
      {:ok, status} -> {:ok, parse(status)}
      {:error, _gone} -> {:error, :no_process}
    end
  end

  def read(session) do
    with {:ok, pid} <- Linx.Process.host_pid(session), do: read(pid)
  end

  @doc """
  Takes capabilities out of the bounding set, or all of them: no program that is executed gets them,
  but for those that are in the inheritable set and in the program's own.

      :ok = Linx.Capabilities.drop_bounding(session, [:sys_admin, :sys_module])
      :ok = Linx.Capabilities.drop_bounding(session, :all)

  What the kernel does not know is in no set, and is not dropped.
  """
  @spec drop_bounding(Linx.Process.session(), [name] | :all) :: verdict
  def drop_bounding(session, names), do: confine(session, drop_bounding: names)

  @doc """
  Sets what the process itself has when the program is executed. A set that is not given is empty.

      names = [:net_bind_service]
      :ok = Linx.Capabilities.set_thread_sets(session, permitted: names, inheritable: names)

  By itself that lasts up to the exec: a program without file capabilities keeps the ambient set only, and
  root gets the bounding set, and the inheritable one.
  """
  @spec set_thread_sets(Linx.Process.session(),
          effective: [name],
          permitted: [name],
          inheritable: [name]
        ) :: verdict
  def set_thread_sets(session, sets), do: confine(session, thread: sets)

  @doc """
  Sets what the program, and those that it executes, keep when they are executed. Each has to be in the
  permitted and in the inheritable set (`set_thread_sets/2`), else it is `:eperm`.

      :ok = Linx.Capabilities.set_ambient(session, [:net_bind_service])

  A set-uid program, or one with file capabilities, does not have them.
  """
  @spec set_ambient(Linx.Process.session(), [name]) :: verdict
  def set_ambient(session, names), do: confine(session, ambient: names)

  @doc """
  Leaves the program these capabilities and no others: also after exec, also as root, and also as
  another user.

      :ok = Linx.Capabilities.keep(session, [])
      :ok = Linx.Capabilities.keep(session, [:net_bind_service])

  That is what the option `capabilities: [keep: [:net_bind_service]]` of `Linx.Process` does, too. The
  bounding set is reduced to them, and they become the thread's sets and the ambient set. Securebits make
  root a user like any other to the kernel, and are locked. So

    * a program has them in every set, `:effective` included, and needs to know nothing about it;
    * a set-uid root program becomes root, but has no capability at all;
    * one whose file demands capabilities that are not among them is not executed (`EPERM`).

  It needs `:setpcap`, and what is kept has to be there: `:cap_set_thread` with `:eperm` says that
  it is not.
  """
  @spec keep(Linx.Process.session(), [name]) :: verdict
  def keep(session, names), do: confine(session, keep: names)

  # The option `:capabilities` as steps of the agent: `keep:` alone, or any of the others.
  @doc false
  @spec steps(term) :: {:ok, [tuple]} | {:error, mistake}
  def steps(keep: names) do
    with {:ok, mask} <- mask(names) do
      rest = Bitwise.band(known_mask(), Bitwise.bnot(mask))

      {:ok,
       drop(rest) ++
         [{:securebits, @only_these}, {:cap_set_thread, mask, mask, mask}] ++
         [{:cap_set_ambient, mask}]}
    end
  end

  def steps(opts) do
    if Keyword.keyword?(opts) and opts == Enum.uniq_by(opts, &elem(&1, 0)) do
      Enum.reduce_while(opts, {:ok, []}, fn option, {:ok, steps} ->
        case step(option) do
          {:ok, more} -> {:cont, {:ok, steps ++ more}}
          error -> {:halt, error}
        end
      end)
    else
      {:error, {:bad_capabilities, opts}}
    end
  end

  defp step({:drop_bounding, :all}), do: {:ok, drop(known_mask())}

  defp step({:drop_bounding, names}) do
    with {:ok, mask} <- mask(names), do: {:ok, drop(Bitwise.band(mask, known_mask()))}
  end

  defp step({:thread, sets}) do
    with :ok <- sets?(sets),
         {:ok, effective} <- mask(Keyword.get(sets, :effective, [])),
         {:ok, permitted} <- mask(Keyword.get(sets, :permitted, [])),
         {:ok, inheritable} <- mask(Keyword.get(sets, :inheritable, [])) do
      {:ok, [{:cap_set_thread, effective, permitted, inheritable}]}
    end
  end

  defp step({:ambient, names}) do
    with {:ok, mask} <- mask(names), do: {:ok, [{:cap_set_ambient, mask}]}
  end

  defp step(other), do: {:error, {:bad_capabilities, [other]}}

  # Nothing to drop needs no right to do so.
  defp drop(0), do: []
  defp drop(mask), do: [{:cap_drop_bounding, mask}]

  defp sets?(sets) do
    with true <- Keyword.keyword?(sets),
         [] <- Keyword.drop(sets, [:effective, :permitted, :inheritable]) do
      :ok
    else
      false -> {:error, {:bad_capabilities, sets}}
      unknown -> {:error, {:bad_capabilities, unknown}}
    end
  end

  defp confine(session, opts) do
    with {:ok, steps} <- steps(opts), do: Checkpoint.confine_all(session, steps)
  end

  # It stays the same as long as the kernel runs, and asking takes a file.
  defp known_mask do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      last = "/proc/sys/kernel/cap_last_cap" |> File.read!() |> String.trim()
      mask = Bitwise.bsl(1, String.to_integer(last) + 1) - 1
      :persistent_term.put(__MODULE__, mask)
      mask
    end
  end

  # See proc_pid_status(5).
  defp parse(status) do
    fields =
      for line <- String.split(status, "\n"),
          [key, value] <- [String.split(line, ":", parts: 2)],
          into: %{},
          do: {key, String.trim(value)}

    set = &(fields |> Map.fetch!(&1) |> String.to_integer(16) |> names())

    %__MODULE__{
      effective: set.("CapEff"),
      permitted: set.("CapPrm"),
      inheritable: set.("CapInh"),
      bounding: set.("CapBnd"),
      ambient: set.("CapAmb"),
      no_new_privs?: fields["NoNewPrivs"] == "1"
    }
  end
end
