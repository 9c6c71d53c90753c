defmodule Linx.Process.RacesTest do
  # What two processes do to one session at the same moment. Each race is run many times, by turns
  # won by one and by the other, and what is promised must hold however it goes. See Linx.Test.Race.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers
  import Linx.Test.Race
  import Linx.Test.Tree, only: [kill: 2]

  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  @moduletag :capture_log
  @moduletag timeout: :infinity

  # A round never takes that long, unless something hangs.
  @patience 120_000

  # Nobody is to be given up on a machine that is busy.
  @grace 60_000

  setup do
    path = Path.join(tmp_dir(), "socket")
    {:ok, listener} = listen(path)
    %{dir: Path.dirname(path), path: path, listener: listener}
  end

  setup :watch

  defp assert_nothing_left(context) do
    for socket <- Process.get(:sockets, []), do: :gen_tcp.close(socket)
    assert_as_before(context)
  end

  # What a program with this proof of its running can have come to.
  defp assert_ran(result, proof) do
    assert result == {:ok, {:exited, 0}}
    assert File.exists?(proof)
  end

  defp assert_never_ran(result, proof) do
    assert result == {:ok, :aborted}
    refute File.exists?(proof)
  end

  # A program that exits with 3 when the function that comes with it is called.
  defp exiting(context, opts \\ [], start \\ &P.spawn/1) do
    owner = listener()
    argv = ["/bin/sh", "-c", "read line; exit 3 # #{context.mark}"]
    stdio = [stdin: {:connect_unix, context.path}, stdout: :devnull]
    defaults = [argv: argv, stdio: stdio, auto_proceed: true, owner: owner, grace: @grace]
    {:ok, session} = start.(Keyword.merge(defaults, opts))
    {:ok, socket} = :gen_tcp.accept(context.listener, @patience)
    Process.put(:sockets, [socket | Process.get(:sockets, [])])
    await_heard(owner, :running)
    {session, owner, fn -> :gen_tcp.shutdown(socket, :write) end}
  end

  # A session that lingers is idle after its end, and stops when it is asked to.
  defp stop_idle(session) do
    until(fn -> :sys.get_state(session).agent == nil end)
    state = :sys.get_state(session)
    assert state.calls == Linx.Process.Calls.new()
    assert state.callers == Linx.Process.Callers.new()
    assert state.receivers == Linx.Process.Callers.new()
    assert state.writes == Linx.Process.Writes.new()
    assert Process.info(session, :monitors) == {:monitors, []}
    assert Process.info(session, :message_queue_len) == {:message_queue_len, 0}
    assert P.stop(session) == :ok
    refute Process.alive?(session)
  end

  defp wait(session) do
    result = P.wait(session, @patience)
    assert result != {:error, :timeout}
    result
  end

  describe "abort against proceed" do
    for {moment, window} <- [parked: 200, unborn: 10_000] do
      @tag moment: moment, window: window
      test "when the child is #{moment}", %{dir: dir, moment: moment, window: window} = context do
        proof = Path.join(dir, "proof")

        repeat("abort against proceed, #{moment}", 100, fn ->
          File.rm(proof)
          owner = listener()

          {:ok, session} =
            P.spawn(argv: ["/bin/touch", "proof", context.mark], cwd: dir, owner: owner)

          if moment == :parked, do: await_heard(owner, {:ready, _})

          [abort, proceed] =
            at_once(window, [fn -> P.abort(session) end, fn -> P.proceed(session) end])

          result = wait(session)

          outcome =
            case {abort, proceed} do
              {:ok, {:error, :no_process}} ->
                assert_never_ran(result, proof)
                :left

              {{:error, why}, :ok} when why in [:running, :no_process] ->
                assert_ran(result, proof)
                :right
            end

          stop_idle(session)
          assert assert_story(heard(owner, session)) == event(result)
          outcome
        end)
        |> assert_seen([:left, :right])

        assert_nothing_left(context)
      end
    end

    test "when the child proceeds by itself", %{dir: dir} = context do
      proof = Path.join(dir, "proof")

      repeat("abort against auto_proceed", 100, fn ->
        File.rm(proof)
        owner = listener()

        opts = [
          argv: ["/bin/touch", "proof", context.mark],
          cwd: dir,
          owner: owner,
          auto_proceed: true
        ]

        # The later the abort, the further the program is.
        {:ok, session} = P.spawn(opts)
        [_, abort] = at_once(8_000, [fn -> :program end, fn -> P.abort(session) end])
        result = wait(session)

        outcome =
          case abort do
            :ok ->
              assert_never_ran(result, proof)
              :right

            {:error, why} when why in [:running, :no_process] ->
              assert_ran(result, proof)
              :left
          end

        stop_idle(session)
        assert assert_story(heard(owner, session)) == event(result)
        outcome
      end)
      |> assert_seen([:left, :right])

      assert_nothing_left(context)
    end

    test "of several at once, one side counts", %{dir: dir} = context do
      proof = Path.join(dir, "proof")

      repeat("three aborts against three proceeds", 60, fn ->
        File.rm(proof)
        owner = listener()

        {:ok, session} =
          P.spawn(argv: ["/bin/touch", "proof", context.mark], cwd: dir, owner: owner)

        {moment, window} = Enum.random(parked: 300, unborn: 10_000)
        if moment == :parked, do: await_heard(owner, {:ready, _})
        calls = for _ <- 1..3, verb <- [&P.abort/1, &P.proceed/1], do: fn -> verb.(session) end
        answers = at_once(window, calls)
        aborts = Enum.take_every(answers, 2)
        proceeds = answers |> tl() |> Enum.take_every(2)

        outcome =
          case wait(session) do
            {:ok, :aborted} ->
              # An abort that waits with another one is the same abort.
              assert :ok in aborts
              assert Enum.uniq(aborts) -- [:ok, {:error, :no_process}] == []
              assert Enum.uniq(proceeds) == [{:error, :no_process}]
              refute File.exists?(proof)
              :aborted

            {:ok, {:exited, 0}} ->
              assert Enum.count(proceeds, &(&1 == :ok)) == 1
              others = aborts ++ List.delete(proceeds, :ok)
              assert Enum.uniq(others) -- [error: :running, error: :no_process] == []
              assert File.exists?(proof)
              :ran
          end

        stop_idle(session)
        assert_story(heard(owner, session))
        outcome
      end)
      |> assert_seen([:aborted, :ran])

      assert_nothing_left(context)
    end
  end

  test "stop against proceed", %{dir: dir} = context do
    proof = Path.join(dir, "proof")

    repeat("stop against proceed", 80, fn ->
      File.rm(proof)
      owner = listener()
      script = "> #{proof}; exec sleep #{context.mark}"
      {:ok, session} = P.spawn(argv: ["/bin/sh", "-c", script], owner: owner, grace: @grace)
      await_heard(owner, {:ready, _})
      [stop, proceed] = at_once(300, [fn -> P.stop(session) end, fn -> P.proceed(session) end])
      assert stop == :ok
      last = assert_story(heard(owner, session))

      case proceed do
        :ok ->
          assert last == {:signaled, 15}
          :right

        {:error, :no_process} ->
          assert last == :aborted
          refute File.exists?(proof)
          :left
      end
    end)
    |> assert_seen([:left, :right])

    assert_nothing_left(context)
  end

  describe "a signal against the exit" do
    for reach <- [:process, :group, :tree] do
      @tag reach: reach
      test "to the #{reach}", %{reach: reach} = context do
        repeat("signal to the #{reach} against exit", 60, fn ->
          signal_against_exit(exiting(context), reach)
        end)
        |> assert_seen([:left, :right])

        assert_nothing_left(context)
      end
    end

    @tag :root
    test "in another's PID namespace, where a subreaper stands between", context do
      {:ok, container} = P.spawn(argv: ["sleep", "600"], namespaces: [:pid], auto_proceed: true)

      target = await_ready()
      await_running()
      enter = &P.enter(target, [namespaces: [:pid]] ++ &1)

      repeat("signal against exit behind a subreaper", 100, fn ->
        reach = Enum.random([:process, :group, :tree])
        signal_against_exit(exiting(context, [], enter), reach)
      end)
      |> assert_seen([:left, :right])

      assert P.stop(container) == :ok
      assert next_event() == {:linx_process, :signaled, 9}
      assert_nothing_left(context)
    end

    defp signal_against_exit({session, owner, exit}, reach) do
      [_, signal] = at_once(3_000, [exit, fn -> P.signal(session, 9, to: reach) end])
      result = wait(session)

      outcome =
        case {signal, result} do
          # It may have been dead already, and not been buried.
          {:ok, {:ok, {how, number}}} ->
            assert {how, number} in [exited: 3, signaled: 9]
            if how == :exited, do: :left, else: :right

          {{:error, :no_process}, {:ok, {:exited, 3}}} ->
            :left
        end

      stop_idle(session)
      assert assert_story(heard(owner, session)) == event(result)
      outcome
    end
  end

  describe "set_owner against" do
    test "the terminal event", context do
      repeat("set_owner against the end", 100, fn ->
        {session, first, exit} = exiting(context)
        second = listener()
        [_, answer] = at_once(3_000, [exit, fn -> P.set_owner(session, second) end])
        assert answer == :ok
        assert wait(session) == {:ok, {:exited, 3}}
        stop_idle(session)

        {before, later} = {heard(first, session), heard(second)}
        assert assert_story(before ++ later) == {:exited, 3}
        assert [{:ready, _}, :running | _] = before
        if later == [], do: :left, else: :right
      end)
      |> assert_seen([:left, :right])

      assert_nothing_left(context)
    end

    test "all events, handed to and fro", context do
      wanted = for n <- 1..100, into: "", do: "#{n}\r\n"
      script = "i=0; while [ $i -lt 100 ]; do i=$(($i + 1)); echo $i; done; exit 3"
      argv = ["/bin/sh", "-c", "#{script} # #{context.mark}"]

      repeat("set_owner against terminal output", 40, fn ->
        owners = for _ <- 1..3, do: listener()
        {:ok, session} = P.spawn(argv: argv, stdio: :pty, owner: hd(owners), auto_proceed: true)

        hand_on = fn ->
          Enum.find(Stream.cycle(owners), fn owner ->
            assert P.set_owner(session, owner) == :ok
            P.info(session).stage == :terminated
          end)
        end

        at_once(5_000, [hand_on, hand_on])
        assert wait(session) == {:ok, {:exited, 3}}
        stop_idle(session)

        # Each event went to one owner, and each owner got its own in order.
        told = Enum.map(owners, &heard(&1, session))
        assert Enum.count(Enum.concat(told), &terminal?/1) == 1
        assert Enum.count(Enum.concat(told), &match?({:ready, _}, &1)) == 1
        assert Enum.count(Enum.concat(told), &(&1 == :running)) == 1
        for events <- told, do: assert(Enum.sort_by(events, &rank/1) == events)
        pieces = for events <- told, do: for({:pty_out, bytes} <- events, do: bytes)
        assert woven?(wanted, pieces)
        told |> Enum.count(&(&1 != []))
      end)

      assert_nothing_left(context)
    end

    defp rank({:ready, _}), do: 0
    defp rank(:running), do: 1
    defp rank({:pty_out, _}), do: 2
    defp rank(_terminal), do: 3

    # Whether `bytes` is made of all pieces of these lists, those of each list in order.
    defp woven?("", lists), do: Enum.all?(lists, &(&1 == []))

    defp woven?(bytes, lists) do
      Enum.any?(lists, fn
        [piece | rest] ->
          size = byte_size(piece)

          match?(<<^piece::binary-size(size), _::binary>>, bytes) and
            bytes
            |> binary_part(size, byte_size(bytes) - size)
            |> woven?(replace(lists, [piece | rest], rest))

        [] ->
          false
      end)
    end

    defp replace([list | lists], list, rest), do: [rest | lists]
    defp replace([other | lists], list, rest), do: [other | replace(lists, list, rest)]
  end

  test "the owner's death against the terminal event", context do
    repeat("owner's death against the end", 80, fn ->
      {session, _, exit} = exiting(context)
      owner = spawn(fn -> Process.sleep(:infinity) end)
      named = Enum.random([true, false])
      if named, do: Process.register(owner, __MODULE__.Owner)
      assert P.set_owner(session, if(named, do: __MODULE__.Owner, else: owner)) == :ok
      at_once(3_000, [exit, fn -> Process.exit(owner, :kill) end])
      assert wait(session) == {:ok, {:exited, 3}}
      stop_idle(session)
      named
    end)

    assert_nothing_left(context)
  end

  describe "wait against" do
    test "stop", context do
      repeat("wait against stop", 60, fn ->
        {session, owner, _exit} = exiting(context)
        sentinel = Task.async(fn -> P.wait(session) end)
        until(fn -> map_size(:sys.get_state(session).callers) == 1 end)
        waits = for _ <- 1..4, do: fn -> {:wait, P.wait(session)} end
        answers = at_once(6_000, [fn -> P.stop(session) end | waits])
        assert [:ok | waits] = answers
        last = assert_story(heard(owner, session))
        assert last == {:signaled, 15}
        assert Task.await(sentinel) == {:ok, last}

        # Who comes too late finds nobody, and all others the same.
        assert Enum.uniq(waits) -- [wait: {:ok, last}, wait: {:error, :no_process}] == []
        if {:wait, {:error, :no_process}} in waits, do: :left, else: :right
      end)
      |> assert_seen([:left, :right])

      assert_nothing_left(context)
    end

    test "its own timeout and the end", context do
      repeat("wait with a timeout against the end", 80, fn ->
        {session, _owner, exit} = exiting(context)
        timeout = Enum.random(0..4)
        [_, answer] = at_once(3_000, [exit, fn -> P.wait(session, timeout) end])
        assert wait(session) == {:ok, {:exited, 3}}
        stop_idle(session)

        case answer do
          {:ok, {:exited, 3}} -> :left
          {:error, :timeout} -> :right
        end
      end)
      |> assert_seen([:left, :right])

      assert_nothing_left(context)
    end
  end

  test "stop against stop", context do
    repeat("stop against stop", 60, fn ->
      linger = Enum.random([true, false])
      {session, owner, _exit} = exiting(context, linger: linger)

      stops =
        for _ <- 1..4, grace = Enum.random([3_000, 10_000, @grace]), do: &P.stop(&1, grace: grace)

      answers = at_once(6_000, for(stop <- stops, do: fn -> stop.(session) end))
      assert :ok in answers
      assert Enum.uniq(answers) -- [:ok, {:error, :no_process}] == []
      assert assert_story(heard(owner, session)) in [signaled: 15, signaled: 9]
      if {:error, :no_process} in tl(answers), do: :left, else: :right
    end)
    |> assert_seen([:left, :right])

    assert_nothing_left(context)
  end

  test "stop against the exit of the workload", context do
    repeat("stop against exit", 100, fn ->
      linger = Enum.random([true, false])
      test = self()

      # One that does not linger takes its starter along.
      start = fn opts ->
        starter =
          spawn(fn ->
            send(test, {:session, self(), P.spawn(opts)})
            Process.sleep(:infinity)
          end)

        assert_receive {:session, ^starter, session}
        Process.put(:starter, starter)
        session
      end

      {session, owner, exit} = exiting(context, [linger: linger], start)
      sentinel = Task.async(fn -> P.wait(session) end)
      until(fn -> map_size(:sys.get_state(session).callers) == 1 end)
      [_, stop] = at_once(3_000, [exit, fn -> P.stop(session) end])
      last = assert_story(heard(owner, session))
      assert last in [exited: 3, signaled: 15]
      assert Task.await(sentinel) == {:ok, last}
      # Only a session that has gone by itself cannot be stopped.
      assert stop == :ok or
               (stop == {:error, :no_process} and not linger and last == {:exited, 3})

      Process.exit(Process.delete(:starter), :kill)
      if last == {:exited, 3}, do: :left, else: :right
    end)
    |> assert_seen([:left, :right])

    assert_nothing_left(context)
  end

  describe "on a terminal" do
    # A program that reads until it is told to end, and then says goodbye.
    defp typist(context) do
      owner = listener()
      script = "stty raw -echo; echo go; read line; echo bye; exit 3 # #{context.mark}"
      argv = ["/bin/sh", "-c", script]
      {:ok, session} = P.spawn(argv: argv, stdio: :pty, owner: owner, auto_proceed: true)
      await_heard(owner, {:pty_out, "go\n"})
      {session, owner}
    end

    for {how, wanted, output} <- [
          {:killed, {:signaled, 9}, "go\n"},
          {:told, {:exited, 3}, "go\nbye\n"}
        ] do
      @tag how: how, wanted: wanted, output: output
      test "writes and resizes against the exit of a program that is #{how}", context do
        %{how: how, wanted: wanted, output: output} = context

        repeat("writes and resizes against exit, #{how}", 50, fn ->
          {session, owner} = typist(context)
          {:ok, host_pid} = P.host_pid(session)
          big = String.duplicate("x", 100_000)

          last_word = fn ->
            case how do
              :killed -> kill(host_pid, :KILL)
              :told -> P.pty_write(session, "\n")
            end
          end

          [told | answers] =
            at_once(3_000, [
              last_word,
              fn -> {:write, P.pty_write(session, "x")} end,
              fn -> {:write, P.pty_write(session, big, Enum.random([2, 5_000]))} end,
              fn -> {:size, P.pty_set_winsize(session, {10, 20, 0, 0})} end,
              fn -> {:size, P.pty_set_winsize(session, {11, 21, 0, 0})} end,
              fn -> {:master, P.pty_master(session)} end
            ])

          # A big write goes on in the queue of the terminal, and the line's end behind it.
          result = P.wait(session, @patience)
          assert told == :ok
          assert result == {:ok, wanted}

          seen =
            for {what, answer} <- answers do
              assert answer in allowed(what) or match?({:ok, %{slave: "/dev/pts/" <> _}}, answer)
              answer == {:error, :no_process}
            end

          stop_idle(session)
          events = heard(owner, session)
          assert assert_story(events) == wanted
          assert for({:pty_out, bytes} <- events, into: "", do: bytes) == output
          if Enum.any?(seen), do: :left, else: :right
        end)
        |> assert_seen([:left, :right])

        assert_nothing_left(context)
      end
    end

    defp allowed(:write), do: [:ok, {:error, :timeout}, {:error, :no_process}]
    defp allowed(_size_or_master), do: [:ok, {:error, :no_process}]

    test "a hang-up of the terminal by the program, against writes", context do
      repeat("write against a closing terminal", 50, fn ->
        owner = listener()
        # It lets go of the terminal, and lives on for a moment.
        script = "echo go; read line; exec 0<&- 1>&- 2>&-; sleep 0.01; exit 3 # #{context.mark}"
        argv = ["/bin/sh", "-c", script]
        {:ok, session} = P.spawn(argv: argv, stdio: :pty, owner: owner, auto_proceed: true)
        await_heard(owner, {:pty_out, _})

        [first | answers] =
          at_once(30_000, [
            fn -> P.pty_write(session, "\n") end,
            fn -> P.pty_write(session, "more\n") end,
            fn -> P.pty_write(session, String.duplicate("y\n", 20_000), 5_000) end,
            fn -> P.pty_set_winsize(session, {10, 20, 0, 0}) end
          ])

        assert wait(session) == {:ok, {:exited, 3}}
        for answer <- [first | answers], do: assert(answer in [:ok, {:error, :no_process}])
        stop_idle(session)
        assert assert_story(heard(owner, session)) == {:exited, 3}
        if {:error, :no_process} in answers, do: :left, else: :right
      end)
      |> assert_seen([:left, :right])

      assert_nothing_left(context)
    end

    test "the end of the output against the exit", context do
      wanted = for n <- 1..2_000, into: "", do: "#{n}\r\n"

      repeat("output against a resize, a wait and the exit", 40, fn ->
        owner = listener()
        argv = ["/bin/sh", "-c", "seq 1 2000; exit 3 # #{context.mark}"]
        {:ok, session} = P.spawn(argv: argv, stdio: :pty, owner: owner, auto_proceed: true)

        # The program is on its way by itself.
        [_ | answers] =
          at_once(10_000, [
            fn -> :program end,
            fn -> P.pty_set_winsize(session, {10, 20, 0, 0}) end,
            fn -> P.signal(session, :sigwinch) end,
            fn -> P.info(session) && :ok end
          ])

        assert wait(session) == {:ok, {:exited, 3}}
        for answer <- answers, do: assert(answer in [:ok, {:error, :no_process}])
        stop_idle(session)
        events = heard(owner, session)
        assert assert_story(events) == {:exited, 3}
        assert for({:pty_out, bytes} <- events, into: "", do: bytes) == wanted
        if {:error, :no_process} in answers, do: :left, else: :right
      end)
      |> assert_seen([:left, :right])

      assert_nothing_left(context)
    end
  end

  test "spawn against its caller's death", %{dir: dir} = context do
    proof = Path.join(dir, "proof")

    repeat("spawn against its caller's death", 120, fn ->
      File.rm(proof)
      owner = listener()
      reason = Enum.random([:kill, :shutdown])
      script = "> #{proof}; exec sleep #{context.mark}"

      opts = [
        argv: ["/bin/sh", "-c", script],
        owner: owner,
        auto_proceed: true,
        grace: @grace,
        stdio: Enum.random([:devnull, :pty])
      ]

      caller =
        spawn(fn ->
          receive do
            :go -> P.spawn(opts)
          end

          Process.sleep(:infinity)
        end)

      monitor = Process.monitor(caller)
      at_once(12_000, [fn -> send(caller, :go) end, fn -> Process.exit(caller, reason) end])
      assert_receive {:DOWN, ^monitor, :process, _, _}, @patience

      until(fn -> agents() == [] and processes(context.mark) == [] end)
      # It tells the end when all that is gone.
      until(fn -> Linx.Test.Command.sessions(caller) == [] end)
      until(fn -> length(ports()) <= context.ports end)
      events = heard(owner)

      cond do
        events == [] -> :right
        # Killed before :running, it has been taken away.
        not File.exists?(proof) -> assert_story(events) && :right
        true -> (assert_story(events) == {:signaled, 15} && :left) || flunk(inspect(events))
      end
    end)
    |> assert_seen([:left, :right])

    assert_nothing_left(context)
  end

  describe "enter against its target's exit" do
    @describetag :root

    for {namespaces, window} <- [
          {[:uts, :net], 8_000},
          {[:pid], 8_000},
          {[:mount, :uts, :ipc, :net, :pid], 10_000}
        ] do
      @tag namespaces: namespaces, window: window
      test "with #{inspect(namespaces)}", %{namespaces: namespaces, window: window} = context do
        repeat("enter #{inspect(namespaces)} against exit", 40, fn ->
          target_owner = listener()
          owner = listener()

          {:ok, target} =
            P.spawn(
              argv: ["sleep", context.mark],
              namespaces: namespaces,
              owner: target_owner,
              auto_proceed: true
            )

          await_heard(target_owner, :running)
          {:ok, host_pid} = P.host_pid(target)

          opts = [
            argv: ["/bin/sh", "-c", "exit 4 # #{context.mark}"],
            namespaces: namespaces,
            owner: owner,
            auto_proceed: true
          ]

          enter = fn ->
            {:ok, session} = P.enter(host_pid, opts)
            {session, P.wait(session, @patience)}
          end

          [_, {session, result}] = at_once(window, [fn -> P.signal(target, 9) end, enter])
          assert wait(target) == {:ok, {:signaled, 9}}

          outcome =
            case result do
              {:ok, {:exited, 4}} ->
                :right

              # With its PID namespace it dies as all that is in there.
              {:ok, {:signaled, 9}} ->
                assert :pid in namespaces
                :killed

              {:error, %Error{stage: stage, signal: signal} = error} ->
                assert signal in [nil, 9]
                assert signal == nil or :pid in namespaces

                if "#{stage}" =~ ~r/^(open_ns|setns)_/,
                  do: :left,
                  else: {stage, error.errno, signal}
            end

          stop_idle(session)
          stop_idle(target)
          assert assert_story(heard(owner, session)) == event(result)
          outcome
        end)
        |> assert_seen(if :pid in namespaces, do: [:left], else: [:left, :right])

        assert_nothing_left(context)
      end
    end
  end

  test "a name that becomes free, against two who want it", context do
    name = __MODULE__.Name

    opts = [
      argv: ["/bin/sh", "-c", "exec sleep #{context.mark}"],
      name: name,
      grace: @grace
    ]

    repeat("stop and spawn against spawn of the same name", 60, fn ->
      [first, second] = [listener(), listener()]
      {:ok, session} = P.spawn([owner: first, auto_proceed: true] ++ opts)
      {:ready, host_pid} = await_heard(first, {:ready, _})
      born = born(host_pid)
      if Enum.random([true, false]), do: await_heard(first, :running)
      # The name is not free before everything has gone.
      start = fn -> {P.spawn([owner: second] ++ opts), born(host_pid) == born} end

      [{:ok, one}, other] =
        at_once(2_000, [
          fn -> {P.stop(name), start.()} end,
          fn ->
            taken = &match?({{:error, {:already_started, ^session}}, _}, &1)
            Enum.find(Stream.repeatedly(start), &(not taken.(&1)))
          end
        ])

      {outcome, successor} =
        case {one, other} do
          {{{:ok, pid}, false}, {{:error, {:already_started, pid}}, _}} -> {:restarted, pid}
          {{{:error, {:already_started, pid}}, _}, {{:ok, pid}, false}} -> {:overtaken, pid}
        end

      assert assert_story(heard(first, session)) in [:aborted, signaled: 15]
      assert GenServer.whereis(name) == successor
      assert P.stop(name) == :ok
      assert GenServer.whereis(name) == nil
      assert assert_story(heard(second, successor)) == :aborted
      outcome
    end)

    assert_nothing_left(context)
  end

  test "a supervisor that terminates a child against the child's crash", context do
    repeat("terminate_child against a crash", 60, fn ->
      owner = listener()
      argv = ["/bin/sh", "-c", "exec sleep #{context.mark}"]
      child = {P, argv: argv, owner: owner, auto_proceed: true, grace: @grace}
      opts = [strategy: :one_for_one, max_restarts: 100]
      {:ok, supervisor} = Supervisor.start_link([child], opts)
      {:ready, host_pid} = await_heard(owner, {:ready, _})
      await_heard(owner, :running)

      crash =
        case Enum.random([:workload, :session]) do
          :workload ->
            fn -> kill(host_pid, :KILL) end

          :session ->
            [{_, session, _, _}] = Supervisor.which_children(supervisor)
            fn -> Process.exit(session, :kill) end
        end

      [_, answer] = at_once(4_000, [crash, fn -> Supervisor.terminate_child(supervisor, P) end])
      assert answer == :ok
      assert [{P, :undefined, :worker, _}] = Supervisor.which_children(supervisor)
      # A session that was killed has its end a moment later than it.
      until(fn -> processes(context.mark) == [] and agents() == [] end)
      assert Supervisor.stop(supervisor) == :ok

      # Nobody ran beside another.
      lives = Enum.chunk_while(heard(owner), [], &life/2, &{:cont, Enum.reverse(&1), []})
      for life <- lives, Enum.any?(life, &terminal?/1), do: assert_story(life)
      if Enum.count(lives, &(&1 != [])) == 1, do: :right, else: :left
    end)
    |> assert_seen([:left, :right])

    assert_nothing_left(context)
  end

  # A new life begins with :ready; one that is aborted before has only its end.
  defp life({:ready, _} = event, before), do: {:cont, Enum.reverse(before), [event]}
  defp life(event, before), do: {:cont, [event | before]}

  test "many who ask and wait, some of whom die, against the end", context do
    repeat("24 callers against the end", 40, fn ->
      {session, owner, exit} = exiting(context)
      {:ok, host_pid} = P.host_pid(session)

      mortals =
        for _ <- 1..4, do: spawn(fn -> P.wait(session, Enum.random([:infinity, 10_000])) end)

      result = {:ok, {:exited, 3}}

      running = P.info(session)
      assert %Info{stage: :running, result: nil, host_pid: ^host_pid} = running

      callers =
        for _ <- 1..6 do
          [
            {fn -> {P.wait(session), 0} end, result},
            {fn -> news(fn -> P.wait(session, Enum.random(0..2)) end, {:error, :timeout}) end,
             result},
            {fn -> news(fn -> what_is_known_before(P.info(session)) end, running) end,
             %{running | stage: :terminated, result: result}},
            {fn -> news(fn -> P.host_pid(session) end, {:ok, host_pid}) end,
             {:error, :no_process}}
          ]
        end

      {callers, wanted} = callers |> List.flatten() |> Enum.unzip()
      kill = fn -> Enum.each(mortals, &Process.exit(&1, :kill)) end
      [_, _ | answers] = at_once(3_000, [exit, kill | callers])
      assert for({news, _} <- answers, do: news) == wanted
      stop_idle(session)
      assert assert_story(heard(owner, session)) == {:exited, 3}
      if Enum.any?(answers, fn {_, asked} -> asked > 0 end), do: :across_the_end, else: :after_it
    end)

    assert_nothing_left(context)
  end

  # How long it took, and what it used, only the end tells.
  defp what_is_known_before(info), do: %{info | duration: nil, usage: nil}

  # Asks until the answer is another one, and counts how often it was not.
  defp news(ask, none, asked \\ 0) do
    case ask.() do
      ^none -> news(ask, none, asked + 1)
      news -> {news, asked}
    end
  end
end
