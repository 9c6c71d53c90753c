defmodule Linx.Process.Attributes do
  @moduledoc false

  # The options for what a program has of the machine, and for what its namespaces are to look like, in the
  # words of the agent. The kernel's bounds are checked here, as far as they are the same everywhere.

  alias Linx.Process.CString

  @keys [:umask, :rlimits, :nice, :oom_score_adj, :cpu_affinity, :hostname, :time_offsets]

  # In the order of their numbers (RLIMIT_*, the same on x86_64 and aarch64).
  @resources [:cpu, :fsize, :data, :stack, :core, :rss, :nproc, :nofile, :memlock, :as] ++
               [:locks, :sigpending, :msgqueue, :nice, :rtprio, :rttime]
  @numbers @resources |> Enum.with_index() |> Map.new()
  @infinity 0xFFFF_FFFF_FFFF_FFFF
  @most 0xFFFF_FFFF_FFFF_FFFE

  # As many as a kernel can be built for (CONFIG_NR_CPUS).
  @last_cpu 8191
  # __NEW_UTS_LEN
  @longest_hostname 64
  # The agent counts in nanoseconds, with 64 bits.
  @max_offset div(0x7FFF_FFFF_FFFF_FFFF, 1_000_000)

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type fields :: %{
          optional(:setup) => [term],
          optional(:confine) => [term],
          optional(:namespaces) => [atom]
        }

  @doc "The options that this is about."
  @spec keys() :: [atom]
  def keys, do: @keys

  @doc """
  What the agent is told of an option, for a program that is born in these namespaces.

    * `umask: 0o077`
    * `rlimits: [nofile: 1024, nproc: {64, 128}, core: 0, as: :infinity]` – setrlimit(2), in its units (bytes,
      seconds, for `:rttime` microseconds); one value is for the soft limit and the hard one
    * `nice: 10`, from -20 to 19
    * `oom_score_adj: 500`, from -1000 to 1000
    * `cpu_affinity: [0, 1]` – numbers of CPUs
    * `hostname: "box"`, in a `:uts` namespace of its own
    * `time_offsets: [boottime: 86_400_000]` – by how many milliseconds the clocks `:monotonic` and `:boottime` are ahead, in
      a `:time` namespace of its own

  The kernel takes no offsets for a time namespace that a process was born in: the program makes its own, and the
  namespaces that it is to be born in are then without that one.
  """
  @spec field(atom, term, [atom]) :: {:ok, fields} | {:error, {atom, term}}
  def field(:umask, mask, _namespaces) when mask in 0..0o777, do: confine({:umask, mask})
  def field(:nice, nice, _namespaces) when nice in -20..19, do: confine({:nice, nice})

  def field(:oom_score_adj, score, _namespaces) when score in -1000..1000,
    do: confine({:oom_score_adj, score})

  def field(:cpu_affinity, [_ | _] = cpus, _namespaces) when is_proper_list(cpus) do
    case Enum.reject(cpus, &(&1 in 0..@last_cpu)) do
      [] -> confine({:cpu_affinity, mask(cpus)})
      wrong -> {:error, {:bad_cpu_affinity, wrong}}
    end
  end

  def field(:rlimits, limits, _namespaces) do
    with {:ok, limits} <- each(:bad_rlimits, limits, &limit/1),
         do: {:ok, %{confine: limits}}
  end

  def field(:hostname, name, namespaces) do
    cond do
      not CString.valid?(name) or byte_size(name) not in 1..@longest_hostname ->
        {:error, {:bad_hostname, name}}

      :uts not in namespaces ->
        {:error, {:bad_hostname, :no_uts_namespace}}

      true ->
        {:ok, %{setup: [{:hostname, name}]}}
    end
  end

  def field(:time_offsets, offsets, namespaces) do
    with {:ok, offsets} <- each(:bad_time_offsets, offsets, &offset/1) do
      if :time in namespaces do
        [monotonic, boottime] = for clock <- [:monotonic, :boottime], do: offsets[clock] || 0
        operation = {:time_offsets, monotonic, boottime}
        {:ok, %{setup: [operation], namespaces: List.delete(namespaces, :time)}}
      else
        {:error, {:bad_time_offsets, :no_time_namespace}}
      end
    end
  end

  def field(key, other, _namespaces), do: {:error, {:"bad_#{key}", other}}

  defp confine(step), do: {:ok, %{confine: [step]}}

  # A bit for each CPU, the first in the lowest of the first byte.
  defp mask(cpus) do
    cpus |> Enum.reduce(0, &Bitwise.bor(&2, 2 ** &1)) |> :binary.encode_unsigned(:little)
  end

  defp limit({resource, both}) when not is_tuple(both), do: limit({resource, {both, both}})

  defp limit({resource, {soft, hard}}) when is_map_key(@numbers, resource) do
    with soft when is_integer(soft) <- amount(soft),
         hard when is_integer(hard) and soft <= hard <- amount(hard) do
      {:rlimit, @numbers[resource], soft, hard}
    else
      _wrong -> nil
    end
  end

  defp limit(_other), do: nil

  defp amount(:infinity), do: @infinity
  defp amount(amount) when amount in 0..@most, do: amount
  defp amount(_other), do: nil

  defp offset({clock, ms})
       when clock in [:monotonic, :boottime] and ms in -@max_offset..@max_offset,
       do: {clock, ms * 1_000_000}

  defp offset(_other), do: nil

  # What a keyword list means; the error is the first entry that means nothing. As in `Keyword.get/2`, the first of
  # several values counts.
  defp each(bad, list, fun) do
    if Keyword.keyword?(list) do
      list = Enum.uniq_by(list, &elem(&1, 0))

      case Enum.find(list, &(fun.(&1) == nil)) do
        nil -> {:ok, Enum.map(list, fun)}
        wrong -> {:error, {bad, wrong}}
      end
    else
      {:error, {bad, list}}
    end
  end
end
