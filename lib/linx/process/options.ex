defmodule Linx.Process.Options do
  @moduledoc false

  # The options of a session, checked before any process starts.

  alias Linx.Process.{CString, Environment, Error, Program}

  @namespaces [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time]

  # `sun_path` has 108 bytes, the last of which ends the string.
  @max_socket_path 107

  # Timers of the BEAM count to 2^32 - 1 ms; a grace leaves room for what follows it.
  @max_timeout 0xFFFF_FFFF
  @max_grace @max_timeout - 60_000

  @max_pid 0x7FFF_FFFF

  defstruct [
    :mode,
    :target,
    :argv,
    :namespaces,
    :env,
    :cwd,
    :owner,
    :name,
    :slot,
    :agent,
    stdio: :inherit,
    no_new_privs: false,
    orphan: :kill,
    descendants: :kill,
    linger: true,
    auto_proceed: false,
    grace: 2_000
  ]

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type t :: %__MODULE__{}
  @type reason :: :argv_required | {atom, term} | Error.t()

  @keys [
    :argv,
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
    :slot
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

  def check(:stdio, mode) when mode in [:inherit, :devnull, :pty], do: {:ok, mode}

  def check(:stdio, directives) when is_proper_list(directives) do
    with nil <- Enum.find(directives, &(not directive?(&1))),
         [] <- directives -- Enum.uniq_by(directives, &elem(&1, 0)) do
      {:ok, directives}
    else
      [again | _] -> {:error, {:bad_stdio, again}}
      bad -> {:error, {:bad_stdio, bad}}
    end
  end

  def check(:stdio, other), do: {:error, {:bad_stdio, other}}

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

  defp parse(defaults, opts) do
    with :ok <- known(opts, @keys),
         :ok <- argv_there(opts),
         {:ok, options} <- fill_in(defaults, opts ++ [agent: default_agent()]),
         {:ok, program} <- Program.find(hd(options.argv), options.env, options.cwd) do
      {:ok, %{options | argv: [program | tl(options.argv)]}}
    end
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

  defp directive?({fd, how}) when fd in [:stdin, :stdout, :stderr] do
    case how do
      :inherit -> true
      :devnull -> true
      {:connect_unix, path} -> path?(path) and byte_size(path) <= @max_socket_path
      _other -> false
    end
  end

  defp directive?(_other), do: false

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
