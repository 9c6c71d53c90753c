# What Linx does, on real programs. Run it with `make demo`, or with `mix run examples/demo.exs`.
#
# As root every namespace can be had; anybody else gets a user namespace first, if the machine allows it.

defmodule Demo do
  alias Linx.Process, as: P

  def run do
    commands()
    parked_in_namespaces()
    sandbox()
    signals()
    terminal()
    aborted()
    supervised()
    nothing_left()
    speed()
    IO.puts("\nThat was it. The README goes on from here.\n")
  end

  # ── commands ──────────────────────────────────────────────────────────────────────────────────

  defp commands do
    title("Commands: captured, fed, streamed, timed out")
    say("Linx.cmd(\"echo\", [\"hello\"]) is #{inspect(Linx.cmd("echo", ["hello"]))}")

    {:ok, sorted} = Linx.run(["sort"], input: ["b\n", "a\n"])
    say("sort, fed with b and a, says #{inspect(sorted.stdout)}")
    say("  it took #{sorted.duration} µs, and #{div(sorted.usage.max_rss, 1024)} KiB at most")

    lines = ["yes"] |> Linx.stream!(lines: true) |> Stream.take(1_000_000) |> Enum.count()
    say("#{lines} lines have been taken of an endless stream, and its program is gone")

    {:ok, late} = Linx.run(["sh", "-c", "sleep 60 & wait"], timeout: 200)

    say(
      "a script that takes too long: #{inspect(late.status)} after #{div(late.duration, 1000)} ms"
    )

    say("  timed out? #{late.timed_out?}; the sleep that it had started is gone, too")

    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true)
    await_ready()
    say("what runs now, by Linx.top():")
    for line <- String.split(inspect(Linx.top()), "\n"), do: say("  #{line}")
    :ok = P.stop(session)
    flush()
  end

  # ── born in namespaces, parked, configured, released ──────────────────────────────────────────

  defp parked_in_namespaces do
    title("A program is born in namespaces of its own, and stops before it runs")

    script = """
    echo "I am pid $$ on $(hostname)"
    echo "I see $(tail -n +3 /proc/net/dev | wc -l) network interface"
    """

    opts = [argv: ["sh", "-c", script], stdio: :pty]

    case start_parked([namespaces: [:pid, :uts, :net, :ipc]] ++ opts) ||
           start_parked([namespaces: [:user, :pid, :uts, :net, :ipc]] ++ opts) do
      nil ->
        say("This machine lets nobody but root make namespaces: skipped.")

      {session, host_pid} ->
        say("parked: pid #{host_pid} on the host, pid #{P.info(session).child_pid} to itself")

        for type <- ~w(pid uts net) do
          theirs = File.read_link!("/proc/#{host_pid}/ns/#{type}")
          ours = File.read_link!("/proc/self/ns/#{type}")
          say("  its #{theirs}, ours #{ours}")
        end

        configure(host_pid)
        say("released:")
        :ok = P.proceed(session)
        {output, result} = terminal_output(session)
        for line <- String.split(output, "\r\n", trim: true), do: say("  it says: #{line}")
        say("ended: #{inspect(result)}")
    end
  end

  defp start_parked(opts) do
    {:ok, session} = P.spawn(opts)

    receive do
      {:linx_process, :ready, host_pid} -> {session, host_pid}
      {:linx_process, :error, _errno, _stage} -> nil
    end
  end

  defp configure(host_pid) do
    {:ok, hostname} =
      P.enter(host_pid, argv: ["hostname", "linx-demo"], auto_proceed: true, stdio: :devnull)

    case P.wait(hostname) do
      {:ok, {:exited, 0}} ->
        say("configured: a second program has entered its namespaces and named the host")

      _refused ->
        say("not configured: to name the host takes root, or a uid map for the user namespace")
    end
  end

  # ── confined ──────────────────────────────────────────────────────────────────────────────────

  defp sandbox do
    title("A sandbox: one option, no root needed")

    script = """
    echo "I am $(id -un), pid $$, and see $(ls -d /proc/[0-9]* | wc -l) processes"
    echo "in my root there are $(ls / | tr '\\n' ' ')"
    cat /etc/shadow
    unshare --user true
    echo x > /usr/x
    """

    case Linx.run(["sh", "-c", script], sandbox: :strict, stderr: :stdout) do
      {:ok, result} ->
        for line <- String.split(result.stdout, "\n", trim: true), do: say("it says: #{line}")

      {:error, error} ->
        say("This machine does not let it be: #{Exception.message(error)}")
    end
  end

  # ── signals ───────────────────────────────────────────────────────────────────────────────────

  defp signals do
    title("Signals: one that is sent too early waits for the program")
    {:ok, session} = P.spawn(argv: ["sleep", "60"])
    :ok = P.signal(session, :sigterm)
    say("SIGTERM sent while sleep is still parked")
    :ok = P.proceed(session)
    say("released; it ends: #{inspect(P.wait(session))}")
    flush()
  end

  # ── a terminal ────────────────────────────────────────────────────────────────────────────────

  defp terminal do
    title("A terminal of its own")

    script = """
    trap 'echo "resized to $(stty size)"; exit 0' WINCH
    echo "started at $(stty size)"; read answer; echo "you typed: $answer"
    while :; do sleep 0.05; done
    """

    {:ok, session} = P.spawn(argv: ["bash", "-c", script], stdio: :pty)
    :ok = P.pty_set_winsize(session, {24, 80, 0, 0})
    :ok = P.proceed(session)
    :ok = P.pty_write(session, "hello\n")
    wait_for_output("you typed: hello\r\n")
    :ok = P.pty_set_winsize(session, {50, 132, 0, 0})
    {output, result} = terminal_output(session)
    for line <- String.split(output, "\r\n", trim: true), do: say("  #{line}")
    say("ended: #{inspect(result)}")
  end

  # ── abort ─────────────────────────────────────────────────────────────────────────────────────

  defp aborted do
    title("Aborted at the checkpoint: the program never runs")
    marker = Path.join(System.tmp_dir!(), "linx-demo-#{System.pid()}")
    {:ok, session} = P.spawn(argv: ["touch", marker])
    :ok = P.abort(session)
    say("#{inspect(P.wait(session))}; is there a file? #{File.exists?(marker)}")
    flush()
  end

  # ── supervision ───────────────────────────────────────────────────────────────────────────────

  defp supervised do
    title("Restarted by a supervisor")

    child = {P, argv: ["sleep", "60"], auto_proceed: true, owner: self(), restart: :transient}

    {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
    first = await_ready()
    say("sleep runs as pid #{first}; kill -9 #{first}")
    quietly(fn -> System.cmd("kill", ["-9", to_string(first)]) && await_ready() end)
    {:ok, second} = supervisor |> Supervisor.which_children() |> hd() |> elem(1) |> P.host_pid()
    say("the supervisor has started another: pid #{second}")
    Supervisor.stop(supervisor)
    say("the supervisor has stopped; is pid #{second} alive? #{File.exists?("/proc/#{second}")}")
    flush()
  end

  # ── nothing left ──────────────────────────────────────────────────────────────────────────────

  defp nothing_left do
    title("Nothing is left running")
    # Two daemons: their parents are gone, and they have sessions of their own.
    script = "(setsid sleep 7531 &); (setsid sleep 7531 &); echo started; sleep 7531"
    {:ok, session} = P.spawn(argv: ["sh", "-c", script], stdio: :pty, auto_proceed: true)
    wait_for_output("started")
    eventually(fn -> length(sleepers()) == 3 end)
    say("a shell has started one child and two daemons: #{length(sleepers())} processes")
    Process.unlink(session)
    Process.exit(session, :kill)
    {microseconds, _} = :timer.tc(fn -> eventually(fn -> sleepers() == [] end) end)
    say("its session was killed; #{div(microseconds, 1000)} ms later: #{length(sleepers())}")
    flush()
  end

  defp sleepers do
    for pid <- File.ls!("/proc"),
        pid =~ ~r/^\d+$/,
        {:ok, "sleep\0" <> "7531" <> _} <- [File.read("/proc/#{pid}/cmdline")],
        do: pid
  end

  # ── speed ─────────────────────────────────────────────────────────────────────────────────────

  defp speed do
    title("How long does /bin/true take, from the call to its exit status?")

    linx = fn agent ->
      {:ok, session} = P.spawn(argv: ["/bin/true"], auto_proceed: true, owner: nil, agent: agent)
      {:ok, {:exited, 0}} = P.wait(session)
      Process.unlink(session)
      Process.exit(session, :kill)
    end

    contenders = [
      {"Linx, where sessions share an agent", fn -> linx.(:host) end},
      {"Linx, with an agent of its own", fn -> linx.(:dedicated) end},
      {"System.cmd", fn -> {"", 0} = System.cmd("/bin/true", []) end}
    ]

    for _ <- 1..20, {_name, fun} <- contenders, do: fun.()
    # They take turns: what the machine does meanwhile it does to all of them.
    rounds = for _ <- 1..200, do: for({_name, fun} <- contenders, do: time(fun))
    medians = rounds |> Enum.zip() |> Enum.map(&median(Tuple.to_list(&1)))

    say("median of 200:")

    for {{name, _fun}, median} <- Enum.zip(contenders, medians),
        do: say("  #{String.pad_trailing(name, 38)}#{String.pad_leading("#{median}", 6)} µs")
  end

  defp time(fun), do: fun |> :timer.tc() |> elem(0)
  defp median(list), do: list |> Enum.sort() |> Enum.at(div(length(list), 2))

  # ── helpers ───────────────────────────────────────────────────────────────────────────────────

  defp title(text), do: IO.puts("\n\e[1m#{text}\e[0m\n")
  defp say(text), do: IO.puts("  " <> text)

  defp await_ready do
    receive do
      {:linx_process, :ready, pid} -> pid
    end
  end

  # All that the workload writes until its end. The session's last event stands behind it.
  defp terminal_output(session) do
    result = P.wait(session)
    {Process.get(:seen, "") <> drain(""), result}
  after
    Process.delete(:seen)
    flush()
  end

  defp drain(seen) do
    receive do
      {:linx_process, :pty_out, bytes} -> drain(seen <> bytes)
    after
      0 -> seen
    end
  end

  defp wait_for_output(text) do
    receive do
      {:linx_process, :pty_out, bytes} ->
        Process.put(:seen, Process.get(:seen, "") <> bytes)
        unless Process.get(:seen) =~ text, do: wait_for_output(text)
    end
  end

  defp eventually(condition) do
    unless condition.() do
      Process.sleep(1)
      eventually(condition)
    end
  end

  # A supervised process that ends abnormally is logged, as it should be; not in a demo.
  defp quietly(fun) do
    level = Logger.level()
    Logger.configure(level: :none)
    fun.()
    Logger.configure(level: level)
  end

  defp flush do
    receive do
      {:linx_process, _} -> flush()
      {:linx_process, _, _} -> flush()
      {:linx_process, _, _, _} -> flush()
    after
      0 -> Process.delete(:seen)
    end
  end
end

Demo.run()
