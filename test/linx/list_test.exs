defmodule Linx.ListTest do
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Entry, Info}

  # Other tests have sessions, too.
  defp entry(session), do: Enum.find(Linx.list(), &(&1.session == session))

  test "a session is there as soon as it has been started, with what it was asked for" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], name: :"linx_list_#{marker()}")
    {:registered_name, name} = Process.info(session, :registered_name)

    assert %Entry{name: ^name, mode: :spawn, owner: owner} = entry(session)
    assert owner == self()
    assert entry(session).argv == [System.find_executable("sleep"), "60"]
  end

  test "its stage and pid are those that the session itself tells" do
    {:ok, session} = P.spawn(argv: ["true"])
    host_pid = await_ready()
    assert %Entry{stage: :ready, host_pid: ^host_pid} = entry(session)
    P.proceed(session)
    assert {:ok, {:exited, 0}} = P.wait(session)
    # It lingers.
    assert %Entry{stage: :terminated} = entry(session)
    assert :ok = P.stop(session)
    refute entry(session)
  end

  test "a program that runs, one that entered another's namespaces, one with an agent of its own" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true, agent: :dedicated)
    host_pid = await_ready()
    await_running()
    assert %Entry{stage: :running, agent: :dedicated, mode: :spawn} = entry(session)

    {:ok, session} = P.enter(host_pid, argv: ["sleep", "60"], namespaces: [], agent: :host)
    await_ready()
    assert %Entry{stage: :ready, agent: :host, mode: :enter} = entry(session)
  end

  test "one that cannot begin is :terminated, without a pid" do
    file = Path.join(tmp_dir(), "program")
    {:ok, session} = P.enter(0x7FFF_FFFF, argv: [file])
    assert {:error, _no_such_target} = P.wait(session)
    assert %Entry{stage: :terminated, host_pid: nil} = entry(session)
  end

  test "the owner is the one that it has now" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], owner: {:global, :nobody})
    assert entry(session).owner == {:global, :nobody}
    P.set_owner(session, self())
    assert entry(session).owner == self()
  end

  test "since when" do
    before = System.monotonic_time(:millisecond)
    {:ok, session} = P.spawn(argv: ["sleep", "60"])
    age = entry(session).age
    assert age in 0..(System.monotonic_time(:millisecond) - before + 1)
    assert eventually(fn -> entry(session).age > age end)
    assert entry(session).started_at == P.info(session).started_at
  end

  test "the oldest come first" do
    sessions =
      for _ <- 1..5 do
        {:ok, session} = P.spawn(argv: ["sleep", "60"])
        session
      end

    assert for(%{session: session} <- Linx.list(), session in sessions, do: session) == sessions
  end

  test "a session that does not answer is in the list all the same" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"])
    await_ready()
    :sys.suspend(session)
    assert %Entry{stage: :ready} = entry(session)
    :sys.resume(session)
  end

  test "a session that was killed leaves no row, and is in no list from that moment" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"])
    monitor = Process.monitor(session)
    Process.unlink(session)
    Process.exit(session, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^session, :killed}
    refute entry(session)
    assert eventually(fn -> :ets.lookup(Linx.Sessions, session) == [] end)
  end

  test "no session is lost with the process that looks after the table" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"])
    await_ready()
    looks_after = Process.whereis(Linx.Sessions)
    Process.exit(looks_after, :kill)
    assert %Entry{stage: :ready} = entry(session)
    assert eventually(fn -> Process.whereis(Linx.Sessions) not in [nil, looks_after] end)

    # Its successor sees to what was there before.
    Process.unlink(session)
    Process.exit(session, :kill)
    assert eventually(fn -> :ets.lookup(Linx.Sessions, session) == [] end)
  end

  test "of many that end at once none is left" do
    sessions =
      for _ <- 1..50 do
        {:ok, session} = P.spawn(argv: ["true"], auto_proceed: true, linger: false, owner: nil)
        session
      end

    left = fn -> Enum.filter(sessions, &(:ets.lookup(Linx.Sessions, &1) != [])) end
    assert eventually(fn -> left.() == [] end)
  end

  test "a session runs without the application, and then there is no list" do
    code = """
    {:ok, session} = Linx.Process.spawn(argv: ["true"], auto_proceed: true)
    {:ok, {:exited, 0}} = Linx.Process.wait(session)
    :ok = Linx.Process.set_owner(session, nil)
    IO.inspect({Linx.list(), Linx.top().rows, Linx.Process.info(session).stage})
    """

    ebin = Path.join(:code.lib_dir(:linx), "ebin")

    assert {"{[], [], :terminated}\n", 0} ==
             System.cmd("elixir", ["--erl", "+S 1", "-pa", ebin, "-e", code],
               stderr_to_stdout: true
             )
  end

  test "Info and Entry agree" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true)
    await_ready()
    await_running()
    %Info{} = info = P.info(session)
    entry = entry(session)

    for key <- [:mode, :stage, :argv, :host_pid, :started_at] do
      assert Map.fetch!(info, key) == Map.fetch!(entry, key)
    end
  end
end
