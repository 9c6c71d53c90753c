defmodule Linx.Seccomp.Options do
  @moduledoc false

  # The options of Linx.Seccomp's functions: keyword in, checked map out.

  alias Linx.Seccomp.{OCI, Rules}

  # AUDIT_ARCH_* of linux/audit.h: the number of the ELF machine, with a bit for 64 of them and one
  # for little endian.
  @audit %{
    x86_64: 0xC000_003E,
    x32: 0xC000_003E,
    i386: 0x4000_0003,
    aarch64: 0xC000_00B7,
    arm: 0x4000_0028
  }

  # __X32_SYSCALL_BIT
  @x32 0x4000_0000

  @doc """
  The options, with defaults for what is missing. `arch`, `foreign` and `newer` are known everywhere.
  """
  @spec check(term, keyword) :: {:ok, map} | {:error, term}
  def check(opts, defaults) do
    known = Keyword.merge([arch: machine(), foreign: :kill_process, newer: :allow], defaults)

    with {:ok, opts} <- known(opts, known),
         {:ok, _arch} <- arch(opts.arch),
         do: {:ok, opts}
  end

  @doc "The options of a call that is evaluated."
  @spec check_call(term, atom) :: {:ok, map} | {:error, term}
  def check_call(opts, arch) do
    with {:ok, opts} <- known(opts, args: [], abi: arch) do
      cond do
        not audit?(opts.abi) -> {:error, {:bad_arch, opts.abi}}
        not arguments?(opts.args) -> {:error, {:bad_args, opts.args}}
        true -> {:ok, %{opts | args: Enum.map(0..5, &argument(opts.args, &1))}}
      end
    end
  end

  defp known(opts, known) do
    if Keyword.keyword?(opts) do
      case Enum.find(Keyword.keys(opts), &(not Keyword.has_key?(known, &1))) do
        nil -> {:ok, known |> Keyword.merge(opts) |> Map.new()}
        unknown -> {:error, {:bad_option, unknown}}
      end
    else
      {:error, {:bad_options, opts}}
    end
  end

  @doc "The architecture of this machine, or what it calls itself."
  @spec machine() :: atom | String.t()
  def machine do
    case :erlang.system_info(:system_architecture) |> List.to_string() |> String.split("-") do
      ["x86_64" | _] -> :x86_64
      ["aarch64" | _] -> :aarch64
      [other | _] -> other
    end
  end

  @spec arch(term) :: {:ok, :x86_64 | :aarch64} | {:error, {:bad_arch, term}}
  def arch(arch) when arch in [:x86_64, :aarch64], do: {:ok, arch}
  def arch(other), do: {:error, {:bad_arch, other}}

  @doc "What the kernel tells a filter of a call: its number and its `AUDIT_ARCH`."
  def abi(:x32, number), do: {Bitwise.bor(number, @x32), @audit.x32}
  def abi(abi, number) when is_atom(abi), do: {number, Map.fetch!(@audit, abi)}
  def abi(audit, number), do: {number, audit}

  @doc "The ABI of a call, and its number there: the inverse of `abi/2`."
  def call(audit, number) do
    case Enum.find(@audit, &(elem(&1, 1) == audit)) do
      {abi, _audit} when abi in [:x86_64, :x32] and number >= @x32 -> {:x32, number - @x32}
      {abi, _audit} when abi in [:x86_64, :x32] -> {:x86_64, number}
      {abi, _audit} -> {abi, number}
      nil -> {audit, number}
    end
  end

  defp audit?(abi), do: is_map_key(@audit, abi) or abi in 0..0xFFFF_FFFF

  defp arguments?(args) do
    is_list(args) and length(args) <= 6 and
      Enum.all?(args, &(&1 in -0x8000_0000_0000_0000..0xFFFF_FFFF_FFFF_FFFF))
  end

  defp argument(args, index),
    do: Bitwise.band(Enum.at(args, index, 0), 0xFFFF_FFFF_FFFF_FFFF)

  @doc "Names as strings, each of which the architecture has."
  @spec names(term, atom) :: {:ok, [String.t()]} | {:error, term}
  def names(names, arch) do
    with {:ok, _rules} <- Rules.resolve(names, arch, :allow) do
      {:ok, Enum.map(List.wrap(names), &to_string/1)}
    end
  end

  @doc "Whether these are families of sockets."
  @spec families(term) :: :ok | {:error, term}
  def families(families) do
    if is_list(families) and Enum.all?(families, &(&1 in 0..0xFFFF)),
      do: :ok,
      else: {:error, {:bad_socket_families, families}}
  end

  @doc "What decides about the entries of a profile."
  @spec circumstances(map) :: {:ok, map} | {:error, term}
  def circumstances(%{caps: caps, kernel: kernel} = opts) do
    version = if kernel == :running, do: running(), else: kernel

    case {capabilities(caps), OCI.version(version)} do
      {:error, _version} -> {:error, {:bad_caps, caps}}
      {_caps, :error} -> {:error, {:bad_kernel, kernel}}
      {{:ok, caps}, {:ok, version}} -> {:ok, %{opts | caps: caps, kernel: version}}
    end
  end

  defp running, do: File.read!("/proc/sys/kernel/osrelease")

  defp capabilities(caps) do
    if is_list(caps) and Enum.all?(caps, &(is_atom(&1) or is_binary(&1))),
      do: {:ok, Enum.map(caps, &capability/1)},
      else: :error
  end

  defp capability(cap) do
    case cap |> to_string() |> String.upcase() do
      "CAP_" <> _ = name -> name
      name -> "CAP_" <> name
    end
  end
end
