defmodule Linx.Seccomp.OCITest do
  use ExUnit.Case, async: true

  import Bitwise

  alias Linx.Seccomp

  # In the shape of Docker's default, and much shorter.
  @profile File.read!("test/support/profile.json")

  defp verdicts(opts, calls) do
    {:ok, filter} = Seccomp.from_oci(@profile, [arch: :x86_64] ++ opts)

    for call <- calls do
      {name, args} = if is_tuple(call), do: call, else: {call, []}
      Seccomp.evaluate(filter, name, args: args)
    end
  end

  @eperm {:errno, :eperm}
  @enosys {:errno, :enosys}

  test "what is listed is allowed, and all else gets the default" do
    assert verdicts([], [:read, :mount, :kexec_load]) == [:allow, @eperm, :kill_process]
  end

  test "conditions on arguments" do
    assert verdicts([], for(value <- [0, 8, 0xFFFF_FFFF], do: {:personality, [value]})) ==
             [:allow, @eperm, :allow]

    assert verdicts([], for(flags <- [17, 0x1000_0000, 0x0100_0000], do: {:clone, [flags]})) ==
             [:allow, @eperm, :allow]

    # Several for one argument are alternatives, those for different ones have to hold together.
    assert verdicts([], for(family <- [1, 2, 3], do: {:socket, [family]})) == [
             :allow,
             :allow,
             @eperm
           ]

    assert verdicts([], for(args <- [[1, 9], [1, 10], [2, 9]], do: {:socketpair, args})) ==
             [:allow, @eperm, @eperm]
  end

  test "conditions on capabilities" do
    asked = [:mount, {:clone, [0x1000_0000]}, :clone3, :reboot]
    assert verdicts([], asked) == [@eperm, @eperm, @enosys, @eperm]

    for caps <- [["CAP_SYS_ADMIN"], [:sys_admin], ["cap_sys_admin", :chown]] do
      assert verdicts([caps: caps], asked) == [:allow, :allow, :allow, @eperm]
    end

    assert verdicts([caps: [:sys_admin, :sys_boot]], asked) == [:allow, :allow, :allow, :allow]
  end

  test "conditions on the architecture" do
    assert verdicts([], [:modify_ldt]) == [:allow]
    {:ok, filter} = Seccomp.from_oci(@profile, arch: :aarch64)
    assert Seccomp.evaluate(filter, :openat) == :allow
    assert Seccomp.evaluate(filter, :mount) == @eperm

    profile = %{
      "defaultAction" => "SCMP_ACT_ALLOW",
      "syscalls" => [entry(%{"excludes" => %{"arches" => ["arm64"]}})]
    }

    assert {:ok, filter} = Seccomp.from_oci(profile, arch: :aarch64)
    assert Seccomp.evaluate(filter, :read) == :allow
    assert {:ok, filter} = Seccomp.from_oci(profile, arch: :x86_64)
    assert Seccomp.evaluate(filter, :read) == :trap
  end

  test "conditions on the kernel" do
    for {kernel, verdict} <- [
          {"4.7", @eperm},
          {"4.8", :allow},
          {"4.19.0-6-amd64", :allow},
          {"6.1", :allow}
        ] do
      assert verdicts([kernel: kernel], [:ptrace]) == [verdict]
    end

    # The running one is newer.
    assert verdicts([], [:ptrace]) == [:allow]
  end

  test "calls newer than the table, and of another ABI" do
    assert verdicts([], [1000]) == [@enosys]
    {:ok, filter} = Seccomp.from_oci(@profile, arch: :x86_64)
    assert Seccomp.evaluate(filter, 3, abi: :i386) == :kill_process
    {:ok, filter} = Seccomp.from_oci(%{"defaultAction" => "SCMP_ACT_KILL_PROCESS"}, arch: :x86_64)
    assert Seccomp.evaluate(filter, 1000) == :kill_process
    {:ok, filter} = Seccomp.from_oci(%{"defaultAction" => "SCMP_ACT_ALLOW"}, arch: :x86_64)
    assert Seccomp.evaluate(filter, 1000) == :allow
  end

  test "every action and every operator" do
    for {name, action} <- [
          {"SCMP_ACT_ALLOW", :allow},
          {"SCMP_ACT_LOG", :log},
          {"SCMP_ACT_NOTIFY", :notify},
          {"SCMP_ACT_TRACE", {:trace, 7}},
          {"SCMP_ACT_ERRNO", {:errno, :e2big}},
          {"SCMP_ACT_TRAP", :trap},
          {"SCMP_ACT_KILL", :kill_thread},
          {"SCMP_ACT_KILL_THREAD", :kill_thread},
          {"SCMP_ACT_KILL_PROCESS", :kill_process}
        ] do
      profile = %{"defaultAction" => name, "defaultErrnoRet" => 7}
      assert {:ok, filter} = Seccomp.from_oci(profile)
      assert Seccomp.evaluate(filter, :read) == action
    end

    for {op, holding} <- [
          {"EQ", [5]},
          {"NE", [4, 6]},
          {"LT", [4]},
          {"LE", [4, 5]},
          {"GT", [6]},
          {"GE", [5, 6]}
        ] do
      args = [%{"index" => 2, "value" => 5, "op" => "SCMP_CMP_#{op}"}]
      profile = %{"defaultAction" => "SCMP_ACT_ALLOW", "syscalls" => [entry(%{"args" => args})]}
      {:ok, filter} = Seccomp.from_oci(profile)

      trapped =
        for value <- 4..6,
            Seccomp.evaluate(filter, :read, args: [0, 0, value]) == :trap,
            do: value

      assert {op, trapped} == {op, holding}
    end
  end

  test "an entry with the default's action says nothing" do
    syscalls = [entry(%{"action" => "SCMP_ACT_ERRNO"}), entry(%{"action" => "SCMP_ACT_ALLOW"})]

    {:ok, filter} =
      Seccomp.from_oci(%{"defaultAction" => "SCMP_ACT_ERRNO", "syscalls" => syscalls})

    assert Seccomp.evaluate(filter, :read) == :allow
  end

  test "what is wrong is told, and where" do
    assert {:error, {:bad_json, _why}} = Seccomp.from_oci("{")
    assert {:error, {:bad_json, _why}} = Seccomp.from_oci(String.duplicate("[", 100_000))
    assert {:error, {:bad_json, _why}} = Seccomp.from_oci(<<255>>)
    assert {:error, {:bad_profile, "it is no object: []"}} = Seccomp.from_oci("[]")
    assert Seccomp.from_oci(@profile, caps: :all) == {:error, {:bad_caps, :all}}
    assert Seccomp.from_oci(@profile, kernel: "six") == {:error, {:bad_kernel, "six"}}

    for {profile, why} <- [
          {%{}, "defaultAction: nil is not known"},
          {with_syscalls(%{}), "syscalls: it is no list"},
          {with_syscalls([7]), "syscalls[0]: it is no object"},
          {with_syscalls([%{"action" => "SCMP_ACT_LOG"}]), "syscalls[0].names: there are none"},
          {with_syscalls([entry(%{"names" => [1]})]),
           "syscalls[0].names: it is no list of strings"},
          {with_syscalls([entry(%{}), entry(%{"action" => "NO"})]),
           ~s(syscalls[1].action: "NO" is not known)},
          {with_syscalls([entry(%{"errnoRet" => 5000})]),
           "syscalls[0].errnoRet: 5000 is no errno"},
          {with_syscalls([entry(%{"includes" => []})]), "syscalls[0].includes: it is no object"},
          {with_syscalls([entry(%{"includes" => %{"minKernel" => 4}})]),
           "syscalls[0].includes.minKernel: 4 is no version of a kernel"},
          {with_syscalls([entry(%{"args" => [%{"index" => 6, "op" => "SCMP_CMP_EQ"}]})]),
           "syscalls[0].args[0]: an argument has an index from 0 to 5, and an op"},
          {with_syscalls([entry(%{"args" => [%{"index" => 0, "op" => "=="}]})]),
           ~s(syscalls[0].args[0].op: "==" is not known)},
          {with_syscalls([
             entry(%{"args" => [%{"index" => 0, "op" => "SCMP_CMP_EQ", "value" => -1}]})
           ]), "syscalls[0].args[0].value: -1 is no number of 64 bits"}
        ] do
      assert Seccomp.from_oci(profile) == {:error, {:bad_profile, why}}
    end
  end

  test "whatever is given, there is an answer" do
    for seed <- 1..3000 do
      :rand.seed(:exsss, seed)

      case Seccomp.from_oci(random(:profile)) do
        {:ok, filter} ->
          assert Seccomp.evaluate(filter, :read) != nil

        {:error, {kind, why}} when kind in [:bad_profile, :bad_json] ->
          assert {seed, is_binary(why)} == {seed, true}
      end
    end
  end

  @scalars [nil, true, 0, 1, -1, 7, 1.5, 1 <<< 63, 1 <<< 64, "", "read", "4.8", <<255>>, "amd64"] ++
             ~w(CAP_KILL SCMP_ACT_ALLOW SCMP_ACT_ERRNO SCMP_CMP_EQ SCMP_CMP_MASKED_EQ)

  # A profile in which now and then something stands that does not belong there.
  defp random(what) do
    if :rand.uniform(12) == 1, do: misplaced(), else: proper(what)
  end

  defp misplaced do
    Enum.random([
      fn -> Enum.random(@scalars) end,
      fn -> [proper(:entry)] end,
      fn -> proper(:arg) end
    ]).()
  end

  defp proper(:profile) do
    %{
      "defaultAction" => random(:action),
      "defaultErrnoRet" => random(:errno),
      "syscalls" => random({:list, :entry})
    }
  end

  defp proper(:entry) do
    %{
      "names" => random({:list, :name}),
      "action" => random(:action),
      "errnoRet" => random(:errno),
      "args" => random({:list, :arg}),
      "includes" => random(:conditions),
      "excludes" => random(:conditions)
    }
  end

  defp proper(:arg) do
    %{
      "index" => random(:index),
      "op" => Enum.random(["SCMP_CMP_MASKED_EQ", "SCMP_CMP_LE"]),
      "value" => random(:errno),
      "valueTwo" => random(:errno)
    }
  end

  defp proper(:conditions),
    do: Enum.random([%{}, %{"caps" => random({:list, :name}), "minKernel" => "4.8"}])

  defp proper({:list, what}), do: for(_ <- 1..:rand.uniform(3), do: random(what))
  defp proper(:action), do: Enum.random(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"])
  defp proper(:errno), do: Enum.random([nil, 1, 38])
  defp proper(:index), do: Enum.random(0..5)
  defp proper(:name), do: Enum.random(["read", "open", "no_call"])

  defp with_syscalls(syscalls), do: %{"defaultAction" => "SCMP_ACT_ALLOW", "syscalls" => syscalls}
  defp entry(map), do: Map.merge(%{"names" => ["read"], "action" => "SCMP_ACT_TRAP"}, map)
end
