defmodule Linx.Daemon do
  @moduledoc """
  A program that is kept running, whose output goes to the log.

  A *daemon* is a GenServer that runs one program, as a child of a supervisor or on its own:

      children = [
        {Linx.Daemon,
         argv: ["/usr/sbin/nginx", "-g", "daemon off;"],
         log: [stdout: :info, stderr: :warning],
         ready: {:tcp, 80},
         stop_signal: :sigquit,
         grace: 10_000}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  Its program runs in a session of its own, see `Linx.Process`, in namespaces if it is asked to, and
  with it ends everything it has started. What the program writes is logged line by line. When it ends,
  so does the daemon, with a reason that says how, and its supervisor starts another one; or the daemon
  itself starts the program again, later each time.

  ## Options

  Only `:argv` is required. Each option of `Linx.Process` is one of a daemon, but for `:owner`,
  `:linger` and `:active`, which are the daemon's own business. These have other defaults, or mean
  something else:

    * `:name` – the name of the daemon;
    * `:auto_proceed` – `true`; with `false` every run waits at the checkpoint until somebody calls
      `Linx.Process.proceed/1` with the `session/1`;
    * `:stdio` – `[stdin: :devnull, stdout: :pipe, stderr: :pipe]`, and what a list does not name is as
      it is there. `[stderr: :stdout]` has both in one stream, in order; `[stdin: :pipe]` is for
      `write/3`; `:pty` runs the program on a terminal, to which many write line by line what they
      would else keep back.

  Of the output:

    * `:log` – the level at which lines are logged, `:info` by default, or `false`: they are read and
      dropped. `[stdout: :info, stderr: :warning]` tells the streams apart. A function of the line, or
      of the line and its stream (`:stdout`, `:stderr`, `:pty`), or `{module, function, args}`, to which
      the line is prepended, is called with each line instead of Logger;
    * `:prefix` – what stands before each line; by default the name of the program and a colon,
      `"nginx: "`;
    * `:metadata` – a keyword list for Logger. Added to it are `:os_pid`, the program's pid, `:source`,
      the stream, and `:pid`, the daemon;
    * `:transform` – a function of the line that returns it as it is to be logged, or `{level, line}`,
      or `nil` for not at all;
    * `:controls` – `:escape` writes control characters, those of escape sequences among them, as `\\x1B`
      in the log, so that they cannot act on the terminal of who reads it; `:keep` leaves them as they are.
      That is the default but for a program in a sandbox;
    * `:max_line` – in how many bytes a longer line is cut; 8,000 by default, what Logger shows.

  Of the start:

    * `:ready` – when the program is ready, see [Readiness](#module-readiness); `:running` by default;
    * `:ready_timeout` – how many milliseconds that may take, 60,000 by default, or `:infinity`. Who is
      not ready by then is stopped, and has ended with the reason `:ready_timeout`;
    * `:on_ready` – each time the program gets ready: a function, of the daemon's pid or of nothing,
      that is called in a process of its own; or `{pid_or_name, message}`, to send it;
    * `:await_ready` – `true` makes `start_link/1` return when the program is ready. If it does not get
      ready the first time, `start_link/1` returns `{:error, reason}` as `await_ready/2` does, and
      the daemon is gone. A supervisor starts its next child only then.

  Of the end:

    * `:stop_signal` and `:grace` – by which a program is stopped: this signal to all its processes,
      SIGTERM by default, and SIGKILL after so many milliseconds, 2,000 by default, to those that are left;
    * `:restart` – `:supervisor`, the default: when the program ends, so does the daemon.
      `{:backoff, min_ms, max_ms}`: see [Back-off](#module-back-off);
    * `:exit_status_to_reason` – a function that makes of `{:exited, n}` or `{:signaled, n}` the
      daemon's exit reason.

  ## How it ends

  | outcome | exit reason | restarted when `:transient`? |
  |---|---|---|
  | exit 0 | `:normal` | no |
  | exit N, not 0 | `{:exited, N}` | yes |
  | killed by a signal | `{:signaled, number}` | yes |
  | it never ran | `{:error, %Linx.Process.Error{}}` | yes |
  | not ready in time | `:ready_timeout` | yes |
  | a function of `:ready` raised | `{:ready, reason}` | yes |
  | `Linx.Process.abort/1` | `{:shutdown, :aborted}` | no |
  | `stop/2` | `:normal` | no |
  | its session was killed | the reason of that | yes |

  `:exit_status_to_reason` decides in place of the first three lines. A daemon ends when the last line
  of its program has been logged, and nothing that the program has started is there any more. When the
  daemon is stopped, by its supervisor or by `stop/2`, the program gets `:stop_signal`, its grace, and
  its last lines are logged, too. When the daemon is killed, the program still gets its grace, but
  nobody reads its output any longer; the next daemon in its place waits for its end before it starts its
  own. A logger that does not take the last lines within a second does not hold up a daemon that is stopped.

  ## Output

  A line is logged without its newline. A last line without one is logged when the program ends. Logger
  wants text, and so do the functions: bytes that are no UTF-8, and NULs, are written as `\\xFF` and
  `\\x00`. Everything else is left as it is, escape sequences among it unless `:controls` says otherwise;
  that is only about what is logged, a function gets the line with them.

  The next bytes are read when the last line is logged. So a logger that is slow, or overloaded and
  therefore synchronous, or a function that takes its time, makes the program wait at its next write
  when its pipe and 256 KiB are full, and nothing piles up in the BEAM. Meanwhile the daemon answers.

  A `:transform` or `:log` function that raises takes nothing along: it is logged once in a run how it
  raised, and the line as it was.

  ## Readiness

    * `:running` – when the program has been executed;
    * `{:line, condition}` – when it writes a line that matches a regular expression, or contains a
      string, or for which a function returns a true value;
    * `{:tcp, port}`, `{:tcp, host, port}` – when it takes connections, on 127.0.0.1 or on a host given
      by name or address. The BEAM connects, in its own network namespace;
    * `{:unix, path}` – likewise, on a Unix stream socket;
    * a function of nothing – when it returns a true value. It is called until it does;
    * `:notify` – when it says so by sd_notify(3), as programs do under systemd with `Type=notify`: it
      finds in `NOTIFY_SOCKET` to which socket it is to send `READY=1`. What it says by `STATUS=` is in
      `stats/1`.

  What has to be tried is tried every 50 ms, until the program ends.

  ## Back-off

  With `restart: {:backoff, min_ms, max_ms}` the daemon stays when its program ends, however that was,
  and starts it again, after `min_ms` at first and up to `max_ms` later: each delay is drawn at random from
  a range that doubles, `min_ms` to `2 * min_ms` to begin with. It begins anew after a run in which the
  program was ready for `max_ms`. Each end is logged as a warning.

  To give up it takes a reason that is `:shutdown` or `{:shutdown, term}`, from
  `:exit_status_to_reason`: the daemon then ends with that.

      {Linx.Daemon,
       argv: ["/usr/bin/tunnel"],
       restart: {:backoff, 500, 60_000},
       exit_status_to_reason: fn
         {:exited, 78} -> {:shutdown, :misconfigured}
         status -> status
       end}

  ## Coming from MuonTrap.Daemon

  | MuonTrap | Linx |
  |---|---|
  | `{MuonTrap.Daemon, ["prog", ["arg"], opts]}` | `{Linx.Daemon, [argv: ["prog", "arg"]] ++ opts}` |
  | `log_output: :debug` | `log: :debug`; without it MuonTrap logs nothing, Linx at `:info` |
  | `log_prefix: "p: "` | `prefix: "p: "` |
  | `log_transform: fun` | `transform: fun`, which may also drop a line or choose its level |
  | `logger_fun: fun_or_mfa` | `log: fun_or_mfa` |
  | `logger_metadata: list` | `metadata: list` |
  | `stderr_to_stdout: true` | `stdio: [stderr: :stdout]`; without it stderr is logged as well |
  | `capture_stderr_only: true` | `stdio: [stdout: :devnull]` |
  | `exit_status_to_reason: fun` | the same, but the function gets `{:exited, n}` or `{:signaled, n}` |
  | `delay_to_sigkill: ms` | `grace: ms` |
  | `cd: dir`, `env: pairs`, `name: name` | `cwd: dir`, `env: pairs`, `name: name` |
  | `uid: user`, `gid: group` | `user: user`, `group: group` |
  | `os_pid(daemon)` | `os_pid(daemon)`, which returns `{:ok, pid}` |
  | `statistics(daemon)` | `stats(daemon)`: `output_byte_count` is `bytes` |
  """

  alias Linx.Daemon.{Options, Run, Server, Stats}
  alias Linx.Process.Error
  alias Linx.Process.Options, as: SessionOptions

  @typedoc "A daemon: its pid or its name."
  @type daemon :: GenServer.server()

  @typedoc "How a program that ran has ended."
  @type status :: {:exited, non_neg_integer} | {:signaled, pos_integer}

  @typedoc "How a run has ended."
  @type outcome :: status | :aborted | Error.t() | {:session, term}

  @type level :: Logger.level()
  @type source :: :stdout | :stderr | :pty

  @type option ::
          Linx.Process.option()
          | {:log,
             level
             | false
             | [{source, level | false}]
             | (String.t() -> term)
             | (String.t(), source -> term)
             | {module, atom, list}}
          | {:prefix, String.t()}
          | {:metadata, keyword}
          | {:transform, (String.t() -> String.t() | nil | {level, String.t()})}
          | {:controls, :keep | :escape}
          | {:max_line, pos_integer}
          | {:ready,
             :running
             | :notify
             | {:line, Regex.t() | String.t() | (String.t() -> as_boolean(term))}
             | {:tcp, :inet.port_number()}
             | {:tcp, String.t() | :inet.ip_address(), :inet.port_number()}
             | {:unix, String.t()}
             | (() -> as_boolean(term))}
          | {:ready_timeout, timeout}
          | {:on_ready, (() -> term) | (pid -> term) | {pid | GenServer.name(), term}}
          | {:await_ready, boolean}
          | {:restart, :supervisor | {:backoff, pos_integer, pos_integer}}
          | {:exit_status_to_reason, (status -> term)}

  @doc """
  Starts a daemon, linked to the caller. The options are those of the module.

  It returns as soon as the daemon is there, or with `await_ready: true` when its program is ready.

      {:ok, daemon} = Linx.Daemon.start_link(argv: ["redis-server"], ready: {:line, "Ready to accept"})

  ## Errors

    * those of `Linx.Process.spawn/1`, and in the same way `{:bad_log, _}`, `{:bad_prefix, _}`,
      `{:bad_metadata, _}`, `{:bad_transform, _}`, `{:bad_controls, _}`, `{:bad_max_line, _}`, `{:bad_ready, _}`,
      `{:bad_ready_timeout, _}`, `{:bad_on_ready, _}`, `{:bad_await_ready, _}`, `{:bad_restart, _}`,
      `{:bad_exit_status_to_reason, _}`;
    * with `await_ready: true` also those of `await_ready/2`.
  """
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(opts) do
    with {:ok, options} <- Options.new(opts),
         {:ok, daemon} <- Server.start_link(options) do
      if options.await_ready, do: first_ready(daemon), else: {:ok, daemon}
    end
  end

  # A daemon that does not get ready is on its way out, and its name is not free before it is gone.
  defp first_ready(daemon) do
    monitor = Process.monitor(daemon)
    answer = Server.call(daemon, {:await_ready, :infinity})

    if answer == :ok do
      Process.demonitor(monitor, [:flush])
      {:ok, daemon}
    else
      receive(do: ({:DOWN, ^monitor, :process, _pid, _reason} -> answer))
    end
  end

  @doc """
  The specification of a daemon as the child of a supervisor.

  ## Options

  Those of the module, and

    * `:id` – by default the `:name` of the daemon, or else `Linx.Daemon`;
    * `:restart` – `:permanent`, `:transient` or `:temporary` is the supervisor's, which is `:permanent` by
      default; everything else is the daemon's;
    * `:shutdown` – by default as much more than the `:grace` as it takes to log the last lines.

  A daemon with a back-off that is `:transient`, too:

      Supervisor.child_spec({Linx.Daemon, argv: argv, restart: {:backoff, 100, 5_000}},
        restart: :transient
      )
  """
  @spec child_spec([option | {:id, term} | {:restart, atom} | {:shutdown, timeout | :brutal_kill}]) ::
          Supervisor.child_spec()
  def child_spec(opts) do
    {overrides, opts} = Keyword.split(opts, [:id, :shutdown])
    {restart, opts} = restart(opts)
    # What a daemon has in common with its successors, and with nobody else.
    opts = Keyword.put_new(opts, :slot, make_ref())

    spec = %{
      id: Keyword.get(opts, :name, __MODULE__),
      start: {__MODULE__, :start_link, [opts]},
      type: :worker,
      shutdown: shutdown(Keyword.get(opts, :grace, SessionOptions.default_grace()))
    }

    Supervisor.child_spec(spec, restart ++ overrides)
  end

  defp restart(opts) do
    case Keyword.fetch(opts, :restart) do
      {:ok, supervisors} when supervisors in [:permanent, :transient, :temporary] ->
        Keyword.split(opts, [:restart])

      _ours_or_none ->
        {[], opts}
    end
  end

  # A grace that is none is refused when the child starts.
  defp shutdown(grace) when is_integer(grace) and grace >= 0, do: grace + Run.overtime() + 1_000
  defp shutdown(_bad), do: 5_000

  @doc """
  Waits until the program is ready, for at most `timeout` milliseconds.

  Any number of processes may wait. With a back-off this waits through the restarts.

      :ok = Linx.Daemon.await_ready(daemon)
      {:error, :timeout} = Linx.Daemon.await_ready(daemon, 5_000)

  ## Errors

    * `{:exited, n}`, `{:signaled, n}`, `%Linx.Process.Error{}`, `:ready_timeout` … – the program has
      ended before it was ready, and the daemon with it;
    * `:timeout` – it is not ready yet;
    * `:no_process` – there is no such daemon;
    * `{:bad_timeout, term}`.
  """
  @spec await_ready(daemon, timeout) :: :ok | {:error, outcome | :ready_timeout | atom | tuple}
  def await_ready(daemon, timeout \\ :infinity) do
    with {:ok, timeout} <- SessionOptions.check(:timeout, timeout) do
      Server.call(daemon, {:await_ready, timeout})
    end
  end

  @doc """
  The pid of the program as the host sees it.

      {:ok, 41234} = Linx.Daemon.os_pid(daemon)

  ## Errors

    * `:not_ready` – the program is not there yet, or not any more;
    * `:waiting` – the daemon waits before it starts it again;
    * `:no_process` – there is no such daemon.
  """
  @spec os_pid(daemon) :: {:ok, pos_integer} | {:error, :not_ready | :waiting | :no_process}
  def os_pid(daemon), do: Server.call(daemon, :os_pid)

  @doc """
  The session in which the program runs, for `Linx.Process`. Each run has another one.

      {:ok, session} = Linx.Daemon.session(daemon)
      Linx.Process.info(session).duration

  ## Errors

  `:waiting` and `:no_process` as for `os_pid/1`.
  """
  @spec session(daemon) :: {:ok, pid} | {:error, :waiting | :no_process}
  def session(daemon), do: Server.call(daemon, :session)

  @doc """
  Sends the program a signal, given by number or by name: `Linx.Process.signal/3` with its session.

      :ok = Linx.Daemon.signal(daemon, :sighup)
      :ok = Linx.Daemon.signal(daemon, :sigusr1, to: :tree)

  ## Errors

  Those of `Linx.Process.signal/3`, and `:waiting`.
  """
  @spec signal(daemon, Linx.Signal.t(), to: :process | :group | :tree) :: :ok | {:error, term}
  def signal(daemon, signal, opts \\ []) do
    with {:ok, session} <- session(daemon), do: Linx.Process.signal(session, signal, opts)
  end

  @doc """
  Gives the program something to read: `Linx.Process.write/3` with its session, which takes
  `stdio: [stdin: :pipe]` or `stdio: :pty`.

      :ok = Linx.Daemon.write(daemon, "reload\\n")

  ## Errors

  Those of `Linx.Process.write/3`, and `:waiting`.
  """
  @spec write(daemon, iodata, timeout) :: :ok | {:error, term}
  def write(daemon, data, timeout \\ :infinity) do
    with {:ok, session} <- session(daemon), do: Linx.Process.write(session, data, timeout)
  end

  @doc """
  What the daemon has done so far, as a `Linx.Daemon.Stats`.

      %Linx.Daemon.Stats{state: :ready, restarts: 0, lines: 12} = Linx.Daemon.stats(daemon)

  ## Errors

  `:no_process` when there is no such daemon.
  """
  @spec stats(daemon) :: Stats.t() | {:error, :no_process}
  def stats(daemon), do: Server.call(daemon, :stats)

  @doc """
  Stops the program and the daemon, and returns when both are gone.

  All processes of the program get `:stop_signal`, and SIGKILL after the grace. The last lines are
  logged. The daemon stops with reason `:normal`; a `:permanent` one is restarted by its supervisor.

  ## Options

    * `:grace` – in milliseconds, by default the `:grace` of the daemon.

  ## Examples

      :ok = Linx.Daemon.stop(daemon)
      :ok = Linx.Daemon.stop(daemon, grace: 10_000)

  ## Errors

    * `:no_process` – there is no such daemon;
    * `{:bad_grace, term}`, `{:bad_option, key}`, `{:bad_options, term}`.
  """
  @spec stop(daemon, grace: non_neg_integer) :: :ok | {:error, term}
  def stop(daemon, opts \\ []) do
    with :ok <- SessionOptions.known(opts, [:grace]),
         {:ok, grace} <- grace(opts) do
      Server.stop(daemon, grace)
    end
  end

  defp grace(opts) do
    case Keyword.fetch(opts, :grace) do
      {:ok, grace} -> SessionOptions.check(:grace, grace)
      :error -> {:ok, nil}
    end
  end
end
