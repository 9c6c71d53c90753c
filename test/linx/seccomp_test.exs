defmodule Linx.SeccompTest do
  use ExUnit.Case, async: true
  doctest Linx.Seccomp

  alias Linx.Seccomp
  alias Linx.Seccomp.{Filter, Native, Profile}

  describe "names" do
    test "are those of the machine's C headers" do
      {output, 0} =
        System.cmd("sh", ["-c", "echo '#include <sys/syscall.h>' | cc -E -dM - | grep '__NR_'"])

      headers =
        for [_, name, number] <- Regex.scan(~r/^#define __NR_(\w+) (\d+)$/m, output),
            name not in ~w(syscalls arch_specific_syscall),
            do: {name, String.to_integer(number)}

      assert length(headers) > 250
      {:ok, ours} = Seccomp.syscalls()
      assert headers -- ours == []
    end

    test "of every system call make a filter, by atom and by string" do
      for arch <- [:x86_64, :aarch64] do
        {:ok, calls} = Seccomp.syscalls(arch)
        assert length(calls) > 300
        assert calls == Enum.sort_by(calls, &elem(&1, 1))
        assert {:ok, strings} = Seccomp.allow(Enum.map(calls, &elem(&1, 0)), arch: arch)
        atoms = Enum.map(calls, &String.to_atom(elem(&1, 0)))
        assert {:ok, ^strings} = Seccomp.allow(atoms, arch: arch)

        assert for({name, _} <- calls, do: Seccomp.evaluate(strings, name)) |> Enum.uniq() == [
                 :allow
               ]
      end
    end

    test "of other architectures, and what is none, are told apart" do
      assert Seccomp.deny([:open, :mkdirat, "rename"], arch: :aarch64) ==
               {:error, {:bad_syscalls, [{:open, :other_arch}, {"rename", :other_arch}]}}

      assert Seccomp.deny(["no such call", <<255>>, ""]) ==
               {:error,
                {:bad_syscalls, [{"no such call", :unknown}, {"", :unknown}, {<<255>>, :unknown}]}}
    end

    test "make no atoms" do
      name = "call_#{System.unique_integer([:positive])}_of_nobody"
      assert {:error, {:bad_syscalls, [{^name, :unknown}]}} = Seccomp.allow([name])

      profile = %{
        "defaultAction" => "SCMP_ACT_ALLOW",
        "syscalls" => [%{"names" => [name], "action" => "SCMP_ACT_LOG"}]
      }

      assert {:ok, _filter} = Seccomp.from_oci(profile)
      assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
    end
  end

  describe "mistakes" do
    test "are told by what is wrong" do
      for {spec, mistake} <- [
            {[default: :deny], {:bad_action, :deny}},
            {[default: {:errno, :enosuch}], {:bad_action, {:errno, :enosuch}}},
            {[default: {:errno, 4096}], {:bad_action, {:errno, 4096}}},
            {[default: {:trace, -1}], {:bad_action, {:trace, -1}}},
            {[default: :allow, foreign: :no], {:bad_action, :no}},
            {[default: :allow, arch: :i386], {:bad_arch, :i386}},
            {[default: :allow, rule: []], {:bad_option, :rule}},
            {[rules: []], {:bad_action, nil}},
            {:default, {:bad_options, :default}},
            {[default: :allow, rules: [:read]], {:bad_action, nil}},
            {[default: :allow, rules: [{:read, :trap, :always}]],
             {:bad_rule, {:read, :trap, :always}}},
            {[default: :allow, rules: [{7, :trap}]], {:bad_rule, 7}},
            {[default: :allow, rules: [{nil, :trap}]], {:bad_rule, nil}},
            {[default: :allow, rules: {:raed, :trap}], {:bad_syscalls, [raed: :unknown]}}
          ] do
        assert Seccomp.compile(spec) == {:error, mistake}
      end
    end

    test "in conditions, too" do
      for condition <- [
            {6, :eq, 0},
            {-1, :eq, 0},
            {0, :is, 0},
            {0, :eq, 1.5},
            {0, :eq, 0, 16},
            {0, :eq, 0x1_0000_0000, 32},
            {0, :eq, -0x8000_0001, 32},
            {0, :eq, 0x1_0000_0000_0000_0000},
            {0, {:masked_eq, 0x1_0000_0000}, 0, 32},
            {0, {:masked_eq, :all}, 0},
            :never
          ] do
        assert {:error, {:bad_condition, told}} = Seccomp.deny([{:read, [condition]}])
        # The width that was implied is told, too.
        assert told == condition or told == Tuple.append(condition, 64)
      end
    end

    test "of evaluate/3" do
      {:ok, filter} = Seccomp.deny(:read)
      assert Seccomp.evaluate(filter, :raed) == {:error, {:bad_syscalls, [raed: :unknown]}}

      assert Seccomp.evaluate(filter, :read, abi: :i386) ==
               {:error, {:bad_syscalls, [read: :unknown]}}

      assert Seccomp.evaluate(filter, :read, abi: :vax) == {:error, {:bad_arch, :vax}}
      args = Enum.to_list(1..7)
      assert Seccomp.evaluate(filter, :read, args: args) == {:error, {:bad_args, args}}
    end

    test "a filter that is too long" do
      rules = for value <- 0..3000, do: {:ioctl, [{1, :eq, value, 32}]}
      assert {:error, {:too_long, instructions}} = Seccomp.deny(rules)
      assert instructions > 4096
    end
  end

  describe "rules" do
    test "below zero are as the kernel's registers have it" do
      {:ok, filter} = Seccomp.deny([{:openat, [{0, :eq, -100, 32}]}, {:lseek, [{1, :eq, -1}]}])
      assert Seccomp.evaluate(filter, :openat, args: [0xFFFF_FF9C]) == {:errno, :eperm}
      assert Seccomp.evaluate(filter, :openat, args: [-100]) == {:errno, :eperm}
      assert Seccomp.evaluate(filter, :lseek, args: [0, -1]) == {:errno, :eperm}
      assert Seccomp.evaluate(filter, :lseek, args: [0, 0xFFFF_FFFF]) == :allow
    end

    test "without any, a filter does what its default says" do
      for default <- [:allow, :log, :trap, {:errno, :eperm}, :kill_process] do
        {:ok, filter} = Seccomp.compile(default: default)
        assert Seccomp.evaluate(filter, :read) == default
      end
    end

    test "about one system call, of which one is unconditional" do
      rules = [{:read, :allow}, {:read, {:errno, :eio}, [{0, :eq, 3}]}]
      {:ok, filter} = Seccomp.compile(default: :trap, rules: rules)
      assert Seccomp.evaluate(filter, :read, args: [3]) == {:errno, :eio}
      assert Seccomp.evaluate(filter, :read, args: [4]) == :allow
    end

    test "whose action is the default's hold against those that are less restrictive" do
      rules = [{:read, :allow}, {:read, {:errno, :eperm}, [{0, :eq, 3}]}]
      {:ok, filter} = Seccomp.compile(default: {:errno, :eperm}, rules: rules)
      assert Seccomp.evaluate(filter, :read, args: [3]) == {:errno, :eperm}
      assert Seccomp.evaluate(filter, :read, args: [4]) == :allow
    end

    test "of two errnos the one wins that is named first" do
      for [first, second] <- [[:eio, :enosys], [:enosys, :eio]] do
        rules = [{:read, {:errno, first}}, {:read, {:errno, second}}]
        {:ok, filter} = Seccomp.compile(default: {:errno, :eperm}, rules: rules)
        assert Seccomp.evaluate(filter, :read) == {:errno, first}
      end

      # Whatever they are for elsewhere.
      rules = [{:write, {:errno, :eio}}, {:read, {:errno, :enosys}}, {:read, {:errno, :eio}}]
      {:ok, filter} = Seccomp.compile(default: {:errno, :eperm}, rules: rules)
      assert Seccomp.evaluate(filter, :read) == {:errno, :enosys}
    end
  end

  describe "other ABIs" do
    test "never slip past a filter" do
      for arch <- [:x86_64, :aarch64] do
        foreign = if arch == :x86_64, do: [:i386, :x32, :aarch64, :arm], else: [:arm, :x86_64]
        {:ok, deny} = Seccomp.deny(:mkdirat, arch: arch)
        {:ok, soft} = Seccomp.deny(:mkdirat, arch: arch, foreign: {:errno, :enosys})

        for abi <- foreign, number <- [0, 39, 83, 500, 0x3FFF_FFFF] do
          assert Seccomp.evaluate(deny, number, abi: abi) == :kill_process
          assert Seccomp.evaluate(soft, number, abi: abi) == {:errno, :enosys}
        end
      end
    end

    test "a call that a tracer has skipped is none of them" do
      {:ok, deny} = Seccomp.deny(:mkdir, arch: :x86_64, newer: {:errno, :enosys})
      assert Seccomp.evaluate(deny, 0xFFFF_FFFF) == :allow
    end
  end

  describe "newer system calls" do
    test "are told not to be there, where that is wanted" do
      for arch <- [:x86_64, :aarch64] do
        {:ok, calls} = Seccomp.syscalls(arch)
        {_name, last} = List.last(calls)
        {:ok, filter} = Seccomp.default(arch: arch)
        assert Seccomp.evaluate(filter, last) == :allow
        assert Seccomp.evaluate(filter, last + 1) == {:errno, :enosys}
      end
    end

    test "are not let in by it" do
      {:ok, filter} = Seccomp.allow(:read, default: :kill_process, newer: {:errno, :enosys})
      assert Seccomp.evaluate(filter, 1000) == :kill_process
    end
  end

  describe "default/1" do
    test "names nothing that is not a system call somewhere" do
      for name <- Profile.names(), arch <- [:x86_64, :aarch64] do
        assert Native.resolve(arch, [name]) != [:unknown], name
      end
    end

    test "lets pass what is excepted" do
      {:ok, filter} = Seccomp.default(except: ["unshare", :clone, :clone3], socket_families: [40])
      newuser = 0x1000_0000
      assert Seccomp.evaluate(filter, :unshare, args: [newuser]) == :allow
      assert Seccomp.evaluate(filter, :clone, args: [newuser]) == :allow
      assert Seccomp.evaluate(filter, :clone3) == :allow
      assert Seccomp.evaluate(filter, :socket, args: [40]) == :allow
      assert Seccomp.evaluate(filter, :socket, args: [38]) == {:errno, :eafnosupport}

      assert Seccomp.default(socket_families: [:vsock]) ==
               {:error, {:bad_socket_families, [:vsock]}}

      assert Seccomp.default(except: [:raed]) == {:error, {:bad_syscalls, [raed: :unknown]}}
    end

    test "is not put off by bits that the kernel does not look at" do
      {:ok, filter} = Seccomp.default()
      high = 0xFFFF_FFFF_0000_0000

      for {name, args, verdict} <- [
            {:ioctl, [0, 0x5412], {:errno, :eperm}},
            {:ioctl, [0, 0x541C], {:errno, :eperm}},
            {:ioctl, [0, 0x5413], :allow},
            {:clone, [0x1200011], :allow},
            {:clone, [0x2000_0011], {:errno, :eperm}},
            {:socket, [40], {:errno, :eafnosupport}},
            {:socket, [2], :allow},
            {:personality, [0xFFFF_FFFF], :allow},
            {:personality, [0x40000], {:errno, :eperm}}
          ],
          args <- [args, Enum.map(args, &(&1 + high))] do
        assert {name, args, Seccomp.evaluate(filter, name, args: args)} == {name, args, verdict}
      end
    end
  end

  describe "steps/1" do
    test "are one for each program" do
      {:ok, a} = Seccomp.deny(:mkdir)
      {:ok, b} = Seccomp.deny(:rmdir)
      [p, q] = a.programs ++ b.programs
      assert Seccomp.steps(a) == {:ok, [seccomp: p]}
      assert Seccomp.steps([a, b]) == {:ok, [seccomp: p, seccomp: q]}
      assert Seccomp.steps([]) == {:ok, []}
    end

    test "refuse a filter that would keep the next from being installed" do
      {:ok, deny} = Seccomp.deny(:mkdirat)
      {:ok, allow} = Seccomp.allow(:read)
      assert {:ok, [_, _]} = Seccomp.steps([deny, allow])
      assert Seccomp.steps([allow, deny]) == {:error, {:bad_seccomp, {:not_last, allow}}}
    end

    test "refuse what is no filter, and those of another machine" do
      other = if Seccomp.Options.machine() == :x86_64, do: :aarch64, else: :x86_64
      {:ok, filter} = Seccomp.deny(:mkdirat, arch: other)
      assert Seccomp.steps(filter) == {:error, {:bad_seccomp, {:wrong_arch, other}}}

      for wrong <- [:strict, nil],
          do: assert(Seccomp.steps([wrong]) == {:error, {:bad_seccomp, wrong}})

      assert Seccomp.steps([filter | filter]) == {:error, {:bad_seccomp, [filter | filter]}}
      assert Seccomp.deny(["read" | "write"]) == {:error, {:bad_rule, ["read" | "write"]}}
      empty = %Filter{programs: [], arch: Seccomp.Options.machine()}
      assert Seccomp.steps(empty) == {:error, {:bad_seccomp, empty}}
    end
  end

  describe "the library" do
    test "panics into an exception, and goes on" do
      assert_raise ErlangError, ~r/nif_panicked/, fn -> Native.panic() end
      assert [{"read", 0} | _] = Native.syscalls(:x86_64)
    end

    test "refuses arguments of another kind" do
      assert_raise ArgumentError, fn -> Native.syscalls(:vax) end
      assert_raise ArgumentError, fn -> Native.compile(:x86_64, 0, 0, 0, [{1, 2, 3}]) end

      assert_raise ArgumentError, fn ->
        Native.compile(:x86_64, 0, 0, 0, [{1, 2, [{9, :eq, 64, 0, 0}]}])
      end

      assert_raise ArgumentError, fn -> Native.evaluate([""], 0, 0, [1]) end
    end

    test "that is missing is told when it is needed, and not before" do
      script = """
      {:module, _} = Code.ensure_loaded(Linx.Seccomp)
      {:module, _} = Code.ensure_loaded(Linx.Seccomp.Native)
      IO.puts("loaded")
      IO.puts(Exception.message(catch_error(Linx.Seccomp.syscalls())))
      """

      script = "import ExUnit.Assertions\n" <> script
      ebin = Path.join(Mix.Project.app_path(), "ebin")
      env = [{"LINX_NIF", "/nowhere/linx_nif.so"}]

      {output, 0} =
        System.cmd("elixir", ["-pa", ebin, "-e", script], env: env, stderr_to_stdout: true)

      assert ["loaded", told] = output |> String.split("\n", trim: true) |> Enum.take(-2)
      assert told =~ "Linx.Seccomp needs the NIF library /nowhere/linx_nif.so"
      assert told =~ "LINX_NIF"
    end

    test "does not hold up the schedulers" do
      rules = for name <- Profile.names(), do: {name, {:errno, :eio}, [{0, :ne, 7}, {1, :gt, 9}]}
      parent = self()
      watcher = spawn_link(fn -> watch(parent, 0, now()) end)

      1..1000
      |> Enum.map(fn _ -> Task.async(fn -> Seccomp.deny(rules, arch: :x86_64) end) end)
      |> Task.await_many(60_000)
      |> Enum.each(&assert {:ok, _filter} = &1)

      send(watcher, :stop)
      assert_receive {:watched, longest}
      # Somebody who yields all the time was never kept from a scheduler for long.
      assert longest < 500
    end
  end

  defp watch(parent, longest, before) do
    receive do
      :stop -> send(parent, {:watched, longest})
    after
      1 -> watch(parent, max(longest, now() - before), now())
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
