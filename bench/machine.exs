defmodule Bench.Machine do
  @moduledoc false

  # What the numbers were measured on, and what the kernel leaves room for.

  alias Bench.Peers

  def describe do
    [
      {"Processor", "#{processor()}, #{System.schedulers_online()} of them online"},
      {"Memory", "#{div(meminfo("MemTotal"), 1024 * 1024)} MiB"},
      {"Kernel", "Linux " <> read("/proc/sys/kernel/osrelease")},
      {"BEAM",
       "Elixir #{System.version()}, OTP #{System.otp_release()}, ERTS #{:erlang.system_info(:version)}, " <>
         "#{flavor()}"}
    ] ++ Peers.versions()
  end

  @doc "A line of /proc/meminfo, in bytes."
  def meminfo(key) do
    [_, kib] = Regex.run(~r/^#{key}:\s+(\d+) kB/m, File.read!("/proc/meminfo"))
    String.to_integer(kib) * 1024
  end

  @doc "A limit of this process, as in `ulimit -S`; nil when there is none."
  def limit(name) do
    [_, soft] = Regex.run(~r/^#{name}\s+(\S+)/m, File.read!("/proc/self/limits"))
    if soft != "unlimited", do: String.to_integer(soft)
  end

  @doc "A number from a file."
  def number(path), do: path |> read() |> String.to_integer()

  def processes, do: Enum.count(File.ls!("/proc"), &(&1 =~ ~r/^\d+$/))

  def root? do
    {uid, 0} = System.cmd("id", ["-u"])
    uid == "0\n"
  end

  defp processor do
    case Regex.run(~r/^model name\s+: (.*)$/m, File.read!("/proc/cpuinfo")) do
      [_, name] -> name
      nil -> to_string(:erlang.system_info(:system_architecture))
    end
  end

  defp flavor do
    :erlang.system_info(:emu_flavor) |> to_string()
  end

  defp read(path), do: path |> File.read!() |> String.trim()
end
