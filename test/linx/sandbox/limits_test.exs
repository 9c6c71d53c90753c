defmodule Linx.Sandbox.LimitsTest do
  # What keeps a sandbox to its memory, its processes and its processors.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.{Cgroup, Sandbox}
  alias Linx.Cgroup.Stats
  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  test "is kept to its limits by each process, where there is nothing better" do
    script = "ulimit -d; ulimit -u 2>/dev/null || ulimit -p"
    limits = [memory: 512 * 1024 * 1024, pids: 64]

    # What is asked for, and what makes a cgroup of its own impossible.
    ways = [{[cgroup: false], []}, {[], [orphan: :leave]}, {[], [descendants: :leave]}]
    ways = if Sandbox.limits() == :rlimits, do: [{[], []} | ways], else: ways

    for {sandbox, opts} <- ways do
      {:ok, result} = Linx.run(["sh", "-c", script], [sandbox: limits ++ sandbox] ++ opts)
      assert result.stdout == "#{512 * 1024}\n64\n"
      assert result.cgroup_stats == nil
    end
  end

  test "says when it is asked for what it cannot have" do
    for {sandbox, opts, wrong} <- [
          {[cgroup: :always], [], {:cgroup, :always}},
          {[cpu: 0], [], {:cpu, 0}},
          {[cpu: 1, cgroup: false], [], {:cpu, 1}},
          {[cpu: 1], [cgroup: []], {:cpu, 1}},
          {[cgroup: :require], [cgroup: "/sys/fs/cgroup"], {:cgroup, :require}},
          {[cgroup: :require], [orphan: :leave], {:cgroup, :require}}
        ] do
      assert Linx.run(["true"], [sandbox: sandbox] ++ opts) == {:error, {:bad_sandbox, wrong}}
    end
  end

  @tag :root
  test "may be in a cgroup of the session's, which has no limits then but those that are given" do
    {:ok, result} = Linx.run(["true"], sandbox: :strict, cgroup: [])
    assert %{status: {:exited, 0}, cgroup_stats: %Stats{}} = result
  end

  @tag :root
  test "is in it with its init and all that it starts" do
    argv = ["sh", "-c", "sleep 1000 & sleep 1000 & wait"]
    opts = [sandbox: :strict, cgroup: [], auto_proceed: true, stdio: :devnull]
    {:ok, session} = P.spawn([argv: argv] ++ opts)
    pid = await_ready()
    await_running()
    %Info{cgroup: path} = P.info(session)
    eventually(fn -> match?({:ok, [_, _, _, _]}, Cgroup.procs(path)) end)
    {:ok, pids} = Cgroup.procs(path)
    assert pid in pids
    assert P.stop(session) == :ok
    refute File.exists?(path)
    refute Enum.any?(pids, &alive?/1)
  end

  test "insists on a cgroup, or says why there is none" do
    unlimited = [cgroup: :require, memory: :infinity, pids: :infinity]

    if Cgroup.delegated?() do
      assert {:ok, %{cgroup_stats: %Stats{}}} = Linx.run(["true"], sandbox: unlimited)
    else
      assert {:error, %Error{stage: :cgroup, errno: :eacces}} =
               Linx.run(["true"], sandbox: unlimited)

      assert Sandbox.limits() == :rlimits
    end
  end

  test "insists on controllers that there are not" do
    {:ok, root} = Cgroup.root()
    available = Cgroup.Tree.available(root)

    for {name, value} <- [memory: 1_000_000_000, pids: 100, cpu: 2], name not in available do
      unlimited = [memory: :infinity, pids: :infinity, cgroup: :require]
      sandbox = Keyword.put(unlimited, name, value)
      assert {:error, {:no_controller, ^name, _there}} = Linx.run(["true"], sandbox: sandbox)
    end
  end

  @tag :root
  @tag :controllers
  test "is kept to its limits by a cgroup, where there are controllers" do
    assert Sandbox.limits() == :cgroup
    {:ok, result} = Linx.run(["sh", "-c", "ulimit -d"], sandbox: [cgroup: :require, pids: 16])
    assert result.stdout == "unlimited\n"
    assert result.cgroup_stats.pids.max == 16

    # Each is killed in its turn.
    script = "for i in 1 2 3 4; do tail /dev/zero & done; wait"
    small = [memory: 40 * 1024 * 1024]
    {:ok, result} = Linx.run(["sh", "-c", script], sandbox: small, stderr: :stdout)
    assert result.cgroup_stats.memory.events.oom_kill >= 4
  end
end
