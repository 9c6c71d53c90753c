defmodule Linx.Process.MapsTest do
  # The ids of a workload in a user namespace of its own.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Options}
  alias Linx.Test.{RawAgent, Tree}

  @range [uid_map: [{0, 100_000, 65_536}], gid_map: [{0, 200_000, 65_536}]]

  defp start(argv, opts) do
    defaults = [argv: argv, namespaces: [:user], stdio: [stdout: :pipe], owner: nil]
    {:ok, session} = P.spawn(Keyword.merge([auto_proceed: true] ++ defaults, opts))
    session
  end

  defp lines(script, opts) do
    session = start(["/bin/sh", "-c", script], opts)
    text = read_output(session)
    assert P.wait(session) == {:ok, {:exited, 0}}
    String.split(text, "\n", trim: true)
  end

  # With the session's subreaper outside of the namespace, and as its init.
  defp places, do: [[], [namespaces: [:user, :pid], init: true]]

  defp each_place(fun), do: for(place <- places(), do: fun.(place))

  @ids "grep -h '^[UG]id' /proc/self/status; id -G"
  @maps "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"

  describe "with rights outside" do
    @describetag :root

    test "the workload is the first of those that are mapped, and has all rights there" do
      each_place(fn place ->
        assert [uid, gid, "0", capabilities] =
                 lines(@ids <> "; grep CapEff /proc/self/status", @range ++ place)

        assert uid == "Uid:\t0\t0\t0\t0"
        assert gid == "Gid:\t0\t0\t0\t0"
        assert capabilities == "CapEff:\t" <> all_capabilities()
      end)
    end

    test "maps are written as they are given" do
      maps = [
        uid_map: [{0, 100_000, 1}, {1, 5, 1}, {1000, 300_000, 100}],
        gid_map: [{7, 8, 9}]
      ]

      each_place(fn place ->
        written =
          for line <- lines(@maps, maps ++ [setgroups: :deny] ++ place), do: String.split(line)

        assert written == [~w(0 100000 1), ~w(1 5 1), ~w(1000 300000 100), ~w(7 8 9), ["deny"]]
        assert ["0", "100000", "1", "allow"] = one_line_each(lines(@maps, one(100_000) ++ place))
      end)
    end

    defp one(id), do: [uid_map: [{0, id, 1}], gid_map: [{0, id, 1}]]
    defp one_line_each([uid, _gid, setgroups]), do: String.split(uid) ++ [setgroups]

    test "as many lines as there may be" do
      lines = for n <- 1..340, do: {2 * n, 3 * n, 1}
      # The kernel wants less than a page of them.
      long = for n <- 1..340, do: {2 * n, 1_000_000 + 3 * n, 1}

      each_place(fn place ->
        maps = [uid_map: lines, gid_map: lines]
        assert length(lines("cat /proc/self/uid_map", maps ++ place)) == 340
        session = start(["true"], [uid_map: long] ++ place)
        assert {:error, %Error{stage: :uid_map, errno: :einval}} = P.wait(session)
      end)
    end

    test "and whatever is written for it in /proc is, also of another user" do
      script = "cat /proc/self/oom_score_adj; cut -d. -f1 /proc/uptime"

      each_place(fn place ->
        namespaces = Keyword.get(place, :namespaces, [:user]) ++ [:time]
        offsets = [time_offsets: [boottime: 1_000_000_000_000], oom_score_adj: 321]
        opts = @range ++ Keyword.put(place, :namespaces, namespaces) ++ offsets
        assert ["321", uptime] = lines(script, opts)
        assert String.to_integer(uptime) >= 1_000_000_000
      end)
    end

    test "a map of groups alone does" do
      gids = [gid_map: [{5, 200_000, 10}]]
      each_place(fn place -> assert ["5"] = lines("id -g", gids ++ place) end)
    end

    test "credentials are those inside" do
      opts = [user: 7, group: 8, groups: [9, 10]] ++ @range

      each_place(fn place ->
        assert [uid, gid, groups, capabilities] =
                 lines(@ids <> "; grep CapEff /proc/self/status", opts ++ place)

        assert uid == "Uid:\t7\t7\t7\t7"
        assert gid == "Gid:\t8\t8\t8\t8"
        assert groups == "8 9 10"
        # As with every other user than root.
        assert capabilities =~ ~r/\t0+$/
      end)
    end

    test "outside the workload is whom it is mapped to, and so is what it makes" do
      dir = tmp_dir()
      File.chmod!(dir, 0o777)

      each_place(fn place ->
        path = Path.join(dir, "file")
        script = "touch #{path}; echo; exec sleep 60"
        session = start(["sh", "-c", script], [user: 3, group: 4] ++ @range ++ place)
        assert P.recv(session, :stdout) == {:ok, "\n"}
        assert {:ok, %{uid: 100_003, gid: 200_004}} = File.stat(path)
        {:ok, pid} = P.host_pid(session)
        assert status_field(pid, "Uid") =~ ~r/^100003\t/
        assert status_field(pid, "Gid") =~ ~r/^200004\t/
        assert File.read!("/proc/#{pid}/status") =~ ~r/^Groups:[ \t]*$/m
        assert P.stop(session) == :ok
        File.rm!(path)
      end)
    end

    test "files are staged as the workload's own" do
      dir = tmp_dir()
      File.chmod!(dir, 0o777)

      each_place(fn place ->
        path = Path.join(dir, "staged")

        assert lines("cat #{path}", [files: %{path => "x"}, user: 5, group: 6] ++ @range ++ place) ==
                 ["x"]

        assert {:ok, %{uid: 100_005, gid: 200_006}} = File.stat(path)
        File.rm!(path)
      end)
    end

    test "a user that is not mapped is an error" do
      each_place(fn place ->
        for {opts, stage} <- [
              {[user: 70_000, group: 0], :setuid},
              {[user: 0, group: 70_000], :setgid},
              {[user: 0, group: 0, groups: [70_000]], :setgroups}
            ] do
          session = start(["true"], opts ++ @range ++ place)
          assert {:error, %Error{stage: ^stage, errno: :einval}} = P.wait(session)
        end
      end)
    end

    test "at the checkpoint the ids are mapped already, and the workload has its rights there" do
      each_place(fn place ->
        session = start(["true"], [auto_proceed: false, user: 7, group: 8] ++ @range ++ place)
        eventually(fn -> P.info(session).stage == :ready end)
        {:ok, pid} = P.host_pid(session)
        assert File.read!("/proc/#{pid}/uid_map") =~ ~r/^ +0 +100000 +65536\n$/
        assert status_field(pid, "Uid") =~ ~r/^100007\t/
        assert status_field(pid, "CapEff") == all_capabilities()
        assert P.stop(session) == :ok
      end)
    end

    test "what has been done for years is done as ever: the host writes the maps at the checkpoint" do
      session = start(["sh", "-c", @ids], auto_proceed: false)
      eventually(fn -> P.info(session).stage == :ready end)
      {:ok, pid} = P.host_pid(session)
      File.write!("/proc/#{pid}/uid_map", "0 100000 1000\n")
      File.write!("/proc/#{pid}/gid_map", "0 100000 1000\n")
      assert P.proceed(session) == :ok

      assert ["Uid:\t65534" <> _, _gid, _groups] =
               String.split(read_output(session), "\n", trim: true)

      assert P.wait(session) == {:ok, {:exited, 0}}
    end
  end

  # A bit for each that the kernel knows.
  defp all_capabilities do
    last = "/proc/sys/kernel/cap_last_cap" |> File.read!() |> String.trim() |> String.to_integer()
    mask = Bitwise.bsl(1, last + 1) - 1
    mask |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(16, "0")
  end

  describe "without rights outside" do
    test "one's own id can be mapped, to any" do
      [{0, uid, 1}] = own_ids()[:uid_map]
      [{0, gid, 1}] = own_ids()[:gid_map]
      dir = tmp_dir()

      for inside <- [0, 1000], place <- places() do
        maps = [uid_map: [{inside, uid, 1}], gid_map: [{inside, gid, 1}], setgroups: :deny]
        path = Path.join(dir, "file")
        opts = [files: %{path => ""}] ++ maps ++ place
        assert [uid_line, gid_line | _] = lines(@ids, opts)
        assert uid_line == "Uid:" <> String.duplicate("\t#{inside}", 4)
        assert gid_line == "Gid:" <> String.duplicate("\t#{inside}", 4)
        assert {:ok, %{uid: ^uid, gid: ^gid}} = File.stat(path)
        File.rm!(path)
      end
    end

    test "its groups are one's own, and cannot be changed" do
      each_place(fn place ->
        assert List.last(lines(@maps, own_ids() ++ place)) == "deny"
        session = start(["true"], own_ids() ++ [groups: [0]] ++ place)
        assert {:error, %Error{stage: :setgroups, errno: :eperm}} = P.wait(session)
      end)
    end

    test "what is not one's own is refused, and nothing is left" do
      unless root?() do
        for {maps, stage} <- [
              {@range, :uid_map},
              {Keyword.put(own_ids(), :gid_map, [{0, 0, 2}]), :gid_map},
              {Keyword.put(own_ids(), :setgroups, :allow), :gid_map}
            ],
            place <- places() do
          mark = mark()
          session = start(["sleep", mark], maps ++ place)
          assert {:error, %Error{stage: ^stage, errno: :eperm}} = P.wait(session)
          assert processes(mark) == []
        end
      end
    end

    test "the option is to deny where that is needed" do
      {:ok, options} =
        Options.spawn(
          [argv: ["true"], namespaces: [:user]] ++ Keyword.delete(own_ids(), :setgroups)
        )

      assert options.confinement.setgroups == if(root?(), do: :allow, else: :deny)
    end
  end

  describe "what is no map" do
    # The memory by which a failure is told is given back when many others are free.
    test "is told as such by an agent that has had many sessions at a time" do
      opts = [namespaces: [:user], owner: nil, stdio: :devnull, agent: :host]
      sessions = for _n <- 1..300, do: P.spawn([argv: ["true"]] ++ opts) |> elem(1)
      for session <- sessions, do: eventually(fn -> P.info(session).stage == :ready end)
      for session <- sessions, do: assert(P.stop(session) == :ok)
      # More than a page.
      long = for n <- 0..339, do: {2 * n, 1_000_000 + 3 * n, 1}

      for _round <- 1..10, place <- places() do
        maps = [uid_map: long, gid_map: long]

        {:ok, session} =
          P.spawn([argv: ["true"], auto_proceed: true] ++ maps ++ Keyword.merge(opts, place))

        assert {:error, %Error{stage: :uid_map}} = P.wait(session)
      end
    end

    test "to the kernel is an error, after which nothing is left" do
      # Whoever has no rights may have no id but the own one, and nobody this one.
      refused = if root?(), do: {0, 0xFFFF_FFFE, 2}, else: {0, 1, 1}

      for {key, stage} <- [uid_map: :uid_map, gid_map: :gid_map], place <- places() do
        request =
          Map.merge(
            %{argv: ["/bin/true"], namespaces: [:user], orphan: :kill},
            Map.new(Keyword.put(own_ids(), key, [refused]) ++ place)
          )

        {events, _status} = RawAgent.session([{:spawn, request}])
        assert {:error, errno, ^stage} = List.last(events)
        assert errno in [1, 22]

        for {:status, :spawned, pid} <- events, do: refute(alive?(pid))
      end
    end

    test "to us is a mistake" do
      spawn = &Options.spawn([argv: ["true"], namespaces: [:user]] ++ &1)

      for key <- [:uid_map, :gid_map],
          bad <- [
            [],
            :own,
            [{0, 0}],
            [{0, 0, 0}],
            [{-1, 0, 1}],
            [{0, 4_294_967_296, 1}],
            [{4_294_967_295, 0, 2}],
            [{0, 0, 1} | 1],
            List.duplicate({0, 0, 1}, 341)
          ] do
        assert spawn.([{key, bad}]) == {:error, {:"bad_#{key}", bad}}
      end

      for {key, map} <- [setgroups: :deny] ++ Keyword.delete(own_ids(), :setgroups) do
        mistake = {:error, {:"bad_#{key}", :no_user_namespace}}
        assert Options.spawn([{:argv, ["true"]}, {key, map}]) == mistake

        assert Options.enter(1, [{:argv, ["true"]}, {:namespaces, [:user]}, {key, map}]) ==
                 mistake
      end

      assert spawn.(setgroups: :maybe) == {:error, {:bad_setgroups, :maybe}}
    end
  end

  describe "whoever dies while the maps are written" do
    # At the moment of the request there is nobody; a moment later everybody is: at any in between.
    test "leaves nothing" do
      for round <- 1..40, place <- places() do
        mark = mark()
        session = start(["sleep", mark], own_ids() ++ place)
        Process.sleep(rem(round, 4))

        case rem(round, 3) do
          0 -> P.abort(session)
          1 -> P.stop(session)
          2 -> with pid when pid != nil <- P.info(session).host_pid, do: Tree.kill(pid, :KILL)
        end

        with_timeout = P.stop(session)
        assert with_timeout in [:ok, {:error, :no_process}]
        assert processes(mark) == []
      end
    end
  end
end
