defmodule Soak.Census do
  @moduledoc false

  # What there is at a moment, in the BEAM and around it.

  import Linx.Test.Helpers

  @exact [
    :processes,
    :ports,
    :atoms,
    :ets,
    :timers,
    :fds,
    :forker_fds,
    :agents,
    :places,
    :host_fds,
    :zombies,
    :marked
  ]
  @bytes [:memory, :process_memory, :binary_memory]

  # By how much memory may differ between two moments that are alike, in bytes.
  @margin 2_097_152
  # A host has room for as many sessions as it has had at a time.
  @agent_margin %{dedicated: 131_072, host: 2_097_152}

  def take(soak) do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)

    %{
      processes: length(Process.list()),
      ports: length(Port.list()),
      atoms: :erlang.system_info(:atom_count),
      ets: length(:ets.all()),
      # In bytes.
      timers: :erlang.system_info(:allocated_areas) |> List.keyfind(:bif_timer, 0) |> elem(1),
      memory: :erlang.memory(:total),
      process_memory: :erlang.memory(:processes),
      binary_memory: :erlang.memory(:binary),
      rss: rss(System.pid()),
      fds: length(File.ls!("/proc/self/fd")),
      forker_fds: length(File.ls!("/proc/#{forker()}/fd")),
      agents: length(agents()),
      # Of sessions, in hosts.
      places: Enum.sum(for {_, load, _, _} <- :ets.tab2list(Linx.Agent.Hosts), do: load),
      host_fds: Enum.sum(for pid <- hosts(), do: length(File.ls!("/proc/#{pid}/fd"))),
      zombies: zombies(),
      # Of the whole machine, where others may have some, too.
      terminals:
        "/proc/sys/kernel/pty/nr" |> File.read!() |> String.trim() |> String.to_integer(),
      marked: length(processes(soak.mark)),
      agent_rss: if(soak.busy, do: rss(soak.busy.agent), else: 0)
    }
  end

  @doc """
  Counts when what was still on its way out has gone: when there is no more than expected, or else
  nothing changes any more.
  """
  def settled(soak, expected, before \\ nil, deadline \\ now() + 20_000) do
    census = take(soak)

    expected_now =
      if expected, do: &(census[&1] <= expected[&1]), else: &(census[&1] == before[&1])

    if now() > deadline or Enum.all?(@exact, expected_now) do
      census
    else
      Process.sleep(100)
      settled(soak, expected, census, deadline)
    end
  end

  @doc "What stands against the claim that nothing has been left while it went on, in words."
  def complaints(first, rows) do
    # What grows, shows in the last moments against the first ones.
    grown =
      for key <- @bytes ++ [:agent_rss],
          {early, late} = {[first | Enum.take(rows, 3)], Enum.take(rows, -3)},
          [before, later] = for(part <- [early, late], do: Enum.max(Enum.map(part, & &1[key]))),
          later > before + margin(key),
          do: "#{key} has grown from #{before} to #{later}"

    differences(first, List.last(rows)) ++ grown
  end

  defp margin(:agent_rss), do: @agent_margin[Application.fetch_env!(:linx, :agent)]
  defp margin(_key), do: @margin

  @doc "What there is not as many of as before, in words."
  def differences(before, later) do
    for key <- @exact, before[key] != later[key], do: "#{key}: #{before[key]}, then #{later[key]}"
  end

  @columns [
    processes: "procs",
    ports: "ports",
    atoms: "atoms",
    ets: "ets",
    timers: "timers",
    memory: "memory",
    process_memory: "in procs",
    binary_memory: "binaries",
    rss: "RSS",
    fds: "fds",
    forker_fds: "setup fds",
    agents: "agents",
    places: "places",
    host_fds: "host fds",
    zombies: "zombies",
    marked: "marked",
    terminals: "ptys",
    agent_rss: "agent RSS"
  ]

  def header, do: line("sessions", Keyword.values(@columns))
  def row(name, census), do: line(name, for({key, _} <- @columns, do: cell(key, census[key])))

  defp line(name, cells) do
    IO.puts(
      Enum.map_join(
        [String.pad_trailing("#{name}", 9) | cells],
        " ",
        &String.pad_leading("#{&1}", 9)
      )
    )
  end

  defp cell(key, bytes) when key in @bytes or key in [:rss, :agent_rss],
    do: "#{div(bytes, 1024)}K"

  defp cell(_key, number), do: number

  # Those that the BEAM, its helper or an agent should have reaped.
  defp zombies do
    parents = [System.pid(), forker() | agents() ++ hosts()]
    Enum.count(Enum.flat_map(parents, &children/1), &(stat(&1) == "Z"))
  end

  defp rss(pid) do
    [_, resident | _] = String.split(File.read!("/proc/#{pid}/statm"))
    String.to_integer(resident) * 4096
  end

  defp now, do: System.monotonic_time(:millisecond)
end
