defmodule Linx.Cgroup.Limits do
  @moduledoc false

  # The limits of a cgroup as a keyword list, made into what is written into which file of which
  # controller: cgroup-v2.rst in the kernel's documentation.

  # The kernel's own default, in microseconds, and the least quota that it takes.
  @period 100_000
  @least_quota 1_000

  @io_keys [:rbps, :wbps, :riops, :wiops]

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type write :: {controller :: atom, file :: String.t(), value :: String.t()}

  @doc "What is to be written; the error is all that is wrong."
  @spec parse(term) :: {:ok, [write]} | {:error, {:bad_limits, term}}
  def parse(limits) do
    if Keyword.keyword?(limits) do
      case Enum.filter(limits, &(write(&1) == :error)) do
        [] -> {:ok, Enum.flat_map(limits, &write/1)}
        bad -> {:error, {:bad_limits, bad}}
      end
    else
      {:error, {:bad_limits, limits}}
    end
  end

  @spec controllers([write]) :: [atom]
  def controllers(writes), do: writes |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

  defp write({:memory, limit}), do: amount(:memory, "memory.max", limit)
  defp write({:memory_high, limit}), do: amount(:memory, "memory.high", limit)
  defp write({:memory_low, limit}), do: amount(:memory, "memory.low", limit)
  defp write({:memory_min, limit}), do: amount(:memory, "memory.min", limit)
  defp write({:swap, limit}), do: amount(:memory, "memory.swap.max", limit)
  defp write({:pids, limit}), do: amount(:pids, "pids.max", limit)

  defp write({:oom_group, flag}) when is_boolean(flag),
    do: [{:memory, "memory.oom.group", if(flag, do: "1", else: "0")}]

  defp write({:cpu, :max}), do: [{:cpu, "cpu.max", "max #{@period}"}]

  defp write({:cpu, cores}) when is_number(cores) and cores > 0 do
    quota = round(cores * @period)
    if quota >= @least_quota, do: [{:cpu, "cpu.max", "#{quota} #{@period}"}], else: :error
  end

  defp write({:cpu_weight, weight}) when weight in 1..10_000,
    do: [{:cpu, "cpu.weight", "#{weight}"}]

  defp write({:io_weight, weight}) when weight in 1..10_000,
    do: [{:io, "io.weight", "default #{weight}"}]

  # The kernel takes one device at a time.
  defp write({:io, devices}) when is_proper_list(devices) and devices != [] do
    writes = Enum.map(devices, &io/1)
    if :error in writes, do: :error, else: writes
  end

  defp write({:cpuset, cpus}), do: set("cpuset.cpus", cpus)
  defp write({:cpuset_mems, nodes}), do: set("cpuset.mems", nodes)
  defp write(_other), do: :error

  defp amount(controller, file, :max), do: [{controller, file, "max"}]

  defp amount(controller, file, n) when is_integer(n) and n >= 0,
    do: [{controller, file, "#{n}"}]

  defp amount(_controller, _file, _other), do: :error

  defp io({device, [_ | _] = rates}) when is_binary(device) do
    if device =~ ~r/\A\d+:\d+\z/ and Keyword.keyword?(rates) and Enum.all?(rates, &rate?/1) do
      words = Enum.map_join(rates, " ", fn {key, rate} -> "#{key}=#{rate}" end)
      {:io, "io.max", "#{device} #{words}"}
    else
      :error
    end
  end

  defp io(_other), do: :error

  defp rate?({key, :max}), do: key in @io_keys
  defp rate?({key, rate}), do: key in @io_keys and is_integer(rate) and rate > 0

  defp set(file, members) when is_proper_list(members) and members != [] do
    words = Enum.map(members, &member/1)
    if :error in words, do: :error, else: [{:cpuset, file, Enum.join(words, ",")}]
  end

  defp set(_file, _other), do: :error

  defp member(n) when is_integer(n) and n >= 0, do: "#{n}"

  defp member(%Range{first: first, last: last, step: 1}) when first >= 0 and last >= first,
    do: "#{first}-#{last}"

  defp member(_other), do: :error
end
