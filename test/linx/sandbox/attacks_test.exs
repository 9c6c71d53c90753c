defmodule Linx.Sandbox.AttacksTest do
  # Hostile programs, each of which tries one way out of a sandbox, or one way to do harm. Each must be
  # stopped in a sandbox; and without one it must succeed, or it would say nothing about sandboxes.
  #
  # It is also tried in bubblewrap with the same walls, which is for comparison only: the table at the
  # end has all three.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog
  import Linx.Test.Helpers

  alias Linx.Test.Attacks
  alias Linx.Test.Attacks.{Fixture, Report}

  @moduletag timeout: 20_000

  # As the table has it.
  @tmp 16 * 1024 * 1024

  setup_all do
    {:ok, cells} = Agent.start(fn -> %{} end)
    on_exit(fn -> cells |> Agent.get(& &1) |> Report.text() |> IO.puts() end)
    %{fixture: Fixture.new(), cells: cells, root?: Fixture.root?()}
  end

  for {theme, attacks} <- Attacks.table(), {what, arguments, options} <- attacks do
    @tag attack: {theme, what}
    test "to #{what} (#{theme})", context do
      {arguments, options} = unquote(Macro.escape({arguments, options}))
      options = Keyword.merge([dies: [], sandbox: [], open: []], options)
      attempt(context, arguments, options)
    end
  end

  defp attempt(%{fixture: fixture} = context, arguments, options) do
    argv = Fixture.argv(fixture, arguments)
    sandbox = for {key, value} <- options[:sandbox], do: {key, paths(value, fixture)}
    common = [stderr: :stdout, timeout: 10_000] ++ if options[:pty], do: [stdio: :pty], else: []

    open = open(context, argv, common, options)
    record(context, :open, open)
    record(context, :bwrap, bwrap(argv, common, sandbox, fixture))
    linx = argv |> confined(common, sandbox, fixture) |> outcome()
    record(context, :linx, linx)

    assert match?({:not_tried, _}, open) or open == :won,
           "without confinement it should succeed: #{inspect(open)}"

    if controller?(options[:controller]),
      do: assert_stopped(linx, options[:dies]),
      else:
        record(
          context,
          :note,
          "not asserted: there is no #{options[:controller]} controller of cgroup v2 for us"
        )
  end

  describe "a workload" do
    test "leaves no daemon behind", %{fixture: fixture} do
      hostile = Fixture.hostile(fixture)
      mark = mark()
      {"", 0} = System.cmd(hostile, ["orphan", mark])
      assert [pid] = eventually(fn -> match?([_], processes(mark)) and processes(mark) end)
      {"", 0} = System.cmd("kill", ["-KILL", "#{pid}"])

      mark = mark()
      assert outcome(confined([hostile, "orphan", mark], [], [], fixture)) == :won
      assert processes(mark) == []
    end

    test "has no descriptor but the standard ones", %{fixture: fixture} do
      hostile = Fixture.hostile(fixture)
      leaking = ["sh", "-c", "exec 9</; exec $0 leaked_descriptors", hostile]
      assert outcome(Linx.run(leaking)) == :won

      assert {:stopped, _why} =
               outcome(confined([hostile, "leaked_descriptors"], [], [], fixture))
    end

    test "says nothing to the terminal of who reads the log", %{fixture: fixture} do
      argv = ["/usr/bin/printf", "\\033]0;title\\a\\n"]
      assert logged(argv: argv) =~ "\e]0;title\a"

      log = logged(argv: argv, sandbox: sandbox([], fixture))
      assert log =~ "\\x1B]0;title\\x07"
      refute log =~ "\e]0;"
    end

    # Who may write to a directory decides what is in it. It could put a link there while somebody else
    # is given the path. Only where both are the same user is there nothing by which to know that.
    @tag :root
    test "does not choose what another is given", %{fixture: fixture} do
      %{"SHARED" => shared, "PRIVATE" => private} = fixture
      hostile = Fixture.hostile(fixture)
      target = Path.join(shared, "target")
      File.mkdir!(target)
      exchange = [hostile, "exchange", target, private, "1"]
      read = [hostile, "read", target <> "/file"]

      # Without confinement it is a matter of a few attempts.
      attacker = Task.async(fn -> Linx.run(exchange) end)
      assert eventually(fn -> outcome(Linx.run(read)) == :won end)
      assert outcome(Task.await(attacker)) == :won

      attacker = Task.async(fn -> confined(exchange, [], [write: [shared]], fixture) end)
      victims = victims(attacker, fn -> confined(read, [], [read: [target]], fixture) end)
      refute :won in victims
    end
  end

  # What a daemon has logged until its end.
  defp logged(opts) do
    Process.flag(:trap_exit, true)

    {{:EXIT, _daemon, _reason}, log} =
      with_log(fn ->
        {:ok, daemon} = Linx.Daemon.start_link(opts)
        assert_receive {:EXIT, ^daemon, _reason}
      end)

    log
  end

  # What becomes of one after the other until the attacker is done.
  defp victims(attacker, run, outcomes \\ []) do
    case Task.yield(attacker, 0) do
      nil ->
        victims(attacker, run, [outcome(run.()) | outcomes])

      {:ok, result} ->
        assert outcome(result) == :won
        outcomes
    end
  end

  # The one place that says what a sandbox is.
  defp confined(argv, common, sandbox, fixture) do
    Linx.run(argv, [sandbox: sandbox(sandbox, fixture)] ++ common)
  end

  defp sandbox(sandbox, %{"BIN" => bin}), do: Keyword.update(sandbox, :read, [bin], &[bin | &1])

  defp assert_stopped(outcome, dies) do
    case outcome do
      {:stopped, _why} -> :ok
      {:died, number} -> assert Linx.Signal.name(number) in dies
      other -> flunk("it should have been stopped: #{inspect(other)}")
    end
  end

  defp open(context, argv, common, options) do
    cond do
      options[:root] && not context.root? ->
        {:not_tried, "needs root"}

      options[:traces] && not context.root? && yama?() ->
        {:not_tried, "needs root, by Yama"}

      missing = missing(options[:needs], context.fixture) ->
        {:not_tried, "there is no #{missing}"}

      true ->
        case outcome(Linx.run(argv, common ++ options[:open])) do
          {:stopped, why} = stopped ->
            if String.contains?(why, List.wrap(options[:absent])),
              do: {:not_tried, why},
              else: stopped

          outcome ->
            outcome
        end
    end
  end

  defp yama? do
    case File.read("/proc/sys/kernel/yama/ptrace_scope") do
      {:ok, scope} -> scope != "0\n"
      {:error, :enoent} -> false
    end
  end

  defp missing(nil, _fixture), do: nil
  defp missing(:disk, fixture), do: if(fixture["DISK"] == "/none", do: "disk")
  defp missing(:cgroup, fixture), do: if(fixture["CGROUP"] == "/none", do: "cgroup")
  defp missing(path, _fixture), do: if(File.exists?(path), do: nil, else: path)

  defp bwrap(argv, common, sandbox, fixture) do
    if bwrap = System.find_executable("bwrap") do
      walls =
        ~w(--unshare-all --cap-drop ALL --die-with-parent --new-session --clearenv) ++
          ~w(--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib) ++
          ~w(--symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /home) ++
          ["--size", "#{@tmp}", "--tmpfs", "/tmp", "--ro-bind", fixture["BIN"], fixture["BIN"]] ++
          Enum.flat_map(sandbox[:write] || [], &["--bind", &1, &1]) ++
          ~w(--remount-ro / --chdir / --)

      case outcome(Linx.run([bwrap | walls] ++ argv, common)) do
        # It says by the status that its child was killed.
        {:mistake, {:exited, status}, _said} when status > 128 -> {:died, status - 128}
        outcome -> outcome
      end
    else
      {:not_tried, "there is no bwrap, which bin/setup installs for tests"}
    end
  end

  defp outcome({:ok, result}) do
    case result.status do
      {:exited, 0} -> :won
      {:exited, 1} -> {:stopped, String.trim(result.stdout)}
      {:signaled, number} -> {:died, number}
      status -> {:mistake, status, result.stdout}
    end
  end

  defp outcome({:error, reason}), do: {:mistake, reason, ""}

  # Whether what only a controller of cgroup v2 can stop can be stopped here.
  defp controller?(nil), do: true

  defp controller?(_name), do: Linx.Sandbox.limits() == :cgroup

  defp paths(names, fixture) when is_list(names), do: Enum.map(names, &Map.fetch!(fixture, &1))
  defp paths(value, _fixture), do: value

  defp record(%{cells: cells, attack: attack}, column, outcome) do
    Agent.update(cells, fn rows ->
      Map.update(rows, attack, %{column => outcome}, &Map.put(&1, column, outcome))
    end)
  end
end
