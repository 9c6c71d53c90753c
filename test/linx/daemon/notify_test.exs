defmodule Linx.Daemon.NotifyTest do
  use ExUnit.Case, async: true

  import Bitwise, only: [&&&: 2]
  import Linx.Test.Helpers, only: [eventually: 1]

  alias Linx.Daemon.Notify

  describe "a datagram" do
    test "says what its assignments say" do
      assert Notify.parse("READY=1") == %{ready: true}
      assert Notify.parse("READY=1\n") == %{ready: true}

      assert Notify.parse("STATUS=Working on it = fine\nREADY=1\nMAINPID=1") ==
               %{ready: true, status: "Working on it = fine"}

      assert Notify.parse("STATUS=") == %{status: ""}
    end

    test "that says nothing of interest says nothing" do
      for said <- [
            "MAINPID=12",
            "WATCHDOG=1",
            "RELOADING=1\nX_MINE=2",
            "READY=0",
            "READY=11",
            "STOPPING=1"
          ],
          do: assert(Notify.parse(said) == %{})
    end

    test "that is no list of assignments is not taken in parts" do
      for said <- [
            "",
            "\n",
            "READY",
            "ready",
            "READY=1\nrubbish",
            "READY=1\n\nSTATUS=x",
            "=1\nREADY=1",
            "1A=\nREADY=1",
            <<"READY=1\nSTATUS=", 0xFF>>,
            <<0, 255>>,
            " READY=1"
          ],
          do: assert(Notify.parse(said) == %{})
    end
  end

  describe "the environment" do
    test "has the socket, and is otherwise as it was" do
      assert Notify.environment(nil, "/s") == %{"NOTIFY_SOCKET" => "/s"}
      assert Notify.environment([], "/s") == ["NOTIFY_SOCKET=/s"]

      assert Notify.environment(["A=1", "NOTIFY_SOCKET=/old"], "/s") == [
               "NOTIFY_SOCKET=/s",
               "A=1"
             ]

      assert Notify.environment(%{A: "1"}, "/s") == [{:A, "1"}, {"NOTIFY_SOCKET", "/s"}]
      assert Notify.environment([{"A", nil}], "/s") == [{"A", nil}, {"NOTIFY_SOCKET", "/s"}]
    end
  end

  describe "a socket" do
    test "tells what it is told, one thing after the other, and is removed when it is stopped" do
      ref = make_ref()
      {:ok, notify, path} = Notify.start_link(ref)
      {:ok, client} = :gen_udp.open(0, [:local])

      for said <- ["rubbish", "STATUS=soon", "READY=1", "STATUS=now"],
          do: :ok = :gen_udp.send(client, {:local, path}, 0, said)

      for news <- [%{status: "soon"}, %{ready: true}, %{status: "now"}] do
        assert_receive {^ref, :news, ^news}
        assert :sys.get_state(notify).ref == ref
        refute_received {^ref, :news, _more}
        Notify.next(notify)
      end

      assert :ok = Notify.stop(notify)
      refute File.exists?(path)
      refute File.exists?(Path.dirname(path))
      assert :ok = Notify.stop(notify)
    end

    test "can be written by every user who has been told of it, and found by nobody else" do
      {:ok, notify, path} = Notify.start_link(make_ref())
      assert (File.stat!(path).mode &&& 0o777) == 0o666
      assert (File.stat!(Path.dirname(path)).mode &&& 0o777) == 0o711
      Notify.stop(notify)
    end

    @tag :capture_log
    @tag :capture_log
    test "is removed when who has opened it is killed" do
      test = self()

      opener =
        spawn(fn ->
          send(test, Notify.start_link(make_ref()))
          Process.sleep(:infinity)
        end)

      assert_receive {:ok, _notify, path}
      assert File.exists?(path)
      Process.exit(opener, :kill)
      eventually(fn -> not File.exists?(Path.dirname(path)) end)
    end
  end
end
