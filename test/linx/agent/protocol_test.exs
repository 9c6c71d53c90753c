defmodule Linx.Agent.ProtocolTest do
  # The wire protocol of the C agent, and what goes beyond it, without Linx.Process in between. What
  # single frames mean is in vectors_test.exs.

  use ExUnit.Case, async: true

  import Bitwise
  import Linx.Test.Helpers
  import Linx.Test.RawAgent

  alias Linx.Test.{Rogue, Tree}

  @true_request {:spawn, %{argv: ["/bin/true"]}}
  @sleep {:spawn, %{argv: ["/bin/sleep", "60"]}}
  @started [{:status, :spawned, :pid}, {:status, :ready, :pid}]

  @einval 22
  @enoent 2
  @eio 5
  @eperm 1
  @e2big 7
  @enotty 25
  @ebusy 16

  # struct sock_filter: code, jt, jf, k
  defp bpf(instructions) do
    for {code, jt, jf, k} <- instructions, into: <<>> do
      <<code::16-native, jt, jf, k::32-native>>
    end
  end

  @ret 0x06
  @allow 0x7FFF0000
  @kill 0x80000000

  # Allows everything but these system calls, which kill.
  defp denying(numbers, action \\ @kill) do
    load = {0x20, 0, 0, 0}
    jumps = for number <- numbers, row <- [{0x15, 0, 1, number}, {@ret, 0, 0, action}], do: row
    bpf([load] ++ jumps ++ [{@ret, 0, 0, @allow}])
  end

  describe "requests" do
    test "exit codes and signals end a session" do
      exit_7 = {:spawn, %{argv: ["/bin/sh", "-c", "exit 7"]}}
      kill_9 = {:spawn, %{argv: ["/bin/sh", "-c", "kill -9 $$"]}}

      assert transcript([exit_7, :proceed]) ==
               {@started ++ [{:status, :running}, {:status, :exited, 7}], 0}

      assert transcript([kill_9, :proceed]) ==
               {@started ++ [{:status, :running}, {:status, :signaled, 9}], 0}
    end

    test "env replaces the environment, and without it the agent's is inherited" do
      env = {:spawn, %{argv: ["/usr/bin/env"], env: ["A=1", "B=x y"], stdio: :pty}}
      assert pty_output([env, :proceed]) == "A=1\r\nB=x y\r\n"
      no_env = {:spawn, %{argv: ["/usr/bin/env"], stdio: :pty}}
      assert pty_output([no_env, :proceed]) =~ "PATH=#{System.get_env("PATH")}\r\n"
    end

    test "cwd" do
      pwd = &{:spawn, %{argv: ["/bin/pwd"], cwd: &1, stdio: :pty}}
      assert pty_output([pwd.("/usr"), :proceed]) == "/usr\r\n"

      assert transcript([pwd.("/does/not/exist"), :proceed]) ==
               {@started ++ [{:error, @enoent, :chdir}], 0}
    end

    test "no_new_privs" do
      nnp = fn value ->
        argv = ["/bin/grep", "NoNewPrivs", "/proc/self/status"]
        pty_output([{:spawn, %{argv: argv, no_new_privs: value, stdio: :pty}}, :proceed])
      end

      assert nnp.(true) == "NoNewPrivs:\t1\r\n"
      assert nnp.(false) == "NoNewPrivs:\t0\r\n"
    end

    test "stdio by descriptor" do
      script = "readlink /proc/self/fd/0; readlink /proc/self/fd/1 >/dev/null; exit 3"

      request =
        {:spawn, %{argv: ["/bin/sh", "-c", script], stdio: [stdout: :devnull, stderr: :inherit]}}

      assert {_events, 0} = result = transcript([request, :proceed])
      assert result == {@started ++ [{:status, :running}, {:status, :exited, 3}], 0}
    end

    test "a socket that nobody listens to" do
      stdio = [stdin: {:connect_unix, "/does/not/exist"}]

      assert transcript([{:spawn, %{argv: ["/bin/true"], stdio: stdio}}, :proceed]) ==
               {@started ++ [{:error, @enoent, :stdio}], 0}
    end

    test "keys that are not known are skipped, whatever they hold" do
      odd = %{
        float: 1.5,
        big: 1 <<< 100,
        huge: 1 <<< 4000,
        bits: <<5::3>>,
        pid: self(),
        ref: make_ref(),
        fun: fn -> :ok end,
        export: &Enum.map/2,
        port: hd(Port.list()),
        atom: :ünïcode,
        improper: [1 | 2],
        nested: %{[1, 2] => {%{}, []}}
      }

      request = {:spawn, Map.put(odd, :argv, ["/bin/true"])}

      assert transcript([request, :proceed]) ==
               {@started ++ [{:status, :running}, {:status, :exited, 0}], 0}
    end

    test "arguments of two megabytes, in one frame" do
      # A single argument may have 128 KiB (MAX_ARG_STRLEN).
      big = String.duplicate("x", 100_000)
      argv = ["/bin/true" | List.duplicate(big, 15)]

      assert transcript([{:spawn, %{argv: argv}}, :proceed]) ==
               {@started ++ [{:status, :running}, {:status, :exited, 0}], 0}
    end

    test "arguments too large for the kernel are an error of execve" do
      argv = ["/bin/true", String.duplicate("x", 200_000)]

      assert transcript([{:spawn, %{argv: argv}}, :proceed]) ==
               {@started ++ [{:error, @e2big, :execve}], 0}
    end

    test "an agent that has none yet ends of SIGTERM" do
      agent = start()
      {:os_pid, pid} = Port.info(agent, :os_pid)

      eventually(fn -> comm(pid) == "linx_process" and stat(pid) == "S" end)
      System.cmd("kill", ["-TERM", to_string(pid)])
      assert rest(agent) == {[], 143}
    end

    test "a request over the limit is refused as such" do
      agent = start()
      # Only announced: the refusal does not wait for the bytes.
      argv = ["/bin/true" | List.duplicate(String.duplicate("x", 100_000), 90)]
      send_frame(agent, {:spawn, %{argv: argv}})
      assert rest(agent) == {[{:error, 90, :request_too_big}], 1}
    end
  end

  describe "malformed requests" do
    test "every truncation of a good one" do
      request =
        :erlang.term_to_binary({:spawn, %{argv: ["/bin/true"], namespaces: [], stdio: :devnull}})

      results =
        0..(byte_size(request) - 1)
        |> Task.async_stream(fn length -> session([binary_part(request, 0, length)]) end)
        |> Enum.uniq()

      assert results == [ok: {[{:error, @einval, :malformed_request}], 2}]
    end
  end

  describe "at the checkpoint" do
    test "proceed and abort" do
      assert transcript([@sleep, :abort]) == {@started ++ [{:status, :aborted, :pid}], 0}
    end

    @tag :root
    test "abort reports the pid of the child's own namespace" do
      agent = start([{:spawn, %{argv: ["/bin/true"], namespaces: [:pid]}}, :abort])

      assert {[{:status, :spawned, _}, {:status, :ready, 1}, {:status, :aborted, 1}], 0} =
               rest(agent)
    end

    test "the window size is the terminal's when the program starts" do
      request = {:spawn, %{argv: ["/bin/stty", "size"], stdio: :pty}}
      assert pty_output([request, {:pty_winsize, {24, 80, 0, 0}}, :proceed]) == "24 80\r\n"
      # What no terminal can have is ignored.
      sizes = [{:pty_winsize, {7, 8, 0, 0}}, {:pty_winsize, {65_536, 80, 0, 0}}]
      assert pty_output([request | sizes] ++ [:proceed]) == "7 8\r\n"
    end

    test "what is no command ends the session, and says so" do
      agent = start([@sleep])
      skip_to(agent, &match?({:status, :ready, _}, &1))
      send_frame(agent, :dance)
      assert rest(agent) == {[{:error, @einval, :malformed_request}], 2}
    end

    @tag :root
    test "capability commands" do
      request = {:spawn, %{argv: ["/bin/grep", "Cap", "/proc/self/status"], stdio: :pty}}

      # CAP_CHOWN leaves the bounding set; the inheritable and ambient sets get CAP_NET_BIND_SERVICE.
      [_, bounding] = Regex.run(~r/^CapBnd:\s*(\w+)$/m, File.read!("/proc/self/status"))
      all = String.to_integer(bounding, 16)
      bind = 1 <<< 10

      output =
        pty_output([
          request,
          {:cap_drop_bounding, 1},
          {:cap_set_thread, all, all, bind},
          {:cap_set_ambient, bind},
          :proceed
        ])

      assert output =~ "CapInh:\t0000000000000400"
      assert output =~ "CapAmb:\t0000000000000400"

      without_chown =
        (all - 1) |> Integer.to_string(16) |> String.downcase() |> String.pad_leading(16, "0")

      assert output =~ "CapBnd:\t" <> without_chown
    end

    test "a capability that does not exist" do
      assert transcript([@sleep, {:cap_set_ambient, 1 <<< 63}, :proceed]) ==
               {@started ++ [{:error, @einval, :cap_set_ambient}], 1}
    end

    test "more capabilities than there are" do
      # Without privileges any growth, with them a permitted set beyond what is held.
      all = (1 <<< 64) - 1
      request = {:spawn, %{argv: ["/bin/true"]}}
      none = {:cap_set_thread, 0, 0, 0}

      assert transcript([request, none, {:cap_set_thread, all, all, 0}, :proceed]) ==
               {@started ++ [{:error, @eperm, :cap_set_thread}], 1}

      assert transcript([request, none, {:cap_drop_bounding, 1}, :proceed]) ==
               {@started ++ [{:error, @eperm, :cap_drop_bounding}], 1}
    end

    test "a filter sets no_new_privs and is in force" do
      argv = ["/bin/grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status"]
      request = {:spawn, %{argv: argv, stdio: :pty}}

      assert pty_output([request, {:seccomp_install, bpf([{@ret, 0, 0, @allow}])}, :proceed]) ==
               "NoNewPrivs:\t1\r\nSeccomp:\t2\r\n"
    end

    for {name, program, errno} <- [
          {"an empty filter", "", @einval},
          {"a filter that is no whole number of instructions", "123456789", @einval},
          {"a filter that does not return", <<0x20::16-native, 0, 0, 0::32>>, @einval},
          {"a filter of 4,097 instructions",
           String.duplicate(<<0x06::16-native, 0, 0, 0x7FFF0000::32-native>>, 4097), @einval},
          {"a filter of 65,536 instructions",
           String.duplicate(<<0x06::16-native, 0, 0, 0x7FFF0000::32-native>>, 65_536), @e2big}
        ] do
      test name do
        assert transcript([@true_request, {:seccomp_install, unquote(program)}, :proceed]) ==
                 {@started ++ [{:error, unquote(errno), :seccomp_install}], 1}
      end
    end

    test "a filter of 4,096 instructions is installed" do
      program = bpf(List.duplicate({@ret, 0, 0, @allow}, 4096))

      assert transcript([@true_request, {:seccomp_install, program}, :proceed]) ==
               {@started ++ [{:status, :running}, {:status, :exited, 0}], 0}
    end

    test "between the filter and exec nothing needs a system call but execve" do
      # dup2, dup3, fcntl, ioctl, socket, connect, sendto, recvfrom, chdir, rt_sigprocmask, prctl
      numbers =
        case :erlang.system_info(:system_architecture) |> List.to_string() do
          "x86_64" <> _ -> [33, 292, 72, 16, 41, 42, 44, 45, 80, 14, 157]
          "aarch64" <> _ -> [24, 25, 29, 198, 203, 206, 207, 49, 135, 167]
        end

      request = {:spawn, %{argv: ["/bin/true"], stdio: :devnull, cwd: "/", orphan: :kill}}

      assert transcript([request, {:seccomp_install, denying(numbers)}, :proceed]) ==
               {@started ++ [{:status, :running}, {:status, :exited, 0}], 0}
    end

    test "a filter that forbids execve is an error of execve" do
      execve =
        if to_string(:erlang.system_info(:system_architecture)) =~ "x86_64", do: 59, else: 221

      errno = fn errno -> {:seccomp_install, denying([execve], 0x00050000 + errno)} end

      assert transcript([@true_request, errno.(@eperm), :proceed]) ==
               {@started ++ [{:error, @eperm, :execve}], 0}

      # A filter can make a call "succeed" without having been made.
      assert transcript([@true_request, errno.(0), :proceed]) ==
               {@started ++ [{:error, @eperm, :execve}], 0}

      causes = {:spawn, %{argv: ["/bin/true"], causes: true}}

      assert transcript([causes, {:seccomp_install, denying([execve])}, :proceed]) ==
               {@started ++ [{:error, @eio, :execve, {:signaled, 31}}], 0}
    end

    test "a filter that forbids everything" do
      causes = {:spawn, %{argv: ["/bin/true"], causes: true}}

      assert transcript([causes, {:seccomp_install, bpf([{@ret, 0, 0, @kill}])}, :proceed]) ==
               {@started ++ [{:error, @eio, :execve, {:signaled, 31}}], 0}
    end
  end

  describe "running" do
    test "a signal goes to the workload, one that is none goes nowhere" do
      agent = start([@sleep, :proceed])
      skip_to(agent, &(&1 == {:status, :running}))
      Enum.each([{:signal, 0}, {:signal, 65}, {:signal, -1}], &send_frame(agent, &1))
      send_frame(agent, {:signal, 15})
      assert rest(agent) == {[{:status, :signaled, 15}], 0}
    end

    test "what is no command is ignored" do
      agent = start([@sleep, :proceed])
      skip_to(agent, &(&1 == {:status, :running}))

      Enum.each(
        [:dance, {:pty_in, "x"}, {:pty_in, :x}, :proceed, :abort, {:seccomp_install, ""}],
        &send_frame(agent, &1)
      )

      send_frame(agent, {:signal, 9})
      assert rest(agent) == {[{:status, :signaled, 9}], 0}
    end

    test "what is no term ends the session, and the workload" do
      agent = start([@sleep, :proceed])
      {:status, :spawned, pid} = next(agent)
      skip_to(agent, &(&1 == {:status, :running}))
      send_frame(agent, <<131, 104>>)
      assert rest(agent) == {[{:error, @einval, :malformed_request}], 2}
      refute alive?(pid)
    end

    test "a command over the limit ends the session, and the workload" do
      agent = start([@sleep, :proceed])
      {:status, :spawned, pid} = next(agent)
      skip_to(agent, &(&1 == {:status, :running}))
      send_frame(agent, {:pty_in, String.duplicate("x", 9_000_000)})
      assert rest(agent) == {[{:error, 90, :command_too_big}], 1}
      refute alive?(pid)
    end

    test "an agent that gets SIGTERM leaves its workload, and takes a parked child along" do
      for {frames, lives?} <- [{[@sleep, :proceed], true}, {[@sleep], false}] do
        agent = start(frames)
        {:status, :spawned, pid} = next(agent)
        last = if lives?, do: :running, else: :ready
        skip_to(agent, &(elem(&1, 1) == last))
        System.cmd("kill", ["-TERM", to_string(agent_of(pid))])
        assert rest(agent) == {[], 143}
        if lives?, do: assert({_, 0} = System.cmd("kill", ["-9", to_string(pid)]))
        eventually(fn -> not alive?(pid) end)
      end
    end

    test "a guardian that gets SIGTERM goes on" do
      agent = start([{:spawn, %{argv: ["/bin/sleep", "60"], orphan: :kill}}])
      {:os_pid, guardian} = Port.info(agent, :os_pid)
      skip_to(agent, &match?({:status, :ready, _}, &1))
      System.cmd("kill", ["-TERM", to_string(guardian)])
      send_frame(agent, :abort)
      assert {[{:status, :aborted, _}], 0} = rest(agent)
    end

    test "without the BEAM a running workload lives on, and a parked child does not" do
      running = start([@sleep, :proceed])
      {:status, :spawned, pid} = next(running)
      skip_to(running, &(&1 == {:status, :running}))
      agent = agent_of(pid)
      Port.close(running)
      # The agent has noticed when it no longer listens to the channel.
      eventually(fn -> match?({:ok, _}, File.read_link("/proc/#{agent}/fd/3")) end)
      assert alive?(pid)
      System.cmd("kill", ["-9", to_string(pid)])
      eventually(fn -> not alive?(agent) end)

      parked = start([@sleep])
      {:status, :spawned, pid} = next(parked)
      Port.close(parked)
      eventually(fn -> not alive?(pid) end)
    end
  end

  describe "calls" do
    test "are answered, each with its reference" do
      agent = start([@sleep])
      skip_to(agent, &match?({:status, :ready, _}, &1))
      call = fn ref, command -> send_frame(agent, {:call, ref, command}) end
      call.(1, {:pty_in, "x"})
      assert next(agent) == {:reply, 1, {:error, @enotty, :pty_in}}
      call.(2, {:pty_winsize, {1, 2, 3, 4}})
      assert next(agent) == {:reply, 2, {:error, @enotty, :pty_winsize}}
      call.(3, :pty_master)
      assert next(agent) == {:reply, 3, {:error, @enotty, :pty_master}}
      call.(4, {:signal, 65})
      assert next(agent) == {:reply, 4, {:error, @einval, :signal}}
      call.(5, {:signal, 28})
      assert next(agent) == {:reply, 5, :ok}
      call.(1 <<< 63, :proceed)
      assert next(agent) == {:reply, 1 <<< 63, :ok}
      call.(6, :abort)
      # The answer and the news of exec may come in either order.
      assert Enum.sort([next(agent), next(agent)]) ==
               [{:status, :running}, {:reply, 6, {:error, @ebusy, :running}}]

      call.(7, {:signal, 9})
      assert rest(agent) == {[{:reply, 7, :ok}, {:status, :signaled, 9}], 0}
    end

    test "a step is answered when it has been done" do
      agent = start([@sleep])
      skip_to(agent, &match?({:status, :ready, _}, &1))
      send_frame(agent, {:call, 1, {:cap_set_ambient, 0}})
      assert next(agent) == {:reply, 1, :ok}
      send_frame(agent, {:call, 2, {:cap_set_ambient, 1 <<< 63}})

      assert rest(agent) ==
               {[
                  {:reply, 2, {:error, @einval, :cap_set_ambient}},
                  {:error, @einval, :cap_set_ambient}
                ], 1}
    end

    test "one that is no command is refused while the workload runs" do
      agent = start([@sleep, :proceed])
      skip_to(agent, &(&1 == {:status, :running}))
      send_frame(agent, {:call, 1, :dance})
      assert next(agent) == {:reply, 1, {:error, @einval, :malformed_request}}
      send_frame(agent, {:signal, 9})
      rest(agent)
    end
  end

  # Runs an agent as the workload of another one, where it speaks through a socket: `steps` are done
  # to it at the checkpoint, `opts` are keys of the request, and `prepare` is shell.
  defp agent_behind_socket(steps, opts \\ %{}, prepare \\ ":", channel \\ "3<&0 4<&0") do
    path = socket_path()
    listen = [ifaddr: {:local, path}, mode: :binary, active: false, packet: 4]
    {:ok, listener} = :gen_tcp.listen(0, listen)
    on_exit(fn -> File.rm(path) end)
    argv = ["/bin/sh", "-c", "#{prepare}; exec \"$0\" #{channel}", Linx.Agent.Binary.path()]
    fixed = %{argv: argv, stdio: [stdin: {:connect_unix, path}], orphan: :kill}
    outer = start([{:spawn, Map.merge(opts, fixed)}] ++ steps ++ [:proceed])
    {:ok, socket} = :gen_tcp.accept(listener, 10_000)
    {outer, socket}
  end

  defp tell(socket, terms) do
    for term <- terms, do: :ok = :gen_tcp.send(socket, :erlang.term_to_binary(term))
  end

  # All that comes; after each frame `pause` is called.
  defp read_terms(socket, pause \\ fn -> :ok end) do
    case :gen_tcp.recv(socket, 0, 10_000) do
      {:ok, frame} ->
        pause.()
        [:erlang.binary_to_term(frame) | read_terms(socket, pause)]

      {:error, :closed} ->
        []
    end
  end

  describe "a BEAM that is slow" do
    test "gets all output, and the end behind it" do
      size = 3_000_000
      argv = ["/bin/sh", "-c", "stty raw; head -c #{size} /dev/zero"]
      request = {:spawn, %{argv: argv, stdio: :pty}}

      for pause <- [0, 1, 2, 5] do
        {outer, socket} = agent_behind_socket([])
        tell(socket, [request, :proceed])
        # It lets the agent's buffers fill, takes everything at once, and so on.
        count = :counters.new(1, [])

        terms =
          read_terms(socket, fn ->
            :counters.add(count, 1, 1)
            if rem(:counters.get(count, 1), 40) == 0, do: Process.sleep(pause)
          end)

        assert for({:pty_out, bytes} <- terms, do: byte_size(bytes)) |> Enum.sum() == size
        assert List.last(terms) == {:status, :exited, 0}
        rest(outer)
      end
    end

    test "may stop to speak and go on listening" do
      {outer, socket} = agent_behind_socket([])
      tell(socket, [{:spawn, %{argv: ["/bin/sh", "-c", "sleep 0.1; exit 3"]}}, :proceed])
      :ok = :gen_tcp.shutdown(socket, :write)

      assert [{:status, :spawned, _}, {:status, :ready, _}, {:status, :running}, last] =
               read_terms(socket)

      assert last == {:status, :exited, 3}
      rest(outer)
    end
  end

  describe "a BEAM that reads no more but still speaks" do
    for fate <- [:kill, :leave] do
      @tag fate: fate
      test "costs an agent no time, orphan: #{inspect(fate)}", %{fate: fate} do
        fifo = Path.join(tmp_dir(), "fifo")
        {_, 0} = System.cmd("mkfifo", [fifo])
        args = ["-c", "exec cat < #{fifo}"]
        reader = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: args])
        {:os_pid, reader_pid} = Port.info(reader, :os_pid)
        {outer, socket} = agent_behind_socket([], %{}, ":", "3<&0 4> #{fifo}")
        {:status, :spawned, inner} = next(outer)
        {:spawn, sleep} = @sleep
        tell(socket, [{:spawn, Map.put(sleep, :orphan, fate)}, :proceed])
        await_bytes(reader, "running")
        # The guardian, if there is one, and the agent.
        agents = [inner | children(inner)]
        Tree.kill(reader_pid, :KILL)
        eventually(fn -> not alive?(reader_pid) end)
        before = ticks(agents)
        # Who spins would have got about as much.
        spin(50)
        assert ticks(agents) - before <= 5
        Port.close(outer)
      end
    end

    defp await_bytes(port, wanted, seen \\ "") do
      if not (seen =~ wanted) do
        assert_receive {^port, {:data, bytes}}, 10_000
        await_bytes(port, wanted, seen <> bytes)
      end
    end

    # Keeps the processor busy until that has been given so many ticks, however long this takes. If the
    # BEAM dies meanwhile, it ends with its fifth second.
    defp spin(ticks) do
      args = ["-c", "ulimit -t 5; while :; do :; done"]
      spinner = Port.open({:spawn_executable, "/bin/sh"}, args: args)
      {:os_pid, pid} = Port.info(spinner, :os_pid)
      patience = System.monotonic_time(:millisecond) + 50_000

      try do
        eventually(fn -> ticks([pid]) >= ticks end, patience)
      after
        Tree.kill(pid, :KILL)
      end
    end

    # The processor time that processes have had, as /proc/<pid>/stat counts it.
    defp ticks(pids) do
      Enum.sum(
        for pid <- pids do
          [user, system] = for field <- [11, 12], do: String.to_integer(stat_field(pid, field))
          user + system
        end
      )
    end
  end

  describe "a child that somebody has stopped before it was ready" do
    # Another user's processes are nobody's to trace; with Yama, nor are those of one's own.
    @describetag :root

    for command <- [:abort, {:stop, 100}] do
      @tag command: command
      test "is taken away by #{inspect(command)}", %{command: command} do
        agent = start()
        {:os_pid, os_pid} = Port.info(agent, :os_pid)
        hold = Rogue.hold(os_pid)
        send_frame(agent, @sleep)
        Rogue.await_held(hold)
        [subreaper] = children(os_pid)
        [child] = children(subreaper)
        eventually(fn -> stat(child) == "T" end)
        send_frame(agent, command)
        assert rest(agent) == {[{:status, :spawned, child}, {:status, :aborted, child}], 0}
        for pid <- [child, subreaper], do: assert(stat(pid) == nil)
      end
    end
  end

  describe "without a /proc of its own" do
    @describetag :root

    @killing {:spawn, %{argv: ["/bin/true"], orphan: :kill, descendants: :kill}}

    test "an agent does not begin what it could not end" do
      prepare = "mount --make-rprivate / && umount -l /proc"
      {outer, socket} = agent_behind_socket([], %{namespaces: [:mount]}, prepare)
      tell(socket, [@killing])
      assert read_terms(socket) == [{:error, @enoent, :proc}]
      rest(outer)
    end

    test "nor with that of another PID namespace" do
      {outer, socket} = agent_behind_socket([], %{namespaces: [:pid]})
      tell(socket, [@killing])
      assert read_terms(socket) == [{:error, @enoent, :proc}]
      rest(outer)
    end
  end

  describe "without clone3 and close_range" do
    # As in the seccomp profiles that container engines had for years.
    defp over_socket(request, commands \\ [:proceed]) do
      [clone3, close_range, enosys] = [435, 436, 0x00050000 + 38]
      filter = {:seccomp_install, denying([clone3, close_range], enosys)}
      {outer, socket} = agent_behind_socket([filter])
      tell(socket, [request | commands])
      terms = read_terms(socket)
      rest(outer)
      terms
    end

    test "clone serves" do
      assert [
               {:status, :spawned, pid},
               {:status, :ready, pid},
               {:status, :running},
               {:status, :exited, 0}
             ] = over_socket(@true_request)

      killing = {:spawn, %{argv: ["/bin/false"], orphan: :kill, descendants: :kill}}
      assert [_, _, {:status, :running}, {:status, :exited, 1}] = over_socket(killing)
    end

    @tag :root
    test "clone makes namespaces" do
      request = {:spawn, %{argv: ["/bin/true"], namespaces: [:pid, :net, :uts]}}

      assert [_, {:status, :ready, 1}, {:status, :running}, {:status, :exited, 0}] =
               over_socket(request)
    end

    test "a time namespace cannot be had, and is not silently left out" do
      request = {:spawn, %{argv: ["/bin/true"], namespaces: [:time]}}
      # No command: the agent may have ended before it could be sent.
      assert over_socket(request, []) == [{:error, 38, :clone}]
    end
  end

  defp pty_output(frames) do
    {terms, 0} = session(frames)
    for {:pty_out, bytes} <- terms, into: "", do: bytes
  end
end
