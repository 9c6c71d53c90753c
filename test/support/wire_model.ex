defmodule Linx.Test.WireModel do
  @moduledoc false

  # What the agent is to understand of a term: its decoder, said once more in Elixir.

  import Bitwise

  alias Linx.Test.ConfinementModel

  @namespaces [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time]

  @nothing %{
    target: nil,
    namespaces: nil,
    argv: nil,
    chain: [],
    arg0: nil,
    env: nil,
    stdio: {:inherit, :inherit, :inherit},
    cwd: nil,
    files: [],
    no_new_privs: false,
    orphan: :leave,
    descendants: :leave,
    causes: false,
    usage: false,
    winsize: nil,
    uid: nil,
    gid: nil,
    groups: nil,
    uid_map: nil,
    gid_map: nil,
    setgroups: :allow,
    mapped_by: :agent,
    init: false,
    cgroup: nil,
    setup: [],
    confine: [],
    auto_proceed: false,
    origin: nil,
    credit: nil,
    output: :exit
  }

  @doc "The keys that a request may have."
  def keys, do: Map.keys(@nothing)

  @doc "A request, all of its keys filled in, or `:malformed`."
  def request({mode, options}) when mode in [:spawn, :enter] and is_map(options) do
    unless Enum.all?(Map.keys(options), &is_atom/1), do: throw(:malformed)

    understood =
      for {key, value} <- :maps.to_list(options), is_map_key(@nothing, key), into: @nothing do
        {key, value(key, value)}
      end

    if understood.argv == nil, do: throw(:malformed)
    {mode, understood |> user() |> place(mode) |> fresh() |> maps()}
  catch
    :malformed -> :malformed
  end

  def request(_term), do: :malformed

  # Another user does not keep the agent's groups, unless that cannot be.
  defp user(%{uid: nil, gid: nil} = request), do: request
  defp user(%{setgroups: :deny} = request), do: request
  defp user(request), do: %{request | groups: request.groups || []}

  defp place(request, :spawn), do: %{request | target: nil, namespaces: request.namespaces || []}
  defp place(%{target: nil}, :enter), do: throw(:malformed)
  defp place(request, :enter), do: request

  # An init, and maps, are for namespaces that are the session's own.
  defp fresh(%{target: nil} = request) do
    maps? = request.uid_map != nil or request.gid_map != nil
    wanted = [{request.init, :pid}, {maps?, :user}]

    if Enum.all?(wanted, fn {wanted?, type} -> not wanted? or type in request.namespaces end),
      do: request,
      else: throw(:malformed)
  end

  defp fresh(%{init: false, uid_map: nil, gid_map: nil} = request), do: request
  defp fresh(_entering), do: throw(:malformed)

  defp maps(request) do
    {maps, request} = Map.split(request, [:uid_map, :gid_map, :setgroups, :mapped_by])

    case maps do
      %{uid_map: nil, gid_map: nil} ->
        Map.put(request, :maps, nil)

      %{uid_map: u, gid_map: g, setgroups: may, mapped_by: by} ->
        Map.put(request, :maps, {u || [], g || [], may, by})
    end
  end

  defp value(:argv, argv), do: argv(argv)
  defp value(:chain, argvs), do: list(argvs, &argv/1)
  defp value(:env, env), do: list(env, &string/1)
  defp value(key, path) when key in [:arg0, :cwd, :origin, :cgroup], do: string(path)
  defp value(:target, pid), do: one_of(pid, 1..0x7FFF_FFFF)
  defp value(:namespaces, types), do: list(types, &one_of(&1, @namespaces))
  defp value(:stdio, stdio), do: stdio(stdio)
  defp value(key, id) when key in [:uid, :gid], do: id(id)
  defp value(:files, files), do: list(files, &file/1)
  defp value(:groups, ids), do: list(ids, &id/1)
  defp value(key, lines) when key in [:uid_map, :gid_map], do: map(lines)
  defp value(:setgroups, may), do: one_of(may, [:allow, :deny])
  defp value(:mapped_by, who), do: one_of(who, [:agent, :beam])
  defp value(:setup, operations), do: list(operations, &known!(ConfinementModel.setup(&1)))
  defp value(:confine, steps), do: list(steps, &known!(ConfinementModel.confinement(&1)))

  defp value(:winsize, size) do
    case is_tuple(size) and Tuple.to_list(size) do
      [_, _, _, _] = cells -> cells |> Enum.map(&one_of(&1, 0..65_535)) |> List.to_tuple()
      _other -> throw(:malformed)
    end
  end

  defp value(:credit, amount), do: one_of(amount, 0..0xFFFF_FFFF)
  defp value(:output, ending), do: one_of(ending, [:exit, :eof])
  defp value(key, fate) when key in [:orphan, :descendants], do: one_of(fate, [:kill, :leave])
  defp value(_flag, flag), do: one_of(flag, [true, false])

  defp stdio(:pty), do: :pty
  defp stdio(all) when is_atom(all), do: {directive(all), directive(all), directive(all)}

  defp stdio(each) do
    # The last one counts.
    each
    |> list(fn
      {:stderr, :stdout} -> {:stderr, :stdout}
      {fd, directive} when fd in [:stdin, :stdout, :stderr] -> {fd, directive(directive)}
      _other -> throw(:malformed)
    end)
    |> Enum.reduce({:inherit, :inherit, :inherit}, fn
      {:stdin, directive}, stdio -> put_elem(stdio, 0, directive)
      {:stdout, directive}, stdio -> put_elem(stdio, 1, directive)
      {:stderr, directive}, stdio -> put_elem(stdio, 2, directive)
    end)
  end

  defp directive({:connect_unix, path}), do: {:connect_unix, string(path)}
  defp directive({:file, path, modes}), do: {:file, string(path), flags(modes)}
  defp directive(other), do: one_of(other, [:inherit, :devnull, :pipe])

  @rdonly 0
  @wronly 1
  @rdwr 2
  @creat 0o100
  @excl 0o200
  @trunc 0o1000
  @append 0o2000

  defp flags(modes) do
    modes = modes |> list(&one_of(&1, [:read, :write, :append, :exclusive])) |> Enum.sort()

    case Enum.uniq(modes) do
      [:read] -> @rdonly
      [:write] -> @wronly ||| @creat ||| @trunc
      [:exclusive, :write] -> @wronly ||| @creat ||| @trunc ||| @excl
      [:read, :write] -> @rdwr ||| @creat
      [:exclusive, :read, :write] -> @rdwr ||| @creat ||| @excl
      [:exclusive] -> throw(:malformed)
      [:exclusive, :read] -> throw(:malformed)
      [] -> throw(:malformed)
      # With `:append`, whatever there is beside it.
      others -> appending(others)
    end
  end

  defp appending(modes) do
    access = if :read in modes, do: @rdwr, else: @wronly
    exclusive = if :exclusive in modes, do: @excl, else: 0
    access ||| @creat ||| @append ||| exclusive
  end

  defp argv(argv) when argv != [], do: list(argv, &string/1)
  defp argv(_empty), do: throw(:malformed)

  defp file({path, data, mode}) when is_binary(data),
    do: {string(path), data, one_of(mode, 0..0o7777)}

  defp file(_other), do: throw(:malformed)

  defp id(id), do: one_of(id, 0..0xFFFF_FFFE)

  defp map(lines) do
    lines =
      list(lines, fn
        {_, _, _} = line ->
          for number <- Tuple.to_list(line), do: one_of(number, 0..0xFFFF_FFFF)
          line

        _other ->
          throw(:malformed)
      end)

    if length(lines) in 1..340, do: lines, else: throw(:malformed)
  end

  defp known!(:unknown), do: throw(:malformed)
  defp known!(known), do: known

  defp string(list) when is_list(list) do
    string(:erlang.list_to_binary(list(list, &one_of(&1, 0..255))))
  end

  defp string(bytes) do
    if is_binary(bytes) and :binary.match(bytes, <<0>>) == :nomatch,
      do: bytes,
      else: throw(:malformed)
  end

  defp list(list, fun) when length(list) >= 0, do: Enum.map(list, fun)
  defp list(_other, _fun), do: throw(:malformed)

  defp one_of(term, allowed), do: if(term in allowed, do: term, else: throw(:malformed))

  @doc "A command, as `{Ref, Command}`, or `{Ref, :unknown}`; without a call Ref is nil."
  def command({:call, ref, command}) when is_integer(ref) and ref in 0..0xFFFF_FFFF_FFFF_FFFF do
    {ref, plain_command(command)}
  end

  def command(command), do: {nil, plain_command(command)}

  defp plain_command(command) do
    case command do
      name when name in [:proceed, :mapped, :abort, :pty_master, :close_stdin] ->
        name

      {:signal, number} ->
        known({:signal, number, :process}, signed32?(number))

      {:signal, number, to} ->
        known(command, signed32?(number) and to in [:process, :group, :tree])

      {:stop, grace} ->
        known({:stop, grace, 15}, unsigned64?(grace))

      {:stop, grace, signal} ->
        known(command, unsigned64?(grace) and signed32?(signal))

      {input, bytes} when input in [:pty_in, :stdin] ->
        known(command, is_binary(bytes))

      {:credit, source, more} ->
        known(command, source in [:stdout, :stderr, :pty] and more in 0..0xFFFF_FFFF)

      {:pty_winsize, {_, _, _, _} = size} ->
        winsize(size)

      {:setup, operation} ->
        in_step(:setup, ConfinementModel.setup(operation))

      {:confine, confinement} ->
        in_step(:confine, ConfinementModel.confinement(confinement))

      # As the C agent has them: done at once.
      step when elem(step, 0) in [:cap_drop_bounding, :cap_set_thread, :cap_set_ambient] ->
        ConfinementModel.confinement(step)

      # But this is held, too.
      {:seccomp_install, program} ->
        known({:confine, {:seccomp, program}}, is_binary(program))

      _other ->
        :unknown
    end
  end

  defp in_step(_kind, :unknown), do: :unknown
  defp in_step(kind, step), do: {kind, step}

  defp known(command, known?), do: if(known?, do: command, else: :unknown)

  # Integers that are no size are still a command, as far as they have the shorter form of the format.
  defp winsize(size) do
    cells = Tuple.to_list(size)

    cond do
      not Enum.all?(cells, &(is_integer(&1) and abs(&1) < 1 <<< (8 * 255))) -> :unknown
      Enum.all?(cells, &(&1 in 0..65_535)) -> {:pty_winsize, size}
      true -> {:pty_winsize, nil}
    end
  end

  defp signed32?(term), do: is_integer(term) and term in -0x8000_0000..0x7FFF_FFFF
  defp unsigned64?(term), do: is_integer(term) and term in 0..0xFFFF_FFFF_FFFF_FFFF
end
