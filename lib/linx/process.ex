defmodule Linx.Process do
  @moduledoc """
  An operating-system process as an OTP process.

  A *session* is a GenServer that owns one *workload*, a program that runs outside the BEAM. Its pid
  is the handle for everything below, from any node.

      {:ok, session} = Linx.Process.spawn(argv: ["/bin/echo", "hello"])

      receive do
        {:linx_process, :ready, host_pid} -> host_pid
      end

      :ok = Linx.Process.proceed(session)
      {:ok, {:exited, 0}} = Linx.Process.wait(session)

  ## The checkpoint

  The child is born in the namespaces that were asked for, and stops there before it becomes the
  program. While it waits the host can prepare its place: move a network interface into its
  namespace, write its uid map, put it in a cgroup. Then `proceed/1` lets it run, or `abort/1` takes
  it away without a trace. With `auto_proceed: true` it does not stop there, and whoever comes to abort
  it is most likely late.

  Commands may come early. A signal waits for the program to run, an abort for the child to be
  parked, and an abort beats both a signal and a `proceed/1` that wait with it.

  ## Events

  The *owner* of a session, at first the process that started it, receives

    * `{:linx_process, :ready, host_pid}` – the child is parked at the checkpoint;
    * `{:linx_process, :running}` – it has become the program;
    * `{:linx_process, :pty_out, bytes}` – the program wrote this to its terminal;
    * `{:linx_process, :stdout, bytes}`, `{:linx_process, :stderr, bytes}` – it wrote this to a pipe, if
      the session is [active](#module-output-and-input);
    * `{:linx_process, :eof, :stdout}`, `{:linx_process, :eof, :stderr}` – it will write no more there;
    * `{:linx_process, :passive}` – so many messages as the session was active for have come;

  and at the end exactly one of

    * `{:linx_process, :exited, code}` – the program exited;
    * `{:linx_process, :signaled, number}` – a signal killed it;
    * `{:linx_process, :aborted}` – `abort/1` took it away before it ran;
    * `{:linx_process, :error, code, stage}` – it never ran: at this stage the kernel gave this error
      number. `wait/1` and `info/1` give it as a `Linx.Process.Error`.

  Only three stages may come after `:running`: `:agent_died`, when the agent was killed and the
  workload with it, where the code is the agent's exit status; `:sweep`, when something that the
  program left does not die; and `:agent`, when the agent could not be understood, or started in the
  first place. With `:chain` it may also be the stage at which a later program could not be run.

  An owner may be given by name, and is looked up at each event. When there is none the event is
  dropped: `info/1` and `wait/1` tell the state to whoever comes later.

  ## Output and input

  With `stdio: :pipe` what the program writes comes to its session, and what it reads comes from there.
  A session holds no more than 256 KiB of each of standard output, standard error and a terminal. When
  nobody takes it, the program has to wait, as in a shell pipeline: it fills no mailbox. Of two streams
  neither waits for the other. Bytes are passed on as they are.

  Somebody asks, or the owner gets messages, as with `:gen_tcp`. With `active: false`, the default for
  pipes, any process calls `recv/3`:

      {:ok, session} = Linx.Process.spawn(argv: ["cat"], stdio: :pipe, auto_proceed: true)
      :ok = Linx.Process.write(session, "hello")
      {:ok, {:stdout, "hello"}} = Linx.Process.recv(session)
      :ok = Linx.Process.close_stdin(session)
      :eof = Linx.Process.recv(session)
      {:ok, {:exited, 0}} = Linx.Process.wait(session)

  With `active: true`, the default for a terminal, the owner gets messages as fast as the output comes,
  and they fill its mailbox if it is slower; with `:once` it gets one, with a number so many, and asks for
  more by `set_active/2` when it can take them. Only data counts. The order is: data, that there is no
  more of it, how the program ended. An owner who gets messages gets all of them before the last; for
  `wait/1`, and for the last event of a session with `active: false`, nobody has to read anything.

  A program can end before its output has been read. The session keeps the rest, at most 256 KiB and what
  a pipe holds, as long as it lives: one with `linger: false` goes when nobody is to get messages, and the
  rest goes with it.

  A program can also leave somebody behind who has its output open, such as a daemon. By default the
  output ends with the program, what it has written included, and those it leaves are dealt with at once.
  With `output: :until_eof` the session goes on until nobody has the pipes open any more, or nothing is left
  of what the program has started, if that is to be killed in the end, or until the session is stopped.
  What the program itself has written need not be read for that; what those write whom it leaves does.

  `write/3` returns when the agent has taken the bytes. It holds no more than 64 KiB for a program that
  does not read. For one that reads to the end, `close_stdin/1` is that end.

  ## How long a session lives

  The *link* decides. A session is linked to the process that started it, and ends with it; the owner
  only listens. A session that ends while its workload runs stops it first: SIGTERM to all its
  processes, SIGKILL after `:grace` to those that are left, and it is not gone before they are. The
  workload dies, too, with everything it started, when the session is killed, when the agent is, and
  when the whole BEAM is.

  After the end of the workload a session with `linger: true`, the default of `spawn/1`, stays to
  answer `wait/1` and `info/1`, until `stop/1` or the end of what it is linked to. With
  `linger: false`, the default under a supervisor, it stops at once, see `child_spec/1`.

  ## Agents

  What starts the workload, and waits for it, is an *agent*, a process outside the BEAM. By default
  sessions share a few of them, the *hosts*, each of which serves any number of sessions. A host is
  started when the first session needs it, and stays for the next one, which starts several times
  faster for it. Sessions of a host do not hold each other up, and end one by one.

  With `agent: :dedicated` a session has an agent of its own. The difference shows when an agent
  ends that should not: a host that is killed takes all its sessions along, which then end with
  `:agent_died`, while a dedicated agent has only one. So a session that is to leave anything alive
  then, with `orphan: :leave` or `descendants: :leave`, has an agent of its own whatever it asks for.

  | what dies | with it die |
  |---|---|
  | a session, or what it is linked to | its workload, with everything that has started |
  | a dedicated agent | its session's workload, likewise |
  | a host, the process in the BEAM that has its port, or the application `:linx` | the workloads of all its sessions |
  | the BEAM | all of them |

  A workload has the environment and the directory that the BEAM has when the session starts,
  whichever agent it gets. The application's environment says how it is by default:

      config :linx,
        agent: :host,     # or :dedicated
        hosts: 4          # by default one for each scheduler, but no more than 4

  Without the application `:linx` every agent is a dedicated one.

  ## Options

  Of `spawn/1`, `start_link/1` and `enter/2`; only `:argv` is required.

    * `:argv` – the program and its arguments, a list of strings. A program without a slash is
      looked up on the PATH, the one in `:env` if there is one, else the caller's;
    * `:arg0` – what the program is told that it is called; by default what it is executed by;
    * `:namespaces` – for `spawn/1` those that the child gets fresh, for `enter/2` those of the
      target that it joins: a list of `:net`, `:mount`, `:pid`, `:uts`, `:ipc`, `:user`, `:cgroup`
      and `:time`. By default `spawn/1` makes none, and `enter/2` joins all;
    * `:env` – the environment. A list of `"NAME=value"` is all of it, so `[]` is an empty one. A
      map or a list of pairs is merged over the BEAM's; a name whose value is `nil` or `false` is
      taken out. By default the BEAM's;
    * `:cwd` – the directory in which the program starts; by default the BEAM's;
    * `:stdio` – `:inherit` (the default) leaves it the BEAM's standard input, output and error;
      `:devnull` connects all three to `/dev/null`; `:pipe` to the session, see
      [Output and input](#module-output-and-input); `:pty` gives it a terminal of its own. A list
      such as `[stdin: :devnull, stdout: :pipe]` chooses for each of `:stdin`, `:stdout` and `:stderr`
      `:inherit`, `:devnull`, `:pipe`, a Unix socket to connect to, `{:connect_unix, "/run/log.sock"}`,
      or a file: `{:file, path}`, which is read for `:stdin` and written afresh for the others, or
      `{:file, path, modes}` with a list of `:read`, `:write`, `:append` and `:exclusive` (it must not
      exist before). `stderr: :stdout` makes one stream of both;
    * `:active` – how much of the output comes to the owner in messages: `true`, `:once`, a number of
      messages, or `false`; by default `true` for a terminal and `false` for pipes;
    * `:output` – when the output is at its end: `:until_exit` (the default) or `:until_eof`, see
      [Output and input](#module-output-and-input);
    * `:winsize` – the size of the terminal from the start, `{rows, cols}` or as `pty_set_winsize/2`
      takes it;
    * `:owner` – who gets the events: a pid, or any name that `GenServer` takes, or `nil` for nobody;
      by default the caller;
    * `:auto_proceed` – do not wait for `proceed/1`; `false` by default;
    * `:linger` – stay after the workload's end; `true` by default;
    * `:no_new_privs` – set-uid programs and file capabilities give the workload nothing; `false` by
      default;
    * `:descendants` – what happens, when the program ends, to the processes it leaves behind:
      `:kill` (the default) or `:leave`;
    * `:orphan` – what happens to the workload when the session, the agent or the BEAM is killed:
      `:kill` (the default) or `:leave`;
    * `:grace` – how many milliseconds a workload has between SIGTERM and SIGKILL when its session is
      stopped; 2000 by default;
    * `:stop_signal` – what it gets instead of SIGTERM then, by name or number;
    * `:timeout` – after so many milliseconds the workload, with all that it has started, is stopped
      likewise, and the `:timed_out?` of `info/1` is true; `:infinity` by default;
    * `:user`, `:group`, `:groups` – whom the program runs as, by names or numbers, which are looked up
      in the BEAM's `/etc/passwd` and `/etc/group`. `:groups` are the supplementary groups: with a
      `:user` or a `:group` there are none unless they are given, and with a `:user` the group is its
      primary one;
    * `:files` – files that are there before the program runs, each of them complete or not at all: a
      map of paths to iodata, or a list of `{path, iodata}` and `{path, iodata, mode}`; the mode is
      `0o644` by default. They are written where the program runs: in its directory, its mount
      namespace and as its user;
    * `:chain` – more programs, a list like `:argv` for each: each is run when the one before has exited
      with 0, and the outcome is that of the last that was run;
    * `:agent` – `:host` or `:dedicated`, see [Agents](#module-agents);
    * `:name` – a name for the session, as `GenServer.start_link/3` takes it;

  and those that confine the program, in the order of the [guide](docs/confinement.md):

    * `:sandbox` – `:strict`, or a list that relaxes it: all of the following in one, see `Linx.Sandbox`;
    * `:cgroup` – a cgroup, or its directory, in which the program is born; or limits, such as
      `[memory: 512 * 1024 * 1024, pids: 100]`, of one of its own that goes with it, see `Linx.Cgroup`;
    * `:init` – whether pid 1 of a fresh `:pid` namespace is an init that reaps, and the program pid 2;
      `false` by default: then the program is pid 1;
    * `:uid_map`, `:gid_map` – how the ids of a fresh `:user` namespace are mapped, lists of
      `{inside, outside, count}`, and `:setgroups`, `:allow` or `:deny`; the program is the first user of
      the map, unless `:user` and `:group` name others, by their numbers inside. Those who are not root
      may map the own id, and by `newuidmap` what `/etc/subuid` gives them; what is refused is an error
      with the stage `:uid_map` or `:gid_map`. `:setgroups` is `:allow` for root, and with a map of other
      groups than the own one, else `:deny`. Without these the ids are the host's business while the child
      is parked, see `Linx.User`;
    * `:hostname` – of a fresh `:uts` namespace;
    * `:loopback` – whether the loopback interface of a fresh `:net` namespace is up; `false` by default;
    * `:time_offsets` – how far the clocks of a fresh `:time` namespace are ahead;
    * `:mounts` – what is mounted in a fresh `:mount` namespace, see `Linx.Mount`;
    * `:nice`, `:oom_score_adj`, `:cpu_affinity`, `:umask`, `:rlimits` – the priority, the OOM killer's
      score, a list of CPUs, the umask, and limits such as `[nofile: 64, core: 0, cpu: {10, 20}]`, by the
      names of `setrlimit(2)`: one number, or the soft and the hard limit, or `:infinity`;
    * `:capabilities` – `[keep: [...]]` and more, see `Linx.Capabilities`;
    * `:landlock` – which files and ports it may still get at, see `Linx.Landlock`;
    * `:seccomp` – a filter, or a list of them, see `Linx.Seccomp`.

  ## Errors

  What the kernel refuses is `{:error, %Linx.Process.Error{}}`. A state that does not allow something
  is an atom: `{:error, :running}`, `{:error, :not_ready}`, `{:error, :not_pty}`, `{:error, :timeout}`.
  A mistake of the caller is a pair that shows it, `{:error, {:bad_namespaces, [:typo]}}`, and is found
  before any process starts.

  A session that has gone, or whose workload has ended, answers `{:error, :no_process}`. No function
  of this module exits the caller.
  """

  import Kernel, except: [spawn: 1]

  alias Linx.Process.{Error, Info, Options, Session, Winsize}
  alias Linx.Signal

  @typedoc "A session: its pid or its name."
  @type session :: GenServer.server()

  @typedoc "Who gets the events; `nil` is nobody."
  @type owner :: pid | GenServer.name() | {atom, node} | nil

  @type namespace :: :net | :mount | :pid | :uts | :ipc | :user | :cgroup | :time

  @type stdio ::
          :inherit
          | :devnull
          | :pipe
          | :pty
          | [
              {:stdin | :stdout | :stderr,
               :inherit
               | :devnull
               | :pipe
               | {:file, String.t()}
               | {:file, String.t(), [:read | :write | :append | :exclusive]}
               | {:connect_unix, String.t()}}
              | {:stderr, :stdout}
            ]

  @typedoc "How much of the output the owner gets in messages."
  @type active :: boolean | :once | pos_integer

  @type env ::
          [String.t()]
          | [{atom | String.t(), String.t() | nil | false}]
          | %{optional(atom | String.t()) => String.t() | nil | false}

  @type option ::
          {:argv, [String.t(), ...]}
          | {:arg0, String.t()}
          | {:namespaces, [namespace]}
          | {:env, env}
          | {:cwd, String.t()}
          | {:stdio, stdio}
          | {:owner, owner}
          | {:auto_proceed, boolean}
          | {:linger, boolean}
          | {:no_new_privs, boolean}
          | {:descendants, :kill | :leave}
          | {:orphan, :kill | :leave}
          | {:grace, non_neg_integer}
          | {:agent, :host | :dedicated}
          | {:name, GenServer.name()}
          | {:active, active}
          | {:output, :until_exit | :until_eof}
          | {:timeout, timeout}
          | {:stop_signal, Signal.t()}
          | {:winsize, {rows :: 0..65535, cols :: 0..65535} | Winsize.t() | map}
          | {:user, String.t() | non_neg_integer}
          | {:group, String.t() | non_neg_integer}
          | {:groups, [String.t() | non_neg_integer]}
          | {:files, files}
          | {:chain, [[String.t(), ...]]}
          | {:sandbox, Linx.Sandbox.t()}
          | {:cgroup, Linx.Cgroup.cgroup() | [Linx.Cgroup.limit()]}
          | {:init, boolean}
          | {:uid_map | :gid_map, [{inside :: id, outside :: id, count :: pos_integer}]}
          | {:setgroups, :allow | :deny}
          | {:loopback, boolean}
          | {:mounts, [Linx.Mount.mount()]}
          | {:capabilities, keyword}
          | {:landlock, keyword}
          | {:seccomp, Linx.Seccomp.Filter.t() | [Linx.Seccomp.Filter.t()]}
          | Linx.Process.Attributes.option()

  @typedoc "The number of a user or a group."
  @type id :: 0..0xFFFFFFFF

  @typedoc "Files to be written: their paths, what is in them, and their modes."
  @type files ::
          [{String.t(), iodata} | {String.t(), iodata, mode :: 0..0o7777}]
          | %{String.t() => iodata}

  @typedoc "How a session has ended."
  @type result ::
          {:ok, {:exited, code :: 0..255} | {:signaled, signal :: pos_integer} | :aborted}
          | {:error, Error.t()}

  @typedoc "A mistake in an argument, and what is wrong."
  @type mistake :: {atom, term}

  @doc """
  Starts a program, as a child in fresh namespaces if `:namespaces` asks for some.

  Returns as soon as the session is there; how the child fares arrives as events. It stops at the
  checkpoint until `proceed/1`. The options are those of the module.

      {:ok, session} =
        Linx.Process.spawn(argv: ["sleep", "30"], namespaces: [:net, :uts], stdio: :devnull)

  ## Errors

    * `:argv_required`, `{:bad_argv, argv}`, and in the same way `{:bad_arg0, _}`, `{:bad_namespaces, unknown}`,
      `{:bad_env, element}`, `{:bad_cwd, _}`, `{:bad_stdio, _}`, `{:bad_owner, _}`, `{:bad_name, _}`,
      `{:bad_linger, _}`, `{:bad_auto_proceed, _}`, `{:bad_no_new_privs, _}`, `{:bad_orphan, _}`,
      `{:bad_descendants, _}`, `{:bad_grace, _}`, `{:bad_agent, _}`, `{:bad_active, _}`,
      `{:bad_output, _}`, `{:bad_timeout, _}`, `{:bad_stop_signal, _}`, `{:bad_winsize, _}`,
      `{:bad_user, _}`, `{:bad_group, _}`, `{:bad_groups, element}`, `{:bad_files, element}`,
      `{:bad_chain, element}`; the same when an option has no meaning with the others, such as
      `:winsize` without a terminal, and for a `:user` that has no group;
    * `{:bad_option, key}` – there is no such option;
    * `{:bad_options, term}` – this is no keyword list;
    * `{:already_started, pid}` – the `:name` is taken;
    * `{:no_controller, name, available}` – there is none for a limit in `:cgroup`;
    * `%Linx.Process.Error{stage: :execve}` – the program is not on the PATH (`:enoent`), or not one
      that can be executed (`:eacces`).
  """
  @spec spawn([option]) ::
          {:ok, pid}
          | {:error,
             :argv_required
             | {:already_started, pid}
             | Linx.Cgroup.no_controller()
             | mistake
             | Error.t()}
  def spawn(opts) do
    with {:ok, options} <- Options.spawn(opts), do: Session.start(options)
  end

  @doc """
  The same as `spawn/1`, under the name that supervisors know.

      {:ok, session} = Linx.Process.start_link(argv: ["true"], auto_proceed: true)
  """
  @spec start_link([option]) ::
          {:ok, pid}
          | {:error,
             :argv_required
             | {:already_started, pid}
             | Linx.Cgroup.no_controller()
             | mistake
             | Error.t()}
  def start_link(opts), do: spawn(opts)

  @doc """
  Starts a program inside the namespaces of the process `target`, a pid of the host.

  It joins all of them, or those that `:namespaces` names. The options are those of the module, the
  events and the checkpoint those of `spawn/1`. When a namespace cannot be joined, the error event and
  `wait/1` name it in their stage: `:open_ns_user` when there is no such target, `:setns_net` when
  that one may not be entered. A PID namespace that ends meanwhile takes the program along: that may be
  an error at `:fork`, or a death by SIGKILL at `:checkpoint` or `:execve`.

      {:ok, host_pid} = Linx.Process.host_pid(container)
      {:ok, probe} = Linx.Process.enter(host_pid, argv: ["/bin/ip", "link"], namespaces: [:net])

  ## Errors

  `{:bad_target, target}` for what can be no pid, and those of `spawn/1`.
  """
  @spec enter(target :: pos_integer, [option]) ::
          {:ok, pid}
          | {:error,
             :argv_required
             | {:already_started, pid}
             | Linx.Cgroup.no_controller()
             | mistake
             | Error.t()}
  def enter(target, opts) do
    with {:ok, options} <- Options.enter(target, opts), do: Session.start(options)
  end

  @doc """
  Lets the child go on from the checkpoint and become the program.

  Before `:ready` it is remembered, and answered when the child has reached the checkpoint.

      :ok = Linx.Process.proceed(session)

  ## Errors

    * `:running` – it was let go before;
    * `:no_process` – it has ended.
  """
  @spec proceed(session) :: :ok | {:error, :running | :no_process}
  def proceed(session), do: Session.call(session, {:command, :proceed})

  @doc """
  Takes the child away from the checkpoint: the program never runs, and the session ends `:aborted`.

  Before `:ready` it is remembered, and beats a `proceed/1` and signals that are remembered with it. A
  child with `auto_proceed: true` it takes away only if it comes before that one has been born.

      :ok = Linx.Process.abort(session)
      {:ok, :aborted} = Linx.Process.wait(session)

  ## Errors

    * `:running` – the child was let go; use `signal/2` or `stop/2`;
    * `:no_process` – it has ended.
  """
  @spec abort(session) :: :ok | {:error, :running | :no_process}
  def abort(session), do: Session.call(session, {:command, :abort})

  @doc """
  Sends the workload a signal, given by number or by name.

  Signals sent before `:running` are kept, and delivered in order when the program runs.

  ## Options

    * `:to` – `:process` (the default) is the program itself, `:group` its process group, `:tree`
      all that it has started.

  ## Examples

      :ok = Linx.Process.signal(session, 15)
      :ok = Linx.Process.signal(session, :sighup)
      :ok = Linx.Process.signal(session, :sigint, to: :group)

  ## Errors

    * `:no_process` – the workload has ended;
    * `{:bad_signal, signal}`, `{:bad_to, term}`, `{:bad_option, key}`, `{:bad_options, term}`;
    * `%Linx.Process.Error{stage: :signal}` – the kernel refused, `:eperm` for a workload that has
      become another user.
  """
  @spec signal(session, Signal.t(), to: :process | :group | :tree) ::
          :ok | {:error, :no_process | mistake | Error.t()}
  def signal(session, signal, opts \\ []) do
    with :ok <- Options.known(opts, [:to]),
         {:ok, reach} <- Options.check(:to, Keyword.get(opts, :to, :process)),
         {:ok, number} <- Signal.number(signal) do
      Session.call(session, {:command, signal_command(number, reach)})
    end
  end

  defp signal_command(number, :process), do: {:signal, number}
  defp signal_command(number, reach), do: {:signal, number, reach}

  @doc """
  Waits for the end of the workload, for at most `timeout` milliseconds.

  Any number of processes may wait, before the end and after it. A timeout does nothing to the
  session.

      {:ok, {:exited, 0}} = Linx.Process.wait(session)

      case Linx.Process.wait(session, 5_000) do
        {:ok, {:exited, code}} -> code
        {:ok, {:signaled, number}} -> Linx.Signal.name(number)
        {:ok, :aborted} -> :never_ran
        {:error, :timeout} -> :still_there
        {:error, %Linx.Process.Error{} = error} -> raise error
      end

  ## Errors

    * `%Linx.Process.Error{}` – the program never ran, or how it ended is not known;
    * `:timeout` – it has not ended yet;
    * `:no_process` – there is no such session;
    * `{:bad_timeout, term}`.
  """
  @spec wait(session, timeout) :: result | {:error, :timeout | :no_process | mistake}
  def wait(session, timeout \\ :infinity) do
    with {:ok, timeout} <- Options.check(:timeout, timeout) do
      Session.call(session, {:wait, timeout})
    end
  end

  @doc """
  Whether the workload has ended, without waiting for it, any number of times.

      :running = Linx.Process.try_wait(session)

  The answer is `:running` as long as it has not, even if it does not run yet, and then that of `wait/1`.

  ## Errors

  Those of `wait/1` but `:timeout`.
  """
  @spec try_wait(session) :: :running | result | {:error, :no_process}
  def try_wait(session), do: Session.call(session, :try_wait)

  @doc """
  What the session knows, as a `Linx.Process.Info`.

      %Linx.Process.Info{stage: :running, host_pid: 41234} = Linx.Process.info(session)

  ## Errors

  `:no_process` when the session has gone. One that lingers answers.
  """
  @spec info(session) :: Info.t() | {:error, :no_process}
  def info(session), do: Session.call(session, :info)

  @doc """
  The pid of the workload as the host sees it: the one for `/proc`, and for `enter/2`.

  It is known shortly before `:ready`.

      {:ok, 41234} = Linx.Process.host_pid(session)

  ## Errors

    * `:not_ready` – the child is not there yet;
    * `:no_process` – the workload has ended, and the pid may be another's by now.
  """
  @spec host_pid(session) :: {:ok, pos_integer} | {:error, :not_ready | :no_process}
  def host_pid(session) do
    case info(session) do
      %Info{stage: :terminated} -> {:error, :no_process}
      %Info{host_pid: nil} -> {:error, :not_ready}
      %Info{host_pid: host_pid} -> {:ok, host_pid}
      error -> error
    end
  end

  @doc """
  The next piece of what the workload has written: of one source, `:stdout`, `:stderr` or `:pty`, or of
  any.

  Waits until there is one, for `timeout` milliseconds at most. Pieces come in the order they were
  written, as large as they happen to be; callers who wait for the same source are served in turn. It is
  for sessions with `active: false`, see [Output](#module-output-and-input), and works after the end of
  the workload, too, as long as the session lingers.

      {:ok, "hello\n"} = Linx.Process.recv(session, :stdout)
      {:ok, {:stderr, "a warning\n"}} = Linx.Process.recv(session)
      :eof = Linx.Process.recv(session, :stdout, 1_000)

  `:eof` means that there is no more, of `:any` that there is no more of any source; it can be had again
  and again.

  ## Errors

    * `:timeout` – there was nothing in that time;
    * `:active` – the output goes to the owner, or is discarded;
    * `:not_piped` – the workload has no such pipe or terminal;
    * `:no_process` – there is no such session;
    * `{:bad_source, term}`, `{:bad_timeout, term}`.
  """
  @spec recv(session, :stdout | :stderr | :pty | :any, timeout) ::
          {:ok, binary}
          | {:ok, {:stdout | :stderr | :pty, binary}}
          | :eof
          | {:error, :timeout | :active | :not_piped | :no_process | mistake}
  def recv(session, source \\ :any, timeout \\ :infinity) do
    with {:ok, source} <- Options.check(:source, source),
         {:ok, timeout} <- Options.check(:timeout, timeout) do
      Session.call(session, {:receive, source, timeout})
    end
  end

  @doc """
  Chooses who gets the output from now on, what is there and has not been read included.

    * `true` – the owner, in messages;
    * `:once` – the owner, but only one message;
    * `n`, an integer – the owner, so many messages more than those that are left of an earlier `n`. When
      none is left it receives `{:linx_process, :passive}`;
    * `false` – whoever calls `recv/3`;
    * `:discard` – nobody, it is thrown away.

  A terminal with a slow owner, for example, is read message by message:

      {:ok, session} = Linx.Process.spawn(argv: ["top"], stdio: :pty, active: :once)

      receive do
        {:linx_process, :pty_out, bytes} ->
          IO.write(bytes)
          :ok = Linx.Process.set_active(session, :once)
      end

  ## Errors

    * `:not_piped` – the workload has neither output pipes nor a terminal;
    * `:no_process` – there is no such session;
    * `{:bad_active, term}`.
  """
  @spec set_active(session, active | integer | :discard) ::
          :ok | {:error, :not_piped | :no_process | mistake}
  def set_active(session, mode) do
    with {:ok, mode} <- Options.check(:set_active, mode) do
      Session.call(session, {:set_active, mode})
    end
  end

  @doc """
  Writes to the standard input of a workload with a pipe there, or types into its terminal.

  Returns when the agent has taken all of it, which is at most 64 KiB ahead of the workload: one that
  does not read makes the caller wait. Concurrent writes follow one another and are never mixed. Nothing
  else waits for them: signals, `stop/2` and the output do not.

      :ok = Linx.Process.write(session, ["hello", ?\n])
      :ok = Linx.Process.close_stdin(session)

  ## Errors

    * `:timeout` – it has not been taken after `timeout` milliseconds. The rest is not written, but how
      much has been is unknown;
    * `:epipe` – nobody can read it any more;
    * `:closed` – after `close_stdin/1`;
    * `:not_piped` – standard input is no pipe, and there is no terminal;
    * `:no_process` – the workload has ended; some of the data may have arrived;
    * `{:bad_data, term}` – this is no iodata; `{:bad_timeout, term}`.
  """
  @spec write(session, iodata, timeout) ::
          :ok
          | {:error, :timeout | :epipe | :closed | :not_piped | :no_process | mistake | Error.t()}
  def write(session, data, timeout \\ :infinity), do: type(session, :any, data, timeout)

  @doc """
  Closes the pipe to the standard input of the workload, behind what has been written before.

  It returns at once: that the workload finds the end of its input may take as long as it takes to read
  that.

      :ok = Linx.Process.close_stdin(session)

  ## Errors

  `:not_piped` when standard input is no pipe, `:no_process` when the workload has ended.
  """
  @spec close_stdin(session) :: :ok | {:error, :not_piped | :no_process}
  def close_stdin(session), do: Session.call(session, :close_stdin)

  @doc """
  Types `data` into the terminal of a workload with `stdio: :pty`.

  Returns when the agent has taken all of it. It takes a bounded amount ahead of the workload, so a
  workload that does not read makes the caller wait, and nothing is lost. Before the program runs,
  too: it finds the bytes when it starts to read. Concurrent writes follow one another and are never
  mixed.

  The wait lasts `timeout` milliseconds at most, `:infinity` by default. After `{:error, :timeout}`
  the rest is not written, but how much has been is unknown: up to 32 KiB of it may still be on the
  way, and will arrive.

      :ok = Linx.Process.pty_write(session, "hello\\n")
      :ok = Linx.Process.pty_write(session, [paste, ?\\n], 5_000)

  ## Errors

    * `:not_pty` – the workload has no terminal;
    * `:timeout` – see above;
    * `:no_process` – the workload has ended; some of the data may have arrived;
    * `{:bad_data, term}` – this is no iodata; `{:bad_timeout, term}`.
  """
  @spec pty_write(session, iodata, timeout) ::
          :ok | {:error, :not_pty | :timeout | :no_process | mistake | Error.t()}
  def pty_write(session, data, timeout \\ :infinity) do
    type(session, :pty_in, data, timeout)
  end

  defp type(session, input, data, timeout) do
    with {:ok, timeout} <- Options.check(:timeout, timeout),
         {:ok, bytes} <- to_binary(data) do
      Session.call(session, {:write, input, bytes, timeout})
    end
  end

  defp to_binary(data) do
    {:ok, IO.iodata_to_binary(data)}
  rescue
    ArgumentError -> {:error, {:bad_data, data}}
  end

  @doc """
  Sets the size of the workload's terminal.

  Before `proceed/1` the program sees it from its first moment. Later it is told by SIGWINCH. A size
  is `{rows, cols, xpixel, ypixel}`, or a map or struct with these four keys, each of them from 0 to
  65535; the pixels may be 0, for unknown.

      :ok = Linx.Process.pty_set_winsize(session, {24, 80, 0, 0})
      :ok = Linx.Process.pty_set_winsize(session, %{rows: 24, cols: 80, xpixel: 0, ypixel: 0})

  ## Errors

    * `:not_pty` – the workload has no terminal;
    * `:no_process` – the workload has ended;
    * `{:bad_winsize, term}`.
  """
  @spec pty_set_winsize(
          session,
          {rows :: 0..65535, cols :: 0..65535, xpixel :: 0..65535, ypixel :: 0..65535} | map
        ) :: :ok | {:error, :not_pty | :no_process | mistake | Error.t()}
  def pty_set_winsize(session, size) do
    with {:ok, size} <- Winsize.check(size) do
      Session.call(session, {:command, {:pty_winsize, size}})
    end
  end

  @doc """
  Where the master side of the workload's terminal is.

  The agent holds it open: `:os_pid` is the agent's pid, `:fd` the descriptor there, and `:slave` the
  path of the terminal as the host sees it. Reading the master takes output away from the owner.

      {:ok, %{os_pid: 41230, fd: 7, slave: "/dev/pts/3"}} = Linx.Process.pty_master(session)

  ## Errors

    * `:not_pty` – the workload has no terminal;
    * `:no_process` – the workload has ended.
  """
  @spec pty_master(session) ::
          {:ok, %{os_pid: pos_integer, fd: non_neg_integer, slave: String.t()}}
          | {:error, :not_pty | :no_process | Error.t()}
  def pty_master(session), do: Session.call(session, {:command, :pty_master})

  @doc """
  Makes another process the owner: it receives the events from now on, and only it.

  What happened before is not told again: an owner who comes late looks at `info/1`.

      :ok = Linx.Process.set_owner(session, self())
      :ok = Linx.Process.set_owner(session, MyApp.Events)

  ## Errors

  `:no_process` when the session has gone, `{:bad_owner, term}`.
  """
  @spec set_owner(session, owner) :: :ok | {:error, :no_process | mistake}
  def set_owner(session, owner) do
    with {:ok, owner} <- Options.check(:owner, owner) do
      Session.call(session, {:set_owner, owner})
    end
  end

  @doc """
  Ends the workload and the session, and returns when both are gone.

  SIGTERM, or its `:stop_signal`, goes to the program and to all that it has started, and SIGKILL to
  those that are left after the grace. Where SIGTERM cannot work, because the program is pid 1 of its namespace and has
  no handler for it, the grace is not waited for. A child that is still at the checkpoint is taken
  away. A workload that has ended leaves only its lingering session to stop.

  The session stops with reason `:normal`.

  ## Options

    * `:grace` – milliseconds between SIGTERM and SIGKILL, by default the `:grace` of the session.

  ## Examples

      :ok = Linx.Process.stop(session)
      :ok = Linx.Process.stop(session, grace: 10_000)

  ## Errors

    * `:no_process` – there is no such session;
    * `{:bad_grace, term}`, `{:bad_option, key}`, `{:bad_options, term}`.
  """
  @spec stop(session, grace: non_neg_integer) :: :ok | {:error, :no_process | mistake}
  def stop(session, opts \\ []) do
    with :ok <- Options.known(opts, [:grace]),
         {:ok, grace} <- grace(opts) do
      Session.stop(session, grace)
    end
  end

  defp grace(opts) do
    case Keyword.fetch(opts, :grace) do
      {:ok, grace} -> Options.check(:grace, grace)
      :error -> {:ok, nil}
    end
  end

  @doc """
  Ends the workload, and returns at once: the session stays, and how it has ended tells `wait/1`.

  All that the workload has started gets the `:stop_signal`, and those that are left after `grace`
  milliseconds SIGKILL. It works at any time and from any process. Two seconds after the grace there is a
  result whatever the agent does: one that somebody has stopped is given up, which makes it
  `%Linx.Process.Error{stage: :agent_died}`.

      :ok = Linx.Process.cancel(session)
      {:ok, {:signaled, _}} = Linx.Process.wait(session)

  ## Errors

  `:no_process` when there is no such session, `{:bad_grace, term}`.
  """
  @spec cancel(session, grace :: non_neg_integer) :: :ok | {:error, :no_process | mistake}
  def cancel(session, grace \\ 0) do
    with {:ok, grace} <- Options.check(:grace, grace) do
      Session.call(session, {:cancel, grace})
    end
  end

  @doc """
  The specification of a session as the child of a supervisor.

      children = [
        {Linx.Process,
         argv: ["/usr/bin/myd", "--serve"],
         owner: MyApp.Events,
         auto_proceed: true,
         restart: :transient}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  A child should have `auto_proceed: true`, unless somebody else lets it proceed. It has
  `linger: false`, and nobody as its owner, unless the options say otherwise. So it stops when its
  workload has ended, and how that went is its exit reason:

  | outcome | exit reason | restarted when `:transient`? |
  |---|---|---|
  | exit 0 | `:normal` | no |
  | exit N, not 0 | `{:exited, N}` | yes |
  | killed by a signal | `{:signaled, number}` | yes |
  | `abort/1` | `{:shutdown, :aborted}` | no |
  | it never ran | `{:error, %Linx.Process.Error{}}` | yes |

  It does not stop before everything its workload left has gone, so that a successor never runs
  beside it. When it is killed and cannot wait, the successor waits, before it starts its program.

  ## Options

  Those of the module, and

    * `:id` – by default the `:name` of the session, or else `Linx.Process`;
    * `:restart` – `:permanent` by default;
    * `:shutdown` – by default three seconds more than the `:grace`, so that the workload always gets
      its grace.
  """
  @spec child_spec([option | {:id, term} | {:restart, atom} | {:shutdown, timeout | :brutal_kill}]) ::
          Supervisor.child_spec()
  def child_spec(opts) do
    {overrides, opts} = Keyword.split(opts, [:id, :restart, :shutdown])
    # What a session has in common with its successors, and with nobody else.
    defaults = [linger: false, owner: nil, slot: make_ref()]

    spec = %{
      id: Keyword.get(opts, :name, __MODULE__),
      start: {__MODULE__, :start_link, [Keyword.merge(defaults, opts)]},
      type: :worker,
      shutdown: shutdown(Keyword.get(opts, :grace, Options.default_grace()))
    }

    Supervisor.child_spec(spec, overrides)
  end

  # A grace that is none is refused when the child starts.
  defp shutdown(grace) when is_integer(grace) and grace >= 0, do: grace + 3_000
  defp shutdown(_bad), do: 5_000
end
