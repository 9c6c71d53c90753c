defmodule Linx.Test.Race do
  @moduledoc false

  # Calls that run against each other, again and again, each time a little earlier or later.

  import ExUnit.Assertions
  import Linx.Test.Helpers, only: [agents: 0, mark: 0, ports: 0, processes: 1, warm_up: 0]

  alias Linx.Process.Error

  # What takes longer than this hangs. A thousand sessions take their time on a busy machine.
  @patience 120_000

  # In so many rounds a race finds its tipping point, and by turns both sides win.
  @enough 40

  @doc """
  A `setup` that counts what there is, for `assert_as_before/1`. Whatever the test does, nothing is left
  of the processes that have `mark` in their command line.
  """
  def watch(_context) do
    # Those of the test before may take their time.
    warm_up()
    until(fn -> agents() == [] end)
    mark = mark()
    ExUnit.Callbacks.on_exit(fn -> until(fn -> processes(mark) == [] and agents() == [] end) end)
    %{mark: mark, ports: length(ports()), processes: length(Process.list())}
  end

  @doc "Asserts that nothing is left in the BEAM. To be called as the last thing of a test."
  def assert_as_before(%{ports: ports, processes: processes}) do
    until(fn -> length(ports()) <= ports end)
    until(fn -> length(Process.list()) <= processes end)
    assert {:messages, []} = Process.info(self(), :messages)
  end

  @doc """
  Runs `round` so many times, and returns how often each of its outcomes was seen.

  An outcome is a term of the round's choice. Two have a meaning: `:left`, the first of the functions
  given to `at_once/2` was faster than some other, and will start later the next time; `:right`, it
  was not, and the others will. So a race finds its own tipping point, and stays there, on a fast
  machine and on a busy one.

  LINX_RACE_ROUNDS multiplies the rounds, and LINX_RACE_COUNTS=1 prints what was seen. Each round has
  its own random numbers, which depend on ExUnit's seed and on nothing that happened before.
  """
  def repeat(name, rounds, round) do
    rounds = max(round(rounds * factor()), 1)
    Process.put(:lead, 0.0)

    counts =
      Enum.reduce(1..rounds, %{}, fn number, counts ->
        :rand.seed(:exsss, {seed(), :erlang.phash2(name), number})
        outcome = attempt(name, number, round)
        Map.update(counts, outcome, 1, &(&1 + 1))
      end)

    if System.get_env("LINX_RACE_COUNTS"),
      do: IO.puts("#{name}, #{rounds} rounds: #{list(counts)}")

    counts
  end

  @doc "Runs a single round, whatever LINX_RACE_ROUNDS says."
  def once(name, round) do
    :rand.seed(:exsss, {seed(), :erlang.phash2(name), 0})
    Process.put(:lead, 0.0)
    attempt(name, 0, round)
  end

  @doc "By how much LINX_RACE_ROUNDS multiplies everything."
  def factor do
    {factor, ""} = "LINX_RACE_ROUNDS" |> System.get_env("1") |> Float.parse()
    factor
  end

  @doc "Asserts that each of these was among the outcomes, unless there were few."
  def assert_seen(counts, outcomes) do
    for outcome <- outcomes, Enum.sum(Map.values(counts)) >= @enough do
      assert is_map_key(counts, outcome), "never saw #{inspect(outcome)}, only #{list(counts)}"
    end

    counts
  end

  @doc """
  Calls the functions in processes of their own, all released by one barrier, each at a random moment
  of the next `window` microseconds, and returns what they return.

  The processes live on until the end of the round. By then each must have returned, caught no exit,
  and have kept nothing: no late answer in its mailbox, no monitor.
  """
  def at_once(window, functions) do
    test = self()
    sides = Enum.map(functions, fn function -> spawn(fn -> side(test, function) end) end)
    Process.put(:sides, sides ++ Process.get(:sides, []))
    for side <- sides, do: assert_receive({^side, :there}, @patience)
    delays = delays(window, length(sides))
    Process.put(:window, {window, delays})
    start = now() + 50_000
    for {side, delay} <- Enum.zip(sides, delays), do: send(side, {:go, start + delay})
    Enum.map(sides, &answer/1)
  end

  @doc "A process that keeps the messages it gets."
  def listener do
    listener = spawn_link(fn -> listen([]) end)
    Process.put(:listeners, [listener | Process.get(:listeners, [])])
    listener
  end

  @doc """
  What the listener has got when these sessions have gone, in order: the last part of each event, or
  all of it without the tag.
  """
  def heard(listener, sessions) do
    for session <- List.wrap(sessions) do
      monitor = Process.monitor(session)
      assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, @patience
    end

    heard(listener)
  end

  @doc "What the listener has got by now."
  def heard(listener) do
    send(listener, {:tell, self()})
    assert_receive {^listener, messages}, @patience

    for message <- messages do
      case message do
        {:linx_process, event} -> event
        {:linx_process, event, one} -> {event, one}
        {:linx_process, :error, code, stage} -> {:error, code, stage}
      end
    end
  end

  @doc "Waits until `fun` returns something true, as long as it takes with a thousand sessions."
  def until(fun), do: Linx.Test.Helpers.eventually(fun, div(now(), 1_000_000) + @patience)

  @doc "Waits until the listener has got something like that."
  defmacro await_heard(listener, pattern) do
    quote do
      unquote(__MODULE__).until(fn ->
        Enum.find(unquote(__MODULE__).heard(unquote(listener)), &match?(unquote(pattern), &1))
      end)
    end
  end

  @doc "Asserts that a session, or what there was in its place, told its life from first to last."
  def assert_story(events) do
    {before, last} = Enum.split(events, -1)
    assert [last] = last, "no event at all"
    assert terminal?(last), "the last event is #{inspect(last)}: #{inspect(events)}"
    told = Enum.reject(before, &match?({:pty_out, _}, &1))

    assert Enum.map(told, &if(is_tuple(&1), do: elem(&1, 0), else: &1)) in [
             [],
             [:ready],
             [:ready, :running]
           ]

    if :running in told do
      assert Enum.take_while(before, &(not match?({:pty_out, _}, &1))) == told
    else
      assert told == before
    end

    last
  end

  @doc "The last event of a session that ended with this result."
  def event({:ok, outcome}), do: outcome
  def event({:error, %Error{code: code, stage: stage}}), do: {:error, code, stage}

  @doc "Whether an event is the last one of a session."
  def terminal?({how, _}) when how in [:exited, :signaled], do: true
  def terminal?({:error, _, _}), do: true
  def terminal?(event), do: event == :aborted

  defp attempt(name, number, round) do
    outcome = round.()
    Enum.each(Process.get(:sides, []), &assert_kept_nothing/1)
    balance(outcome)
    outcome
  rescue
    error ->
      {window, delays} = Process.get(:window, {nil, []})

      IO.puts("""
      Round #{number} of #{name} failed. --seed #{seed()} has the same random numbers. Of #{window} \
      microseconds the sides waited #{inspect(Enum.map(delays, &div(&1, 1000)))}.\
      """)

      reraise error, __STACKTRACE__
  after
    for pid <- Process.get(:sides, []), do: Process.exit(pid, :kill)

    for pid <- Process.get(:listeners, []) do
      Process.unlink(pid)
      Process.exit(pid, :kill)
    end

    Process.put(:sides, [])
    Process.put(:listeners, [])
  end

  # A side of a race.

  defp side(test, function) do
    # Who was killed on purpose does not live on, nor may a side outlive its test.
    Process.monitor(test)
    send(test, {self(), :there})

    receive do
      {:go, moment} -> wait_until(moment)
    end

    answer =
      try do
        {:returned, function.()}
      catch
        kind, reason -> {:caught, kind, reason, __STACKTRACE__}
      end

    send(test, {self(), answer})
    {:monitors, monitors} = Process.info(self(), :monitors)
    stay(test, monitors -- [process: test])
  end

  defp stay(test, monitors) do
    receive do
      :report ->
        {:messages, messages} = Process.info(self(), :messages)
        send(test, {self(), :kept, messages, monitors})

      {:DOWN, _, :process, ^test, _} ->
        :ok
    end
  end

  defp answer(side) do
    receive do
      {^side, {:returned, value}} ->
        value

      {^side, {:caught, kind, reason, stacktrace}} ->
        flunk("a call did not return: " <> Exception.format(kind, reason, stacktrace))
    after
      @patience ->
        flunk("a call hangs: #{inspect(Process.info(side, :current_stacktrace))}")
    end
  end

  defp assert_kept_nothing(side) do
    send(side, :report)
    assert_receive {^side, :kept, messages, monitors}, @patience
    assert messages == []
    assert monitors == []
  end

  # Near the moment a process spins, since timers know only milliseconds. It lets others run
  # meanwhile: there may be but one scheduler.
  defp wait_until(moment) do
    case moment - now() do
      far when far > 2_500_000 ->
        Process.sleep(div(far, 1_000_000) - 1)
        wait_until(moment)

      near when near > 0 ->
        :erlang.yield()
        wait_until(moment)

      _past ->
        :ok
    end
  end

  # If the first was faster before than it should be, it starts later; else the others do.
  defp delays(window, count) do
    lead = Process.get(:lead) * window
    scatter = scatter(window)

    for side <- 1..count//1 do
      held_back = if side == 1, do: max(lead, 0), else: max(-lead, 0)
      round((held_back + :rand.uniform() * scatter) * 1000)
    end
  end

  defp scatter(window), do: Enum.random([window, window / 4, window / 20])

  # As a part of the window, by which the left one is held back.
  defp balance(:left), do: Process.put(:lead, Process.get(:lead) + 0.1)
  defp balance(:right), do: Process.put(:lead, Process.get(:lead) - 0.1)
  defp balance(_other), do: :ok

  defp listen(messages) do
    receive do
      {:tell, who} ->
        send(who, {self(), Enum.reverse(messages)})
        listen(messages)

      message ->
        listen([message | messages])
    end
  end

  defp seed, do: ExUnit.configuration()[:seed] || 0
  defp list(counts), do: Enum.map_join(counts, ", ", fn {what, n} -> "#{inspect(what)} #{n}" end)
  defp now, do: System.monotonic_time(:nanosecond)
end
