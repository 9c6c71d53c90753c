defmodule Linx.User.Privileged do
  @moduledoc false

  # newuidmap and newgidmap: programs of the system that write a map for those who may not, if
  # /etc/subuid or /etc/subgid gives them the ids: newuidmap(1), subuid(5).

  alias Linx.User.{Error, IdMap}

  @programs %{uid_map: :newuidmap, gid_map: :newgidmap}

  @doc "Has the map written; `refused` is the kernel's answer to us."
  @spec write(:uid_map | :gid_map, pos_integer, IdMap.t(), refused :: Error.t()) ::
          :ok | {:error, Error.t()}
  def write(kind, pid, map, refused) do
    program = Map.fetch!(@programs, kind)

    case System.find_executable("#{program}") do
      nil ->
        hint = "#{program}, which could write it, is not installed (package uidmap)"
        {:error, Error.new(kind, refused.path, refused.errno, hint)}

      path ->
        numbers = Enum.flat_map(map, &Tuple.to_list/1)

        case run(path, Enum.map([pid | numbers], &"#{&1}")) do
          {_nothing, 0} -> :ok
          {:error, errno} -> {:error, Error.new(program, path, errno)}
          {said, _status} -> {:error, Error.new(program, path, :eperm, String.trim(said))}
        end
    end
  end

  defp run(path, arguments) do
    System.cmd(path, arguments, stderr_to_stdout: true)
  rescue
    # What Port.open/2 has met, such as `:emfile`.
    error in ErlangError -> {:error, error.original}
  end

  @doc "The ranges that a file gives to a user, who may be in it by name and by number."
  @spec ranges(String.t(), [String.t()]) :: [{start :: non_neg_integer, count :: pos_integer}]
  def ranges(content, names) do
    for line <- String.split(content, "\n", trim: true),
        [name, start, count] <- [String.split(line, ":")],
        name in names,
        {start, ""} <- [Integer.parse(start)],
        {count, ""} when count > 0 <- [Integer.parse(count)],
        do: {start, count}
  end
end
