defmodule Linx.Process.BirthTest do
  # A workload that is born in a cgroup, and what it has of its agent's descriptors wherever it is born.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Cgroup
  alias Linx.Process, as: P
  alias Linx.Process.Error

  describe "a cgroup" do
    @describetag :root

    setup do
      {:ok, cgroup} =
        Cgroup.create("linx-birth-#{System.pid()}-#{System.unique_integer([:positive])}")

      on_exit(fn -> Cgroup.delete(cgroup, kill: true) end)
      %{cgroup: cgroup}
    end

    @places [
      plain: [],
      init: [namespaces: [:pid], init: true],
      namespace: [namespaces: [:cgroup]],
      both: [
        namespaces: [:cgroup, :pid, :user],
        init: true,
        uid_map: [{0, 0, 1}],
        gid_map: [{0, 0, 1}]
      ]
    ]

    for {name, place} <- @places do
      test "has its workload from the beginning, and not the agent: #{name}", %{cgroup: cgroup} do
        place = unquote(Macro.escape(place))
        opts = [argv: ["cat", "/proc/self/cgroup"], cgroup: cgroup.path, stdio: :pipe, owner: nil]
        {:ok, session} = P.spawn(opts ++ place)
        eventually(fn -> P.info(session).stage == :ready end)
        {:ok, pid} = P.host_pid(session)
        init = if place[:init], do: [parent(pid)], else: []
        {:ok, procs} = Cgroup.procs(cgroup)
        assert Enum.sort(procs) == Enum.sort([pid | init])
        assert cgroup_of(agent_of(pid)) == cgroup_of(System.pid())

        assert P.proceed(session) == :ok
        text = read_output(session)
        # In a cgroup namespace it is the root of what is seen.
        root? = :cgroup in (place[:namespaces] || [])

        assert text =~
                 if(root?, do: ~r/^0::\/$/m, else: ~r/^0::.*#{Path.basename(cgroup.path)}$/m)

        assert P.wait(session) == {:ok, {:exited, 0}}
        eventually(fn -> Cgroup.procs(cgroup) == {:ok, []} end)
      end
    end

    test "is left by nothing that the workload starts", %{cgroup: cgroup} do
      opts = [namespaces: [:pid], init: true, cgroup: cgroup.path, stdio: :devnull, owner: nil]
      argv = ["sh", "-c", "(setsid sleep 60 &) ; sleep 60 & wait"]
      {:ok, session} = P.spawn([argv: argv, auto_proceed: true] ++ opts)
      # With the init and the shell.
      eventually(fn -> match?({:ok, [_, _, _, _]}, Cgroup.procs(cgroup)) end)
      assert P.stop(session) == :ok
      eventually(fn -> Cgroup.procs(cgroup) == {:ok, []} end)
    end

    defp cgroup_of(pid), do: File.read!("/proc/#{pid}/cgroup")
  end

  test "what is no cgroup is an error, and nothing runs" do
    dir = tmp_dir()

    for {path, stage, errno} <- [
          {Path.join(dir, "none"), :cgroup, :enoent},
          {"/etc/passwd", :cgroup, :enotdir},
          {dir, :clone, :ebadf}
        ],
        place <- [[], in_namespaces([:pid]) ++ [init: true]] do
      opts = [argv: ["true"], cgroup: path, owner: nil, stdio: :devnull]
      {:ok, session} = P.spawn(opts ++ place)

      assert {:error, %Error{stage: ^stage, errno: ^errno}} = P.wait(session)
    end
  end

  describe "of its agent's descriptors" do
    # With so many sessions those of one more are above all that a new process shares with the agent.
    test "a workload has none, however many there are" do
      opts = [stdio: :pipe, owner: nil]
      sessions = for _n <- 1..150, do: P.spawn([argv: ["cat"]] ++ opts) |> elem(1)
      for session <- sessions, do: eventually(fn -> P.info(session).stage == :ready end)

      for place <- [[], in_namespaces([:net]), beside_init(), [chain: [["ls", "/proc/self/fd"]]]] do
        argv = ["ls", "/proc/self/fd"]
        {:ok, session} = P.spawn([argv: argv, auto_proceed: true] ++ opts ++ place)
        # 3 is the directory that it lists.
        runs = if place[:chain], do: 2, else: 1
        assert read_output(session) == String.duplicate("0\n1\n2\n3\n", runs)
        assert P.wait(session) == {:ok, {:exited, 0}}
      end

      for session <- sessions, do: assert(P.stop(session) == :ok)
    end
  end
end
