defmodule Linx.Seccomp.TraceTest do
  use ExUnit.Case, async: true

  import Linx.Test.Helpers, only: [alive?: 1, eventually: 1]

  alias Linx.Seccomp
  alias Linx.Seccomp.Trace

  defp status(filter, argv) do
    with {:ok, result} <- Linx.run(argv, seccomp: filter, stdio: :devnull), do: result.status
  end

  describe "what was traced is what the program needs:" do
    for {name, argv} <- [
          {"a program", ["/bin/ls", "-l", "/"]},
          {"a shell with children",
           ["/bin/sh", "-c", "ls / | sort | head -1; (true; false) || wc </etc/passwd"]},
          {"a program with threads", ["/usr/bin/env", "erl", "-noshell", "-eval", "halt()."]}
        ] do
      test name do
        argv = unquote(argv)
        assert {:ok, %Trace{status: {:exited, 0}, others: []} = trace} = Seccomp.trace(argv)
        # Threads do not take the same way twice.
        {:ok, filter} =
          Seccomp.allow(
            trace.syscalls ++ ~w(restart_syscall sched_yield futex madvise munmap rt_sigreturn)
          )

        assert status(filter, argv) == {:exited, 0}

        # And nothing was let in for nothing.
        {:ok, none} = Seccomp.allow(trace.syscalls -- ["openat"])
        assert status(none, argv) != {:exited, 0}
      end
    end
  end

  test "children, and what they become, are included" do
    {:ok, alone} = Seccomp.trace(["sh", "-c", ":"])
    dir = Path.join(System.tmp_dir!(), "linx_traced_#{System.unique_integer([:positive])}")
    {:ok, trace} = Seccomp.trace(["sh", "-c", "(mkdir #{dir}; rmdir #{dir}) & wait"])
    assert "mkdir" in trace.syscalls or "mkdirat" in trace.syscalls
    refute "mkdir" in alone.syscalls or "mkdirat" in alone.syscalls
    # What Linx does between clone and exec is not the program's.
    assert "execve" in alone.syscalls
    refute "ptrace" in alone.syscalls
    assert trace.syscalls == Enum.sort(trace.syscalls)
  end

  test "input, output and the end are the program's" do
    assert {:ok, trace} = Seccomp.trace(["sh", "-c", "cat; echo bad >&2; exit 3"], input: "in")

    assert {trace.status, trace.result.stdout, trace.result.stderr} ==
             {{:exited, 3}, "in", "bad\n"}

    assert {:ok, %Trace{status: {:signaled, 11}}} = Seccomp.trace(["sh", "-c", "kill -SEGV $$"])
    assert {:ok, %Trace{status: {:signaled, 13}}} = Seccomp.trace(["sh", "-c", "kill -PIPE $$"])
    assert {:ok, %Trace{status: {:signaled, 9}}} = Seccomp.trace(["sh", "-c", "kill -KILL $$"])

    assert {:ok, %Trace{status: {:signaled, 34}}} =
             Seccomp.trace(["bash", "-c", "kill -RTMIN $$"])

    assert {:ok, trace} =
             Seccomp.trace(["sh", "-c", "trap 'echo got' USR1; kill -USR1 $$; exit 0"])

    assert trace.result.stdout == "got\n"
    assert "rt_sigreturn" in trace.syscalls
  end

  test "a program that stops and is continued" do
    # Whether it has stopped cannot be seen from outside, since a traced process is stopped again and again.
    script = "while :; do kill -CONT $$; sleep 0.01; done & kill -STOP $$; echo on; kill $!"

    assert {:ok, trace} = Seccomp.trace(["sh", "-c", script], timeout: 20_000)
    assert {trace.status, trace.result.stdout} == {{:exited, 0}, "on\n"}
  end

  test "one that does not end is ended, with what it has called until then" do
    assert {:ok, trace} =
             Seccomp.trace(["sh", "-c", "echo $$; sleep 600 & exec sleep 600"], timeout: 700)

    assert trace.result.timed_out?
    assert trace.status == {:signaled, 15}
    assert "clock_nanosleep" in trace.syscalls
    pid = trace.result.stdout |> String.trim() |> String.to_integer()
    eventually(fn -> not alive?(pid) end)

    # Whoever does not mind SIGTERM gets SIGKILL, and the tracer with it.
    script = "trap '' TERM; while :; do sleep 600; done"
    assert {:ok, trace} = Seccomp.trace(["sh", "-c", script], timeout: 500, grace: 100)
    assert trace.result.timed_out?
    assert "clone" in trace.syscalls or "vfork" in trace.syscalls
  end

  test "calls without a name" do
    machine = Seccomp.Options.machine()
    assert {:ok, trace} = Seccomp.trace(["perl", "-e", "syscall(1000); syscall(999)"])
    assert trace.others == [{machine, 999}, {machine, 1000}]
  end

  test "a program that cannot be executed is an error" do
    assert {:error, %{stage: :execve, errno: :enoent}} = Seccomp.trace("/no/such/program")
    assert {:error, %{stage: :execve, errno: :enoent}} = Seccomp.trace(["no-such-program"])
    assert {:error, %{stage: :execve, errno: :eacces}} = Seccomp.trace(["/etc/passwd"])
    assert {:error, {:bad_argv, []}} = Seccomp.trace([])
    assert {:error, {:bad_env, _}} = Seccomp.trace(["true"], env: :none)
    assert {:error, {:bad_option, :tail}} = Seccomp.trace(["true"], tail: 1)
  end

  test "nothing stays in the directory for temporary files" do
    {:ok, _trace} = Seccomp.trace(["true"])
    left = fn -> Path.wildcard(Path.join(System.tmp_dir!(), "linx_trace_*/report")) end
    # Other tests trace at the same time.
    eventually(fn -> left.() == [] end)
  end

  @tag :root
  test "another user's program" do
    assert {:ok, trace} = Seccomp.trace(["id", "-un"], user: "nobody")
    assert {trace.status, trace.result.stdout} == {{:exited, 0}, "nobody\n"}
    assert "getuid" in trace.syscalls or "geteuid" in trace.syscalls
  end
end
