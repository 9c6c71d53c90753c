defmodule Linx.Process.ChainTest do
  # Programs that are run one after another, without a shell.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  defp run(chain, opts \\ []) do
    [argv | chain] = chain
    defaults = [argv: argv, chain: chain, stdio: [stdin: :pipe, stdout: :pipe, stderr: :stdout]]
    {:ok, session} = P.spawn([auto_proceed: true, owner: self()] ++ Keyword.merge(defaults, opts))
    session
  end

  defp outcome(session), do: {read_output(session), P.wait(session)}

  test "all are run when each succeeds, and the last one's outcome is the session's" do
    assert outcome(run([["echo", "1"], ["echo", "2"], ["echo", "3"]])) ==
             {"1\n2\n3\n", {:ok, {:exited, 0}}}

    assert outcome(run([["echo", "1"], ["sh", "-c", "exit 3"]])) == {"1\n", {:ok, {:exited, 3}}}

    assert outcome(run([["echo", "1"], ["sh", "-c", "kill -9 $$"]])) ==
             {"1\n", {:ok, {:signaled, 9}}}

    assert outcome(run([["echo", "1"]])) == {"1\n", {:ok, {:exited, 0}}}
  end

  test "one that fails is the last" do
    assert outcome(run([["sh", "-c", "exit 4"], ["echo", "2"]])) == {"", {:ok, {:exited, 4}}}
    assert outcome(run([["sh", "-c", "kill $$"], ["echo", "2"]])) == {"", {:ok, {:signaled, 15}}}
    assert outcome(run([["true"], ["false"], ["echo", "3"]])) == {"", {:ok, {:exited, 1}}}
  end

  test "one that cannot be run is an error" do
    dir = tmp_dir()
    File.write!(Path.join(dir, "text"), "")
    session = run([["echo", "1"], [Path.join(dir, "text")], ["echo", "3"]])
    assert {"1\n", {:error, %Error{stage: :execve, errno: :eacces}}} = outcome(session)
  end

  test "each takes what the others leave of the input, and gives the arguments as they are" do
    session = run([["sh", "-c", "read a; echo $a"], ["printf", "%s|", "a b", "$x"], ["cat"]])
    assert P.write(session, "1\n") == :ok
    assert {:ok, "1\n" <> more} = P.recv(session, :stdout)
    P.write(session, "2\n")
    P.close_stdin(session)
    assert {rest, {:ok, {:exited, 0}}} = outcome(session)
    assert more <> rest == "a b|$x|2\n"
  end

  test "the owner is told of one session" do
    session = run([["true"], ["sh", "-c", "echo x; exit 2"]])
    assert outcome(session) == {"x\n", {:ok, {:exited, 2}}}
    assert {:linx_process, :ready, _pid} = next_event()
    assert next_event() == {:linx_process, :running}
    assert next_event() == {:linx_process, :exited, 2}
    refute_received _anything
  end

  test "a timeout counts for all of them, and a signal is for the one that runs" do
    session = run([["sleep", "0.1"], ["sleep", "60"], ["echo", "3"]], timeout: 500)
    assert outcome(session) == {"", {:ok, {:signaled, 15}}}
    assert P.info(session).timed_out?

    session = run([["echo", "1"], ["sleep", "60"], ["echo", "3"]])
    assert P.recv(session, :stdout) == {:ok, "1\n"}
    {:ok, host_pid} = P.host_pid(session)
    eventually(fn -> comm(host_pid) == "sleep" or children_sleep?(host_pid) end)
    assert P.signal(session, :sigusr1) == :ok
    assert outcome(session) == {"", {:ok, {:signaled, 10}}}
  end

  defp children_sleep?(pid), do: pid |> children() |> Enum.any?(&(comm(&1) == "sleep"))

  test "stopping one stops all" do
    session = run([["sleep", "60"], ["echo", "2"]])
    await_ready()
    await_running()
    assert P.stop(session) == :ok
    assert next_event() == {:linx_process, :signaled, 15}
  end

  test "what they have used is counted together" do
    spin = ["sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"]
    session = run([spin, spin, ["true"]])
    assert {"", {:ok, {:exited, 0}}} = outcome(session)
    assert %Info{usage: usage, argv: [_sh | _]} = P.info(session)
    assert usage.user_time > 0
  end

  @tag :root
  test "all are in the namespaces, and run as the user" do
    session =
      run([["hostname", "chained"], ["hostname"], ["cat", "/etc/hostname"]], namespaces: [:uts])

    assert {"chained\n" <> _, {:ok, {:exited, 0}}} = outcome(session)

    session = run([["id", "-un"], ["id", "-un"]], user: "nobody")
    assert outcome(session) == {"nobody\nnobody\n", {:ok, {:exited, 0}}}
  end
end
