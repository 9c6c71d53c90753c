defmodule Linx.Process.LifelineTest do
  # What the rest of Linx builds on, and users do not see: a session for one process only, that is not
  # linked to it, and that tells one thing after the other.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Info, Options, Session}

  defp start(argv, opts \\ [], lifeline \\ self()) do
    {:ok, options} = Options.spawn([argv: argv, auto_proceed: true, owner: nil] ++ opts)
    {:ok, session} = Session.start(%{options | lifeline: lifeline})
    session
  end

  defp rest(session, pieces \\ []) do
    case Session.next(session) do
      {:output, source, bytes} -> rest(session, [{source, bytes} | pieces])
      {:ended, info} -> {Enum.reverse(pieces), info}
    end
  end

  test "next/1 tells what is written, and at last how it ended" do
    session = start(["sh", "-c", "echo out; sleep 0.01; echo err >&2; exit 3"], stdio: :pipe)

    assert {[stdout: "out\n", stderr: "err\n"], %Info{result: {:ok, {:exited, 3}}} = info} =
             rest(session)

    assert info.duration > 0
  end

  test "next/1 tells the end also of what has no output, and of what never ran" do
    assert {[], %Info{result: {:ok, {:exited, 0}}}} = rest(start(["true"], stdio: :devnull))
    assert {[], %Info{result: {:error, _}}} = rest(start(["true"], stdio: :pipe, cwd: "/nowhere"))
  end

  test "next/1 is not for a session whose owner gets the output, and not for one that has gone" do
    session = start(["sleep", "60"], stdio: :pipe, active: true)
    assert Session.next(session) == {:error, :active}
    P.stop(session)
    assert Session.next(session) == {:error, :no_process}
  end

  test "next/1 waits for the end when the output is discarded" do
    session = start(["sh", "-c", "echo x; read line; echo y"], stdio: :pipe)
    assert {:output, :stdout, "x\n"} = Session.next(session)
    P.set_active(session, :discard)
    P.close_stdin(session)
    assert {[], %Info{result: {:ok, {:exited, 0}}}} = rest(session)
  end

  test "feed/2 and close_input/1 make nobody wait, and keep the order with writes" do
    session = start(["cat"], stdio: :pipe)
    assert Session.feed(session, ["a", ?b]) == :ok
    assert P.write(session, "c") == :ok
    assert Session.feed(session, "d") == :ok
    assert Session.close_input(session) == :ok
    assert Session.feed(session, "late") == :ok
    {pieces, _info} = rest(session)
    assert for({:stdout, bytes} <- pieces, into: "", do: bytes) == "abcd"
  end

  test "feed/2 of more than the program reads ends with it" do
    session = start(["head", "-c", "3"], stdio: :pipe)
    Session.feed(session, :binary.copy("x", 3_000_000))
    Session.close_input(session)
    assert {[stdout: "xxx"], %Info{result: {:ok, {:exited, 0}}}} = rest(session)
    # To whom there is nobody left, nothing is said.
    assert Session.feed(session, "x") == :ok
    assert Session.close_input(session) == :ok
  end

  test "a session without a pipe is fed in vain" do
    session = start(["true"], stdio: :devnull)
    Session.feed(session, "x")
    Session.close_input(session)
    assert {[], %Info{result: {:ok, {:exited, 0}}}} = rest(session)
  end

  test "a session ends with its lifeline, without a grace" do
    lifeline = spawn(fn -> Process.sleep(:infinity) end)
    script = "trap '' TERM; echo go; while :; do sleep 0.1; done"
    session = start(["sh", "-c", script], [stdio: :pipe, grace: 60_000], lifeline)
    assert {:output, :stdout, "go\n"} = Session.next(session)
    {:ok, host_pid} = P.host_pid(session)
    monitor = Process.monitor(session)
    Process.exit(lifeline, :kill)
    assert_receive {:DOWN, ^monitor, :process, _, :normal}
    refute alive?(host_pid)
  end

  test "a session ends with a lifeline that had gone before" do
    {lifeline, gone} = spawn_monitor(fn -> :ok end)
    assert_receive {:DOWN, ^gone, _, _, _}
    session = start(["sleep", "60"], [], lifeline)
    monitor = Process.monitor(session)
    assert_receive {:DOWN, ^monitor, :process, _, _}
  end

  test "a session and who has started it are not linked" do
    session = start(["sleep", "60"])
    assert Process.info(self(), :links) == {:links, []}
    Process.exit(session, :kill)
    eventually(fn -> not Process.alive?(session) end)
  end
end
