defmodule Linx.Sandbox.Path do
  @moduledoc false

  # What a path of the host leads to, and where on the host a path of the inside is.

  alias Linx.Process.Credentials

  # As the kernel (MAXSYMLINKS).
  @most_links 40

  @doc """
  The path without symbolic links, as far as there is anything. Links count that root or the BEAM's user has
  made: one that somebody else puts in the way would have a sandbox share what the caller has not named.
  The error is such a link.
  """
  @spec resolve(String.t()) :: {:ok, String.t()} | {:error, link :: String.t()}
  def resolve(path) do
    {own, _gid} = Credentials.own()
    walk("/", names(path), @most_links, [0, own])
  end

  defp walk(place, [], _links, _trusted), do: {:ok, place}

  defp walk(place, [".." | rest], links, trusted),
    do: walk(Path.dirname(place), rest, links, trusted)

  defp walk(place, [name | rest], links, trusted) do
    next = Path.join(place, name)

    case File.lstat(next) do
      {:ok, %{type: :symlink, uid: uid}} ->
        with true <- uid in trusted and links > 0, {:ok, target} <- File.read_link(next) do
          from = if String.starts_with?(target, "/"), do: "/", else: place
          walk(from, names(target) ++ rest, links - 1, trusted)
        else
          _no -> {:error, next}
        end

      _other ->
        walk(next, rest, links, trusted)
    end
  end

  @doc "What tells where on the host is what these operations have at a path of the inside, if it is somewhere."
  @spec outside([term]) :: (String.t() -> {:ok, String.t()} | :error)
  def outside(operations) do
    # The last one that is mounted somewhere covers the others.
    places = Enum.reduce(operations, [], &(place(&1) ++ &2))
    &enter("/", names(&1), @most_links, places)
  end

  # Where an operation puts something, and what that is.
  defp place({:symlink, to, target}), do: [{names(to), {:link, target}}]
  defp place({:bind, path, to, _flags}), do: [{names(to), {:mount, path}}]
  defp place({:file_system, "tmpfs", _source, to, _options, _flags}), do: [{names(to), :empty}]
  # Of others it is not known; as likely as not they have what the host has.
  defp place({:file_system, _kind, _source, to, _options, _flags}),
    do: [{names(to), {:mount, to}}]

  defp place(_other), do: []

  defp enter(place, [], _links, places) do
    case there(places, place) do
      {kind, path} when kind in [:at, :mount] -> {:ok, path}
      _nowhere -> :error
    end
  end

  defp enter(place, [".." | rest], links, places),
    do: enter(Path.dirname(place), rest, links, places)

  defp enter(place, [name | rest], links, places) do
    next = Path.join(place, name)

    case link(there(places, next)) do
      {:ok, _target} when links == 0 ->
        :error

      {:ok, target} ->
        from = if String.starts_with?(target, "/"), do: "/", else: place
        enter(from, names(target) ++ rest, links - 1, places)

      {:error, _no_link} ->
        enter(next, rest, links, places)
    end
  end

  defp link({:link, target}), do: {:ok, target}
  defp link({:at, path}), do: File.read_link(path)
  defp link(_no_link), do: {:error, :enoent}

  defp there(places, inside) do
    inside = names(inside)

    Enum.find_value(places, :error, fn {to, what} ->
      if List.starts_with?(inside, to), do: behind(what, Enum.drop(inside, length(to)))
    end)
  end

  defp behind({:link, target}, []), do: {:link, target}
  defp behind({:link, _target}, _rest), do: nil
  defp behind(:empty, _rest), do: :error
  # What is mounted is no link, wherever its path may lead.
  defp behind({:mount, path}, []), do: {:mount, path}
  defp behind({:mount, path}, rest), do: {:at, Path.join([path | rest])}

  defp names(path), do: path |> Path.split() |> Enum.reject(&(&1 in ["/", "."]))
end
