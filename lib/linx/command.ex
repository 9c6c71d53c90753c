defmodule Linx.Command do
  @moduledoc false

  # A program that runs for its caller: what `Linx.cmd/3`, `Linx.run/2` and `Linx.stream!/2` have in
  # common.
  #
  # Its session is not linked to the caller but watches it, and stops the program when the caller dies.
  # Every answer that the caller waits for is that of a call, so nothing can be left in its mailbox.

  alias Linx.Command.Input
  alias Linx.Process.{Error, Info, Options, Session}
  alias Linx.Result

  # What commands decide for themselves: they read the output, and nothing of them stays.
  @reserved [:argv, :active, :linger]

  @defaults [owner: nil, auto_proceed: true]

  @enforce_keys [:session, :input]
  defstruct [:session, :input]

  @opaque t :: %__MODULE__{session: pid, input: Input.t() | nil}

  @type reason ::
          {atom, term} | Linx.Cgroup.no_controller() | Error.t() | :aborted | :no_process

  @doc "The program and its arguments."
  @spec argv(term) :: {:ok, [binary, ...]} | {:error, reason}
  def argv(program) when is_binary(program), do: Options.check(:argv, [program])
  def argv(argv), do: Options.check(:argv, argv)

  @doc "Divides options into those that `keys` name and the others."
  @spec split(term, [atom]) :: {:ok, {keyword, keyword}} | {:error, reason}
  def split(opts, keys) do
    if Keyword.keyword?(opts),
      do: {:ok, Keyword.split(opts, keys)},
      else: {:error, {:bad_options, opts}}
  end

  @doc """
  Checks the options of a session, and adds those of a command. What its descriptors are is what is
  given here, unless the option `:stdio` says something else.
  """
  @spec options([binary], keyword, stdin :: term, stdout :: term, stderr :: term) ::
          {:ok, Options.t()} | {:error, reason}
  def options(argv, opts, stdin, stdout, stderr) do
    with :ok <- nothing_reserved(opts),
         {:ok, stdio} <- stdio([stdin: stdin, stdout: stdout, stderr: stderr], opts) do
      opts
      |> Keyword.delete(:stdio)
      |> Keyword.merge(@defaults, fn _key, given, _default -> given end)
      |> Keyword.merge(argv: argv, stdio: stdio)
      |> passive()
      |> Options.spawn()
    end
  end

  @doc "Starts it, with its input."
  @spec start(Options.t(), Input.source()) :: {:ok, t} | {:error, reason}
  def start(options, input) do
    with {:ok, session} <- Session.start(%{options | lifeline: self()}) do
      Input.adopt(session)
      {:ok, %__MODULE__{session: session, input: Input.start(input, session)}}
    end
  end

  @doc """
  The next output, or how it has ended. An error of its input is raised here, as if the caller had
  read the input itself.
  """
  @spec next(t) :: {:output, :stdout | :stderr, binary} | {:ended, Info.t()} | {:error, reason}
  def next(%{session: session, input: input}) do
    case Session.next(session) do
      {:output, :pty, bytes} ->
        {:output, :stdout, bytes}

      {:output, _source, _bytes} = output ->
        output

      ended ->
        # Its name is free then, too.
        _ = Session.stop(session, 0)
        Input.finish(input)
        ended(ended)
    end
  end

  # How the kernel refused is an error, but no doubt about the end of a program that had its time.
  defp ended({:ended, %Info{result: {:error, error}, timed_out?: false}}), do: {:error, error}
  defp ended({:ended, %Info{result: {:ok, :aborted}, timed_out?: false}}), do: {:error, :aborted}
  defp ended(ended), do: ended

  @doc "How a program has ended, as far as is known."
  @spec status(Info.t()) :: Result.status() | :unknown
  def status(%Info{result: {:ok, {_how, _number} = status}}), do: status
  def status(%Info{}), do: :unknown

  @doc "Kills the program. Its end comes as ever."
  @spec kill(t) :: :ok
  def kill(%{session: session}) do
    _ = Linx.Process.cancel(session, 0)
    :ok
  end

  @doc "Ends it, wherever it is; returns when nothing of it is left."
  @spec close(t) :: :ok
  def close(%{session: session, input: input}) do
    _ = Session.stop(session, 0)
    Input.close(input)
  end

  @doc """
  Runs it, and folds its output. `fun` may say that it is to be killed.

  Whatever happens here, nothing of it is left.
  """
  @spec reduce(t, acc, (:stdout | :stderr, binary, acc -> {:cont | :kill, acc})) ::
          {:ok, acc, Info.t()} | {:error, reason}
        when acc: term
  def reduce(command, acc, fun) do
    fold(command, acc, fun)
  catch
    kind, reason ->
      close(command)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp fold(command, acc, fun) do
    case next(command) do
      {:output, source, bytes} ->
        case fun.(source, bytes, acc) do
          {:cont, acc} ->
            fold(command, acc, fun)

          {:kill, acc} ->
            kill(command)
            fold(command, acc, fn _source, _bytes, acc -> {:cont, acc} end)
        end

      {:ended, info} ->
        {:ok, acc, info}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @doc "Raises what an error is: one of the kernel, or a mistake in an argument."
  @spec raise!(reason, term) :: no_return
  def raise!(reason, opts)
  def raise!(%Error{} = error, _opts), do: raise(error)

  def raise!({:bad_option, key}, opts) do
    raise ArgumentError, "invalid option #{inspect(key)} with value #{inspect(opts[key])}"
  end

  def raise!({:bad_options, opts}, _opts) do
    raise ArgumentError, "expected the options to be a keyword list, got: #{inspect(opts)}"
  end

  def raise!({:bad_argv, argv}, _opts) do
    raise ArgumentError,
          "expected a program and its arguments, which are strings without null bytes, " <>
            "got: #{inspect(argv)}"
  end

  def raise!({:already_started, pid}, opts) do
    raise ArgumentError, "the name #{inspect(opts[:name])} is taken by #{inspect(pid)}"
  end

  def raise!({:no_controller, name, available}, _opts) do
    raise ArgumentError,
          "cgroup v2 has no controller #{inspect(name)} here, only #{inspect(available)}"
  end

  def raise!({mistake, what}, _opts) do
    "bad_" <> option = Atom.to_string(mistake)
    raise ArgumentError, "invalid option :#{option} with value #{inspect(what)}"
  end

  # Somebody else has ended the session.
  def raise!(reason, _opts), do: exit(reason)

  defp nothing_reserved(opts) do
    case Enum.find(@reserved, &Keyword.has_key?(opts, &1)) do
      nil -> :ok
      key -> {:error, {:bad_option, key}}
    end
  end

  # A list says how some descriptors differ; anything else is for all of them.
  defp stdio(defaults, opts) do
    given = Keyword.get(opts, :stdio, [])
    stdio = if Keyword.keyword?(given), do: Keyword.merge(defaults, given), else: given

    if defaults[:stdin] == :pipe and not input?(stdio),
      do: {:error, {:bad_stdio, given}},
      else: {:ok, stdio}
  end

  defp input?(stdio) when is_list(stdio), do: Keyword.keyword?(stdio) and stdio[:stdin] == :pipe
  defp input?(mode), do: mode in [:pipe, :pty]

  # The output of a terminal comes by itself, unless it is told not to.
  defp passive(opts) do
    if opts[:stdio] == :pty, do: [active: false] ++ opts, else: opts
  end
end
