defmodule Linx.Daemon.Options do
  @moduledoc false

  # The options of a daemon, checked before anything starts. Those that are not the daemon's own are
  # its session's.

  alias Linx.Daemon.{Log, Readiness}
  alias Linx.Process.Options, as: SessionOptions
  alias Linx.Process.Stdio

  defstruct [
    :name,
    :session,
    :stdio,
    :grace,
    log: :info,
    prefix: nil,
    metadata: [],
    transform: nil,
    controls: nil,
    max_line: 8_000,
    ready: :running,
    ready_timeout: 60_000,
    on_ready: nil,
    await_ready: false,
    restart: :supervisor,
    exit_status_to_reason: nil
  ]

  @type t :: %__MODULE__{
          name: GenServer.name() | nil,
          session: keyword,
          stdio: Stdio.t(),
          grace: non_neg_integer,
          log: Log.t(),
          max_line: pos_integer,
          ready: Readiness.t(),
          ready_timeout: timeout,
          on_ready: (() -> term) | (pid -> term) | {pid | GenServer.name(), term} | nil,
          await_ready: boolean,
          restart: :supervisor | {:backoff, pos_integer, pos_integer},
          exit_status_to_reason: (Linx.Daemon.status() -> term) | nil
        }

  @own [
    :log,
    :prefix,
    :metadata,
    :transform,
    :controls,
    :max_line,
    :ready,
    :ready_timeout,
    :on_ready,
    :await_ready,
    :restart,
    :exit_status_to_reason
  ]

  # What a daemon does with its session is its own business.
  @reserved [:owner, :linger, :active, :lifeline]

  @levels [:debug, :info, :notice, :warning, :error, :critical, :alert, :emergency]
  @sources [:stdout, :stderr, :pty]

  # Timers of the BEAM count to 2^32 - 1 ms.
  @max_delay 0xFFFF_FFFF

  @stdio [stdin: :devnull, stdout: :pipe, stderr: :pipe]

  @doc "Checks the options and those of the session."
  @spec new(term) :: {:ok, t} | {:error, SessionOptions.reason()}
  def new(opts) do
    with true <- Keyword.keyword?(opts) || {:error, {:bad_options, opts}},
         nil <- Enum.find(Keyword.keys(opts), &(&1 in @reserved)),
         {own, session} = Keyword.split(opts, @own),
         {:ok, options} <- fill_in(own),
         {name, session} = Keyword.pop(session, :name),
         {:ok, name} <- name(name),
         session = Keyword.update(session, :stdio, @stdio, &stdio/1),
         {:ok, checked} <- SessionOptions.spawn(session),
         options = %{
           options
           | name: name,
             session: session(session, checked.stdio),
             stdio: checked.stdio,
             grace: checked.grace,
             log: log(options, session)
         },
         :ok <- output_for(options.ready, checked.stdio) do
      {:ok, options}
    else
      {:error, reason} -> {:error, reason}
      reserved -> {:error, {:bad_option, reserved}}
    end
  end

  @doc "The options of this daemon, whose lines tell whose they are."
  @spec of_daemon(t, pid) :: t
  def of_daemon(%{log: log} = options, daemon) do
    %{options | log: %{log | metadata: Keyword.put_new(log.metadata, :pid, daemon)}}
  end

  defp name(nil), do: {:ok, nil}
  defp name(name), do: SessionOptions.check(:name, name)

  # What is not said of the three descriptors is as it is with a daemon.
  defp stdio(list) when is_list(list) do
    if Keyword.keyword?(list), do: Keyword.merge(@stdio, list), else: list
  end

  defp stdio(word), do: word

  # The daemon's session is read by the daemon, which sees to its end. A slot makes a run wait for what
  # is left of the one before.
  defp session(session, stdio) do
    passive = if Stdio.outputs(stdio) == [], do: [], else: [active: false]
    defaults = [linger: true, auto_proceed: true, slot: make_ref()] ++ passive
    Keyword.merge(defaults, session)
  end

  defp output_for({:line, _condition} = ready, stdio) do
    if Stdio.outputs(stdio) == [], do: {:error, {:bad_ready, ready}}, else: :ok
  end

  defp output_for(_ready, _stdio), do: :ok

  defp fill_in(own) do
    own
    |> Enum.uniq_by(fn {key, _value} -> key end)
    |> Enum.reduce_while({:ok, %__MODULE__{}}, fn {key, value}, {:ok, options} ->
      if valid?(key, value),
        do: {:cont, {:ok, Map.put(options, key, value)}},
        else: {:halt, {:error, {:"bad_#{key}", value}}}
    end)
  end

  defp valid?(:log, level) when level == false or level in @levels, do: true
  defp valid?(:log, fun) when is_function(fun, 1) or is_function(fun, 2), do: true
  defp valid?(:log, {m, f, args}), do: is_atom(m) and is_atom(f) and is_list(args)

  defp valid?(:log, list) when is_list(list) do
    Keyword.keyword?(list) and
      Enum.all?(list, fn {source, level} ->
        source in @sources and (level == false or level in @levels)
      end)
  end

  defp valid?(:prefix, prefix), do: is_binary(prefix) and String.valid?(prefix)
  defp valid?(:metadata, metadata), do: Keyword.keyword?(metadata)
  defp valid?(:transform, transform), do: is_function(transform, 1)
  defp valid?(:controls, controls), do: controls in [:keep, :escape]
  defp valid?(:max_line, bytes), do: is_integer(bytes) and bytes > 0
  defp valid?(:ready, ready), do: Readiness.valid?(ready)

  defp valid?(:ready_timeout, timeout),
    do: match?({:ok, _}, SessionOptions.check(:timeout, timeout))

  defp valid?(:on_ready, fun) when is_function(fun, 0) or is_function(fun, 1), do: true
  defp valid?(:on_ready, {pid, _message}) when is_pid(pid), do: true

  defp valid?(:on_ready, {name, _message}),
    do: match?({:ok, _}, SessionOptions.check(:name, name))

  defp valid?(:await_ready, flag), do: is_boolean(flag)
  defp valid?(:restart, :supervisor), do: true

  defp valid?(:restart, {:backoff, min, max}) when is_integer(min) and is_integer(max),
    do: 0 < min and min <= max and max <= @max_delay

  defp valid?(:exit_status_to_reason, fun), do: is_function(fun, 1)
  defp valid?(_key, _value), do: false

  defp log(options, session) do
    [program | _arguments] = Keyword.fetch!(session, :argv)

    %Log{
      levels: levels(options.log),
      function: if(is_tuple(options.log) or is_function(options.log), do: options.log),
      prefix: options.prefix || Log.text(Path.basename(program)) <> ": ",
      transform: options.transform,
      controls: options.controls || controls(session[:sandbox]),
      metadata: options.metadata
    }
  end

  # Who is not trusted is not to write on the terminal of somebody who reads the log.
  defp controls(sandbox) when sandbox in [nil, false], do: :keep
  defp controls(_sandbox), do: :escape

  defp levels(list) when is_list(list), do: Map.merge(%Log{}.levels, Map.new(list))
  defp levels(level) when is_atom(level), do: Map.new(@sources, &{&1, level})
  defp levels(_function), do: %Log{}.levels
end
