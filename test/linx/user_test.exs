defmodule Linx.UserTest do
  # The maps of user namespaces: root may write any, others theirs, and newuidmap some more.
  use ExUnit.Case, async: true
  doctest Linx.User

  import Linx.Test.Helpers

  alias Linx.Capabilities
  alias Linx.Process, as: P
  alias Linx.User
  alias Linx.User.{Error, Privileged}

  # A session parked in a user namespace of its own, with the host pid.
  defp parked(opts \\ []) do
    defaults = [argv: ["/bin/true"], namespaces: [:user], stdio: [stdout: :pipe], cwd: "/"]
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    {session, await_ready()}
  end

  # What the program says, once it runs.
  defp output(session) do
    :ok = P.proceed(session)
    output = read_output(session)
    assert P.wait(session) == {:ok, {:exited, 0}}
    output
  end

  defp uid_and_gid do
    for flag <- ["-u", "-g"] do
      {id, 0} = System.cmd("id", [flag])
      id |> String.trim() |> String.to_integer()
    end
  end

  defp capable? do
    {:ok, caps} = Capabilities.read(String.to_integer(System.pid()))
    :setuid in caps.effective
  end

  @who ["sh", "-c", "id -u; id -g; cat /proc/self/setgroups"]

  test "everybody may be root inside" do
    {session, pid} = parked(argv: @who)
    assert User.maps(pid) == {:ok, %{uid: [], gid: [], setgroups: :allow}}
    assert User.setup_maps(pid, User.own_map()) == :ok
    [uid, gid] = uid_and_gid()
    assert User.maps(pid) == {:ok, %{uid: [{0, uid, 1}], gid: [{0, gid, 1}], setgroups: :deny}}
    assert output(session) == "0\n0\ndeny\n"
  end

  test "or anybody else, also from the parts" do
    [uid, gid] = uid_and_gid()
    {session, pid} = parked(argv: @who)
    assert User.set_setgroups(pid, :deny) == :ok
    assert User.set_gid_map(pid, [{1001, gid, 1}]) == :ok
    assert User.set_uid_map(pid, [{1000, uid, 1}]) == :ok
    assert output(session) == "1000\n1001\ndeny\n"

    {session, pid} = parked(argv: @who)
    assert User.setup_maps(pid, User.own_map(4_294_967_294)) == :ok
    assert output(session) == "4294967294\n4294967294\ndeny\n"
  end

  test "setgroups is denied where it must be, and there only" do
    [uid, gid] = uid_and_gid()
    {session, pid} = parked()
    assert User.setup_maps(pid, uid: [{0, uid, 1}], gid: [{0, gid, 1}]) == :ok
    {:ok, maps} = User.maps(pid)
    assert maps.setgroups == if(capable?(), do: :allow, else: :deny)
    :ok = P.abort(session)
  end

  test "a map is not written again, and setgroups not allowed again" do
    [uid, gid] = uid_and_gid()
    {session, pid} = parked()
    assert User.setup_maps(pid, User.own_map()) == :ok
    file = "/proc/#{pid}/uid_map"

    assert {:error, %Error{operation: :uid_map, errno: :eperm, code: 1, path: ^file} = error} =
             User.set_uid_map(pid, [{0, uid, 1}])

    assert Exception.message(error) == "uid_map #{file}: operation not permitted (EPERM)"

    assert {:error, %Error{operation: :gid_map, errno: :eperm}} =
             User.set_gid_map(pid, [{0, gid, 1}])

    assert {:error, %Error{operation: :setgroups, errno: :eperm}} =
             User.set_setgroups(pid, :allow)

    :ok = P.abort(session)
  end

  test "the namespace of the BEAM itself has maps already" do
    pid = String.to_integer(System.pid())
    assert {:ok, %{uid: [_ | _], gid: [_ | _]}} = User.maps(pid)
    assert {:error, %Error{errno: errno}} = User.set_uid_map(pid, [{0, hd(uid_and_gid()), 1}])
    assert errno in [:eperm, :eacces]
  end

  describe "root" do
    @describetag :root

    test "maps any ids" do
      {session, pid} = parked(argv: @who, namespaces: [:user, :pid], user: "root")
      ids = [{0, 100_000, 65_536}]
      assert User.setup_maps(pid, uid: ids, gid: ids) == :ok
      assert User.maps(pid) == {:ok, %{uid: ids, gid: ids, setgroups: :allow}}
      assert output(session) == "0\n0\nallow\n"
    end

    test "maps several ranges, and the program is outside whom it is mapped to" do
      ids = [{0, 1000, 1}, {1, 100_000, 10}, {500, 7, 3}]
      {session, pid} = parked(user: 501, group: 502, argv: ["sleep", "1000"])
      assert User.setup_maps(pid, gid: ids, uid: ids) == :ok
      :ok = P.proceed(session)
      await_running()
      # That is who it is outside.
      assert pid |> status_field("Uid") |> String.split() == List.duplicate("8", 4)
      assert pid |> status_field("Gid") |> String.split() == List.duplicate("9", 4)
      :ok = P.stop(session)
    end

    test "writes as many entries as the kernel takes" do
      ids = for n <- 0..339, do: {n, n * 2, 1}
      {session, pid} = parked()
      assert User.set_uid_map(pid, ids) == :ok
      assert {:ok, %{uid: ^ids}} = User.maps(pid)
      :ok = P.abort(session)
    end
  end

  test "others map more ids where newuidmap allows it" do
    [uid, gid] = uid_and_gid()
    {:ok, subids} = User.subids()

    case {capable?(), System.find_executable("newuidmap"), subids} do
      {true, _path, _subids} ->
        # Root does not need it; see the tests above.
        :ok

      {false, nil, _subids} ->
        {session, pid} = parked()

        assert {:error, %Error{operation: :uid_map} = error} =
                 User.set_uid_map(pid, [{0, uid, 2}])

        assert Exception.message(error) =~ "newuidmap, which could write it, is not installed"
        :ok = P.abort(session)

      {false, _path, %{uid: [{first_uid, _} | _], gid: [{first_gid, _} | _]}} ->
        {session, pid} = parked(argv: @who, user: "root")
        opts = [uid: [{0, first_uid, 2}], gid: [{0, first_gid, 2}]]
        assert User.setup_maps(pid, opts) == :ok
        assert {:ok, %{setgroups: :allow} = maps} = User.maps(pid)
        assert [uid: maps.uid, gid: maps.gid] == opts
        assert output(session) == "0\n0\nallow\n"

        {session, pid} = parked(argv: @who)
        opts = [uid: [{0, uid, 1}, {1, first_uid, 2}], gid: [{0, gid, 1}, {1, first_gid, 2}]]
        assert User.setup_maps(pid, [setgroups: :deny] ++ opts) == :ok
        assert output(session) == "0\n0\ndeny\n"

      {false, _path, _none} ->
        IO.puts("Not tried: newuidmap, for #{uid} has no subordinate ids")
    end
  end

  test "others map nothing that is not theirs" do
    unless capable?() or System.find_executable("newuidmap") == nil do
      {session, pid} = parked()

      assert {:error, %Error{operation: :newuidmap, errno: :eperm} = error} =
               User.set_uid_map(pid, [{0, 0, 1}, {1, 1, 1}])

      assert Exception.message(error) =~ "not allowed"
      assert {:error, %Error{operation: :newgidmap}} = User.set_gid_map(pid, [{0, 0, 1}])
      assert {:ok, %{uid: [], gid: []}} = User.maps(pid)
      :ok = P.abort(session)
    end
  end

  test "subordinate ids are those of the files, by name and by number" do
    content =
      "alice:100000:65536\n1000:300000:10\n# bob:1:1\nbob:7:x\nbob:7\nalice:9:0\n\nalice:500000:1\n"

    assert Privileged.ranges(content, ["alice", "1000"]) ==
             [{100_000, 65_536}, {300_000, 10}, {500_000, 1}]

    assert Privileged.ranges(content, ["bob"]) == []
    [uid, _gid] = uid_and_gid()
    {name, 0} = System.cmd("id", ["-un"])
    assert User.subids() == User.subids(uid)
    assert User.subids() == User.subids(String.trim(name))
    assert User.subids(4_000_000_000) == {:ok, %{uid: [], gid: []}}

    for bad <- ["nosuch", "", nil, -1, 1.0, :root] do
      assert User.subids(bad) == {:error, {:bad_user, bad}}
    end
  end

  test "there may be no process" do
    # Greater than any pid_max.
    none = 0x7FFF_FFFF

    for answer <- [
          User.maps(none),
          User.set_uid_map(none, [{0, 0, 1}]),
          User.set_gid_map(none, [{0, 0, 1}]),
          User.set_setgroups(none, :deny),
          User.setup_maps(none, User.own_map())
        ] do
      assert answer == {:error, :no_process}
    end
  end

  test "mistakes are found before anything is written" do
    {session, pid} = parked()
    last = 0xFFFF_FFFF

    for {bad, shown} <- [
          {[], []},
          {nil, nil},
          {{0, 0, 1}, {0, 0, 1}},
          {[{0, 0, 1} | :more], [{0, 0, 1} | :more]},
          {[{0, 0}], [{0, 0}]},
          {[{0, 0, 0}, {1, 1, 1}], [{0, 0, 0}]},
          {[{-1, 0, 1}, {0, 0, 1}, {5, -1, 1}], [{-1, 0, 1}, {5, -1, 1}]},
          {[{0, 0, 1.0}], [{0, 0, 1.0}]},
          {[{last, 0, 1}], [{last, 0, 1}]},
          {[{0, 1, last}], [{0, 1, last}]},
          {[{0, 0, last + 1}], [{0, 0, last + 1}]},
          {[{7, 20, 1}, {5, 30, 1}, {0, 0, 6}], [{0, 0, 6}, {5, 30, 1}]},
          {[{0, 10, 5}, {10, 14, 5}], [{0, 10, 5}, {10, 14, 5}]}
        ] do
      mistake = {:error, {:bad_map, shown}}
      assert User.map(bad) == mistake
      assert User.set_uid_map(pid, bad) == mistake
      assert User.set_gid_map(pid, bad) == mistake
      if bad, do: assert(User.setup_maps(pid, uid: [{0, 0, 1}], gid: bad) == mistake)
    end

    long = for n <- 0..340, do: {n, n, 1}
    assert User.map(long) == {:error, {:bad_map, long}}
    assert User.map([{0, 0, last}]) == {:ok, [{0, 0, last}]}

    for bad <- [0, -1, "1", nil, self()] do
      assert User.set_uid_map(bad, [{0, 0, 1}]) == {:error, {:bad_pid, bad}}
      assert User.maps(bad) == {:error, {:bad_pid, bad}}
    end

    assert User.set_setgroups(pid, true) == {:error, {:bad_setgroups, true}}
    assert User.setup_maps(pid, setgroups: true) == {:error, {:bad_setgroups, true}}
    assert User.setup_maps(pid, typo: 1) == {:error, {:bad_options, [typo: 1]}}
    assert User.setup_maps(pid, :typo) == {:error, {:bad_options, :typo}}
    assert User.setup_maps(pid, []) == :ok
    assert User.maps(pid) == {:ok, %{uid: [], gid: [], setgroups: :allow}}
    :ok = P.abort(session)
  end
end
