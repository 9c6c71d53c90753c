defmodule Linx.Process.HostMapsTest do
  # Maps that are not the agent's to write: the workload waits until the session has had that done. Not async,
  # for want of a PATH of its own.
  use ExUnit.Case

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error
  alias Linx.Test.{RawAgent, Tree}

  defp start(argv, opts) do
    defaults = [
      argv: argv,
      cwd: "/",
      namespaces: [:user],
      stdio: [stdout: :pipe],
      owner: nil,
      grace: 500
    ]

    {:ok, session} = P.spawn(Keyword.merge([auto_proceed: true] ++ defaults, opts))
    session
  end

  defp lines(script, opts) do
    session = start(["/bin/sh", "-c", script], opts)
    text = read_output(session)
    assert P.wait(session) == {:ok, {:exited, 0}}
    String.split(text, "\n", trim: true)
  end

  # Beside each kind of agent, and with the subreaper outside of the namespace and as its init.
  defp each_place(fun) do
    for agent <- [:host, :dedicated], place <- [[], [namespaces: [:user, :pid], init: true]] do
      fun.([agent: agent] ++ place)
    end
  end

  # Subordinate ids of whoever has some, and needs newuidmap for them.
  defp range do
    {:ok, subids} = Linx.User.subids()

    with false <- root?(),
         path when path != nil <- System.find_executable("newuidmap"),
         %{uid: [{uid, count} | _], gid: [{gid, _} | _]} when count >= 1000 <- subids do
      [uid_map: [{0, uid, 1000}], gid_map: [{0, gid, 1000}]]
    else
      _none -> nil
    end
  end

  # With a range, or it is said why not.
  defp with_range(fun) do
    case range() do
      nil -> unless root?(), do: IO.puts("Not tried: newuidmap, for want of subordinate ids")
      range -> fun.(range)
    end
  end

  defp outside(map, inside) do
    Enum.find_value(map, fn {from, to, n} ->
      inside in from..(from + n - 1) && to + inside - from
    end)
  end

  @ids "grep -h '^[UG]id' /proc/self/status; id -G"
  @maps "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"

  describe "with subordinate ids" do
    test "the workload is the first of those that are mapped, without the groups of the BEAM" do
      with_range(fn range ->
        each_place(fn place ->
          assert lines(@ids, range ++ place) == ["Uid:\t0\t0\t0\t0", "Gid:\t0\t0\t0\t0", "0"]
          assert [uid, gid, "allow"] = lines(@maps, range ++ place)
          assert [String.split(uid), String.split(gid)] == as_words(range)
        end)
      end)
    end

    test "beside one's own id" do
      with_range(fn range ->
        [{0, uid, 1}] = own_ids()[:uid_map]
        [{0, gid, 1}] = own_ids()[:gid_map]
        [uid_map: [{0, first_uid, n}], gid_map: [{0, first_gid, n}]] = range

        both = [
          uid_map: [{0, uid, 1}, {1, first_uid, n}],
          gid_map: [{0, gid, 1}, {1, first_gid, n}]
        ]

        each_place(fn place ->
          assert ["Uid:\t0" <> _, "Gid:\t0" <> _, "0"] = lines(@ids, both ++ place)
          denied = [setgroups: :deny] ++ both ++ place
          assert List.last(lines(@maps, denied)) == "deny"
        end)

        # Either map alone takes a program.
        for key <- [:uid_map, :gid_map] do
          mixed = Keyword.put(own_ids(), key, range[key])
          assert ["Uid:\t0" <> _, "Gid:\t0" <> _ | _] = lines(@ids, mixed)
        end
      end)
    end

    test "it may be any of them, with these groups; and that is who it is outside" do
      with_range(fn range ->
        # Where everybody gets to.
        dir = "/tmp/linx-test-#{System.pid()}-#{System.unique_integer([:positive])}"
        File.mkdir!(dir)
        on_exit(fn -> File.rm_rf(dir) end)
        File.chmod!(dir, 0o777)

        each_place(fn place ->
          path = Path.join(dir, "file")
          opts = [user: 7, group: 8, groups: [9, 10], files: %{path => ""}] ++ range ++ place
          assert lines(@ids, opts) == ["Uid:\t7\t7\t7\t7", "Gid:\t8\t8\t8\t8", "8 9 10"]
          uid = outside(range[:uid_map], 7)
          gid = outside(range[:gid_map], 8)
          assert {:ok, %{uid: ^uid, gid: ^gid}} = File.stat(path)
          File.rm!(path)
        end)
      end)
    end

    test "all else is as ever: the checkpoint, operations, confinements" do
      with_range(fn range ->
        each_place(fn place ->
          namespaces = [:user, :mount, :uts, :net] ++ if(place[:init], do: [:pid], else: [])

          opts =
            [
              auto_proceed: false,
              hostname: "mapped",
              loopback: true,
              umask: 0o27,
              mounts: [{:tmpfs, "/mnt"}],
              capabilities: [keep: []],
              no_new_privs: true
            ] ++ range ++ place

          script = "hostname; umask; touch /mnt/x && echo made; grep CapEff /proc/self/status"
          session = start(["sh", "-c", script], Keyword.put(opts, :namespaces, namespaces))
          eventually(fn -> P.info(session).stage == :ready end)
          {:ok, pid} = P.host_pid(session)
          first = outside(range[:uid_map], 0)
          assert status_field(pid, "Uid") =~ ~r/^#{first}\t/
          assert P.proceed(session) == :ok

          assert String.split(read_output(session), "\n", trim: true) ==
                   ["mapped", "0027", "made", "CapEff:\t0000000000000000"]
        end)
      end)
    end
  end

  defp as_words(maps) do
    for key <- [:uid_map, :gid_map], [line] = maps[key] do
      for number <- Tuple.to_list(line), do: Integer.to_string(number)
    end
  end

  # newuidmap with this in front of it, which knows the pid of who waits as $1; `body` runs with its directory.
  defp behind(script, fun) do
    dir = tmp_dir()
    program = Path.join(dir, "newuidmap")
    real = System.find_executable("newuidmap")
    File.write!(program, "#!/bin/sh\ncd #{dir}\n#{script}\nexec #{real} \"$@\"\n")
    File.chmod!(program, 0o755)
    with_path("#{dir}:#{System.get_env("PATH")}", fn -> fun.(dir) end)
  end

  defp with_path(path, fun) do
    before = System.get_env("PATH")

    try do
      System.put_env("PATH", path)
      fun.()
    after
      System.put_env("PATH", before)
    end
  end

  # Who has been asked for, most recently.
  defp asked(dir) do
    eventually(fn -> match?({:ok, <<_, _::binary>>}, File.read(Path.join(dir, "asked"))) end)
    pids = dir |> Path.join("asked") |> File.read!() |> String.split()
    File.rm!(Path.join(dir, "asked"))
    pids |> List.last() |> String.to_integer()
  end

  @tell "echo $1 >> asked.part && mv asked.part asked"

  describe "what cannot be written" do
    test "is an error that says why, and nothing is left" do
      with_range(fn range ->
        behind(@tell, fn dir ->
          for stage <- [:uid_map, :gid_map] do
            each_place(fn place ->
              maps = Keyword.put(range, stage, [{0, 0, 10}])
              session = start(["/bin/true"], maps ++ place)
              assert {:error, %Error{stage: ^stage, errno: :eperm} = error} = P.wait(session)
              refute alive?(asked(dir))
              assert Exception.message(error) =~ ~r/^#{stage}: .*EPERM.*not allowed/
            end)
          end
        end)
      end)
    end

    test "is one that names the program when that is missing" do
      unless root?() do
        maps = [uid_map: [{0, 100_000, 10}], gid_map: [{0, 100_000, 10}]]

        with_path(tmp_dir(), fn ->
          each_place(fn place ->
            session = start(["/bin/true"], maps ++ place)
            assert {:error, %Error{stage: :uid_map, errno: :eperm} = error} = P.wait(session)

            assert Exception.message(error) ==
                     "uid_map: operation not permitted (EPERM): newuidmap, which could write it, " <>
                       "is not installed (package uidmap)"
          end)
        end)
      end
    end
  end

  describe "while the maps are written" do
    # The program for that waits as long as the gate is there.
    defp waiting(opts, fun) do
      with_range(fn range ->
        behind(@tell <> "; while [ -e gate ]; do sleep 0.02; done", fn dir ->
          gate = Path.join(dir, "gate")

          each_place(fn place ->
            File.touch!(gate)
            session = start(["/bin/sh", "-c", @ids], opts ++ range ++ place)
            pid = asked(dir)
            assert alive?(pid)
            fun.(session, pid, fn -> File.rm!(gate) end)
          end)
        end)
      end)
    end

    test "the session answers, and what is for the checkpoint waits" do
      waiting([auto_proceed: false], fn session, _pid, open ->
        assert %{stage: :starting, host_pid: nil} = P.info(session)
        assert P.wait(session, 10) == {:error, :timeout}
        assert P.set_owner(session, self()) == :ok
        # More than an agent lets wait.
        commands = for _ <- 1..100, do: Task.async(fn -> P.signal(session, :sigcont) end)
        proceed = Task.async(fn -> P.proceed(session) end)
        assert Task.yield(proceed, 50) == nil
        open.()
        assert Task.await(proceed) == :ok
        assert Enum.uniq(Task.await_many(commands)) == [:ok]
        assert "Uid:\t0\t0\t0\t0\n" <> _ = read_output(session)
        assert P.wait(session) == {:ok, {:exited, 0}}
      end)
    end

    test "the workload can be ended at once" do
      ways = [
        &P.abort/1,
        &P.cancel(&1, 60_000),
        fn session -> spawn(fn -> P.stop(session, grace: 60_000) end) end
      ]

      for way <- ways do
        waiting([], fn session, pid, _open ->
          way.(session)
          # Not only when the patience for a child on its way is over.
          assert P.wait(session, 3_000) in [{:ok, :aborted}, {:error, :no_process}]
          refute alive?(pid)
        end)
      end

      waiting([timeout: 1_000], fn session, pid, _open ->
        assert P.wait(session) == {:ok, :aborted}
        assert P.info(session).timed_out?
        refute alive?(pid)
      end)
    end

    test "the workload does not outlive its session" do
      waiting([], fn session, pid, _open ->
        Process.unlink(session)
        Process.exit(session, :kill)
        eventually(fn -> not alive?(pid) end)
      end)
    end

    test "nor its agent" do
      waiting([], fn session, pid, _open ->
        Tree.kill!(agent_of(pid), :KILL)
        assert {:error, %Error{stage: :agent_died}} = P.wait(session)
        eventually(fn -> not alive?(pid) end)
      end)
    end

    test "whoever kills it is told of, and nobody waits for the program" do
      waiting([], fn session, pid, _open ->
        {:links, links} = Process.info(session, :links)
        assert [mapper] = for(linked <- links, is_pid(linked), linked != self(), do: linked)
        Tree.kill!(pid, :KILL)
        assert {:error, %Error{stage: stage, errno: :eio}} = P.wait(session, 5_000)
        # An init has not even made it.
        assert stage in [:ready_frame, :fork]
        refute Process.alive?(mapper)
      end)
    end
  end

  describe "an agent that leaves the maps to the BEAM" do
    @request %{argv: ["/bin/sh", "-c", "exit 7"], namespaces: [:user], mapped_by: :beam}

    defp request(more) do
      {:spawn,
       @request
       |> Map.merge(Map.new(own_ids()))
       |> Map.merge(%{uid: 0, gid: 0})
       |> Map.merge(more)}
    end

    # With the subreaper outside, and as an init; the agent, and who is to be mapped.
    defp unmapped(more \\ %{}, fun) do
      for place <- [%{}, %{namespaces: [:user, :pid], init: true}] do
        agent = RawAgent.start([request(Map.merge(place, more))])
        assert {:status, :unmapped, pid} = RawAgent.next(agent)
        assert File.read!("/proc/#{pid}/uid_map") == ""
        fun.(agent, pid)
      end
    end

    defp map(pid), do: assert(Linx.User.setup_maps(pid, Linx.User.own_map()) == :ok)

    test "goes on when it is told that they are written" do
      unmapped(fn agent, pid ->
        RawAgent.send_frame(agent, {:call, 1, :proceed})
        map(pid)
        RawAgent.send_frame(agent, {:call, 2, :mapped})
        RawAgent.send_frame(agent, {:call, 3, :mapped})
        assert {terms, 0} = RawAgent.rest(agent)
        assert {:reply, 2, :ok} = hd(terms)
        {replies, events} = Enum.split_with(terms, &match?({:reply, _, _}, &1))

        assert Enum.sort(tl(replies)) == [
                 {:reply, 1, :ok},
                 {:reply, 3, {:error, 22, :malformed_request}}
               ]

        assert [
                 {:status, :spawned, _},
                 {:status, :ready, _},
                 {:status, :running},
                 {:status, :exited, 7}
               ] = events
      end)
    end

    test "says no such thing where there is nothing to map, and takes no word for it" do
      agent =
        RawAgent.start([{:spawn, %{argv: ["/bin/true"], mapped_by: :beam}}, {:call, 1, :mapped}])

      assert {:reply, 1, {:error, 22, :malformed_request}} = RawAgent.next(agent)
      assert {:status, :spawned, _} = RawAgent.next(agent)
      RawAgent.close(agent)
    end

    test "ends a workload that waits for them at once" do
      for command <- [:abort, {:stop, 60_000}] do
        unmapped(fn agent, pid ->
          RawAgent.send_frame(agent, {:call, 1, command})
          assert {[{:reply, 1, :ok} | events], 0} = RawAgent.rest(agent)
          assert {:status, :aborted, _} = List.last(events)
          refute alive?(pid)
        end)
      end

      # Also where it has been told so before.
      agent = RawAgent.start([request(%{}), :abort])
      assert {events, 0} = RawAgent.rest(agent)
      assert {:status, :aborted, _} = List.last(events)
      refute List.keymember?(events, :unmapped, 1)
    end

    test "ends it when the BEAM is gone, whatever was said" do
      for orphan <- [:leave, :kill] do
        unmapped(%{auto_proceed: true, orphan: orphan}, fn agent, pid ->
          RawAgent.close(agent)
          eventually(fn -> not alive?(pid) end)
        end)
      end
    end

    test "ends with it" do
      unmapped(fn agent, pid ->
        Tree.kill!(pid, :KILL)
        assert {events, code} = RawAgent.rest(agent)
        assert {:error, 5, stage} = List.last(events)
        assert {stage, code} in [{:ready_frame, 4}, {:fork, 3}]
      end)
    end

    test "leaves nothing when it is killed" do
      unmapped(fn agent, pid ->
        Tree.kill!(agent_of(pid), :KILL)
        assert {[], 137} = RawAgent.rest(agent)
        eventually(fn -> not alive?(pid) end)
      end)
    end
  end
end
