defmodule Linx.Process.Options do
  @moduledoc false

  # The options of a session, checked before any process starts.

  alias Linx.Process.{
    Confinement,
    Credentials,
    CString,
    Environment,
    Error,
    Output,
    Program,
    Stdio,
    Winsize
  }

  alias Linx.{Sandbox, Signal}

  @namespaces [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time]

  # Timers of the BEAM count to 2^32 - 1 ms; a grace leaves room for what follows it.
  @max_timeout 0xFFFF_FFFF
  @max_grace @max_timeout - 60_000

  @max_pid 0x7FFF_FFFF

  @max_mode 0o7777
  @default_mode 0o644

  defstruct [
    :mode,
    :target,
    :argv,
    :arg0,
    :namespaces,
    :env,
    :cwd,
    :owner,
    :name,
    :slot,
    :agent,
    # The session ends with this process, instead of being linked to its starter. No option of users.
    :lifeline,
    :active,
    :output,
    :winsize,
    :user,
    :group,
    :groups,
    :files,
    :chain,
    # What follows from other options, for the agent.
    :credit,
    :uid,
    :gid,
    :confinement,
    stdio: :inherit,
    no_new_privs: false,
    orphan: :kill,
    descendants: :kill,
    linger: true,
    auto_proceed: false,
    grace: 2_000,
    timeout: :infinity,
    stop_signal: 15
  ]

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type t :: %__MODULE__{}
  @type reason ::
          :argv_required
          | {atom, term}
          | Linx.Cgroup.no_controller()
          | Error.t()

  @keys [
    :argv,
    :arg0,
    :namespaces,
    :env,
    :cwd,
    :stdio,
    :owner,
    :name,
    :no_new_privs,
    :orphan,
    :descendants,
    :linger,
    :auto_proceed,
    :grace,
    :agent,
    :slot,
    :active,
    :output,
    :timeout,
    :stop_signal,
    :winsize,
    :user,
    :group,
    :groups,
    :files,
    :chain
  ]

  @doc "The options of a `spawn`. The owner is the caller unless they name one."
  @spec spawn(term) :: {:ok, t} | {:error, reason}
  def spawn(opts), do: parse(%__MODULE__{mode: :spawn, namespaces: [], owner: self()}, opts)

  @doc "The options of an `enter`. Without `:namespaces` it joins all that the target has."
  @spec enter(term, term) :: {:ok, t} | {:error, reason}
  def enter(target, opts) when target in 1..@max_pid do
    parse(%__MODULE__{mode: :enter, target: target, owner: self()}, opts)
  end

  def enter(target, _opts), do: {:error, {:bad_target, target}}

  @doc "The default of `:grace`, in milliseconds."
  @spec default_grace() :: non_neg_integer
  def default_grace, do: %__MODULE__{}.grace

  @doc "Checks that `opts` is a keyword list of `keys`."
  @spec known(term, [atom]) :: :ok | {:error, reason}
  def known(opts, keys) do
    with true <- Keyword.keyword?(opts),
         nil <- Enum.find(Keyword.keys(opts), &(&1 not in keys)) do
      :ok
    else
      false -> {:error, {:bad_options, opts}}
      unknown -> {:error, {:bad_option, unknown}}
    end
  end

  @doc "Checks one option and brings its value into the form that the session uses."
  @spec check(atom, term) :: {:ok, term} | {:error, reason}
  def check(:argv, [program | _] = argv) when program != "" and is_proper_list(argv) do
    if Enum.all?(argv, &CString.valid?/1), do: {:ok, argv}, else: {:error, {:bad_argv, argv}}
  end

  def check(:argv, other), do: {:error, {:bad_argv, other}}

  def check(:arg0, name) do
    if CString.valid?(name), do: {:ok, name}, else: {:error, {:bad_arg0, name}}
  end

  def check(:namespaces, list) when is_proper_list(list) do
    case Enum.reject(list, &(&1 in @namespaces)) do
      [] -> {:ok, Enum.uniq(list)}
      unknown -> {:error, {:bad_namespaces, unknown}}
    end
  end

  def check(:namespaces, other), do: {:error, {:bad_namespaces, other}}

  def check(:env, env) do
    with {:error, offending} <- Environment.resolve(env), do: {:error, {:bad_env, offending}}
  end

  def check(:cwd, path) do
    if path?(path), do: {:ok, path}, else: {:error, {:bad_cwd, path}}
  end

  def check(:stdio, stdio) do
    with {:error, offending} <- Stdio.check(stdio), do: {:error, {:bad_stdio, offending}}
  end

  def check(:owner, owner) do
    if owner?(owner), do: {:ok, owner}, else: {:error, {:bad_owner, owner}}
  end

  def check(:name, name) do
    if name?(name), do: {:ok, name}, else: {:error, {:bad_name, name}}
  end

  def check(:orphan, fate) when fate in [:kill, :leave], do: {:ok, fate}
  def check(:orphan, other), do: {:error, {:bad_orphan, other}}
  def check(:descendants, fate) when fate in [:kill, :leave], do: {:ok, fate}
  def check(:descendants, other), do: {:error, {:bad_descendants, other}}
  def check(:linger, flag) when is_boolean(flag), do: {:ok, flag}
  def check(:linger, other), do: {:error, {:bad_linger, other}}
  def check(:auto_proceed, flag) when is_boolean(flag), do: {:ok, flag}
  def check(:auto_proceed, other), do: {:error, {:bad_auto_proceed, other}}
  def check(:no_new_privs, flag) when is_boolean(flag), do: {:ok, flag}
  def check(:no_new_privs, other), do: {:error, {:bad_no_new_privs, other}}
  def check(:grace, ms) when ms in 0..@max_grace, do: {:ok, ms}
  def check(:grace, other), do: {:error, {:bad_grace, other}}
  def check(:agent, kind) when kind in [:host, :dedicated], do: {:ok, kind}
  def check(:agent, other), do: {:error, {:bad_agent, other}}
  # From `child_spec/1`, and no business of users.
  def check(:slot, slot) when is_reference(slot), do: {:ok, slot}
  def check(:slot, _other), do: {:error, {:bad_option, :slot}}
  def check(:timeout, :infinity), do: {:ok, :infinity}
  def check(:timeout, ms) when ms in 0..@max_timeout, do: {:ok, ms}
  def check(:timeout, other), do: {:error, {:bad_timeout, other}}
  def check(:to, reach) when reach in [:process, :group, :tree], do: {:ok, reach}
  def check(:to, other), do: {:error, {:bad_to, other}}

  def check(:active, mode) when mode in [true, false, :once], do: {:ok, mode}
  def check(:active, n) when is_integer(n) and n > 0, do: {:ok, n}
  def check(:active, other), do: {:error, {:bad_active, other}}
  def check(:set_active, :discard), do: {:ok, :discard}
  def check(:set_active, n) when is_integer(n), do: {:ok, n}
  def check(:set_active, mode), do: check(:active, mode)
  def check(:source, source) when source in [:stdout, :stderr, :pty, :any], do: {:ok, source}
  def check(:source, other), do: {:error, {:bad_source, other}}
  def check(:output, :until_exit), do: {:ok, :exit}
  def check(:output, :until_eof), do: {:ok, :eof}
  def check(:output, other), do: {:error, {:bad_output, other}}

  def check(:stop_signal, signal) do
    with {:error, _} <- Signal.number(signal), do: {:error, {:bad_stop_signal, signal}}
  end

  def check(:winsize, {rows, cols} = size) do
    with {:error, _} <- Winsize.check({rows, cols, 0, 0}), do: {:error, {:bad_winsize, size}}
  end

  def check(:winsize, size), do: Winsize.check(size)

  def check(:user, user) do
    with :error <- Credentials.user(user), do: {:error, {:bad_user, user}}
  end

  def check(:group, group) do
    with :error <- Credentials.group(group), do: {:error, {:bad_group, group}}
  end

  def check(:groups, groups) do
    with {:error, offending} <- Credentials.groups(groups),
         do: {:error, {:bad_groups, offending}}
  end

  def check(:files, files) when is_map(files) and not is_struct(files),
    do: check(:files, Map.to_list(files))

  def check(:files, files) when is_proper_list(files), do: each(:bad_files, files, &file/1)
  def check(:files, other), do: {:error, {:bad_files, other}}
  def check(:chain, argvs) when is_proper_list(argvs), do: each(:bad_chain, argvs, &link/1)
  def check(:chain, other), do: {:error, {:bad_chain, other}}

  defp parse(defaults, opts) do
    with :ok <- known(opts, @keys ++ [:sandbox | Confinement.options()]),
         :ok <- place(defaults, opts),
         :ok <- argv_there(opts),
         {:ok, opts} <- Sandbox.expand(opts),
         {confining, opts} = Keyword.split(opts, Confinement.keys()),
         {:ok, options} <- fill_in(defaults, opts ++ [agent: default_agent()]),
         :ok <- meaningful(options),
         {:ok, credentials} <-
           Credentials.resolve(options.user, options.group, options.groups),
         options = Map.merge(options, credentials),
         {:ok, confinement} <- Confinement.resolve(confining, options),
         find = &find_program(&1, options, confining[:setup]),
         {:ok, argv} <- find.(options.argv),
         {:ok, chain} <- find_programs(options.chain, find) do
      {:ok, output(%{options | argv: argv, chain: chain, confinement: confinement})}
    end
  end

  # A sandbox is a place of its own.
  defp place(%{mode: :enter}, opts) do
    if opts[:sandbox] in [nil, false], do: :ok, else: {:error, {:bad_sandbox, :enter}}
  end

  defp place(_spawn, _opts), do: :ok

  # What the agent could do nothing with is a mistake.
  defp meaningful(%{stdio: stdio} = options) do
    outputs = Stdio.outputs(stdio)

    cond do
      options.winsize != nil and stdio != :pty -> {:error, {:bad_winsize, options.winsize}}
      options.active != nil and outputs == [] -> {:error, {:bad_active, options.active}}
      options.output == :eof and outputs in [[], [:pty]] -> {:error, {:bad_output, :until_eof}}
      true -> :ok
    end
  end

  defp output(options) do
    case Stdio.outputs(options.stdio) do
      [] -> options
      outputs -> %{options | credit: Output.credit(), active: active(options.active, outputs)}
    end
  end

  # A terminal is for somebody who is there.
  defp active(nil, outputs), do: outputs == [:pty]
  defp active(mode, _outputs), do: mode

  # In a sandbox it is what the program finds there.
  defp find_program([program | args], options, setup) do
    outside =
      if setup && not String.contains?(program, "/"),
        do: Sandbox.Path.outside(for({:mount, operation} <- setup, do: operation)),
        else: &{:ok, &1}

    with {:ok, path} <- Program.find(program, options.env, options.cwd, outside),
         do: {:ok, [path | args]}
  end

  defp find_programs(nil, _find), do: {:ok, nil}
  defp find_programs(argvs, find), do: map_while_ok(argvs, find)

  defp each(bad, elements, fun) do
    map_while_ok(elements, fn element ->
      with :error <- fun.(element), do: {:error, {bad, element}}
    end)
  end

  defp map_while_ok(elements, fun) do
    results =
      Enum.reduce_while(elements, [], fn element, results ->
        case fun.(element) do
          {:ok, result} -> {:cont, [result | results]}
          error -> {:halt, error}
        end
      end)

    if is_list(results), do: {:ok, Enum.reverse(results)}, else: results
  end

  defp file({path, data}), do: file({path, data, @default_mode})

  defp file({path, data, mode}) when mode in 0..@max_mode do
    if path?(path), do: {:ok, {path, IO.iodata_to_binary(data), mode}}, else: :error
  rescue
    ArgumentError -> :error
  end

  defp file(_other), do: :error

  defp link(argv) do
    with {:error, _reason} <- check(:argv, argv), do: :error
  end

  defp default_agent, do: Application.get_env(:linx, :agent, :host)

  defp argv_there(opts) do
    if Keyword.has_key?(opts, :argv), do: :ok, else: {:error, :argv_required}
  end

  defp fill_in(defaults, opts) do
    # As in `Keyword.get/2`, the first of several values counts.
    opts
    |> Enum.uniq_by(fn {key, _value} -> key end)
    |> Enum.reduce_while({:ok, defaults}, fn {key, value}, {:ok, options} ->
      case check(key, value) do
        {:ok, value} -> {:cont, {:ok, Map.put(options, key, value)}}
        {:error, reason} -> {:halt, {:error, reason}}
      end
    end)
  end

  defp owner?(pid) when is_pid(pid), do: true
  defp owner?({name, node}) when is_atom(name) and is_atom(node), do: true
  defp owner?(nil), do: true
  defp owner?(name), do: name?(name)

  defp name?(name) when is_atom(name), do: name not in [nil, true, false, :undefined]
  defp name?({:global, _term}), do: true
  defp name?({:via, module, _term}), do: is_atom(module)
  defp name?(_other), do: false

  defp path?(path), do: path != "" and CString.valid?(path)
end
