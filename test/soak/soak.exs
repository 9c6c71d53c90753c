# A great many sessions of all kinds, a few at a time, and what is left of them: nothing.
#
#     make soak                    100,000 sessions
#     make soak SESSIONS=2000      a minute's worth
#
# LINX_TEST_AGENT=dedicated gives each session an agent of its own; otherwise hosts are lost in the end, too.
#
# Every session's outcome is asserted. After a warm-up and at each tenth of the way, when none of
# them is alive, everything a session could leave behind is counted. In the end there must be as many
# processes, ports, descriptors and so on as in the beginning, and no more memory, or else the
# program fails. SEED=n repeats the choices of a run.

# For the functions that are shared with the tests. Nothing here is a test.
Application.put_env(:ex_unit, :autorun, false)
{:ok, _} = Application.ensure_all_started(:ex_unit)

agent = System.get_env("LINX_TEST_AGENT", "host")
true = agent in ["host", "dedicated"]
Application.put_env(:linx, :agent, String.to_atom(agent))

# Many of these sessions fail on purpose, and would say so.
Logger.configure(level: :emergency)

for file <- ["kinds.exs", "census.exs", "workers.exs", "losses.exs"],
    do: Code.require_file(file, __DIR__)

defmodule Soak do
  @moduledoc false

  alias Linx.Process, as: P
  alias Soak.{Census, Kinds, Losses, Workers}

  @parts 10

  def main do
    sessions = number("SESSIONS", 100_000)
    seed = number("SEED", :rand.uniform(1_000_000))
    root? = match?({_, 0}, System.cmd("unshare", ["--net", "true"], stderr_to_stdout: true))
    kinds = for {kind, weight} <- Kinds.weights(root?), _ <- 1..weight, do: kind
    dir = Path.join(System.tmp_dir!(), "linx-soak-#{System.pid()}")
    File.mkdir_p!(dir)

    soak = %{
      seed: seed,
      dir: dir,
      # All digits, for sleep.
      mark: "8" <> String.pad_leading(System.pid(), 9, "0"),
      kinds: kinds,
      counts: :counters.new(length(kinds), []),
      root?: root?,
      busy: nil,
      target: nil
    }

    IO.puts("#{sessions} sessions, SEED=#{seed}#{if not root?, do: ", without namespaces"}")

    # By then all code has been loaded, and whatever is made once has been made.
    warm = open(soak)
    Workers.run_each(warm, Enum.uniq(kinds))
    Workers.run(warm, -499..0)
    be_busy(warm.busy, 2_000)
    close(warm)
    Losses.run(warm, @parts)
    empty = Census.settled(soak, nil)

    soak = open(soak)
    Workers.run(soak, -999..-500)
    be_busy(soak.busy, 2_000)
    first = Census.settled(soak, nil)
    Census.header()
    Census.row("empty", empty)
    Census.row("0", first)
    started = now()

    rows =
      for part <- 1..@parts do
        numbers = (div(sessions * (part - 1), @parts) + 1)..div(sessions * part, @parts)
        Workers.run(soak, numbers)
        be_busy(soak.busy, Enum.count(numbers))
        census = Census.settled(soak, first)
        Census.row("#{numbers.last}", census)
        census
      end

    seconds = div(now() - started, 1000)
    close(soak)
    Losses.run(soak, max(@parts, div(sessions, 500)))
    last = Census.settled(%{soak | busy: nil}, empty)
    Census.row("end", last)
    File.rm_rf!(dir)

    counts =
      for {kind, index} <- Enum.with_index(Enum.uniq(kinds), 1),
          do: "#{kind} #{:counters.get(soak.counts, index)}"

    IO.puts("with the warm-up: " <> Enum.join(counts, ", "))

    case Census.complaints(first, rows) ++ Census.differences(empty, last) do
      [] ->
        IO.puts("soak: #{sessions} sessions in #{seconds} s, and nothing is left")

      complaints ->
        IO.puts(Enum.join(["soak: something is left" | complaints], "\n  "))
        System.halt(1)
    end
  end

  # Two sessions that are there all the time: a target for those that enter, and one that is busy.

  defp open(soak) do
    {:ok, session} =
      P.spawn(
        argv: ["sh", "-c", "stty raw -echo; echo go; exec cat"],
        stdio: :pty,
        auto_proceed: true
      )

    {:ok, host_pid} = await_running(session)
    "go\n" = read(3)
    busy = %{session: session, agent: Linx.Test.Helpers.agent_of(host_pid)}

    if soak.root? do
      opts = [argv: ["sleep", "1000000"], namespaces: [:net, :uts, :ipc, :pid, :mount]]
      {:ok, container} = P.spawn(opts ++ [auto_proceed: true])
      {:ok, target} = await_running(container)
      Map.merge(soak, %{busy: busy, container: container, target: target})
    else
      %{soak | busy: busy}
    end
  end

  defp close(soak) do
    sessions = [soak.busy.session | List.wrap(soak[:container])]

    for session <- sessions do
      :ok = P.stop(session)

      receive do
        {:linx_process, :signaled, _} -> :ok
      end
    end

    {:messages, []} = Process.info(self(), :messages)
  end

  defp await_running(session) do
    receive do
      {:linx_process, :ready, _} -> :ok
    end

    receive do
      {:linx_process, :running} -> P.host_pid(session)
    end
  end

  # Many commands to one agent.
  defp be_busy(%{session: session}, calls) do
    for call <- 1..calls do
      case rem(call, 5) do
        0 -> :ok = P.signal(session, :sigwinch)
        1 -> :ok = P.pty_set_winsize(session, {rem(call, 100) + 1, 80, 0, 0})
        2 -> {:ok, %{slave: _}} = P.pty_master(session)
        3 -> {:error, :timeout} = P.wait(session, 0)
        4 -> echo(session, String.duplicate("#{call} ", rem(call, 60) + 1))
      end
    end
  end

  defp echo(session, bytes) do
    :ok = P.pty_write(session, bytes)
    ^bytes = read(byte_size(bytes))
  end

  defp read(0), do: ""

  defp read(size) do
    receive do
      {:linx_process, :pty_out, bytes} -> bytes <> read(size - byte_size(bytes))
    after
      120_000 -> raise "#{size} bytes have not come"
    end
  end

  defp number(name, default), do: name |> System.get_env("#{default}") |> String.to_integer()
  defp now, do: System.monotonic_time(:millisecond)
end

Soak.main()
