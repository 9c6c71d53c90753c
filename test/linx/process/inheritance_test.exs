defmodule Linx.Process.InheritanceTest do
  # What a workload starts with, and what it must not get hold of.

  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error

  # A workload that runs, with its pid.
  defp running(opts) do
    {:ok, session} = P.spawn([argv: ["/bin/sleep", "60"], auto_proceed: true] ++ opts)
    pid = await_ready()
    await_running()
    {session, pid}
  end

  # Not at once: the dynamic loader has a library open at the program's start.
  defp assert_standard_fds_only(pid) do
    eventually(fn -> Enum.sort(File.ls!("/proc/#{pid}/fd")) == ["0", "1", "2"] end)
  end

  describe "descriptors" do
    for stdio <- [:inherit, :devnull, :pty] do
      test "with stdio #{inspect(stdio)} a workload has 0, 1 and 2 and nothing else" do
        {_session, pid} = running(stdio: unquote(stdio))
        assert_standard_fds_only(pid)
      end
    end

    test "with a socket, too" do
      path = socket_path()
      {:ok, _listener} = listen(path)
      {_session, pid} = running(stdio: [stderr: {:connect_unix, path}])
      assert_standard_fds_only(pid)
    end

    @tag :root
    test "one that enters another's namespaces, too" do
      {_target, target} = running(namespaces: [:net, :uts], stdio: :devnull)

      {:ok, _session} =
        P.enter(target, argv: ["/bin/sleep", "60"], auto_proceed: true, stdio: :devnull)

      pid = await_ready()
      await_running()
      assert_standard_fds_only(pid)
    end

    test "nothing it starts can write to the channel" do
      # Whatever it writes to 3 and up, the session ends as the program does.
      script = "for fd in 3 4 5 6 7 8 9; do eval \"echo forged >&$fd\"; done 2>/dev/null; exit 7"
      {:ok, session} = P.spawn(argv: ["/bin/sh", "-c", script], auto_proceed: true)
      assert P.wait(session) == {:ok, {:exited, 7}}
    end
  end

  describe "signals" do
    for mode <- [:spawn, :enter] do
      @tag if mode == :enter, do: :root, else: :plain
      test "#{mode}: all dispositions are the default, and the mask is empty" do
        pid =
          case unquote(mode) do
            :spawn ->
              {_session, pid} = running(stdio: :devnull)
              pid

            :enter ->
              {_session, target} = running(namespaces: [:pid, :net], stdio: :devnull)
              {:ok, _} = P.enter(target, argv: ["/bin/sleep", "60"], auto_proceed: true)
              pid = await_ready()
              await_running()
              pid
          end

        for field <- ["SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd"] do
          assert {field, status_field(pid, field)} == {field, "0000000000000000"}
        end
      end
    end

    test "a broken pipe kills, as it should" do
      # Where SIGPIPE is ignored, yes fails with a message and exit status 1 instead.
      script = "set -o pipefail; yes | head -n 1 >/dev/null"
      {:ok, session} = P.spawn(argv: ["/bin/bash", "-c", script], auto_proceed: true)
      assert P.wait(session) == {:ok, {:exited, 128 + 13}}
    end

    test "kill 0 reaches neither the agent nor another session" do
      {other, _pid} = running(stdio: :devnull)
      {:ok, session} = P.spawn(argv: ["/bin/sh", "-c", "kill -9 0"], auto_proceed: true)
      assert P.wait(session) == {:ok, {:signaled, 9}}
      assert %{stage: :running} = P.info(other)
    end

    test "every workload leads its process group, and with a PTY its session" do
      group = fn pid -> String.to_integer(stat_field(pid, 2)) end
      session = fn pid -> String.to_integer(stat_field(pid, 3)) end
      {_session, plain} = running(stdio: :devnull)
      assert group.(plain) == plain
      refute session.(plain) == plain
      {_session, tty} = running(stdio: :pty)
      assert {group.(tty), session.(tty)} == {tty, tty}
    end
  end

  describe "the time namespace" do
    @tag :root
    test "is made when it is asked for, and the workload is reaped" do
      {session, pid} = running(namespaces: [:time], stdio: :devnull)
      refute namespace(pid, :time) == namespace("self", :time)
      :ok = P.signal(session, :sigterm)
      assert P.wait(session) == {:ok, {:signaled, 15}}
      assert stat(pid) == nil
    end
  end

  describe "enter" do
    @all [:user, :mount, :uts, :ipc, :cgroup, :net, :time, :pid]

    test "a target that does not exist" do
      for {namespaces, stage} <- [
            {nil, :open_ns_user},
            {[:net], :open_ns_net},
            {[], :open_ns_user}
          ] do
        opts = if namespaces, do: [namespaces: namespaces], else: []
        {:ok, session} = P.enter(2_147_483_647, [argv: ["/bin/true"], auto_proceed: true] ++ opts)
        assert {:error, %Error{stage: ^stage, errno: :enoent, code: 2}} = P.wait(session)
        assert_receive {:linx_process, :error, 2, ^stage}
      end
    end

    test "a target that is a zombie" do
      # A shell that has become something else reaps none of its children.
      {:ok, _session} =
        P.spawn(
          argv: ["/bin/sh", "-c", "sleep 60 & echo $!; exec sleep 60"],
          stdio: :pty,
          auto_proceed: true
        )

      pid = await_ready()
      zombie = read_pty_until("\n") |> String.trim() |> String.to_integer()
      eventually(fn -> comm(pid) == "sleep" end)
      {"", 0} = System.cmd("kill", ["-9", to_string(zombie)])
      eventually(fn -> stat(zombie) == "Z" end)

      for opts <- [[], [namespaces: [:net]], [namespaces: [:user]]] do
        {:ok, session} = P.enter(zombie, [argv: ["/bin/true"], auto_proceed: true] ++ opts)
        assert {:error, %Error{stage: stage, errno: :enoent}} = P.wait(session)
        assert to_string(stage) =~ "open_ns_"
      end
    end

    test "a target that is just ending" do
      gone = {:error, %Error{stage: :open_ns_user, errno: :enoent, code: 2}}

      for _ <- 1..50 do
        {:ok, _target} = P.spawn(argv: ["/bin/true"], auto_proceed: true, stdio: :devnull)
        pid = await_ready()
        {:ok, session} = P.enter(pid, argv: ["/bin/true"], auto_proceed: true, owner: nil)
        assert P.wait(session) in [gone, {:ok, {:exited, 0}}]
      end
    end

    @tag :root
    test "joins what the target has, and leaves the agent's own namespaces alone" do
      {_session, target} = running(namespaces: @all, stdio: :devnull)
      {:ok, session} = P.enter(target, argv: ["/bin/sleep", "60"], auto_proceed: true)
      pid = await_ready()
      await_running()

      for file <- ~w(user mnt uts ipc cgroup net time pid) do
        assert {file, namespace(pid, file)} == {file, namespace(target, file)}
        # Its parent, in there with it, is a subreaper.
        assert {file, namespace(agent_of(pid), file)} == {file, namespace("self", file)}
      end

      assert %{child_pid: child_pid} = P.info(session)
      assert child_pid not in [1, pid]
    end
  end

  describe "input for the terminal" do
    # A raw terminal that does not echo, whose reader starts when it is told to.
    defp reader(command) do
      {:ok, session} =
        P.spawn(
          argv: ["/bin/sh", "-c", "stty raw -echo; echo ready; " <> command],
          stdio: :pty,
          auto_proceed: true
        )

      read_pty_until("ready")
      session
    end

    test "beyond the terminal's buffer arrives whole and in order" do
      size = 1_000_000
      bytes = :crypto.strong_rand_bytes(size)
      expected = :crypto.hash(:md5, bytes) |> Base.encode16(case: :lower)
      session = reader("head -c #{size} | md5sum")
      assert P.pty_write(session, bytes) == :ok
      read_pty_until(expected)
      assert P.wait(session) == {:ok, {:exited, 0}}
    end

    test "that nobody reads makes the writer wait, and the agent does not grow" do
      session = reader("exec sleep 60")
      bytes = :binary.copy("x", 1_000_000)
      assert P.pty_write(session, bytes, 300) == {:error, :timeout}
      {:ok, pid} = P.host_pid(session)
      [kilobytes, "kB"] = agent_of(pid) |> status_field("VmRSS") |> String.split()
      assert String.to_integer(kilobytes) < 8_000
      # The session is as good as before.
      assert P.signal(session, :sigkill) == :ok
      assert P.wait(session) == {:ok, {:signaled, 9}}
    end

    test "at the checkpoint waits for the program" do
      {:ok, session} = P.spawn(argv: ["/bin/head", "-n", "1"], stdio: :pty)
      await_ready()
      assert P.pty_write(session, "early\n") == :ok
      assert P.proceed(session) == :ok
      # Once from the echo, once from the program.
      assert read_pty_until("early\r\nearly\r\n")
      assert P.wait(session) == {:ok, {:exited, 0}}
    end
  end

  describe "a set-user-ID program" do
    @tag :root
    test "gets nothing with no_new_privs" do
      # A copy of id that belongs to nobody and is set-user-ID.
      copy = Path.join(tmp_dir(), "id")
      File.cp!("/usr/bin/id", copy)
      {_, 0} = System.cmd("chown", ["nobody", copy])
      File.chmod!(copy, 0o4755)
      {nobody, 0} = System.cmd("id", ["-u", "nobody"])
      assert {^nobody, {:ok, {:exited, 0}}} = capture([copy, "-u"])
      assert {"0\n", {:ok, {:exited, 0}}} = capture([copy, "-u"], no_new_privs: true)
    end
  end
end
