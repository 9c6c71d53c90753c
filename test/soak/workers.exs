defmodule Soak.Workers do
  @moduledoc false

  # Run sessions, each in a process of its own.

  alias Soak.Kinds

  @workers 8
  # So many sessions of each worker are held open beside the one it is at.
  @held 6
  # What takes longer than this hangs.
  @patience 300_000

  @doc "Runs the sessions with these numbers, which decide of what kind they are."
  def run(soak, numbers) do
    counter = :atomics.new(1, [])
    :atomics.put(counter, 1, numbers.first - 1)
    next = fn -> next(counter, numbers.last) end
    workers = for _ <- 1..@workers, do: spawn_monitor(fn -> work(soak, next, []) end)
    for {pid, monitor} <- workers, do: await(pid, monitor, :infinity)
  end

  @doc "Runs one session of each of these kinds."
  def run_each(soak, kinds) do
    for kind <- kinds, {pid, monitor} = start(soak, 0, kind), do: await(pid, monitor, @patience)
  end

  # Numbers are given out once.
  defp next(counter, last) do
    number = :atomics.add_get(counter, 1, 1)
    if number <= last, do: number
  end

  defp work(soak, next, held) do
    case next.() do
      nil ->
        for {pid, monitor} <- held, do: await(pid, monitor, @patience)

      number ->
        :rand.seed(:exsss, {soak.seed, number, 0})
        kind = Enum.random(soak.kinds)
        job = {pid, monitor} = start(soak, number, kind)

        if kind == :held do
          {done, held} = Enum.split([job | held], -@held)
          for {pid, monitor} <- held, do: await(pid, monitor, @patience)
          work(soak, next, done)
        else
          await(pid, monitor, @patience)
          work(soak, next, held)
        end
    end
  end

  defp start(soak, number, kind) do
    :counters.add(soak.counts, Enum.find_index(Enum.uniq(soak.kinds), &(&1 == kind)) + 1, 1)

    spawn_monitor(fn ->
      :rand.seed(:exsss, {soak.seed, number, 1})
      # Some sessions do not end well.
      Process.flag(:trap_exit, true)

      try do
        Kinds.run(kind, soak)
        # Only what it was linked to may have told of its end.
        {:messages, messages} = Process.info(self(), :messages)
        [] = Enum.reject(messages, &match?({:EXIT, _session, _reason}, &1))
      rescue
        error -> exit({:failed, Exception.format(:error, error, __STACKTRACE__) <> about()})
      end
    end)
    |> tap(fn {pid, _} -> Process.put(pid, {kind, number}) end)
  end

  # What there is to know when it failed.
  defp about do
    {:messages, messages} = Process.info(self(), :messages)
    {:links, links} = Process.info(self(), :links)
    for_session = fn session -> inspect(Linx.Process.info(session)) <> processes(session) end
    sessions = for link <- links, is_pid(link), do: for_session.(link)
    Enum.join(["\nThe mailbox: #{inspect(messages)}" | sessions], "\n")
  end

  defp processes(session) do
    case Linx.Process.info(session) do
      %{host_pid: pid} when pid != nil -> tree(Linx.Test.Helpers.parent(pid), "\n  ")
      _unborn_or_gone -> ""
    end
  rescue
    # It has ended meanwhile.
    _error -> ""
  end

  # The workload and its subreaper: what they are at.
  defp tree(pid, indent) do
    [command, wchan] = for file <- ["comm", "wchan"], do: read("/proc/#{pid}/#{file}")
    children = String.split(read("/proc/#{pid}/task/#{pid}/children"))
    line = "#{indent}#{pid} #{command} #{Linx.Test.Helpers.stat(pid)} #{wchan}"
    Enum.join([line | Enum.map(children, &tree(&1, indent <> "  "))])
  end

  defp read(path) do
    with {:ok, text} <- File.read(path), do: String.trim(text), else: (_gone -> "?")
  end

  defp await(pid, monitor, patience) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, :normal} -> Process.delete(pid)
      {:DOWN, ^monitor, :process, ^pid, {:failed, why}} -> fail(pid, why)
      {:DOWN, ^monitor, :process, ^pid, why} -> fail(pid, inspect(why))
    after
      patience -> fail(pid, "it hangs: #{inspect(Process.info(pid))}")
    end
  end

  defp fail(pid, why) do
    {kind, number} = Process.get(pid, {"a worker", "?"})
    IO.puts("soak: session #{number}, #{kind}, failed\n#{why}")
    System.halt(1)
  end
end
