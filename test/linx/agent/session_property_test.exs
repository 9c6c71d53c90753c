defmodule Linx.Agent.SessionPropertyTest do
  # What holds for every session of a real agent, whatever it is told, and in whatever pieces.
  use ExUnit.Case, async: true

  @compile {:no_warn_undefined, :proper_types}

  import Linx.Test.Helpers
  import Linx.Test.Property
  import Linx.Test.RawStream
  import Linx.Test.Tree, only: [kill: 2]

  alias :proper_types, as: Type
  alias Linx.Test.{Terms, WireModel}

  @moduletag :property
  @moduletag timeout: :infinity

  @eio 5
  @einval 22
  @emsgsize 90

  # Allows everything: BPF_RET | BPF_K, SECCOMP_RET_ALLOW.
  @allow <<0x06::16-native, 0, 0, 0x7FFF0000::32-native>>
  # Kills the process at its next system call.
  @deny <<0x06::16-native, 0, 0, 0x80000000::32-native>>

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  describe "the pieces in which the bytes come" do
    test "make no difference" do
      for_all({script(), pieces()}, 120, fn {script, pieces} ->
        bytes = IO.iodata_to_binary(Enum.map(script, &frame/1))
        assert transcript(cut(bytes, pieces)) == transcript([bytes])
      end)
    end

    # Where to cut, and whether to give the agent time to read in between.
    defp pieces do
      place = Type.oneof([Type.choose(0, 200), Type.choose(0, 300_000)])
      Type.resize(12, Type.list({place, Type.choose(0, 1)}))
    end

    defp cut(bytes, pieces) do
      cuts = for {place, pause} <- pieces, do: {rem(place, byte_size(bytes)), pause}

      {pieces, last} =
        cuts
        |> Enum.sort()
        |> Enum.map_reduce(0, fn {cut, pause}, from ->
          {[binary_part(bytes, from, cut - from), pause], cut}
        end)

      List.flatten(pieces) ++ [binary_part(bytes, last, byte_size(bytes) - last)]
    end

    # Answers may come before or after the news, and terminal output in any pieces: each kind by itself.
    defp transcript(pieces) do
      agent = start()

      for piece <- pieces do
        if is_binary(piece), do: write(agent, piece), else: Process.sleep(piece)
      end

      {terms, status} = read(agent)
      {replies, terms} = Enum.split_with(terms, &match?({:reply, _, _}, &1))
      {output, news} = Enum.split_with(terms, &match?({:pty_out, _}, &1))

      output = for {:pty_out, bytes} <- output, into: "", do: bytes
      {Enum.map(news, &without_pid/1), Enum.sort(replies), output, status}
    end

    defp without_pid({:status, kind, _pid}) when kind in [:spawned, :ready, :aborted], do: kind
    defp without_pid(event), do: event

    # What decides the end comes last, so that nothing in a script depends on when the program does what.
    defp script do
      sleep = request(["/bin/sleep", "60"], [])
      reading = request(reading(), stdio: :pty)

      Type.frequency([
        {4, [[request(ending(), [])], steps(), [:proceed]]},
        {4, [[sleep], steps(), [:proceed], harmless(), [lethal()]]},
        {2, [[sleep], silent(), [Type.elements([:abort, {:stop, 60_000}])]]},
        {2, [[sleep], steps(), [{:seccomp_install, "bad"}]]},
        {4, [[reading], typed(), [:proceed], typed(), [{:pty_in, <<4>>}]]},
        {1, [[{:nonsense, Terms.term()}]]}
      ])
      |> map(fn script -> script |> Enum.concat() |> Enum.with_index(&numbered/2) end)
    end

    defp ending do
      Type.oneof([
        ["/bin/true"],
        ["/does/not/exist"],
        map(Type.choose(0, 255), &["/bin/sh", "-c", "exit #{&1}"])
      ])
    end

    defp reading, do: map(Type.choose(0, 255), &["/bin/sh", "-c", "cat >/dev/null; exit #{&1}"])

    # One that is larger than what the agent reads at a time is cut by the agent, too.
    defp request(argv, fields) do
      size = Type.frequency([{3, 10}, {1, Type.choose(60_000, 200_000)}])

      map({argv, size, Type.boolean(), leftover(), leftover()}, fn {argv, size, causes, orphan,
                                                                    rest} ->
        fields =
          Map.merge(Map.new(fields), %{
            argv: argv,
            causes: causes,
            orphan: orphan,
            descendants: rest,
            padding: String.duplicate("x", size)
          })

        {:spawn, Map.put_new(fields, :stdio, :devnull)}
      end)
    end

    defp steps do
      step =
        Type.elements([
          {:cap_set_ambient, 0},
          {:seccomp_install, @allow},
          {:seccomp_install, @allow}
        ])

      Type.resize(5, Type.list(called(Type.oneof([step, harmless_command()]))))
    end

    defp silent, do: Type.resize(5, Type.list(harmless_command()))

    defp harmless,
      do: Type.resize(5, Type.list(called(Type.oneof([:proceed, harmless_command()]))))

    # Signals that do nothing to a program that does not handle them, and what is refused.
    defp harmless_command do
      Type.oneof([
        {:signal, Type.elements([17, 18, 23, 28])},
        {:signal, Type.elements([0, -1, 65, 1_000]), Type.elements([:process, :group, :tree])},
        {:pty_winsize, {24, 80, 0, Type.choose(0, 70_000)}},
        {:pty_in, "lost"},
        :pty_master
      ])
    end

    defp lethal, do: called({:signal, Type.elements([1, 2, 9, 10, 15, 64])})

    defp typed do
      line = map(Type.binary(), &{:pty_in, Base.encode64(&1) <> "\n"})
      size = {:pty_winsize, {Type.choose(1, 100), 80, 0, 0}}
      Type.resize(8, Type.list(called(Type.frequency([{4, line}, {1, size}]))))
    end

    defp called(command), do: Type.oneof([command, {:call, command}])
  end

  defp leftover, do: Type.elements([:kill, :leave])

  # A command that is to be called has its place as its reference.
  defp numbered({:call, command}, index), do: {:call, index, command}
  defp numbered(other, _index), do: other

  describe "a session" do
    test "has one end, tells it last, and leaves nothing" do
      farewell = Type.elements([:stop, :wait_and_stop, :wait_and_stop, :hang_up])
      for_all({life(), conversation(), farewell}, 200, &live/1)
    end

    # A program and the fields of a request; MARK stands for a number that marks its processes.
    defp life do
      program =
        Type.frequency([
          {2, [argv: ["/bin/true"], code: 0]},
          {2, map(Type.choose(0, 255), &[argv: ["/bin/sh", "-c", "exit #{&1}"], code: &1])},
          {4, [argv: ["/bin/sleep", "MARK"]]},
          {2, [argv: ["/bin/sh", "-c", "trap '' TERM; sleep MARK"]]},
          {6, [argv: ["/bin/sh", "-c", "sleep MARK & (setsid sleep MARK &); exit 3"], code: 3]},
          {2, [argv: ["/bin/sh", "-c", "(trap '' TERM; exec sleep MARK) & sleep MARK"]]},
          {2, [argv: ["/bin/cat"], stdio: :pty]},
          {2, [argv: ["/bin/sleep", "MARK"], stdio: :pty]},
          {1, [argv: ["/does/not/exist"], error: :execve]},
          {1, [argv: ["/bin/true"], cwd: "/does/not/exist", error: :chdir]}
        ])

      namespaces = if privileged?(), do: [[:pid], [:uts, :pid]], else: []
      namespaces = Type.frequency([{4, []} | Enum.map(namespaces, &{1, &1})])
      map({program, leftover(), leftover(), Type.boolean(), namespaces}, &life/1)
    end

    defp life({program, orphan, descendants, causes, namespaces}) do
      {facts, fields} = Keyword.split(program, [:code, :error])
      fixed = %{orphan: orphan, descendants: descendants, causes: causes, namespaces: namespaces}
      fields = fields |> Map.new() |> Map.merge(fixed) |> Map.put_new(:stdio, :devnull)
      {fields, Map.new(facts)}
    end

    defp privileged?, do: :root not in ExUnit.configuration()[:exclude]

    # What is told, and what is waited for in between. In a gentle one nothing but signals, and what a
    # program does itself, brings the end.
    defp conversation do
      gentle = moment(gentle(), [])

      moment =
        Type.oneof([gentle, moment(Type.oneof([gentle(), rough()]), [{1, {:say, broken()}}])])

      proceed = Type.elements([[{:say, :proceed}], [{:say, {:call, :proceed}}]])

      Type.oneof([
        {few(gentle), proceed, few(gentle)},
        {few(gentle), proceed, few(moment)},
        {few(moment), proceed, few(moment)},
        {few(moment)}
      ])
      |> map(&Enum.concat(Tuple.to_list(&1)))
    end

    defp few(moment), do: Type.resize(8, Type.list(moment))

    defp moment(command, more) do
      await = {:await, Type.elements([:spawned, :ready, :running, :exited])}
      Type.frequency([{10, {:say, {:call, command}}}, {5, {:say, command}}, {4, await}] ++ more)
    end

    defp gentle do
      typed = Type.elements(["line\n", "word", <<3>>, <<4>>, <<26>>, <<28>>, <<0, 255>>])

      Type.frequency([
        {2, :proceed},
        {2, {:signal, Type.elements([-1, 0, 17, 18, 23, 28, 65])}},
        {1, {:signal, Type.choose(1, 64), Type.elements([:process, :group, :tree])}},
        {1, {:cap_set_ambient, 0}},
        {1, {:seccomp_install, @allow}},
        {2, {:pty_in, typed}},
        {1, {:pty_winsize, {Type.choose(0, 70_000), 80, 0, 0}}},
        {1, :pty_master}
      ])
    end

    defp rough do
      Type.frequency([
        {2, :abort},
        {4, {:stop, Type.elements([0, 1, 20, 0xFFFF_FFFF_FFFF_FFFF])}},
        {1, {:cap_drop_bounding, Type.elements([0, 1, 0xFFFF_FFFF_FFFF_FFFF])}},
        {1, {:cap_set_thread, Terms.unsigned(64), Terms.unsigned(64), 0}},
        {1, {:cap_set_ambient, 1}},
        {2, {:seccomp_install, Type.oneof([@deny, "", Type.binary()])}},
        {1, Type.oneof([Terms.term(), Terms.grafted(Terms.plain_command(), Terms.term())])}
      ])
    end

    defp broken do
      Type.frequency([
        {8, {:broken, Type.elements(["", "x", <<131>>, <<131, 104>>, <<131, 80, 0>>])}},
        {1, :too_big}
      ])
    end

    defp live({{fields, facts}, moments, farewell}) do
      mark = mark()
      argv = Enum.map(fields.argv, &String.replace(&1, "MARK", mark))
      moments = Enum.with_index(moments, fn {what, of}, index -> {what, numbered(of, index)} end)
      wait = if farewell == :wait_and_stop, do: [await: :running, await: :exited], else: []
      agent = start()
      {:os_pid, os_pid} = Port.info(agent, :os_pid)

      try do
        write(agent, frame({:spawn, %{fields | argv: argv}}))

        {frames, rest, said} =
          Enum.reduce(moments ++ wait, {[], "", []}, &moment(agent, facts, &1, &2))

        if farewell == :hang_up and is_binary(rest) do
          close(agent)
          # A workload that may outlive its agent keeps that one, too.
          eventually(fn ->
            if fields.orphan == :leave, do: Enum.each(children(os_pid), &kill(&1, :KILL))
            not File.exists?("/proc/#{os_pid}")
          end)

          if fields.orphan == :kill and fields.descendants == :kill,
            do: assert(processes(mark) == [])
        else
          stop = {:call, length(moments), {:stop, 0}}
          if is_binary(rest), do: write(agent, frame(stop))
          {more, rest} = if is_binary(rest), do: read(agent, rest, &terminal?/1), else: {[], rest}
          # At this very moment, and not when the agent has gone, too.
          if fields.descendants == :kill, do: assert(processes(mark) == [])
          {last, status} = if is_binary(rest), do: read(agent, rest), else: {[], rest}
          frames = frames ++ more ++ last
          assert_told(frames, status, Enum.reverse([stop | said]), fields, facts)
          for {:status, :spawned, pid} <- frames, do: refute(alive?(pid))
          eventually(fn -> not File.exists?("/proc/#{os_pid}") end)
        end
      after
        close(agent)
        for pid <- processes(mark), do: kill(pid, :KILL)
      end
    end

    # The state is what has been read as frames, what has been read behind them or how the agent has
    # ended, and what it has been told, the last first.
    defp moment(_agent, _facts, _moment, {_frames, status, _said} = state)
         when not is_binary(status),
         do: state

    defp moment(agent, _facts, {:say, what}, {frames, rest, said}) do
      case what do
        {:broken, body} -> write(agent, frame(body))
        :too_big -> write(agent, <<9_000_000::32, "x">>)
        term -> write(agent, frame(term))
      end

      {frames, rest, [what | said]}
    end

    defp moment(agent, facts, {:await, kind}, {frames, rest, said} = state) do
      if comes?(kind, facts, said) and not Enum.any?(frames, &status?(&1, kind)) do
        {more, rest} = read(agent, rest, &(status?(&1, kind) or terminal?(&1)))
        {frames ++ more, rest, said}
      else
        state
      end
    end

    # Whether this, or the end instead of it, comes without anything else being said.
    defp comes?(:running, _facts, said), do: Enum.any?(said, &match?({_, :proceed}, meaning(&1)))

    defp comes?(:exited, facts, said) do
      # SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU stop.
      is_map_key(facts, :code) and comes?(:running, facts, said) and
        not Enum.any?(said, &match?({_, {:signal, n, _}} when n in 19..22, meaning(&1)))
    end

    defp comes?(_spawned_or_ready, _facts, _said), do: true

    defp status?(frame, kind), do: elem(frame, 0) == :status and elem(frame, 1) == kind

    defp terminal?({:status, kind, _}), do: kind in [:exited, :signaled, :aborted]
    defp terminal?(frame), do: elem(frame, 0) == :error

    defp meaning({:broken, _body}), do: {nil, :broken}
    defp meaning(:too_big), do: {nil, :too_big}
    defp meaning(term), do: WireModel.command(term)

    defp assert_told(frames, status, said, fields, facts) do
      {replies, news} = Enum.split_with(frames, &match?({:reply, _, _}, &1))
      {output, news} = Enum.split_with(news, &match?({:pty_out, _}, &1))

      # One end, the last of all, and before it some of the way to it.
      assert terminal?(List.last(frames))
      {stages, [ending]} = Enum.split(news, -1)
      stages = for stage <- stages, do: elem(stage, 1)
      assert List.starts_with?([:spawned, :ready, :running], stages)
      ran? = :running in stages
      assert ran? or output == []
      assert ran? == elem(ending, 1) in [:exited, :signaled] or elem(ending, 0) == :error

      meanings = Enum.map(said, &meaning/1)
      assert possible?(ending, ran?, Enum.map(meanings, &elem(&1, 1)), fields, facts)
      assert status in [:unknown, exit_code(ending)]

      # All calls but those that came too late are answered, once.
      heard = Enum.take_while(meanings, &(&1 != {nil, :too_big}))
      calls = for {ref, _command} <- heard, ref != nil, do: ref
      answered = for {:reply, ref, _answer} <- replies, do: ref
      assert Enum.frequencies(answered) == Enum.frequencies(Enum.take(calls, length(answered)))

      before = Enum.take_while(heard, &(not causes?(&1, ending)))
      assert length(answered) >= Enum.count(before, fn {ref, _command} -> ref != nil end)
      for {:reply, _ref, answer} <- replies, do: assert(answer?(answer))
    end

    defp answer?(answer) do
      match?(:ok, answer) or match?({:ok, %{os_pid: _, fd: _, slave: "/dev/pts/" <> _}}, answer) or
        match?({:error, n, stage} when n in 1..133 and is_atom(stage), answer)
    end

    @steps [:cap_drop_bounding, :cap_set_thread, :cap_set_ambient, :seccomp_install]

    # As the stage calls it at which it fails.
    defp step({:confine, {:seccomp, _program}}), do: :seccomp_install
    defp step(command) when is_tuple(command), do: elem(command, 0)
    defp step(_other), do: nil

    # Whether an end is one of those that this request and these commands may lead to.
    defp possible?(ending, ran?, said, fields, facts) do
      said? = fn pattern -> Enum.any?(said, pattern) end
      stopped? = said?.(&match?({:stop, _grace, _signal}, &1))
      signals = for {:signal, number, _to} <- said, do: number
      typed = for {:pty_in, bytes} <- said, into: "", do: bytes

      # What may kill a program that is not sent a signal, and also the child that is about to become one.
      killed? = fn signal ->
        (signal == 2 and typed =~ <<3>>) or (signal == 3 and typed =~ <<28>>) or
          (signal == 9 and stopped?) or (signal == 31 and {:confine, {:seccomp, @deny}} in said)
      end

      case ending do
        {:status, :exited, code} ->
          # A shell says by a code from 129 on that its child was killed.
          code == Map.get(facts, :code, 0) or (code in 129..192 and hd(fields.argv) == "/bin/sh")

        {:status, :signaled, signal} ->
          signal in signals or killed?.(signal) or (signal == 15 and stopped?)

        {:status, :aborted, _pid} ->
          stopped? or :abort in said

        {:error, @einval, :malformed_request} ->
          :broken in said or :unknown in said

        {:error, @emsgsize, :command_too_big} ->
          :too_big in said

        {:error, _errno, step} when step in @steps ->
          not ran? and said?.(&(step(&1) == step))

        {:error, _errno, stage} when stage in [:execve, :chdir] ->
          # Without causes nothing but EIO tells that it was killed.
          not ran? and (facts[:error] == stage or not fields.causes)

        {:error, @eio, :execve, {:signaled, signal}} ->
          not ran? and killed?.(signal)

        _other ->
          false
      end
    end

    # Whether nothing before this can have led to that end.
    defp causes?({_ref, command}, ending) do
      case ending do
        {:status, :aborted, _pid} ->
          command == :abort or match?({:stop, _grace, _signal}, command)

        {:error, _, :malformed_request} ->
          command in [:broken, :unknown]

        {:error, _, :command_too_big} ->
          false

        {:error, _, step} when step in @steps ->
          step(command) == step

        _ended_or_failed ->
          command == :proceed
      end
    end

    defp exit_code({:status, _how, _number}), do: 0
    defp exit_code({:error, _errno, :malformed_request}), do: 2
    defp exit_code({:error, _errno, :command_too_big}), do: 1
    defp exit_code({:error, _errno, step}) when step in @steps, do: 1
    defp exit_code(error) when elem(error, 2) in [:execve, :chdir], do: 0
  end
end
