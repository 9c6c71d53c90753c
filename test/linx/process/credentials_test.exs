defmodule Linx.Process.CredentialsTest do
  # Whom a workload runs as.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Credentials, Error, Options}

  # What the system's own tools make of a name.
  defp getent(database, key) do
    {line, 0} = System.cmd("getent", [database, key])
    line |> String.trim() |> String.split(":")
  end

  defp id(name, index), do: "passwd" |> getent(name) |> Enum.at(index) |> String.to_integer()

  defp spawn_with(opts), do: Options.spawn([argv: ["/bin/true"]] ++ opts)

  defp resolved(opts) do
    with {:ok, options} <- spawn_with(opts), do: Map.take(options, [:uid, :gid, :groups])
  end

  describe "names" do
    test "are looked up, and numbers taken as they are" do
      [uid, gid] = for index <- [2, 3], do: id("nobody", index)
      assert resolved(user: "nobody") == %{uid: uid, gid: gid, groups: []}
      assert resolved(user: uid) == %{uid: uid, gid: gid, groups: []}
      assert resolved(user: "nobody", group: 7) == %{uid: uid, gid: 7, groups: []}
      assert resolved(user: 4_000_000_000, group: 7) == %{uid: 4_000_000_000, gid: 7, groups: []}
      assert resolved(group: "root") == %{uid: nil, gid: 0, groups: []}
      assert resolved(groups: ["root", 5, 5]) == %{uid: nil, gid: nil, groups: [0, 5, 5]}
      assert resolved(user: "root", groups: [1]) == %{uid: 0, gid: 0, groups: [1]}
      assert resolved([]) == %{uid: nil, gid: nil, groups: nil}
    end

    test "are all that the system has" do
      for line <- File.stream!("/etc/passwd"),
          [name, _, uid, gid | _] = String.split(line, ":") do
        assert Credentials.user(name) == {:ok, {String.to_integer(uid), String.to_integer(gid)}}
      end

      for line <- File.stream!("/etc/group"), [name, _, gid | _] = String.split(line, ":") do
        assert Credentials.group(name) == {:ok, String.to_integer(gid)}
      end
    end

    test "that mean nobody are refused" do
      for bad <- ["nosuch", "", "root\n", "x:0", "0", :root, ~c"root", -1, 0xFFFF_FFFF, nil, 1.0] do
        assert spawn_with(user: bad) == {:error, {:bad_user, bad}}
        assert spawn_with(group: bad) == {:error, {:bad_group, bad}}
        assert spawn_with(groups: ["root", bad]) == {:error, {:bad_groups, bad}}
      end

      for bad <- ["root", 0, nil, ["root" | 1], %{}] do
        assert spawn_with(groups: bad) == {:error, {:bad_groups, bad}}
      end
    end

    test "of a user without a group need one" do
      assert spawn_with(user: 4_000_000_000) == {:error, {:bad_user, 4_000_000_000}}
      assert spawn_with(user: 4_000_000_000, groups: [1]) == {:error, {:bad_user, 4_000_000_000}}
    end
  end

  # The four of each that a process has, and its groups.
  defp status(opts, argv \\ ["cat", "/proc/self/status"]) do
    defaults = [argv: argv, stdio: [stdout: :pipe], auto_proceed: true, owner: nil]
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    assert P.wait(session) == {:ok, {:exited, 0}}
    {:ok, status} = P.recv(session, :stdout)

    for name <- ["Uid", "Gid", "Groups"] do
      [_, ids] = Regex.run(~r/^#{name}:[ \t]*(.*?)[ \t]*$/m, status)
      ids |> String.split() |> Enum.map(&String.to_integer/1)
    end
  end

  @tag :root
  test "a user has its uid and its gid in every respect, and none of the BEAM's groups" do
    [uid, gid] = for index <- [2, 3], do: id("nobody", index)

    for agent <- [:host, :dedicated] do
      assert status(user: "nobody", agent: agent) ==
               [List.duplicate(uid, 4), List.duplicate(gid, 4), []]
    end
  end

  @tag :root
  test "group and groups are those that are given" do
    assert [[0, 0, 0, 0], [7, 7, 7, 7], []] = status(group: 7)
    assert [[9, 9, 9, 9], [7, 7, 7, 7], [3, 4]] = status(user: 9, group: 7, groups: [4, 3])
    assert [[0 | _], [0 | _], [5]] = status(groups: [5])
  end

  @tag :root
  test "another user can do no more than that one" do
    path = Path.join(tmp_dir(), "secret")
    File.write!(path, "secret")
    File.chmod!(path, 0o600)

    {:ok, session} =
      P.spawn(argv: ["cat", path], user: "nobody", stdio: :devnull, auto_proceed: true)

    assert P.wait(session) == {:ok, {:exited, 1}}
  end

  @tag :root
  test "another user is signalled, stopped and timed out like any" do
    opts = [user: "nobody", stdio: :devnull, auto_proceed: true, owner: nil]
    {:ok, session} = P.spawn([argv: ["sleep", "60"], timeout: 100] ++ opts)
    assert P.wait(session) == {:ok, {:signaled, 15}}
    {:ok, session} = P.spawn([argv: ["sleep", "60"]] ++ opts)
    assert P.stop(session) == :ok
  end

  test "who may not change is told so" do
    if System.cmd("id", ["-u"]) != {"0\n", 0} do
      {:ok, session} = P.spawn(argv: ["/bin/true"], user: "root", auto_proceed: true)
      assert {:error, %Error{errno: :eperm, stage: stage}} = P.wait(session)
      assert stage in [:setgroups, :setgid, :setuid]
    else
      # In a user namespace without maps nobody is anybody.
      {:ok, session} =
        P.spawn(argv: ["/bin/true"], user: "nobody", namespaces: [:user], auto_proceed: true)

      assert {:error, %Error{stage: stage}} = P.wait(session)
      assert stage in [:setgroups, :setgid, :setuid]
    end
  end
end
