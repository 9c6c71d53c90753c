defmodule Linx.Process.TimeoutTest do
  # An end that is brought about from outside: by the clock, or by cancel/2; and whether there has been
  # one, try_wait/1.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}
  alias Linx.Test.Tree

  defp run(argv, opts \\ []) do
    {:ok, session} = P.spawn([argv: argv, auto_proceed: true, owner: nil] ++ opts)
    session
  end

  defp sh(script, opts \\ []), do: run(["/bin/sh", "-c", script], opts)

  # A workload that says when it is ready.
  defp ready(script, opts \\ []) do
    session = sh(script, [stdio: [stdin: :devnull, stdout: :pipe]] ++ opts)
    assert P.recv(session, :stdout) == {:ok, "go\n"}
    session
  end

  defp elapsed(fun) do
    {microseconds, result} = :timer.tc(fun)
    {div(microseconds, 1_000), result}
  end

  describe "timeout:" do
    test "ends the workload, and says so" do
      {ms, session} =
        elapsed(fn ->
          session = run(["sleep", "60"], timeout: 100)
          assert P.wait(session) == {:ok, {:signaled, 15}}
          session
        end)

      assert ms in 100..5_000
      assert %Info{timed_out?: true, stage: :terminated, duration: duration} = P.info(session)
      assert duration >= 100_000
    end

    test "says nothing of a workload that ends in time" do
      session = run(["true"], timeout: 60_000)
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert %Info{timed_out?: false} = P.info(session)
      # The clock has been stopped.
      assert :erlang.read_timer(:sys.get_state(session).timer) == false
    end

    test "gives a grace, and then none" do
      session = sh("trap '' TERM; while :; do sleep 0.1; done", timeout: 1_000, grace: 100)
      assert {ms, {:ok, {:signaled, 9}}} = elapsed(fn -> P.wait(session) end)
      assert ms in 1_000..6_000
      assert P.info(session).timed_out?
    end

    test "has a result also when the workload ends by itself in its grace" do
      session = sh("trap 'exit 5' TERM; while :; do sleep 0.05; done", timeout: 1_000)
      assert P.wait(session) == {:ok, {:exited, 5}}
      assert P.info(session).timed_out?
    end

    test "takes all that a shell has started" do
      mark = mark()
      session = sh("sleep #{mark} & setsid sleep #{mark} & sleep #{mark}; true", timeout: 3_000)
      eventually(fn -> length(processes(mark)) == 4 end)
      assert {:ok, _how} = P.wait(session)
      assert processes(mark) == []
      assert P.info(session).timed_out?
    end

    test "is not stopped by output that nobody reads, nor by input that is not read" do
      session = sh("exec sleep 60 | head -c 10000000 /dev/zero", stdio: :pipe, timeout: 300)
      writer = Task.async(fn -> P.write(session, :binary.copy("x", 1_000_000)) end)
      assert {:ok, _how} = P.wait(session)
      assert P.info(session).timed_out?
      assert {:error, _why} = Task.await(writer)
    end

    test "counts at the checkpoint, too" do
      {:ok, session} = P.spawn(argv: ["true"], owner: nil, timeout: 50)
      assert P.wait(session) == {:ok, :aborted}
      assert P.info(session).timed_out?
    end

    @tag :capture_log
    test "is the end of a supervised session, too" do
      Process.flag(:trap_exit, true)
      session = run(["sleep", "60"], timeout: 50, linger: false)
      assert_receive {:EXIT, ^session, {:signaled, 15}}
    end

    test "of a host and of a dedicated agent are the same" do
      for agent <- [:host, :dedicated] do
        session = run(["sleep", "60"], timeout: 50, agent: agent)
        assert P.wait(session) == {:ok, {:signaled, 15}}
      end
    end
  end

  describe "stop_signal:" do
    @loop "echo go; while :; do sleep 0.05; done"

    test "is what the workload is asked with" do
      for stop <- [&P.stop/1, &P.cancel(&1, 10_000)] do
        session = ready("trap 'exit 6' USR1; #{@loop}", stop_signal: :sigusr1, grace: 10_000)
        waiter = Task.async(fn -> P.wait(session) end)
        eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
        assert stop.(session) == :ok
        assert Task.await(waiter) == {:ok, {:exited, 6}}
      end
    end

    test "is what a timeout asks with, too, and by number" do
      session = ready("trap 'exit 6' USR1; #{@loop}", stop_signal: 10, timeout: 2_000)
      assert P.wait(session) == {:ok, {:exited, 6}}
    end

    test "is followed by SIGKILL" do
      session = ready("trap '' HUP; #{@loop}", stop_signal: :sighup)
      assert P.cancel(session, 50) == :ok
      assert P.wait(session) == {:ok, {:signaled, 9}}
    end

    @tag :capture_log
    test "is what it gets when that ends to which the session is linked" do
      test = self()

      starter =
        spawn(fn ->
          send(
            test,
            {:session, ready("trap 'exit 6' INT; #{@loop}", stop_signal: :sigint, owner: test)}
          )

          Process.sleep(:infinity)
        end)

      assert_receive {:session, session}
      P.set_owner(session, self())
      Process.exit(starter, :boom)
      assert_receive {:linx_process, :exited, 6}
    end
  end

  describe "cancel/2" do
    test "returns at once, and leaves the session for those who wait" do
      session = ready("trap '' TERM; #{@loop}")
      assert {ms, :ok} = elapsed(fn -> P.cancel(session, 1_000) end)
      assert ms < 1_000
      assert P.try_wait(session) == :running
      assert P.wait(session) == {:ok, {:signaled, 9}}
      refute P.info(session).timed_out?
      assert P.cancel(session) == :ok
    end

    test "kills at once unless it is given a grace" do
      session = ready("trap '' TERM; #{@loop}", grace: 60_000)
      assert P.cancel(session) == :ok
      assert P.wait(session, 10_000) == {:ok, {:signaled, 9}}
    end

    test "hurries one with more grace, and a stop" do
      session = ready("trap '' TERM; #{@loop}")
      assert P.cancel(session, 60_000) == :ok
      stop = Task.async(fn -> P.stop(session, grace: 60_000) end)
      eventually(fn -> :sys.get_state(session).stopping end)
      assert P.cancel(session, 0) == :ok
      assert Task.await(stop, 10_000) == :ok
    end

    test "works from any process, and before the program runs" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"], owner: nil)
      assert Task.await(Task.async(fn -> P.cancel(session) end)) == :ok
      assert P.wait(session) == {:ok, :aborted}
    end

    test "reaches everything the workload has started" do
      {session, tree} = Tree.start(Tree.new(:daemon))
      assert P.cancel(session) == :ok
      assert {:ok, _how} = P.wait(session)
      Tree.assert_gone(tree)
    end

    test "has an end also when the agent is stopped" do
      session = run(["sleep", "60"], agent: :dedicated)
      [guardian, agent] = stopped_agents(session)
      assert P.cancel(session, 100) == :ok
      assert P.try_wait(session) == :running
      assert {ms, result} = elapsed(fn -> P.wait(session) end)
      assert {:error, %Error{stage: :agent_died}} = result
      assert ms in 1_500..8_000
      assert P.try_wait(session) == result
      continue([agent, guardian])
    end

    test "has an end also when the agent has been killed" do
      session = run(["sleep", "60"], agent: :dedicated)
      eventually(fn -> P.info(session).stage == :running end)
      {:ok, host_pid} = P.host_pid(session)
      System.cmd("kill", ["-KILL", "#{agent_of(host_pid)}"])
      assert P.cancel(session) == :ok
      assert {:error, %Error{stage: :agent_died}} = P.wait(session)
      assert P.cancel(session) == :ok
    end

    test "needs a session, and a time" do
      session = run(["sleep", "60"])

      for bad <- [-1, :infinity, nil],
          do: assert(P.cancel(session, bad) == {:error, {:bad_grace, bad}})

      P.stop(session)
      assert P.cancel(session) == {:error, :no_process}
    end
  end

  test "a timeout has an end also when the agent is stopped" do
    session = run(["sleep", "60"], agent: :dedicated, timeout: 1_000, grace: 100)
    agents = stopped_agents(session)
    assert {:error, %Error{stage: :agent_died}} = P.wait(session)
    assert %Info{timed_out?: true, stage: :terminated} = P.info(session)
    continue(Enum.reverse(agents))
  end

  # The guardian would wake the agent.
  defp stopped_agents(session) do
    eventually(fn -> P.info(session).stage == :running end)
    {:ok, host_pid} = P.host_pid(session)
    agent = agent_of(host_pid)
    pids = [parent(agent), agent]
    on_exit(fn -> continue(Enum.reverse(pids)) end)
    for pid <- pids, do: System.cmd("kill", ["-STOP", "#{pid}"])
    eventually(fn -> Enum.all?(pids, &(stat(&1) == "T")) end)
    pids
  end

  defp continue(pids) do
    for pid <- pids, do: System.cmd("kill", ["-CONT", "#{pid}"], stderr_to_stdout: true)
  end

  describe "try_wait/1" do
    test "can be asked again and again" do
      {:ok, session} = P.spawn(argv: ["sh", "-c", "exit 7"], owner: nil)
      for _ <- 1..3, do: assert(P.try_wait(session) == :running)
      P.proceed(session)
      result = eventually(fn -> with :running <- P.try_wait(session), do: nil end)
      assert result == {:ok, {:exited, 7}}
      for _ <- 1..3, do: assert(P.try_wait(session) == result)
      P.stop(session)
      assert P.try_wait(session) == {:error, :no_process}
    end

    test "tells why the program never ran" do
      session = run(["true"], cwd: "/nowhere")
      assert {:error, error} = P.wait(session)
      assert P.try_wait(session) == {:error, error}
    end
  end

  describe "info/1" do
    test "knows the program, and how long it took" do
      before = DateTime.utc_now()
      session = run(["sleep", "0.1"])
      assert %Info{argv: [path, "0.1"], duration: nil, started_at: started} = P.info(session)
      assert path == System.find_executable("sleep")
      assert DateTime.compare(started, before) in [:gt, :eq]
      assert P.wait(session) == {:ok, {:exited, 0}}
      assert P.info(session).duration in 100_000..10_000_000
    end

    test "knows what the program has used" do
      session = sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3")
      assert P.info(session).usage == nil
      assert P.wait(session) == {:ok, {:exited, 3}}
      usage = P.info(session).usage
      assert %Linx.Usage{} = usage
      assert usage.user_time + usage.system_time > 0
      assert usage.max_rss in 100_000..100_000_000
      assert usage.minor_faults > 0
      for {_field, value} <- Map.from_struct(usage), do: assert(is_integer(value) and value >= 0)
    end

    test "knows of no use when there was no process" do
      session = run(["true", :binary.copy("x", 9_000_000)])
      assert {:error, %Error{stage: :request_too_big}} = P.wait(session)
      assert %Info{usage: nil, duration: duration} = P.info(session)
      assert duration > 0
    end
  end
end
