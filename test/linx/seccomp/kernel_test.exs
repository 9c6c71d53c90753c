defmodule Linx.Seccomp.KernelTest do
  # evaluate/3 against the kernel, which runs none of the calls: see test/support/seccomp_probe.c.
  use ExUnit.Case, async: true

  import Bitwise

  alias Linx.Seccomp
  alias Linx.Test.SeccompProbe

  unless SeccompProbe.available?() do
    @moduletag skip: "the prober is written for x86_64"
  end

  # More than there are, the edges of the number, and x32. No filter is asked about uretprobe and
  # uprobe, which only the kernel's own trampolines may call.
  @numbers (Enum.to_list(0..600) -- [335, 336]) ++
             [0x3FFF_FFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] ++
             Enum.map(0..20, &(&1 + 0x4000_0000))

  @every_action [
    default: {:errno, :eacces},
    rules: [
      {[:read, :write, :mmap, :rt_sigreturn, :seccomp, :exit_group], :allow},
      {[:open, :openat], :log},
      {[:fork, :clone], {:trace, 77}},
      {[:mount, :umount2], :notify},
      {[:bpf, :kexec_load], :trap},
      {[:ptrace], :kill_thread},
      {[:reboot], :kill_process},
      {[:getpid, :file_setattr], {:errno, 0}},
      {[:getppid], {:errno, 4095}},
      {[:write], {:errno, :ebadf}, [{0, :gt, 2, 32}]},
      {[:write], :trap, [{0, :eq, 1 <<< 40}]}
    ]
  ]

  test "every number, under every kind of filter" do
    {:ok, deny} =
      Seccomp.deny([:mkdir, :io_uring_setup, {:kill, :trap}, {:ioctl, [{1, :eq, 0x5412, 32}]}])

    {:ok, allow} = Seccomp.allow([:read, :file_setattr], default: :kill_thread)
    {:ok, all} = Seccomp.compile(@every_action)
    {:ok, default} = Seccomp.default()

    {:ok, newer} =
      Seccomp.compile(default: {:errno, 7}, newer: {:trace, 5}, rules: [{:read, :allow}])

    for filters <- [deny, allow, all, default, newer, [deny, all], [default, deny]] do
      agree(filters, for(number <- @numbers, do: {:syscall, number, [1, 0x5412]}))
    end
  end

  test "arguments, all 64 bits of them" do
    {:ok, all} = Seccomp.compile(@every_action)
    {:ok, default} = Seccomp.default()

    values = [
      0,
      1,
      2,
      3,
      8,
      40,
      0x5412,
      0x541C,
      0xFFFF_FFFF,
      1 <<< 31,
      1 <<< 32,
      (1 <<< 32) + 3,
      1 <<< 40
    ]

    values = values ++ [(1 <<< 64) - 1, (1 <<< 32) + 0x5412] ++ for(bit <- 7..31, do: 1 <<< bit)
    # write, clone, ioctl, personality, socket
    calls =
      for number <- [1, 56, 16, 135, 41], value <- values, do: {:syscall, number, [value, value]}

    agree(all, calls)
    agree(default, calls)
  end

  test "calls of i386" do
    calls = for number <- 0..470, do: {:int80, number, []}
    {:ok, deny} = Seccomp.deny([:mkdir], foreign: {:errno, :enosys})

    case SeccompProbe.verdicts(deny, [hd(calls)]) do
      ["signal 11"] ->
        IO.puts("Not asked: the kernel about calls of i386, which this one does not have")

      _verdict ->
        agree(deny, calls)
        {:ok, all} = Seccomp.compile(@every_action)
        agree(all, Enum.take(calls, 50))
        {:ok, trap} = Seccomp.default(foreign: :trap)
        agree(trap, calls)
    end
  end

  defp agree(filters, calls) do
    [filter | _] = List.wrap(filters)

    expected =
      for {how, number, arguments} <- calls do
        abi = if how == :int80, do: :i386, else: filter.arch
        filters |> Seccomp.evaluate(number, abi: abi, args: arguments) |> SeccompProbe.told()
      end

    verdicts = SeccompProbe.verdicts(filters, calls)
    different = Enum.zip([calls, expected, verdicts]) |> Enum.reject(fn {_, a, b} -> a == b end)
    assert different == []
    # Something must have been asked that is answered in different ways.
    assert length(Enum.uniq(verdicts)) > 1 or how_all(calls) == [:int80]
  end

  defp how_all(calls), do: calls |> Enum.map(&elem(&1, 0)) |> Enum.uniq()
end
