defmodule Linx.Process.OutputTest do
  # Queues, modes and credit, without any process.
  use ExUnit.Case, async: true

  alias Linx.Process.{Info, Output}

  @info %Info{mode: :spawn}
  @last {:linx_process, :exited, 0}
  @both [:stdout, :stderr]

  # An output with what has come of it: a list of effects, the credit left out.
  defp new(active, sources \\ @both), do: {Output.new(sources, active), []}

  defp put({output, done}, source, bytes), do: note(Output.put(output, source, bytes), done)
  defp eof({output, done}, source), do: note(Output.eof(output, source), done)
  defp finish({output, done}), do: note(Output.finish(output, @last, @info), done)

  defp set({output, done}, active) do
    {:ok, effects, output} = Output.set_active(output, active)
    note({effects, output}, done)
  end

  defp wait({output, done}, id, want) do
    assert Output.take(output, want) == :wait
    {Output.wait(output, id, want), done}
  end

  defp note({effects, output}, done), do: {output, done ++ effects}

  # What somebody who asks gets, and what happens then.
  defp take({output, done}, want) do
    {:ok, answer, effects, output} = Output.take(output, want)
    {answer, {output, done ++ effects}}
  end

  defp answers(state, wants) do
    {answers, _state} = Enum.map_reduce(wants, state, &take(&2, &1))
    answers
  end

  defp events({_output, done}), do: for({:event, event} <- done, do: event)
  defp done({_output, done}), do: done

  defp kept({output, _done}) do
    for {_name, source} <- output.sources, {_seq, bytes} <- :queue.to_list(source.queue) do
      byte_size(bytes)
    end
  end

  defp large(byte), do: String.duplicate(byte, 10_000)

  describe "active: true" do
    test "tells the owner at once: data, that there is no more, how it ended" do
      state =
        new(true)
        |> put(:stderr, "a")
        |> put(:stdout, "b")
        |> put(:stderr, "c")
        |> eof(:stderr)
        |> finish()

      assert events(state) == [
               {:linx_process, :stderr, "a"},
               {:linx_process, :stdout, "b"},
               {:linx_process, :stderr, "c"},
               {:linx_process, :eof, :stderr},
               {:linx_process, :eof, :stdout},
               @last
             ]

      assert kept(state) == []
    end

    test "of a terminal is another event, and its end that of the workload" do
      state = new(true, [:pty]) |> put(:pty, "a") |> finish()
      assert events(state) == [{:linx_process, :pty_out, "a"}, @last]
    end

    test "leaves nothing to those who ask" do
      state = new(true) |> put(:stdout, "a")
      assert answers(state, [:stdout, :any, :next]) == List.duplicate({:error, :active}, 3)
    end
  end

  describe "active: false" do
    test "tells the owner of the end alone, and that at once" do
      state = new(false) |> put(:stdout, "a") |> eof(:stdout) |> finish()
      assert events(state) == [@last]

      assert answers(state, [:any, :any, :stdout, :stderr]) == [
               ok(:stdout, "a"),
               :eof,
               :eof,
               :eof
             ]
    end

    defp ok(source, bytes), do: {:ok, {source, bytes}}

    test "gives each source to who asks for it, and any in the order it came" do
      state = new(false) |> put(:stdout, "1") |> put(:stderr, "2")
      assert answers(state, [:stderr, :stdout]) == [{:ok, "2"}, {:ok, "1"}]
      assert answers(state, [:any, :any]) == [ok(:stdout, "1"), ok(:stderr, "2")]

      assert answers(state, [:next, :next]) == [
               {:output, :stdout, "1"},
               {:output, :stderr, "2"}
             ]
    end

    test "puts small pieces together, and leaves large ones as they are" do
      a = large("a")

      state =
        Enum.reduce([a, "b", "c", a, a], new(false), fn bytes, state ->
          put(state, :stdout, bytes)
        end)

      assert answers(state, [:stdout, :stdout, :stdout, :stdout]) == [
               {:ok, a},
               {:ok, "bc"},
               {:ok, a},
               {:ok, a}
             ]
    end

    test "however small the pieces, they are few" do
      state = Enum.reduce(1..20_000, new(false), fn _n, state -> put(state, :stdout, "x") end)
      state = Enum.reduce(1..20_000, state, fn _n, state -> put(state, :stderr, "x") end)
      assert length(kept(state)) == 10
      assert Enum.sum(kept(state)) == 40_000
    end

    test "serves who waits, in turn" do
      state =
        new(false)
        |> wait(:a, :stdout)
        |> wait(:b, :any)
        |> wait(:c, :stdout)
        |> put(:stdout, "1")
        |> put(:stderr, "2")
        |> put(:stdout, "3")

      assert done(state) == [
               {:answer, :a, {:ok, "1"}},
               {:answer, :b, {:ok, {:stderr, "2"}}},
               {:answer, :c, {:ok, "3"}}
             ]

      assert kept(state) == []
    end

    test "tells who waits that nothing more will come" do
      state =
        new(false)
        |> wait(:a, :stdout)
        |> wait(:b, :any)
        |> wait(:c, :next)
        |> eof(:stdout)

      assert done(state) == [{:answer, :a, :eof}]

      assert done(finish(state)) == [
               {:answer, :a, :eof},
               {:answer, :b, :eof},
               {:answer, :c, {:ended, @info}},
               {:event, @last}
             ]
    end

    test "forgets who waits no more, who then takes nothing from others" do
      {output, _done} = new(false) |> wait(:a, :stdout) |> wait(:b, :stdout)
      state = {Output.drop(output, :a), []} |> put(:stdout, "1")
      assert done(state) == [{:answer, :b, {:ok, "1"}}]
    end

    test "has no pipe but those it has" do
      state = new(false, [:stdout])
      assert answers(state, [:stderr, :pty]) == List.duplicate({:error, :not_piped}, 2)
      assert answers(new(nil, []), [:any, :stdout]) == List.duplicate({:error, :not_piped}, 2)
      assert Output.set_active(Output.new([], nil), true) == {:error, :not_piped}
      assert Output.put(Output.new([], nil), :stdout, "x") == {[], Output.new([], nil)}
    end
  end

  describe "next" do
    test "is the end when there is nothing more, of whatever kind" do
      ended = {:ended, @info}
      state = new(false) |> put(:stdout, "1") |> eof(:stdout) |> eof(:stderr)
      assert {_output, state} = take(state, :next)
      assert Output.take(elem(state, 0), :next) == :wait
      assert answers(finish(state), [:next, :next]) == [ended, ended]
      assert answers(finish(new(nil, [])), [:next]) == [ended]
    end

    test "waits for the end also when the output is thrown away" do
      state = new(:discard) |> wait(:a, :next) |> put(:stdout, "x") |> finish()
      assert done(state) == [{:answer, :a, {:ended, @info}}, {:event, @last}]
    end
  end

  describe "active: :once" do
    test "is one message, and then none" do
      state = new(:once) |> put(:stdout, large("1")) |> put(:stdout, large("2"))
      assert events(state) == [{:linx_process, :stdout, large("1")}]

      assert events(set(state, :once)) ==
               for(n <- ["1", "2"], do: {:linx_process, :stdout, large(n)})
    end

    test "keeps the last events until the owner has had the data" do
      state =
        new(:once)
        |> put(:stdout, large("1"))
        |> put(:stdout, "2")
        |> put(:stderr, "3")
        |> finish()

      # There is no more of a stream than its data.
      assert events(state) == [{:linx_process, :stdout, large("1")}]
      state = set(state, :once)
      assert [_, {:linx_process, :stdout, "2"}, {:linx_process, :eof, :stdout}] = events(state)
      refute Output.told?(elem(state, 0))
      state = set(state, :once)

      assert [_, _, _, {:linx_process, :stderr, "3"}, {:linx_process, :eof, :stderr}, @last] =
               events(state)

      assert Output.told?(elem(state, 0))
    end

    test "lets others ask for the rest, and tells the owner when they have had it" do
      state = new(:once) |> put(:stdout, large("1")) |> put(:stdout, "2") |> finish()
      assert {{:ok, "2"}, state} = take(state, :stdout)

      assert [_, {:linx_process, :eof, :stderr}, {:linx_process, :eof, :stdout}, @last] =
               events(state)
    end
  end

  describe "active: n" do
    test "is so many messages, and then one that says so" do
      state =
        for(n <- 1..4, do: large("#{n}"))
        |> Enum.reduce(new(2), fn bytes, state -> put(state, :stdout, bytes) end)

      assert [{:linx_process, :stdout, "1" <> _}, {:linx_process, :stdout, "2" <> _}, passive] =
               events(state)

      assert passive == {:linx_process, :passive}
      assert length(events(set(state, 1))) == 5
    end

    test "is added to what is left" do
      state = new(1) |> set(2)
      state = Enum.reduce(1..4, state, fn _n, state -> put(state, :stdout, large("x")) end)
      assert length(events(state)) == 4
      assert List.last(events(state)) == {:linx_process, :passive}
      assert new(3) |> set(-3) |> events() == [{:linx_process, :passive}]
      assert new(3) |> set(-5) |> set(1) |> put(:stdout, "x") |> events() |> length() == 3
    end

    test "begins anew behind another mode" do
      for mode <- [true, false, :once, :discard] do
        state = new(mode) |> set(1) |> put(:stdout, large("x")) |> put(:stdout, large("y"))
        assert [{:linx_process, :stdout, "x" <> _}, {:linx_process, :passive}] = events(state)
      end
    end
  end

  describe "a change of mode" do
    test "brings the owner what is there, and sends those away who wait for it" do
      state = new(false) |> put(:stdout, "1") |> wait(:a, :stderr) |> eof(:stdout)

      assert done(set(state, true)) == [
               {:event, {:linx_process, :stdout, "1"}},
               {:answer, :a, {:error, :active}},
               {:event, {:linx_process, :eof, :stdout}}
             ]
    end

    test "to false lets the owner know of the end" do
      state = new(:once, [:stdout]) |> put(:stdout, large("1")) |> put(:stdout, "2") |> finish()
      assert [_data, @last] = state |> set(false) |> events()
    end

    test "to :discard throws away what is there and what comes" do
      state = new(false) |> put(:stdout, "1") |> set(:discard) |> put(:stdout, "2")
      assert done(state) == []
      assert kept(state) == []
      assert answers(state, [:stdout, :any]) == List.duplicate({:error, :active}, 2)
      assert state |> finish() |> events() == [@last]
      assert state |> set(false) |> put(:stdout, "3") |> answers([:stdout]) == [{:ok, "3"}]
    end
  end

  describe "credit" do
    @portion div(Output.credit(), 4)

    defp grants({_output, done}), do: for({:credit, source, n} <- done, do: {source, n})
    defp bytes(n), do: String.duplicate("x", n)

    test "is given back for what has been delivered, in portions" do
      for mode <- [true, :discard] do
        state = new(mode) |> put(:stdout, bytes(@portion - 1)) |> put(:stderr, "x")
        assert grants(state) == []
        state = put(state, :stdout, "xx")
        assert grants(state) == [stdout: @portion + 1]
        assert state |> put(:stdout, bytes(@portion - 1)) |> grants() |> length() == 1
      end
    end

    test "is not given back for what is kept" do
      state = new(false) |> put(:stdout, bytes(@portion)) |> put(:stdout, bytes(@portion))
      assert grants(state) == []
      assert {_piece, state} = take(state, :stdout)
      assert grants(state) == [stdout: @portion]
      assert state |> set(:discard) |> grants() == [stdout: @portion, stdout: @portion]
    end

    test "is not given back at the end" do
      assert new(true) |> eof(:stdout) |> put(:stdout, bytes(@portion)) |> grants() == []
      state = new(false) |> put(:stdout, bytes(@portion)) |> finish()
      assert {_piece, state} = take(state, :stdout)
      assert grants(state) == []
    end
  end

  describe "whatever is done, and in whatever order," do
    # So many bytes the workload writes at a time.
    @sizes [1, 10, 4_095, 4_096, 10_000, 65_536]

    test "no byte is lost, told twice or out of order, and no credit is made" do
      for seed <- 1..200 do
        :rand.seed(:exsss, {seed, 0, 0})
        walk({Output.new(@both, random_mode()), []}, %{written: %{}, had: %{}, asked: %{}}, 100)
      end
    end

    # What has come out, all that is written being numbered bytes.
    defp walk(state, log, 0) do
      state = finish(state)
      {state, log} = account(state, log)
      assert {state, log} = state |> set(true) |> account(log)
      assert log.had == log.written
      assert Output.told?(elem(state, 0))
      assert kept(state) == []
    end

    defp walk(state, log, steps) do
      {state, log} = random_step(state, log)
      {state, log} = account(state, log)
      for {source, bytes} <- log.had, do: assert(String.starts_with?(log.written[source], bytes))
      walk(state, log, steps - 1)
    end

    defp random_mode, do: Enum.random([true, false, :once, 1, 3])

    defp random_step({output, done} = state, log) do
      source = Enum.random(@both)
      want = Enum.random([:any, :next, source])

      case Enum.random([:put, :put, :put, :ask, :ask, :set]) do
        :put ->
          bytes = :rand.bytes(Enum.random(@sizes))
          written = Map.update(log.written, source, bytes, &(&1 <> bytes))
          {put(state, source, bytes), %{log | written: written}}

        :ask ->
          case Output.take(output, want) do
            :wait ->
              id = make_ref()
              {{Output.wait(output, id, want), done}, put_in(log.asked[id], want)}

            {:ok, answer, effects, output} ->
              {{output, done ++ effects}, had(log, want, answer)}
          end

        :set ->
          {set(state, random_mode()), log}
      end
    end

    # Takes note of the effects, and forgets them.
    defp account({output, effects}, log) do
      log =
        Enum.reduce(effects, log, fn
          {:event, {:linx_process, source, bytes}}, log when source in @both ->
            had(log, source, {:ok, bytes})

          {:answer, id, answer}, log ->
            had(log, Map.fetch!(log.asked, id), answer)

          _other, log ->
            log
        end)

      granted = for {:credit, source, n} <- effects, do: {source, n}
      log = Enum.reduce(granted, log, fn {source, n}, log -> granted(log, source, n) end)
      {{output, []}, log}
    end

    defp granted(log, source, n) do
      total = Map.get(log, {:granted, source}, 0) + n
      assert total <= byte_size(log.had[source])
      assert n >= @portion
      Map.put(log, {:granted, source}, total)
    end

    defp had(log, _want, {:ok, {source, bytes}}), do: had(log, source, {:ok, bytes})
    defp had(log, _want, {:output, source, bytes}), do: had(log, source, {:ok, bytes})

    defp had(log, source, {:ok, bytes}),
      do: %{log | had: Map.update(log.had, source, bytes, &(&1 <> bytes))}

    defp had(log, _want, _nothing), do: log
  end

  describe "abandon" do
    test "tells the owner of the end, unless it has been told" do
      {output, []} = new(:once, [:stdout]) |> then(fn {output, _} -> {output, []} end)
      {_effects, output} = Output.put(output, :stdout, large("1"))
      {_effects, output} = Output.put(output, :stdout, "2")
      {[], output} = Output.finish(output, @last, @info)
      assert {[{:event, @last}], output} = Output.abandon(output)
      assert {[], _output} = Output.abandon(output)
    end
  end
end
