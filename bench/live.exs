defmodule Bench.Live do
  @moduledoc false

  # Many live processes of one contender: `sleep`, with /dev/null for its standard descriptors where the
  # contender can. They belong to the process that has them started.

  alias Bench.{Measure, Peers, Programs}
  alias Linx.Process, as: P

  # `times` is what each took to start, in ns; `info` asks each how it is, and `kill` returns how long
  # it took until all were gone, in ns. `beam` are the processes of the BEAM that belong to them.
  defstruct [:times, :info, :kill, beam: []]

  @sleep ["/bin/sleep", "900"]

  @doc "Everybody who can, as a name and what starts so many; Linx first, the floor last."
  def contenders do
    [
      {"Linx", &linx(&1, [])},
      if(Peers.Linx.dedicated?(), do: {"Linx, dedicated", &linx(&1, agent: :dedicated)}),
      {"Port", &ports/1},
      if(Peers.CAgent.here?(), do: {"C agent", &c_agents/1}),
      {"posix_spawn", &c_floor/1}
    ]
    |> Enum.reject(&is_nil/1)
  end

  @doc "Has the contender make what it makes once and keeps, such as hosts."
  def warm_up(start), do: start.(50).kill.()

  @doc "Sessions, in turn: each runs before the next is started."
  def linx(count, opts) do
    Process.flag(:trap_exit, true)
    {sessions, times} = each(count, fn -> linx_session(opts) end)

    info = fn ->
      for session <- sessions, do: %P.Info{stage: :running} = P.info(session)
    end

    %__MODULE__{times: times, info: info, kill: fn -> linx_kill(sessions) end, beam: sessions}
  end

  @doc "A session that runs, or how it failed."
  def linx_session(opts) do
    {:ok, session} = Peers.Linx.start([argv: @sleep, auto_proceed: true] ++ opts)

    receive do
      {:linx_process, :ready, _} -> :ok
      {:EXIT, ^session, {:error, error}} -> raise error
    end

    receive do
      {:linx_process, :running} -> session
      {:EXIT, ^session, {:error, error}} -> raise error
    end
  end

  @doc "Kills them on command, and returns how long it took until the last had told its end."
  def linx_kill(sessions) do
    began = Measure.now()
    for session <- sessions, do: :ok = P.signal(session, :sigkill)

    for _ <- sessions do
      receive do
        {:linx_process, :signaled, 9} -> :ok
      end
    end

    took = Measure.now() - began

    for session <- sessions do
      receive do
        {:EXIT, ^session, _reason} -> :ok
      end
    end

    took
  end

  # Each port has a process, as with System.cmd.
  defp ports(count) do
    {owners, times} = each(count, &port_owner/0)

    kill = fn ->
      began = Measure.now()

      for some <- Enum.chunk_every(owners, 500) do
        {_, 0} = System.cmd("kill", ["-9" | for({_owner, os_pid} <- some, do: "#{os_pid}")])
      end

      for {owner, _} <- owners do
        receive do
          {:gone, ^owner} -> :ok
        end
      end

      Measure.now() - began
    end

    %__MODULE__{times: times, kill: kill, beam: for({owner, _} <- owners, do: owner)}
  end

  defp port_owner do
    runner = self()
    [program | args] = @sleep

    owner =
      spawn_link(fn ->
        port = Port.open({:spawn_executable, program}, [:binary, :exit_status, args: args])
        send(runner, {:os_pid, Port.info(port, :os_pid)})

        receive do
          {^port, {:exit_status, _}} -> send(runner, {:gone, self()})
        end
      end)

    receive do
      {:os_pid, {:os_pid, os_pid}} -> {owner, os_pid}
    end
  end

  defp c_agents(count) do
    {ports, times} =
      each(count, fn ->
        port = Peers.CAgent.start(@sleep)
        {:status, :running} = Peers.CAgent.await(port, :running)
        port
      end)

    kill = fn ->
      began = Measure.now()
      for port <- ports, do: Peers.CAgent.tell(port, {:signal, 9})
      for port <- ports, do: Peers.CAgent.await(port, :signaled)
      Measure.now() - began
    end

    %__MODULE__{times: times, kill: kill}
  end

  defp c_floor(count) do
    args = ["#{count}" | @sleep]
    port = Port.open({:spawn_executable, Programs.path("live")}, [:binary, line: 64, args: args])
    times = c_times(port, [])

    kill = fn ->
      Port.command(port, "\n")
      port |> line() |> String.to_integer()
    end

    %__MODULE__{times: times, kill: kill}
  end

  defp c_times(port, times) do
    case line(port) do
      "live" -> Enum.reverse(times)
      time -> c_times(port, [String.to_integer(time) | times])
    end
  end

  defp line(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> line
    end
  end

  defp each(count, start) do
    Enum.unzip(
      for _ <- 1..count do
        began = Measure.now()
        started = start.()
        {started, Measure.now() - began}
      end
    )
  end
end
