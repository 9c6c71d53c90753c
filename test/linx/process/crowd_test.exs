defmodule Linx.Process.CrowdTest do
  # A thousand sessions that end at once. See Linx.Test.Race.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers
  import Linx.Test.Race
  import Linx.Test.Tree, only: [kill: 2]

  alias Linx.Process, as: P

  @moduletag :capture_log
  @moduletag timeout: :infinity

  # What takes longer than this hangs.
  @patience 120_000

  # Nobody is to be given up on a machine that is busy.
  @grace 60_000

  # How each way to end a group of sessions looks to their owners.
  @ways [
    stopped: {:signaled, 15},
    parent_killed: {:signaled, 15},
    supervisor_stopped: {:signaled, 15},
    workloads_killed: {:signaled, 9},
    agents_killed: {:error, 137, :agent_died},
    sessions_killed: nil
  ]

  setup :watch

  # As many of them as the BEAM has descriptors for: a port has two, and a third while it opens.
  defp crowd do
    [_, limit] = Regex.run(~r/Max open files +(\d+)/, File.read!("/proc/self/limits"))
    min(1_000, div(String.to_integer(limit) - 200, 3))
  end

  test "of all causes there are, each ends a part", context do
    size = div(crowd(), length(@ways))
    end_at_once(context, for({way, _} <- @ways, do: {way, size}))
  end

  # All of them by one cause takes a while. `make stress` does it.
  if factor() > 1 do
    for {way, _} <- @ways do
      @tag way: way
      test "one cause ends them all: #{way}", %{way: way} = context do
        end_at_once(context, [{way, crowd()}])
      end
    end
  end

  defp end_at_once(context, sizes) do
    once("a thousand sessions: #{inspect(sizes)}", fn ->
      groups = for {way, size} <- sizes, do: {way, start_group(way, size, context)}
      assert_agents(groups)
      started = System.monotonic_time(:millisecond)
      at_once(1_000, Enum.map(groups, &ending/1))

      # Some linger. The end of their parent is theirs, too.
      for {way, {_, sessions}} <- groups, {session, _, _} <- sessions do
        result = P.wait(session, @patience)
        assert result == {:error, :no_process} or event(result) == @ways[way]
      end

      for {_, {parent, _}} <- groups, do: Process.exit(parent, :kill)

      for {way, {_, sessions}} <- groups, {session, owner, {host_pid, born}} <- sessions do
        events = heard(owner, session)

        if way == :sessions_killed do
          assert [{:ready, ^host_pid}, :running] = events
        else
          assert assert_story(events) == @ways[way]
          assert born(host_pid) != born
        end
      end

      until(fn -> processes(context.mark) == [] and agents() == [] end)
      ms = System.monotonic_time(:millisecond) - started
      if System.get_env("LINX_RACE_COUNTS"), do: IO.puts("#{inspect(sizes)} ended in #{ms} ms")
    end)

    assert_as_before(context)
  end

  # Each session has an agent of its own, or its place in one of the hosts, which are all in use.
  defp assert_agents(groups) do
    {own, shared} =
      Enum.split_with(groups, fn {way, _} -> Keyword.fetch!(opts(way), :agent) == :dedicated end)

    assert length(agents_of(own)) == own |> Enum.map(&host_pids/1) |> List.flatten() |> length()
    assert shared == [] or length(agents_of(shared)) == length(host_ports())
    assert agents_of(own) -- agents_of(shared) == agents_of(own)
  end

  defp agents_of(groups) do
    for group <- groups, host_pid <- host_pids(group), uniq: true, do: agent_of(host_pid)
  end

  defp host_pids({_way, {_parent, sessions}}) do
    for {_session, _owner, {host_pid, _born}} <- sessions, do: host_pid
  end

  # Where agents are killed, those of no others are to be.
  defp opts(:agents_killed), do: [agent: :dedicated]
  defp opts(_way), do: [agent: Application.fetch_env!(:linx, :agent)]

  # The sessions have a common parent, and each has an owner of its own.
  defp start_group(way, size, context) do
    argv = ["/bin/sh", "-c", "exec sleep #{context.mark}"]
    opts = [argv: argv, auto_proceed: true, grace: @grace] ++ opts(way)
    {parent, start} = starter(way)

    sessions =
      for owner <- for(_ <- 1..size, do: listener()) do
        {:ok, session} = start.([owner: owner] ++ opts)
        {session, owner}
      end

    {parent,
     for {session, owner} <- sessions do
       await_heard(owner, :running)
       {:ok, host_pid} = P.host_pid(session)
       {session, owner, {host_pid, born(host_pid)}}
     end}
  end

  defp starter(:supervisor_stopped) do
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one)
    Process.unlink(supervisor)

    {supervisor,
     fn opts ->
       child = Supervisor.child_spec({P, opts}, shutdown: @patience)
       DynamicSupervisor.start_child(supervisor, child)
     end}
  end

  defp starter(_way) do
    parent =
      spawn(fn ->
        # It survives the ends of its sessions.
        Process.flag(:trap_exit, true)
        serve()
      end)

    {parent,
     fn opts ->
       send(parent, {:spawn, opts, self()})
       assert_receive {:spawned, answer}, @patience
       answer
     end}
  end

  defp serve do
    receive do
      {:spawn, opts, from} -> send(from, {:spawned, P.spawn(opts)})
      {:EXIT, _session, _reason} -> :ok
    end

    serve()
  end

  defp ending({way, {parent, sessions}} = group) do
    host_pids = host_pids(group)
    sessions = for {session, _owner, _process} <- sessions, do: session

    case way do
      :stopped ->
        fn ->
          stops = for session <- sessions, do: Task.async(fn -> P.stop(session) end)
          assert Enum.uniq(Task.await_many(stops, @patience)) == [:ok]
        end

      :parent_killed ->
        fn -> Process.exit(parent, :kill) end

      :supervisor_stopped ->
        fn -> DynamicSupervisor.stop(parent) end

      :sessions_killed ->
        fn -> Enum.each(sessions, &Process.exit(&1, :kill)) end

      :workloads_killed ->
        fn -> kill(Enum.join(host_pids, " "), :KILL) end

      :agents_killed ->
        fn -> kill(Enum.map_join(host_pids, " ", &agent_of/1), :KILL) end
    end
  end
end
