defmodule Linx.Process.AgentTest do
  # What a session makes of an agent of its own that is missing or does not behave. The environment
  # names the agent, for all sessions: so these tests run alone.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  defp with_agent(path) do
    before = System.get_env("LINX_AGENT")
    System.put_env("LINX_AGENT", path)

    on_exit(fn ->
      if before, do: System.put_env("LINX_AGENT", before), else: System.delete_env("LINX_AGENT")
    end)
  end

  # A shell command that sends a term as the agent does, on descriptor 4.
  defp say(term) do
    frame = :erlang.term_to_binary(term)

    bytes =
      for <<byte <- <<byte_size(frame)::32>> <> frame>>, do: "\\" <> Integer.to_string(byte, 8)

    "printf '#{bytes}' >&4; "
  end

  defp spawn_with(program, opts \\ []) do
    # A port that is written to when its program is gone closes, and what the program has said is lost:
    # so the stand-in, like the agent, says nothing before the request is there.
    spawn_behind("dd bs=1 count=4 of=/dev/null <&3 2>/dev/null; " <> program, opts)
  end

  defp spawn_behind(program, opts) do
    with_agent(script(program))
    {:ok, session} = P.spawn(Keyword.merge([argv: ["/bin/true"], agent: :dedicated], opts))

    # None, when this agent has ended by now.
    if agent = :sys.get_state(session).agent, do: watch(agent.os_pid)
    session
  end

  defp watch(nil), do: :ended

  defp watch(os_pid) do
    # A stand-in does not end by itself when its port closes.
    on_exit(fn -> System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true) end)

    # The script must have been opened before the end of a short test takes it away.
    cmdline = fn -> File.read("/proc/#{os_pid}/cmdline") end
    eventually(fn -> not match?({:ok, "erl_child_setup" <> _}, cmdline.()) end)
  end

  # The real agent, but late, so that whatever comes now comes before :ready.
  defp spawn_late(opts) do
    path = Linx.Agent.Binary.path()
    spawn_behind("sleep 0.2; exec #{path}", opts)
  end

  test "LINX_AGENT names it, when it is not empty" do
    built = Application.app_dir(:linx, "priv/linx_process")
    with_agent("/some/agent")
    assert Linx.Agent.Binary.path() == "/some/agent"
    System.put_env("LINX_AGENT", "")
    assert Linx.Agent.Binary.path() == built
    System.delete_env("LINX_AGENT")
    assert Linx.Agent.Binary.path() == built
  end

  test "one that is not there, or no program, is an error of the stage :agent" do
    text = Path.join(tmp_dir(), "text")
    File.write!(text, "")

    for {path, errno, code} <- [{"/nowhere/agent", :enoent, 2}, {text, :eacces, 13}] do
      with_agent(path)
      {:ok, session} = P.spawn(argv: ["/bin/true"], agent: :dedicated)
      error = %Error{stage: :agent, errno: errno, code: code, signal: nil}
      assert P.wait(session) == {:error, error}
      assert next_event() == {:linx_process, :error, code, :agent}
      assert %Info{stage: :terminated, result: {:error, ^error}} = P.info(session)
      assert P.proceed(session) == {:error, :no_process}
      assert P.stop(session) == :ok
    end
  end

  @tag :capture_log
  test "is the exit reason of a session that does not linger" do
    Process.flag(:trap_exit, true)
    with_agent("/nowhere/agent")
    {:ok, session} = P.spawn(argv: ["/bin/true"], linger: false, agent: :dedicated)
    assert_receive {:EXIT, ^session, {:error, %Error{stage: :agent, errno: :enoent}}}
  end

  test "one that dies without a word is an error with its exit status" do
    session = spawn_with("exit 7")
    assert P.wait(session) == {:error, %Error{stage: :agent_died, errno: :unknown, code: 7}}
    assert next_event() == {:linx_process, :error, 7, :agent_died}
    {:error, error} = P.wait(session)
    assert Exception.message(error) =~ "exit status 7"
  end

  test "a call that it never answers ends with it" do
    said = say({:status, :spawned, 1})
    session = spawn_with(said <> "head -c 1000 <&3 >/dev/null; exit 1", stdio: :pty)

    calls = for _ <- 1..40, do: Task.async(fn -> P.signal(session, 15) end)
    writer = Task.async(fn -> P.pty_write(session, "x") end)
    assert Enum.uniq(Task.await_many(calls)) == [{:error, :no_process}]
    assert Task.await(writer) == {:error, :no_process}
    assert {:error, %Error{stage: :agent_died}} = P.wait(session)
  end

  describe "one that is late" do
    test "is waited for, and the session is :starting" do
      session = spawn_late(argv: ["/bin/true"])
      assert %Info{mode: :spawn, stage: :starting, host_pid: nil, result: nil} = P.info(session)
      assert P.host_pid(session) == {:error, :not_ready}
      assert P.wait(session, 0) == {:error, :timeout}
      refute_received _anything
      assert P.proceed(session) == :ok
      assert {:linx_process, :ready, _} = next_event()
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "gets signals and a proceed that came before :ready" do
      session = spawn_late(argv: ["/bin/sleep", "60"])
      signal = early(session, fn -> P.signal(session, 15) end)
      proceed = early(session, fn -> P.proceed(session) end)
      assert P.info(session).stage == :starting
      assert Task.await_many([signal, proceed]) == [:ok, :ok]
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :running}
      assert next_event() == {:linx_process, :signaled, 15}
    end

    test "gets an abort that came before :ready, which beats all else" do
      file = Path.join(tmp_dir(), "it-ran")
      session = spawn_late(argv: ["touch", file], auto_proceed: true)
      signal = early(session, fn -> P.signal(session, 9) end)
      proceed = early(session, fn -> P.proceed(session) end)
      abort = early(session, fn -> P.abort(session) end)
      assert P.info(session).stage == :starting
      assert Task.await_many([signal, abort]) == [:ok, :ok]
      assert {:linx_process, :ready, _} = next_event()
      assert next_event() == {:linx_process, :aborted}
      assert Task.await(proceed) in [:ok, {:error, :no_process}]
      refute File.exists?(file)
    end

    # A call that the agent is to answer, made before it can.
    defp early(session, fun) do
      calls = map_size(:sys.get_state(session).calls.under_way)
      task = Task.async(fun)
      eventually(fn -> map_size(:sys.get_state(session).calls.under_way) == calls + 1 end)
      task
    end

    test "is stopped before it has begun" do
      session = spawn_late(argv: ["/bin/sleep", "60"])
      assert P.stop(session) == :ok
      assert {:linx_process, _how} = next_event_but_ready()
    end

    defp next_event_but_ready do
      with {:linx_process, :ready, _} <- next_event(), do: next_event()
    end
  end

  test "host_pid/1 is known from :spawned on" do
    session = spawn_with(say({:status, :spawned, 41_234}) <> "exec sleep 60")
    eventually(fn -> P.host_pid(session) == {:ok, 41_234} end)
    assert %Info{stage: :spawned, child_pid: nil} = P.info(session)
    refute_received _anything
    Process.unlink(session)
    Process.exit(session, :kill)
  end

  test "one that talks nonsense ends the session" do
    for nonsense <- [
          say(:nonsense),
          say({:status, :ready, :soon}),
          "printf '\\0\\0\\0\\1x' >&4; "
        ] do
      session = spawn_with(nonsense <> "exec sleep 60")
      assert {:error, %Error{stage: :agent, errno: :eproto}} = P.wait(session, 5_000)
      assert next_event() == {:linx_process, :error, 71, :agent}
      assert P.stop(session) == :ok
    end
  end

  test "an error may have a death behind it" do
    session = spawn_with(say({:error, 5, :checkpoint, {:signaled, 9}}))

    assert P.wait(session) ==
             {:error, %Error{stage: :checkpoint, errno: :eio, code: 5, signal: 9}}
  end

  test "only the first end counts" do
    session = spawn_with(say({:status, :exited, 0}) <> say({:error, 5, :execve}) <> "exit 1")

    assert P.wait(session) == {:ok, {:exited, 0}}
    P.stop(session)
    assert next_event() == {:linx_process, :exited, 0}
    refute_received _anything
  end

  test "one that hangs does not hold up a stop for longer than the grace and two seconds" do
    # More than a pipe holds is on its way to it: closing the port does not wait for that either.
    large = String.duplicate("x", 1_000_000)

    for stop <- [&P.stop(&1, grace: 0), &GenServer.stop/1] do
      session = spawn_with("exec sleep 60", argv: ["/bin/true", large], grace: 0)
      {microseconds, :ok} = :timer.tc(fn -> stop.(session) end)
      assert microseconds in 1_900_000..4_000_000
      refute Process.alive?(session)
    end
  end
end
