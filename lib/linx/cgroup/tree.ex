defmodule Linx.Cgroup.Tree do
  @moduledoc false

  # Where the tree of cgroups is, where in it the BEAM may make some, and what has to be switched on above
  # one for it to have limits.

  alias Linx.Cgroup.{Error, Files}

  @doc "The directory where cgroup2 is mounted, with the cgroup that is mounted there."
  @spec mount(mountinfo :: String.t()) :: {:ok, {directory :: String.t(), String.t()}} | :error
  def mount(mountinfo) do
    # See proc_pid_mountinfo(5): before the dash there is any number of optional fields.
    mounts =
      for line <- String.split(mountinfo, "\n", trim: true),
          [place, "cgroup2 " <> _source] <- [String.split(line, " - ", parts: 2)],
          [_id, _parent, _device, root, directory | _] = String.split(place, " "),
          do: {unescape(directory), unescape(root)}

    with [] <- mounts, do: :error, else: ([first | _] -> {:ok, first})
  end

  defp unescape(path) do
    Regex.replace(~r/\\([0-7]{3})/, path, fn _, octal -> <<String.to_integer(octal, 8)>> end)
  end

  @doc "The directory of the cgroup that a /proc/<pid>/cgroup names."
  @spec directory({String.t(), String.t()}, membership :: String.t()) ::
          {:ok, String.t()} | :error
  def directory({directory, root}, membership) do
    # The line of cgroup v2 has no number and no controllers: cgroups(7).
    with [_, path] <- Regex.run(~r/^0::(.*)$/m, membership),
         ["/" | below] <- below(Path.split(path), Path.split(root)),
         false <- ".." in below do
      {:ok, Path.join([directory | below])}
    else
      _elsewhere -> :error
    end
  end

  defp below(path, root) do
    if List.starts_with?(path, root), do: ["/" | Enum.drop(path, length(root))]
  end

  @doc """
  Where to make a cgroup with these controllers: the own cgroup, or else the nearest one above it in which
  that goes. If it goes nowhere, the own one, where the kernel will say why.
  """
  @spec parent(top :: String.t(), current :: String.t(), [atom]) :: String.t()
  def parent(top, current, controllers) do
    places = current |> Stream.iterate(&Path.dirname/1) |> Enum.take_while(&below?(&1, top))
    Enum.find(places, current, &(delegated?(&1) and may_limit?(&1, controllers)))
  end

  defp below?(path, top), do: path == top or String.starts_with?(path, top <> "/")

  @doc "Whether the user of the BEAM may make cgroups in this one, and move processes there."
  @spec delegated?(String.t()) :: boolean
  def delegated?(path) do
    Files.writable?(path) and Files.writable?(Path.join(path, "cgroup.procs")) and
      Files.writable?(Path.join(path, "cgroup.subtree_control"))
  end

  # But for the topmost, a cgroup has either processes or children with controllers.
  defp may_limit?(path, controllers) do
    controllers -- enabled(path) == [] or top?(path) or
      Files.peek(Path.join(path, "cgroup.procs")) in ["", nil]
  end

  # The topmost of all, not that of a cgroup namespace.
  defp top?(path), do: not File.exists?(Path.join(path, "cgroup.type"))

  @doc "What the cgroups in this directory can have."
  @spec available(String.t()) :: [atom]
  def available(path), do: Files.controllers(Path.join(path, "cgroup.controllers"))

  @doc "What they have."
  @spec enabled(String.t()) :: [atom]
  def enabled(path), do: Files.controllers(Path.join(path, "cgroup.subtree_control"))

  @doc "Those that they cannot have, even if it is switched on further above where the user of the BEAM may."
  @spec missing(String.t(), [atom]) :: [atom]
  def missing(path, controllers) do
    with [_ | _] = missing <- controllers -- available(path),
         above when above != nil <- above(path),
         true <- Files.writable?(Path.join(above, "cgroup.subtree_control")) do
      missing(above, missing)
    else
      [] -> []
      _nowhere -> controllers -- available(path)
    end
  end

  @doc "Makes the cgroups in this directory have these controllers, if need be from further above."
  @spec enable(String.t(), [atom]) ::
          :ok | {:error, Error.t() | {:no_controller, atom, available :: [atom]}}
  def enable(path, controllers) do
    case controllers -- enabled(path) do
      [] ->
        :ok

      missing ->
        with :ok <- fetch(path, missing -- available(path)),
             :ok <- there(path, missing -- available(path)) do
          switch_on(path, missing)
        end
    end
  end

  # A refusal to those who have no business there is no more than that it is not available.
  defp fetch(_path, []), do: :ok

  defp fetch(path, missing) do
    case above(path) do
      nil ->
        :ok

      above ->
        case enable(above, missing) do
          {:error, %Error{errno: errno}} when errno in [:eacces, :eperm, :erofs] -> :ok
          {:error, {:no_controller, _name, _available}} -> :ok
          answer -> answer
        end
    end
  end

  # The cgroup that this one is in, if it can be seen.
  defp above(path) do
    above = Path.dirname(path)
    unless top?(path) or not File.exists?(Path.join(above, "cgroup.controllers")), do: above
  end

  defp there(_path, []), do: :ok
  defp there(path, [missing | _]), do: {:error, {:no_controller, missing, available(path)}}

  defp switch_on(path, controllers) do
    words = Enum.map_join(controllers, " ", &"+#{&1}")
    Files.write(Path.join(path, "cgroup.subtree_control"), words, :enable)
  end
end
