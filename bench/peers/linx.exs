defmodule Bench.Peers.Linx do
  @moduledoc false

  alias Bench.Peers.Peer
  alias Linx.Process, as: P

  @dedicated "Linx, dedicated"

  def peers do
    [
      %Peer{name: "Linx", run: &run/2},
      %Peer{name: "Linx, checkpoint", run: &run_through_checkpoint/2},
      dedicated()
    ]
  end

  @doc "Linx with an agent for each session, beside its default."
  def dedicated do
    if dedicated?(),
      do: %Peer{name: @dedicated, run: &run(&1, [agent: :dedicated] ++ &2)},
      else: {:not_run, @dedicated, "every session has an agent of its own"}
  end

  # There is no such option where there is nothing else.
  def dedicated?,
    do: P.spawn(argv: ["true"], agent: :dedicated, cwd: "") != {:error, {:bad_option, :agent}}

  def run(argv, opts) do
    {:ok, session} = start([argv: argv, auto_proceed: true] ++ opts)
    ended(session)
  end

  def run_through_checkpoint(argv, opts) do
    {:ok, session} = start([argv: argv] ++ opts)

    receive do
      {:linx_process, :ready, _host_pid} -> :ok
    end

    :ok = P.proceed(session)
    ended(session)
  end

  # As in `Keyword.get/2`, the first of several values counts.
  def start(opts), do: P.spawn(opts ++ [stdio: :devnull, linger: false])

  # A session does not linger: if it has gone before it was asked, its last event tells.
  def ended(session) do
    case P.wait(session) do
      {:ok, {:exited, 0}} -> :ok
      {:error, :no_process} -> :ok
    end

    receive do
      {:linx_process, :exited, 0} -> flush()
    after
      5_000 -> raise "the program did not exit with 0"
    end
  end

  defp flush do
    receive do
      {:linx_process, _} -> flush()
      {:linx_process, _, _} -> flush()
    after
      0 -> :ok
    end
  end
end
