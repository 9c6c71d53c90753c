defmodule Linx do
  @moduledoc """
  Operating-system processes as OTP processes, on Linux.

  Linx runs programs outside the BEAM and lets Elixir own them: each one has a GenServer that starts
  it, tells how it goes, and takes it along when it ends. A program may be born in Linux namespaces
  of its own, is stopped at a checkpoint before it runs so that the host can prepare the place, and
  leaves nothing behind: not its children, not its daemons, not when the BEAM itself is killed.

      iex> {:ok, result} = Linx.run(["tr", "a-z", "A-Z"], input: "hello")
      iex> {result.status, result.stdout}
      {{:exited, 0}, "HELLO"}

  ## Where to go

  To run a program and have its output:

    * `cmd/3` – as `System.cmd/3`, in whose place it can be put;
    * `run/2` – a `Linx.Result` with all there is to know, or an error; `run!/2` for what must succeed;
    * `stream!/2` – the output while it comes, and no more of it than is wanted.

  For a program to live with:

    * `Linx.Process` – spawn it, enter another's namespaces, signal it, wait for it, give it a terminal,
      put it under a supervisor;
    * `Linx.Daemon` – a program under a supervisor, with its output in the log;
    * `Linx.Process.Error` – what is returned when the kernel refuses something;
    * `Linx.Signal` and `Linx.Errno` – the names of signals and of error numbers.

  To see what runs: `list/0`, `top/1`, and the events of `Linx.Telemetry`.

  ## What all commands have in common

  The three functions above run a program for the process that calls them, which waits for it. That one
  is not linked to anything, gets no messages, and may trap exits. When it dies, however it dies, the
  program is killed, with all that it has started, and so it is when the function raises. When the
  function returns, nothing is left.

  They take every option of `Linx.Process` but `:argv`, `:active` and `:linger`, among them

    * `:timeout` – how many milliseconds the program has. Then it is stopped with all that it has started:
      SIGTERM, or the `:stop_signal`, and after the `:grace` SIGKILL to those that are left;
    * `:namespaces`, `:user`, `:no_new_privs` – where it runs, and what it may do there;
    * `:env`, `:cwd`, `:files`, `:chain` – what it finds, and what is run after it;
    * `:output` – with `:until_exit`, the default, the end of the program is the end of its output, even
      if it has left something in the background that could still write; with `:until_eof` that is
      waited for;
    * `:stdio` – where some of its descriptors lead instead of where the function has them lead, such as
      `stdio: [stdout: {:file, "log", [:append]}]`; with `stdio: :pty` it has a terminal, whose output
      is taken for its standard output;
    * `:owner`, `:name` and `auto_proceed: false` – by which another process can prepare the place of the
      program at the checkpoint, as in

          Linx.run(["ip", "addr"], namespaces: [:net], name: :probe, owner: pid, auto_proceed: false)

      There `pid` receives `{:linx_process, :ready, host_pid}`, and says `Linx.Process.proceed(:probe)`.

  ## Input

  `:input` is what the program reads on its standard input, and finds the end of; without it that is
  `/dev/null`. It is

    * iodata;
    * an enumerable of iodata, of which so much is taken as the program reads;
    * a function of one argument, a `Collectable` for iodata: `&Enum.into(File.stream!("in"), &1)`.

  Enumerables and functions run in a process of their own while the output is read. What is raised there
  is raised by the function that runs the program, and kills that. A program that ends need not have read
  its input: the process that writes is killed then.

  A terminal has no end of input: a program there is told it by the byte 4, at the beginning of a line.

  ## What it stands on

  `clone`, `setns`, `fork` and `exec` corrupt a virtual machine of many threads, so they never run
  in the BEAM. A small port binary written in Rust, the *agent*, does them, for many sessions at a
  time or for one, see "Agents" in `Linx.Process`. It is built by `mix compile` and found in Linx's
  `priv` directory. The environment variable `LINX_AGENT` names another one, for the agents that are
  started from then on.

  Fresh namespaces other than `:user` need `CAP_SYS_ADMIN`, so run the BEAM as root for them. All
  else works without privileges.
  """

  alias Linx.Command.{Cmd, Run}

  @typedoc "A program and its arguments, or a program without any. No shell looks at them."
  @type command :: [String.t(), ...] | String.t()

  @typedoc "See [Input](#module-input)."
  @type input :: iodata | Enumerable.t() | (Collectable.t() -> term)

  @doc """
  Runs a program, as `System.cmd/3` does, and can be put in its place.

      iex> Linx.cmd("echo", ["hello"])
      {"hello\\n", 0}

      iex> Linx.cmd("sh", ["-c", "echo to stderr >&2; exit 3"], stderr_to_stdout: true)
      {"to stderr\\n", 3}

      iex> Linx.cmd("printf", ["one\\\\ntwo\\\\n"], into: [], lines: 1024)
      {["one", "two"], 0}

      iex> Linx.cmd("sort", [], input: ["b\\n", "a\\n"])
      {"a\\nb\\n", 0}

      iex> Linx.cmd("sleep", ["60"], timeout: 50)
      {"", :timeout}

  The program is looked up on the BEAM's PATH unless its path is absolute. Returned is what it has
  written, collected, and its exit status: 128 and the number of the signal if one has killed it.

  ## Options

  Those of `System.cmd/3`:

    * `:into` – the collectable that gets the output, `""` by default;
    * `:lines` – collect lines, without their ends, instead of chunks. The number that it takes has no
      meaning here: no line is cut;
    * `:cd` – the directory in which the program starts;
    * `:env` – an enumerable of pairs of strings, merged over the BEAM's environment; `nil` takes a name
      out;
    * `:arg0` – what the program is told that it is called;
    * `:stderr_to_stdout` – `true` collects standard error, too, which otherwise is the BEAM's own;
    * `:use_stdio` – `false` leaves the program the BEAM's standard input and output;
    * `:parallelism` – has no meaning here;

  and beside these

    * `:input` – see [Input](#module-input);
    * `:timeout` – in milliseconds. When it is over the status is `:timeout`, and what was collected
      until then is returned;
    * every other one of `Linx.Process`, see
      [What all commands have in common](#module-what-all-commands-have-in-common).

  ## Errors

  Raises `ArgumentError` when an argument or an option cannot be right, and `ErlangError` with the error of
  the kernel, such as `:enoent` or `:eacces`, when the program cannot be executed; `Linx.Process.Error` when
  something before that is refused, such as the directory. An error that the collectable raises goes to the
  caller after the collectable has been told to `:halt`. Exits when somebody else ends the session.

  ## Differences

  Where `System.cmd/3` has

    * a standard input that has nothing in it and does not end, there is `/dev/null` here;
    * a program that exits with 2 when its directory does not exist, or with 8 when it is no program, there
      is an error here;
    * no end while a process in the background keeps the program's standard output, the end of the
      program counts here, and those that it has left are killed, see `:output` and `:descendants` in
      `Linx.Process`;
    * a variable taken out of the environment whose value is `""`, it is empty here.
  """
  @spec cmd(String.t(), [String.t()], keyword) ::
          {Collectable.t(), exit_status :: non_neg_integer | :timeout}
  def cmd(command, args \\ [], opts \\ []) when is_binary(command) and is_list(args) do
    Cmd.cmd(command, args, opts)
  end

  @doc """
  Runs a program, and returns what became of it as a `Linx.Result`.

      iex> {:ok, result} = Linx.run(["sh", "-c", "echo out; echo err >&2; kill -KILL $$"])
      iex> {result.status, result.stdout, result.stderr}
      {{:signaled, 9}, "out\\n", "err\\n"}

      iex> {:ok, result} = Linx.run("yes", max_output: {4, :kill})
      iex> {result.stdout, result.truncated?}
      {"y\\ny\\n", true}

      iex> {:ok, result} = Linx.run(["sleep", "60"], timeout: 50)
      iex> {result.status, result.timed_out?}
      {{:signaled, 15}, true}

      iex> {:error, error} = Linx.run("/no/such/program")
      iex> {error.stage, error.errno}
      {:execve, :enoent}

  A program without a slash is looked up on the PATH, the one in `:env` if there is one.

  ## Options

    * `:input` – see [Input](#module-input);
    * `:max_output` – how many bytes of its standard output are kept, and as many of its standard error.
      Of more than these the first are kept with `bytes` or `{bytes, :truncate}`, and the last with
      `{bytes, :tail}`, while the program goes on; with `{bytes, :kill}` it is killed. Without it all is
      kept;
    * `:stderr` – `:pipe` (the default) captures standard error, `:stdout` sends it where standard output
      goes, in the order in which it is written, `:inherit` leaves it the BEAM's own, and `:devnull`
      throws it away;
    * every other one of `Linx.Process`, see
      [What all commands have in common](#module-what-all-commands-have-in-common).

  ## Errors

  A program that runs has a result, however it ends. Otherwise

    * `{:bad_argv, _}`, `{:bad_input, _}`, `{:bad_max_output, _}`, `{:bad_stderr, _}`, and those of
      `Linx.Process.spawn/1`: nothing was started;
    * `%Linx.Process.Error{}` – the program was refused, or its end is not known;
    * `:no_process` or `:aborted` – somebody else has ended the session.

  What the input raises is raised.
  """
  @spec run(command, keyword) :: {:ok, Linx.Result.t()} | {:error, term}
  def run(command, opts \\ []), do: Run.run(command, opts)

  @doc """
  Runs a program that must succeed: the same as `run/2`, but it returns the result, and raises without
  one, or when the program did not exit with 0 in time.

      iex> Linx.run!(["uname", "-s"]).stdout
      "Linux\\n"

      iex> Linx.run!(["sh", "-c", "exit 2"])
      ** (Linx.ExitError) sh -c "exit 2": exit status 2

  ## Errors

  Raises `Linx.ExitError`, which has the result; `Linx.Process.Error`; and `ArgumentError` for a mistake in an
  argument. Exits when somebody else ends the session.
  """
  @spec run!(command, keyword) :: Linx.Result.t()
  def run!(command, opts \\ []), do: Run.run!(command, opts)

  @doc """
  The output of a program as a lazy stream.

      iex> Linx.stream!(["seq", "1000000"], lines: true) |> Enum.take(3)
      ["1", "2", "3"]

      iex> Linx.stream!("cat", input: Stream.map(1..3, &"\#{&1} ")) |> Enum.join()
      "1 2 3 "

      iex> Linx.stream!(["sh", "-c", "echo hi; exit 3"], exit: :element) |> Enum.to_list()
      ["hi\\n", {:exit, {:exited, 3}}]

      iex> yes = Linx.stream!("yes")
      iex> Linx.stream!(["head", "-n", "2"], input: yes) |> Enum.join()
      "y\\ny\\n"

  The program is started when the stream is enumerated, anew each time. It writes no faster than its
  output is taken: of what nobody has taken yet, a few hundred kilobytes are kept, and then it waits. When
  the stream is halted, or its consumer raises or dies, the program is killed.

  ## Options

    * `:lines` – `true` for an element for each line, without its end, which is `"\\n"` or `"\\r\\n"`; with a
      number longer lines come in pieces of so many bytes. By default the elements are chunks, as they
      come;
    * `:input` – see [Input](#module-input);
    * `:stderr` – `:inherit` (the default) leaves standard error the BEAM's own, `:stdout` sends it where
      standard output goes, `:devnull` throws it away; with `:element` the elements are
      `{:stdout, bytes}` and `{:stderr, bytes}`;
    * `:exit` – what a stream that is enumerated to its end makes of the end of the program: `:raise` (the
      default) raises if it did not exit with 0 in time; with `:element` the last element is
      `{:exit, {:exited, code}}`, `{:exit, {:signaled, number}}` or `{:exit, :timeout}`; `:ignore` makes
      nothing of it;
    * every other one of `Linx.Process`, see
      [What all commands have in common](#module-what-all-commands-have-in-common).

  ## Errors

  Raises `ArgumentError` at once for a mistake in an argument. The enumeration raises `Linx.Process.Error` when
  the program cannot be run, `Linx.ExitError` when it fails, see `:exit`, and what the input raises. It exits
  when somebody else ends the session.
  """
  @spec stream!(command, keyword) :: Enumerable.t()
  def stream!(command, opts \\ []), do: Linx.Command.Stream.stream!(command, opts)

  @doc """
  The sessions of this node, those first that have been there longest, as `Linx.Process.Entry`.

      [%Linx.Process.Entry{session: session, argv: ["/usr/bin/sleep", "60"]} | _] = Linx.list()

  No session is asked, so that none can hold it up. Those that have ended and linger are among them,
  with the stage `:terminated`. Sessions that were started without the application `:linx` are not.
  """
  @spec list() :: [Linx.Process.Entry.t()]
  defdelegate list(), to: Linx.Sessions

  @doc """
  What the workloads of all sessions use, as a `Linx.Top`, which iex shows as a table.

  It is read from /proc once, whatever the number of sessions.

  ## Options

    * `:sort` – `:cpu` (the default), `:memory` or `:age`: what comes first;
    * `:interval` – watches for so many milliseconds, and tells how much of the processor was used
      meanwhile. By default it is how much was used on average since each session started.

  ## Examples

      Linx.top()
      Linx.top(sort: :memory)
      Linx.top(interval: 1_000)

      [%Linx.Top.Row{session: session, memory: bytes} | _] = Linx.top(sort: :memory).rows

  ## Errors

  `{:bad_sort, term}`, `{:bad_interval, term}`, `{:bad_option, key}`, `{:bad_options, term}`.
  """
  @spec top(sort: Linx.Top.sort(), interval: pos_integer) ::
          Linx.Top.t() | {:error, Linx.Process.mistake()}
  defdelegate top(opts \\ []), to: Linx.Top, as: :take
end
