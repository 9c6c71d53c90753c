defmodule Linx.Test.MountModel do
  @moduledoc false

  # What the agent is to understand of a mount operation: targets without what leads nowhere, and flags in the
  # order in which the agent has them.

  import Bitwise

  @attributes [read_only: 0x1, nosuid: 0x2, nodev: 0x4, noexec: 0x8, noatime: 0x10] ++
                [strictatime: 0x20, nodiratime: 0x80, nosymfollow: 0x200000]
  @times [:relatime, :noatime, :strictatime]
  @others [:recursive, :optional, :make]

  @doc "The operation, or `:unknown`."
  def mount(operation) do
    known(operation)
  catch
    :unknown -> :unknown
  end

  defp known({:bind, source, target, flags}),
    do: {:bind, path(source), target(target), flags(flags)}

  defp known({:file_system, type, source, target, options, flags}) do
    {:file_system, path(type), path(source), target(target), options(options), flags(flags)}
  end

  defp known({:propagation, target, how, flags})
       when how in [:private, :slave, :shared, :unbindable],
       do: {:propagation, target(target), how, alone(flags, :recursive)}

  defp known({:attributes, target, flags}), do: {:attributes, target(target), flags(flags)}
  defp known({:unmount, target, flags}), do: {:unmount, target(target), alone(flags, :detach)}

  defp known({:make_directory, target, mode}) when mode in 0..0o7777,
    do: {:make_directory, target(target), mode}

  defp known({:make_file, target, mode, data})
       when mode in 0..0o7777 and is_binary(data) and byte_size(data) <= 32_768,
       do: {:make_file, target(target), mode, data}

  defp known({:symlink, target, content}), do: {:symlink, target(target), path(content)}
  defp known(:pivot_root), do: :pivot_root
  defp known(_other), do: throw(:unknown)

  defp path(path), do: if(path != "", do: value(path), else: throw(:unknown))

  defp value(value) when is_binary(value) and byte_size(value) < 4096,
    do: if(:binary.match(value, <<0>>) == :nomatch, do: value, else: throw(:unknown))

  defp value(_other), do: throw(:unknown)

  defp target(target) do
    names = target |> path() |> :binary.split("/", [:global])

    if hd(names) == "" and ".." not in names,
      do: "/" <> (names |> Enum.reject(&(&1 in ["", "."])) |> Enum.join("/")),
      else: throw(:unknown)
  end

  defp options(options) do
    options =
      for option <- list(options) do
        case option do
          {name, value} -> {path(name), value(value)}
          {name} -> path(name)
          name -> path(name)
        end
      end

    # In the agent's form each part has an end, and each option a beginning.
    size = for option <- options, part <- parts(option), do: byte_size(part) + 1
    if Enum.sum(size) + length(options) <= 16_384, do: options, else: throw(:unknown)
  end

  defp parts({name, value}), do: [name, value]
  defp parts(name), do: [name]

  defp flags(flags) do
    flags = list(flags)
    known = Keyword.keys(@attributes) ++ @others ++ @times
    if Enum.all?(flags, &(&1 in known)), do: in_order(flags), else: throw(:unknown)
  end

  defp in_order(flags) do
    set = for {name, bit} <- @attributes, name in flags, reduce: 0, do: (set -> set ||| bit)
    relatime = if :relatime in flags and (set &&& 0x70) == 0, do: [:relatime], else: []

    for({name, bit} <- @attributes, (set &&& bit) != 0, do: name) ++
      relatime ++ Enum.filter(@others, &(&1 in flags))
  end

  defp alone(flags, flag) do
    case flags |> list() |> Enum.uniq() do
      [] -> []
      [^flag] -> [flag]
      _more -> throw(:unknown)
    end
  end

  defp list(list) when length(list) >= 0, do: list
  defp list(_other), do: throw(:unknown)
end
