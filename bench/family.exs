defmodule Bench.Family do
  @moduledoc false

  # The processes that descend from this BEAM, as /proc tells.

  alias Bench.Programs

  @doc "Their pids."
  def pids do
    children =
      for pid <- all(), parent = parent(pid), reduce: %{} do
        children -> Map.update(children, parent, [pid], &[pid | &1])
      end

    descend([String.to_integer(System.pid())], children)
  end

  @doc "Those of them that run one of these programs, given by their names."
  def running(names), do: Enum.filter(pids(), &(exe(&1) in names))

  @doc "How much memory they have, in bytes, each address space once and each shared page in part."
  def pss([]), do: 0

  def pss(pids) do
    # There are more pids than fit into a command line, perhaps.
    path = Programs.scratch("pids")
    File.write!(path, Enum.join(pids, "\n"))
    command = ~s(exec "$0" < "$1")
    {output, 0} = System.cmd("sh", ["-c", command, Programs.path("address_spaces"), path])
    output |> Programs.numbers() |> Enum.map(&pss_of/1) |> Enum.sum()
  end

  @doc "How many descriptors a process has open."
  def descriptors(pid) do
    case File.ls("/proc/#{pid}/fd") do
      {:ok, entries} -> length(entries)
      {:error, _gone} -> 0
    end
  end

  @doc "Waits until there are no more than `count` of them, for at most half a minute."
  def await(count, patience \\ 300) do
    cond do
      length(pids()) <= count -> :ok
      patience == 0 -> raise "#{length(pids()) - count} processes are left"
      true -> Process.sleep(100) && await(count, patience - 1)
    end
  end

  defp all, do: for(name <- File.ls!("/proc"), name =~ ~r/^\d+$/, do: String.to_integer(name))

  defp parent(pid) do
    with {:ok, stat} <- File.read("/proc/#{pid}/stat") do
      # The name before it may hold anything.
      [_state, parent | _] = stat |> String.split(") ") |> List.last() |> String.split()
      String.to_integer(parent)
    else
      {:error, _gone} -> nil
    end
  end

  defp descend(pids, children) do
    Enum.flat_map(pids, fn pid ->
      mine = Map.get(children, pid, [])
      mine ++ descend(mine, children)
    end)
  end

  defp exe(pid) do
    with {:ok, path} <- File.read_link("/proc/#{pid}/exe"),
         do: Path.basename(path),
         else: (_ -> nil)
  end

  defp pss_of(pid) do
    with {:ok, rollup} <- File.read("/proc/#{pid}/smaps_rollup"),
         [_, kib] <- Regex.run(~r/^Pss:\s+(\d+) kB/m, rollup) do
      String.to_integer(kib) * 1024
    else
      _gone -> 0
    end
  end
end
