defmodule Linx.Seccomp.OCI do
  @moduledoc false

  # Profiles as the OCI runtime specification and Docker have them, into rules. What a profile does not
  # spell out is done as runc does it. No atom is made of anything that stands in a profile.

  alias Linx.Seccomp.Native

  # EPERM, where no errno is told.
  @eperm 1

  @operators %{
    "SCMP_CMP_NE" => :ne,
    "SCMP_CMP_LT" => :lt,
    "SCMP_CMP_LE" => :le,
    "SCMP_CMP_EQ" => :eq,
    "SCMP_CMP_GE" => :ge,
    "SCMP_CMP_GT" => :gt
  }

  @actions %{
    "SCMP_ACT_ALLOW" => :allow,
    "SCMP_ACT_LOG" => :log,
    "SCMP_ACT_NOTIFY" => :notify,
    "SCMP_ACT_TRAP" => :trap,
    "SCMP_ACT_KILL" => :kill_thread,
    "SCMP_ACT_KILL_THREAD" => :kill_thread,
    "SCMP_ACT_KILL_PROCESS" => :kill_process
  }

  # As profiles call them.
  @arches %{x86_64: "amd64", aarch64: "arm64"}

  @type circumstances :: %{
          arch: Native.arch(),
          caps: [String.t()],
          kernel: {non_neg_integer, non_neg_integer}
        }

  @doc "The default action and the rules that hold under the circumstances."
  @spec rules(map, circumstances) :: {:ok, term, [tuple]} | {:error, {:bad_profile, String.t()}}
  def rules(profile, circumstances) do
    default = action(profile, "defaultAction", "defaultErrnoRet", "")

    rules =
      for {entry, where} <- entries(profile, "syscalls", ""),
          applies?(entry, where, circumstances),
          rule <- entry(entry, where),
          # Who has the default's action anyway, gets no rule: so says runc.
          elem(rule, 1) != default,
          do: rule

    {:ok, default, rules}
  catch
    {:bad_profile, _why} = mistake -> {:error, mistake}
  end

  defp entry(entry, where) do
    names =
      case entry do
        %{"names" => names} -> strings(names, "#{where}names")
        %{"name" => name} -> strings([name], "#{where}name")
        _none -> bad("#{where}names", "there are none")
      end

    action = action(entry, "action", "errnoRet", where)
    conditions = for {arg, where} <- entries(entry, "args", where), do: condition(arg, where)
    arguments = Enum.map(conditions, &elem(&1, 0))

    # Several conditions for one argument are alternatives, all others have to hold together.
    if arguments == Enum.uniq(arguments),
      do: [{names, action, conditions}],
      else: for(condition <- conditions, do: {names, action, [condition]})
  end

  defp condition(%{"index" => index, "op" => op} = arg, where) when index in 0..5 do
    value = number(arg, "value", where)

    case op do
      "SCMP_CMP_MASKED_EQ" -> {index, {:masked_eq, value}, number(arg, "valueTwo", where)}
      _other -> {index, lookup(@operators, op, "#{where}op"), value}
    end
  end

  defp condition(_arg, where), do: bad(where, "an argument has an index from 0 to 5, and an op")

  defp number(arg, key, where) do
    case arg[key] || 0 do
      number when number in 0..0xFFFF_FFFF_FFFF_FFFF -> number
      other -> bad("#{where}#{key}", "#{inspect(other)} is no number of 64 bits")
    end
  end

  defp action(map, key, errno_key, where) do
    data = map[errno_key] || @eperm

    unless is_integer(data) and data in 0..4095,
      do: bad("#{where}#{errno_key}", "#{inspect(data)} is no errno")

    case map[key] do
      "SCMP_ACT_ERRNO" -> {:errno, data}
      "SCMP_ACT_TRACE" -> {:trace, data}
      name -> lookup(@actions, name, "#{where}#{key}")
    end
  end

  defp applies?(entry, where, circumstances) do
    includes = conditions(entry, "includes", where)
    excludes = conditions(entry, "excludes", where)

    Enum.all?(includes, fn {kind, wanted} -> all?(kind, wanted, circumstances) end) and
      not Enum.any?(excludes, fn {kind, wanted} -> any?(kind, wanted, circumstances) end)
  end

  # What is said nothing about, is no condition.
  defp conditions(entry, key, where) do
    map = entry[key] || %{}
    unless is_map(map), do: bad("#{where}#{key}", "it is no object")

    lists =
      for kind <- ["caps", "arches"],
          list = strings(map[kind] || [], "#{where}#{key}.#{kind}"),
          list != [],
          do: {kind, list}

    case map["minKernel"] do
      empty when empty in [nil, ""] -> lists
      version -> [{"minKernel", kernel(version, "#{where}#{key}.minKernel")} | lists]
    end
  end

  defp all?("caps", caps, %{caps: held}), do: Enum.all?(caps, &(String.upcase(&1) in held))
  defp all?(kind, wanted, circumstances), do: any?(kind, wanted, circumstances)

  defp any?("caps", caps, %{caps: held}), do: Enum.any?(caps, &(String.upcase(&1) in held))
  defp any?("arches", arches, %{arch: arch}), do: @arches[arch] in arches
  defp any?("minKernel", wanted, %{kernel: kernel}), do: kernel >= wanted

  defp kernel(version, where) do
    case version(version) do
      {:ok, version} -> version
      :error -> bad(where, "#{inspect(version)} is no version of a kernel")
    end
  end

  @doc "The first two numbers of a kernel's version."
  @spec version(term) :: {:ok, {non_neg_integer, non_neg_integer}} | :error
  def version(text) when is_binary(text) do
    case Regex.run(~r/^(\d+)\.(\d+)/, text) do
      [_, major, minor] -> {:ok, {String.to_integer(major), String.to_integer(minor)}}
      nil -> :error
    end
  end

  def version(_other), do: :error

  # Each entry of a list of objects, with where it is.
  defp entries(map, key, where) do
    list = map[key] || []
    unless is_list(list), do: bad("#{where}#{key}", "it is no list")

    for {entry, index} <- Enum.with_index(list) do
      place = "#{where}#{key}[#{index}]"
      unless is_map(entry), do: bad(place, "it is no object")
      {entry, place <> "."}
    end
  end

  defp strings(list, where) do
    if is_list(list) and Enum.all?(list, &is_binary/1),
      do: list,
      else: bad(where, "it is no list of strings")
  end

  defp lookup(table, name, where) do
    case table do
      %{^name => value} -> value
      _other -> bad(where, "#{inspect(name)} is not known")
    end
  end

  @spec bad(String.t(), String.t()) :: no_return
  defp bad(where, why), do: throw({:bad_profile, "#{String.trim_trailing(where, ".")}: #{why}"})
end
