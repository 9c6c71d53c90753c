defmodule Linx.Test.Footprint do
  @moduledoc false

  # What a session takes of the machine besides processes: ports and descriptors of the BEAM, control
  # groups, terminals.

  @doc "What is in use now. Hosts stay, and are a part of it."
  def take do
    Linx.Test.Helpers.warm_up()
    %{ports: Port.list(), descriptors: descriptors(), cgroups: cgroups()}
  end

  @doc "What is in use now and was not in use then, as a list."
  def grown(before) do
    Enum.flat_map([ports: Port.list(), descriptors: descriptors(), cgroups: cgroups()], fn
      {what, now} -> for one <- now -- before[what], do: {what, one}
    end)
  end

  @doc """
  The terminals that these processes hold open, above the standard descriptors, each with what tells
  it from a later one of the same name.
  """
  def terminals(pids) do
    for pid <- pids,
        {:ok, names} <- [File.ls("/proc/#{pid}/fd")],
        name <- names,
        String.to_integer(name) > 2,
        {:ok, "/dev/pts/" <> _number = path} <- [File.read_link("/proc/#{pid}/fd/#{name}")],
        uniq: true,
        do: {path, birth(path)}
  end

  @doc "Whether such a terminal is there."
  def terminal?({path, birth}), do: birth != nil and birth(path) == birth

  defp birth(path) do
    case File.stat(path, time: :posix) do
      {:ok, stat} -> stat.ctime
      {:error, _reason} -> nil
    end
  end

  # Each by what it is open on: numbers are used again.
  defp descriptors do
    for name <- File.ls!("/proc/self/fd"),
        {:ok, target} <- [File.read_link("/proc/self/fd/#{name}")],
        # That of the listing itself.
        not (target =~ ~r{^/proc/\d+/fd$}),
        do: target
  end

  # Those that are in the BEAM's own, where Linx could have made one.
  defp cgroups do
    for line <- File.stream!("/proc/self/cgroup"),
        [_id, controllers, path] = line |> String.trim() |> String.split(":", parts: 3),
        hierarchy <- ["", "unified", String.trim_leading(controllers, "name=")],
        entry <- Path.wildcard(Path.join(["/sys/fs/cgroup", hierarchy, path, "*"])),
        File.dir?(entry),
        uniq: true,
        do: entry
  end
end
