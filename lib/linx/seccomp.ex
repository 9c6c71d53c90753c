defmodule Linx.Seccomp do
  @moduledoc """
  Filters for what a program may ask of the kernel, see `seccomp(2)`.

      iex> {:ok, filter} = Linx.Seccomp.deny([:mkdir, :mkdirat])
      iex> Linx.Seccomp.evaluate(filter, :mkdirat)
      {:errno, :eperm}
      iex> Linx.Seccomp.evaluate(filter, :openat)
      :allow

  A filter is made by `allow/2` (what is not listed is refused), `deny/2` (what is listed is
  refused), `compile/1` (both, and everything between), `from_oci/2` (a profile of Docker, Podman or
  runc), or `default/1` (what suits a sandbox). It is given to a program with the option `seccomp:` of
  `Linx.Process`, or with `install/2` at the checkpoint. Linx installs it as the last thing before
  exec, so it need not allow what Linx itself calls, but for `execve`. Several filters stack, and the most
  restrictive answer counts; what comes behind one that refuses `seccomp` itself cannot be
  installed.

  ## Rules

  A rule says which system calls it is about, what becomes of them, and under which conditions:

      :mkdir                                                 # the action that the function implies
      {:mkdir, {:errno, :eacces}}
      {[:socket, :socketpair], [{0, :ne, 1, 32}]}            # the implied action, under a condition
      {:ioctl, :kill_process, [{1, :eq, 0x5412, 32}]}

  A condition compares an argument, counted from 0: `{index, :eq | :ne | :lt | :le | :gt | :ge, value}`, or
  `{index, {:masked_eq, mask}, value}`, which compares the bits of the mask alone. Numbers are
  unsigned; a negative value stands for its two's complement. All conditions of a rule have to hold.

  A fourth element is the number of bits that are compared, 64 or 32. **Where the kernel takes an
  `int`, say 32**: it ignores the high bits, and a deny-list that looks at them is got around by
  whoever sets one. A filter sees numbers and pointers, not what is behind a pointer.

  When several rules match, the most restrictive action wins, whatever their order; when none does,
  the default. From the most restrictive on, the actions are

    * `:kill_process` – the process is killed, as by SIGSYS;
    * `:kill_thread` – the thread that called is;
    * `:trap` – it gets SIGSYS, which it can handle;
    * `{:errno, name_or_number}` – nothing is done, and this is the error (`{:errno, 0}`: a pretended success).
      When rules for several match, the first of them wins;
    * `:notify` – another program decides, through a descriptor. Linx opens none, so it is `ENOSYS`;
    * `{:trace, number}` – its tracer decides; without one it is `ENOSYS`;
    * `:log` – it is done, and logged by the kernel;
    * `:allow` – it is done.

  ## Names and architectures

  System calls are named by atoms or strings, as their man pages are; `syscalls/1` has all of them.
  `arch: :x86_64 | :aarch64` makes a filter for another machine than this one. A name that only
  other architectures have is a mistake, told apart from one that is none:

      iex> Linx.Seccomp.allow([:read, :socketcall, :raed], arch: :x86_64)
      {:error, {:bad_syscalls, [socketcall: :other_arch, raed: :unknown]}}

  System calls of another ABI of the machine, i386 and x32 on x86_64, 32-bit ARM on aarch64, have
  numbers of their own, on which no rule says anything. They never slip past a filter: who makes
  one is killed, or what `foreign: action` says.

  ## Mistakes

  All functions that make filters return `{:error, mistake}` for what cannot be meant:
  `{:bad_syscalls, [{name, :other_arch | :unknown}]}`, `{:bad_action, term}`, `{:bad_condition, term}`,
  `{:bad_rule, term}`, `{:bad_arch, term}`, `{:bad_caps, term}` and so on for other options, `{:bad_option, name}` for
  one that there is not, and `{:too_long, instructions}` for what is more than the kernel takes in one
  program, 4,096.

  They work on a dirty scheduler, in a library that is loaded when it is first needed.
  """

  alias Linx.Process.Checkpoint
  alias Linx.Seccomp.{Action, Filter, Native, OCI, Options, Profile, Rules, Trace}

  @type arch :: :x86_64 | :aarch64

  @typedoc "A system call by name."
  @type name :: atom | String.t()

  @type action ::
          :kill_process
          | :kill_thread
          | :trap
          | {:errno, Linx.Errno.t() | 0..4095}
          | :notify
          | {:trace, 0..0xFFFF}
          | :log
          | :allow

  @type comparison :: :eq | :ne | :lt | :le | :gt | :ge | {:masked_eq, mask :: integer}
  @type condition ::
          {argument :: 0..5, comparison, value :: integer}
          | {argument :: 0..5, comparison, value :: integer, bits :: 32 | 64}

  @type rule ::
          name
          | {name | [name], action}
          | {name | [name], [condition]}
          | {name | [name], action, [condition]}

  @type mistake ::
          {:bad_syscalls, [{name, :other_arch | :unknown}]}
          | {:bad_action | :bad_condition | :bad_rule | :bad_arch, term}
          | {:bad_caps | :bad_kernel | :bad_socket_families | :bad_args | :bad_options, term}
          | {:bad_option, atom}
          | {:too_long, pos_integer}

  @doc """
  A filter that allows what the rules list, and nothing else.

  Options: `default: action` for all else, `{:errno, :eperm}` unless given; `arch:`, `foreign:` and `newer:` as
  for `compile/1`. A program cannot even start without `execve` and what the dynamic linker calls.

      iex> {:ok, filter} = Linx.Seccomp.allow([:read, :write, {:openat, [{2, {:masked_eq, 3}, 0, 32}]}])
      iex> read_only = 0
      iex> Linx.Seccomp.evaluate(filter, :openat, args: [0, 0, read_only])
      :allow
      iex> write_only = 1
      iex> Linx.Seccomp.evaluate(filter, :openat, args: [0, 0, write_only])
      {:errno, :eperm}
  """
  @spec allow([rule] | name, keyword) :: {:ok, Filter.t()} | {:error, mistake}
  def allow(rules, opts \\ []) do
    with {:ok, opts} <- Options.check(opts, default: {:errno, :eperm}) do
      build(rules, :allow, opts)
    end
  end

  @doc """
  A filter that refuses what the rules list, and allows all else.

  Options: `action:` for what is listed, `{:errno, :eperm}` unless given; `arch:`, `foreign:` and `newer:` as for
  `compile/1`.

      iex> {:ok, filter} = Linx.Seccomp.deny([{:kill, [{1, :eq, 9, 32}]}, {:reboot, :kill_process}])
      iex> for signal <- [15, 9], do: Linx.Seccomp.evaluate(filter, :kill, args: [1234, signal])
      [:allow, {:errno, :eperm}]
      iex> Linx.Seccomp.evaluate(filter, "reboot")
      :kill_process
  """
  @spec deny([rule] | name, keyword) :: {:ok, Filter.t()} | {:error, mistake}
  def deny(rules, opts \\ []) do
    with {:ok, opts} <- Options.check(opts, action: {:errno, :eperm}) do
      build(rules, opts.action, Map.put(opts, :default, :allow))
    end
  end

  @doc """
  A filter from

    * `rules:` – see above; each has to name its action;
    * `default:` – the action for what matches none of them;
    * `arch:` – `:x86_64` or `:aarch64`, this machine's unless given;
    * `foreign:` – the action for system calls of another ABI, `:kill_process` unless given;
    * `newer:` – the least that becomes of system calls that are newer than Linx: whose number is
      higher than that of any in `syscalls/1`. `:allow`, so that the default is all that counts, unless given.
      `{:errno, :enosys}` has a program believe that its kernel is older than it is.

      iex> {:ok, filter} =
      ...>   Linx.Seccomp.compile(
      ...>     default: {:errno, :enosys},
      ...>     rules: [
      ...>       {[:read, :write, :close], :allow},
      ...>       {:write, :kill_process, [{0, :gt, 2, 32}]}
      ...>     ]
      ...>   )
      iex> for fd <- [1, 3], do: Linx.Seccomp.evaluate(filter, :write, args: [fd])
      [:allow, :kill_process]
      iex> Linx.Seccomp.evaluate(filter, :openat)
      {:errno, :enosys}
  """
  @spec compile(keyword) :: {:ok, Filter.t()} | {:error, mistake}
  def compile(spec) do
    with {:ok, opts} <- Options.check(spec, default: nil, rules: []) do
      # Nothing is implied.
      build(opts.rules, nil, opts)
    end
  end

  @doc """
  A filter that suits programs in a sandbox: a shell, a compiler, an interpreter, a server run as ever, and
  what would widen the sandbox or reach out of it is refused.

  It is a deny-list, since an allow-list that lets ordinary programs run has most system calls in
  it, and breaks some of them with every new C library. What a deny-list usually misses, a system
  call nobody had heard of when it was written, is answered with `ENOSYS` here.

  Refused with `EPERM` are mounts and `chroot`, `setns`, `unshare` and `clone` of new namespaces, tracing and
  reading other processes, keyrings, `bpf`, `perf_event_open`, `userfaultfd`, io_uring, file
  handles, modules, kexec, the clock, quota and swap, `personality` but for the harmless ones, and the two ioctls that
  type into a terminal (`TIOCSTI`, `TIOCLINUX`). Sockets are of the families Unix, IPv4,
  IPv6 and netlink. `clone3`, whose flags no filter can see, is answered with `ENOSYS`, and C
  libraries take `clone`.

  Options: `except: [name]` for what is not refused after all, `socket_families: [number]` for more of
  these (`AF_VSOCK` is 40); `arch:`, `foreign:` and `newer:` as for `compile/1`.

      iex> {:ok, filter} = Linx.Seccomp.default(except: [:ptrace])
      iex> for name <- [:execve, :ptrace, :mount, :clone3], do: Linx.Seccomp.evaluate(filter, name)
      [:allow, :allow, {:errno, :eperm}, {:errno, :enosys}]
      iex> clone_newuser = 0x10000000
      iex> Linx.Seccomp.evaluate(filter, :clone, args: [clone_newuser])
      {:errno, :eperm}
  """
  @spec default(keyword) :: {:ok, Filter.t()} | {:error, mistake}
  def default(opts \\ []) do
    defaults = [except: [], socket_families: [], newer: {:errno, :enosys}]

    with {:ok, opts} <- Options.check(opts, defaults),
         {:ok, except} <- Options.names(opts.except, opts.arch),
         :ok <- Options.families(opts.socket_families) do
      rules = Profile.rules(except, opts.socket_families)
      # Some names are those of one architecture.
      build(rules, nil, Map.merge(opts, %{default: :allow, unknown: :skip}))
    end
  end

  @doc """
  A filter from a seccomp profile of the OCI runtime specification, or of Docker, which adds conditions:
  the JSON text, or the map that it is.

  `includes` and `excludes` of an entry are decided by

    * `caps:` – the capabilities the program will have, `["CAP_SYS_PTRACE"]` or `[:sys_ptrace]`; none unless given;
    * `kernel:` – a version such as `"6.1"`; the running one's unless given;
    * `arch:` – as for `compile/1`.

  It is read as runc reads it: a name that the architecture does not have is left out, an entry with
  the default's action says nothing, several conditions for one argument are alternatives, system
  calls newer than Linx are answered with `ENOSYS` where the default is an errno. Two
  things are stricter. Of entries that contradict each other, the most restrictive wins, and the other
  ABIs that `architectures` or `archMap` may list are not let in: their programs are killed.

  What is no such profile is `{:error, {:bad_json, why}}` or `{:error, {:bad_profile, why}}`.

      iex> profile = ~s({
      ...>   "defaultAction": "SCMP_ACT_ERRNO",
      ...>   "syscalls": [
      ...>     {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
      ...>     {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_PTRACE"]}}
      ...>   ]
      ...> })
      iex> {:ok, filter} = Linx.Seccomp.from_oci(profile)
      iex> for name <- [:read, :ptrace], do: Linx.Seccomp.evaluate(filter, name)
      [:allow, {:errno, :eperm}]
      iex> {:ok, filter} = Linx.Seccomp.from_oci(profile, caps: [:sys_ptrace])
      iex> Linx.Seccomp.evaluate(filter, :ptrace)
      :allow
  """
  @spec from_oci(String.t() | map, keyword) ::
          {:ok, Filter.t()} | {:error, mistake | {:bad_json | :bad_profile, String.t()}}
  def from_oci(profile, opts \\ []) do
    with {:ok, opts} <- Options.check(opts, caps: [], kernel: :running),
         {:ok, opts} <- Options.circumstances(opts),
         {:ok, profile} <- profile(profile),
         {:ok, default, rules} <- OCI.rules(profile, opts) do
      newer = if match?({:errno, _}, default), do: {:errno, :enosys}, else: :allow
      build(rules, nil, Map.merge(%{opts | newer: newer}, %{default: default, unknown: :skip}))
    end
  end

  defp profile(text) when is_binary(text) do
    with {:ok, term} <- Native.parse_json(text), do: profile(term)
  end

  defp profile(map) when is_map(map), do: {:ok, map}
  defp profile(other), do: {:error, {:bad_profile, "it is no object: #{inspect(other)}"}}

  defp build(rules, action, opts) do
    with {:ok, default} <- Action.encode(opts.default),
         {:ok, foreign} <- Action.encode(opts.foreign),
         {:ok, newer} <- Action.encode(opts.newer),
         {:ok, rules} <- Rules.resolve(rules, opts.arch, action, unknown: opts[:unknown]),
         {:ok, program} <- Native.compile(opts.arch, default, foreign, newer, rules) do
      {:ok, %Filter{programs: [program], arch: opts.arch}}
    end
  end

  @doc """
  What filters do to a system call, without running it: their programs are interpreted as the kernel
  would run them.

  Given are a filter or a list of filters in the order in which they are installed, and a system call by name
  or number. Options: `args:`, up to six arguments, 0 unless given; `abi:`, the one the call is made in, that of
  the filter unless given; for `:i386`, `:x32`, `:arm` and others, as `AUDIT_ARCH` numbers of
  linux/audit.h, the call has to be a number.

      iex> {:ok, filter} = Linx.Seccomp.deny(:mkdir, arch: :x86_64)
      iex> Linx.Seccomp.evaluate(filter, :mkdir)
      {:errno, :eperm}
      iex> Linx.Seccomp.evaluate(filter, 39, abi: :i386)
      :kill_process
      iex> {:ok, stricter} = Linx.Seccomp.deny(:mkdir, arch: :x86_64, action: :trap)
      iex> Linx.Seccomp.evaluate([filter, stricter], 83)
      :trap
  """
  @spec evaluate(Filter.t() | [Filter.t(), ...], name | non_neg_integer, keyword) ::
          action | {:error, mistake | :bad_program}
  def evaluate(filters, syscall, opts \\ []) do
    [%Filter{arch: arch} | _] = filters = List.wrap(filters)

    with {:ok, opts} <- Options.check_call(opts, arch),
         {:ok, number} <- number(syscall, opts.abi),
         programs = Enum.flat_map(filters, & &1.programs),
         {number, audit} = Options.abi(opts.abi, number),
         {:ok, answer} <- Native.evaluate(programs, number, audit, opts.args) do
      Action.decode(answer)
    end
  end

  defp number(number, _abi) when number in 0..0xFFFF_FFFF, do: {:ok, number}
  defp number(name, abi) when abi in [:x86_64, :aarch64], do: Rules.number(name, abi)
  defp number(name, _abi), do: {:error, {:bad_syscalls, [{name, :unknown}]}}

  @doc """
  The programs of a filter as text: one instruction a line, with the lines that it jumps to, and behind a
  semicolon what it is about.

      iex> {:ok, filter} = Linx.Seccomp.deny(:mkdir, arch: :x86_64)
      iex> filter |> Linx.Seccomp.disassemble() |> String.split("\\n") |> Enum.slice(-5, 4)
      [
        "0009  ld [0]                            ; number",
        "0010  jeq #0x53, 0011, 0012             ; mkdir",
        "0011  ret #0x00050001                   ; errno 1",
        "0012  ret #0x7fff0000                   ; allow"
      ]
  """
  @spec disassemble(Filter.t()) :: String.t()
  def disassemble(%Filter{programs: programs, arch: arch}) do
    programs
    |> Enum.with_index(1)
    |> Enum.map_join("\n", fn {program, index} ->
      case Native.disassemble(arch, program) do
        {:ok, text} -> "; program #{index} of #{length(programs)}\n#{text}"
        {:error, :bad_program} -> "; program #{index} is none that the kernel would take\n"
      end
    end)
  end

  @doc """
  The names and numbers of an architecture's system calls, by number.

      iex> {:ok, calls} = Linx.Seccomp.syscalls(:aarch64)
      iex> List.keyfind(calls, "openat", 0)
      {"openat", 56}
  """
  @spec syscalls(arch) ::
          {:ok, [{String.t(), non_neg_integer}]} | {:error, {:bad_arch, term}}
  def syscalls(arch \\ Options.machine()) do
    with {:ok, arch} <- Options.arch(arch), do: {:ok, Native.syscalls(arch)}
  end

  @doc """
  Runs a program and tells which system calls it made, its children and threads included: the
  allow-list that it needs for what it has done.

  It takes the command and the options of `Linx.run/2`, and what that promises holds: nothing is
  left of the program, nor of what it has started, and `:timeout` ends one that does not end by itself, a server
  for instance, with what it has called until then. The program runs under `ptrace(2)`: each of its system calls
  takes longer, nobody else can trace it, and a set-user-ID program has no more rights than its caller. That is
  not for a sandbox, in which there is neither the tracer nor leave to trace.

      iex> {:ok, trace} = Linx.Seccomp.trace(["echo", "hello"])
      iex> {trace.status, trace.result.stdout}
      {{:exited, 0}, "hello\\n"}
      iex> "write" in trace.syscalls and "socket" not in trace.syscalls
      true
      iex> {:ok, filter} = Linx.Seccomp.allow(trace.syscalls)
      iex> Linx.Seccomp.evaluate(filter, :socket)
      {:errno, :eperm}

  Another run may take another way: a signal, an error or a retry brings system calls that no run
  before has shown (`restart_syscall`, `rt_sigreturn`). So does another version of the C library.

  Errors are those of `Linx.run/2`; at the stage `:ptrace` stands what keeps a program from being traced.
  """
  @spec trace(Linx.command(), keyword) :: {:ok, Trace.t()} | {:error, term}
  def trace(command, opts \\ []), do: Trace.run(command, opts)

  @doc """
  Has a session's program run under a filter, or under several: at the checkpoint, before `Linx.Process.proceed/1`.

  Each program is tried by the kernel at once; the first that it refuses is the error, and ends the
  session. One whose program runs already answers `{:error, :running}`. A filter for another architecture than the machine's is `{:error, {:bad_seccomp, {:wrong_arch, arch}}}`, one that refuses
  `seccomp` and is followed by others `{:error, {:bad_seccomp, {:not_last, filter}}}`.

      iex> {:ok, session} = Linx.Process.spawn(argv: ["mkdir", "/tmp/never"], stdio: :devnull)
      iex> {:ok, filter} = Linx.Seccomp.deny([:mkdir, :mkdirat])
      iex> Linx.Seccomp.install(session, filter)
      :ok
      iex> Linx.Process.proceed(session)
      iex> Linx.Process.wait(session)
      {:ok, {:exited, 1}}
  """
  @spec install(Linx.Process.t(), Filter.t() | [Filter.t()]) :: :ok | {:error, term}
  def install(session, filters) do
    with {:ok, steps} <- steps(filters), do: Checkpoint.confine_all(session, steps)
  end

  # What the option `seccomp:` of Linx.Process means to an agent.
  @doc false
  @spec steps(term) :: {:ok, [{:seccomp, binary}]} | {:error, {:bad_seccomp, term}}
  def steps(filters) do
    filters = List.wrap(filters)
    machine = Options.machine()

    if List.improper?(filters) do
      {:error, {:bad_seccomp, filters}}
    else
      case Enum.reject(filters, &match?(%Filter{arch: ^machine, programs: [_ | _]}, &1)) do
        [] ->
          in_order(filters)

        [%Filter{arch: arch, programs: [_ | _]} | _] ->
          {:error, {:bad_seccomp, {:wrong_arch, arch}}}

        [other | _] ->
          {:error, {:bad_seccomp, other}}
      end
    end
  end

  # SECCOMP_SET_MODE_FILTER
  @install [1, 0]

  defp in_order(filters) do
    refusing = &(evaluate(&1, :seccomp, args: @install) not in [:allow, :log])

    case filters |> Enum.drop(-1) |> Enum.find(refusing) do
      nil -> {:ok, for(filter <- filters, program <- filter.programs, do: {:seccomp, program})}
      filter -> {:error, {:bad_seccomp, {:not_last, filter}}}
    end
  end
end
