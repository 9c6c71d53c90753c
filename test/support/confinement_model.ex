defmodule Linx.Test.ConfinementModel do
  @moduledoc false

  # What the agent is to understand of the operations and confinements in a request or a command: itself,
  # or `:unknown`; rules of Landlock with the bits of the kernel in place of names.

  alias Linx.Test.MountModel

  @doc "An operation, which changes the place where the workload is going to run."
  def setup(:loopback), do: :loopback
  def setup({:hostname, name} = setup) when is_binary(name), do: setup

  def setup({:time_offsets, monotonic, boottime} = setup),
    do: known(setup, signed?(monotonic, 64) and signed?(boottime, 64))

  def setup({:mount, operation}) do
    with mount when mount != :unknown <- MountModel.mount(operation), do: {:mount, mount}
  end

  def setup(_other), do: :unknown

  @doc "A confinement, which takes something from the workload."
  def confinement(:no_new_privs), do: :no_new_privs

  def confinement({name, number} = step) when name in [:nice, :oom_score_adj],
    do: known(step, signed?(number, 32))

  def confinement({name, number} = step) when name in [:umask, :securebits],
    do: known(step, unsigned?(number, 32))

  def confinement({name, mask} = step) when name in [:cap_drop_bounding, :cap_set_ambient],
    do: known(step, unsigned?(mask, 64))

  def confinement({name, bytes} = step) when name in [:cpu_affinity, :seccomp],
    do: known(step, is_binary(bytes))

  def confinement({:rlimit, resource, soft, hard} = step),
    do: known(step, resource in 0..15 and unsigned?(soft, 64) and unsigned?(hard, 64))

  def confinement({:cap_set_thread, e, p, i} = step),
    do: known(step, Enum.all?([e, p, i], &unsigned?(&1, 64)))

  def confinement({:landlock, least, handled, rules}) do
    handled = each(handled, &handled/1)
    rules = each(rules, &rule/1)

    if unsigned?(least, 32) and is_list(handled) and is_list(rules) do
      {:landlock, least, rights(handled), rules}
    else
      :unknown
    end
  end

  def confinement(_other), do: :unknown

  # Which of the three masks of rights a name is in, and its bits.
  defp handled(:fs), do: {0, 0xFFFF}
  defp handled(key) when key in [:bind_tcp, :connect_tcp], do: {1, port_access(key)}
  defp handled(:abstract_unix_socket), do: {2, 1}
  defp handled(:signal), do: {2, 2}
  defp handled(_other), do: :unknown

  defp rights(handled) do
    List.to_tuple(for which <- 0..2, do: union(for {^which, bits} <- handled, do: bits))
  end

  defp rule({kind, path, access}) when kind in [:path, :optional_path] and is_binary(path) do
    access = each(access, &path_access/1)

    if is_list(access) and :binary.match(path, <<0>>) == :nomatch,
      do: {:path, path, union(access), kind == :optional_path},
      else: :unknown
  end

  defp rule({key, port}) when key in [:bind_tcp, :connect_tcp] and port in 0..0xFFFF,
    do: {:port, port, port_access(key)}

  defp rule(_other), do: :unknown

  defp path_access(:execute), do: 0b0001
  defp path_access(:read), do: 0b1100
  defp path_access(:write), do: 0xFFF2
  defp path_access(_other), do: :unknown

  defp port_access(:bind_tcp), do: 1
  defp port_access(:connect_tcp), do: 2

  defp union(bits), do: Enum.reduce(bits, 0, &Bitwise.bor/2)

  defp each(list, fun) when length(list) >= 0 do
    understood = Enum.map(list, fun)
    if :unknown in understood, do: :unknown, else: understood
  end

  defp each(_other, _fun), do: :unknown

  defp known(step, known?), do: if(known?, do: step, else: :unknown)

  defp signed?(number, bits), do: unsigned?(number, bits, Bitwise.bsl(1, bits - 1))
  defp unsigned?(number, bits, offset \\ 0)

  defp unsigned?(number, bits, offset),
    do: is_integer(number) and (number + offset) in 0..(Bitwise.bsl(1, bits) - 1)
end
