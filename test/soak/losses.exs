defmodule Soak.Losses do
  @moduledoc false

  # Hosts that are lost, with all their sessions: this is nothing to be done beside others.

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error
  alias Linx.Test.Tree

  @sessions 6
  @patience 120_000

  @doc "Loses a host so many times, and in the end all are there."
  def run(soak, times) do
    if hosted?() do
      :rand.seed(:exsss, {soak.seed, 0, times})
      for _ <- 1..times, do: lose(soak)
      warm_up()
    end
  end

  defp lose(soak) do
    sessions = for n <- 1..@sessions, do: start(soak, rem(n, 3))
    {session, host_pid} = Enum.random(sessions)
    host = host(session)
    {lost, others} = Enum.split_with(sessions, fn {session, _} -> host(session) == host end)

    code = harm(Enum.random([:agent, :guardian, :process]), host, host_pid)

    for {session, host_pid} <- lost do
      {:error, %Error{stage: :agent_died, errno: :unknown, code: told}} =
        P.wait(session, @patience)

      # Nobody sees the exit status when something is just being written to the agent: its port is closed for that.
      true = told in [code, 0]
      false = alive?(host_pid)
    end

    for {session, host_pid} <- others do
      true = alive?(host_pid)
      nil = P.info(session).result
    end

    for {session, _host_pid} <- sessions, do: :ok = P.stop(session)
  end

  # At the checkpoint, running, and with a daemon.
  defp start(soak, kind) do
    script = "(trap '' HUP TERM; setsid sleep #{soak.mark} &); exec sleep #{soak.mark}"

    argv = if kind == 2, do: ["/bin/sh", "-c", script], else: ["sleep", soak.mark]
    # The daemon has to be waited for.
    opts = [argv: argv, stdio: :devnull, owner: nil, grace: 50, auto_proceed: kind > 0]
    {:ok, session} = P.spawn(opts)
    stage = if kind > 0, do: :running, else: :ready
    eventually(fn -> P.info(session).stage == stage end)
    {:ok, host_pid} = P.host_pid(session)
    {session, host_pid}
  end

  defp host(session), do: :sys.get_state(session).agent.host

  defp harm(:agent, _host, host_pid) do
    Tree.kill!(agent_of(host_pid), :KILL)
    137
  end

  defp harm(:guardian, _host, host_pid) do
    Tree.kill!(parent(agent_of(host_pid)), :KILL)
    137
  end

  # Its agent is only hung up.
  defp harm(:process, host, _host_pid) do
    Process.exit(host, :kill)
    0
  end
end
