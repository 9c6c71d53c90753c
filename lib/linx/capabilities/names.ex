defmodule Linx.Capabilities.Names do
  @moduledoc false

  # The capabilities of linux/capability.h by name, and the masks that the kernel has for sets of them.

  import Bitwise

  # Each has its place in this list as its number.
  @all [
    :chown,
    :dac_override,
    :dac_read_search,
    :fowner,
    :fsetid,
    :kill,
    :setgid,
    :setuid,
    :setpcap,
    :linux_immutable,
    :net_bind_service,
    :net_broadcast,
    :net_admin,
    :net_raw,
    :ipc_lock,
    :ipc_owner,
    :sys_module,
    :sys_rawio,
    :sys_chroot,
    :sys_ptrace,
    :sys_pacct,
    :sys_admin,
    :sys_boot,
    :sys_nice,
    :sys_resource,
    :sys_time,
    :sys_tty_config,
    :mknod,
    :lease,
    :audit_write,
    :audit_control,
    :setfcap,
    :mac_override,
    :mac_admin,
    :syslog,
    :wake_alarm,
    :block_suspend,
    :audit_read,
    :perfmon,
    :bpf,
    :checkpoint_restore
  ]

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @spec all() :: [atom]
  def all, do: @all

  @spec mask(term) :: {:ok, non_neg_integer} | {:error, {:bad_capabilities, term}}
  def mask(names) when is_proper_list(names) do
    case Enum.filter(names, &(number(&1) == nil)) do
      [] -> {:ok, Enum.reduce(names, 0, &(&2 ||| 1 <<< number(&1)))}
      bad -> {:error, {:bad_capabilities, bad}}
    end
  end

  def mask(other), do: {:error, {:bad_capabilities, other}}

  @spec names(non_neg_integer) :: [atom | 0..63]
  def names(mask) do
    for number <- 0..63, (mask >>> number &&& 1) == 1, do: Enum.at(@all, number, number)
  end

  defp number(number) when number in 0..63, do: number

  for {name, number} <- Enum.with_index(@all) do
    defp number(unquote(name)), do: unquote(number)
    defp number(unquote(:"cap_#{name}")), do: unquote(number)
    defp number(unquote(Atom.to_string(name))), do: unquote(number)
    defp number(unquote("cap_#{name}")), do: unquote(number)
  end

  defp number(name) when is_binary(name) do
    lower = String.downcase(name)
    if lower != name, do: number(lower)
  end

  defp number(_other), do: nil
end
