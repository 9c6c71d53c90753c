defmodule Linx.TopTest do
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Top
  alias Linx.Top.Row

  # Other tests have sessions, too.
  defp row(session, opts \\ []), do: Enum.find(Linx.top(opts).rows, &(&1.session == session))

  defp start(script, opts \\ []) do
    {:ok, session} =
      P.spawn([argv: ["/bin/sh", "-c", script], auto_proceed: true, owner: nil] ++ opts)

    eventually(fn -> match?(%{stage: :running}, row(session)) end)
    session
  end

  # Uses the processor for so many seconds.
  defp burn(seconds), do: "timeout #{seconds} yes >/dev/null"

  describe "what is counted" do
    test "the program: who, what, its state and its memory" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true)
      host_pid = await_ready()
      await_running()
      eventually(fn -> stat(host_pid) == "S" end)

      assert %Row{host_pid: ^host_pid, stage: :running, state: "S", processes: 1} =
               row = row(session)

      assert row.argv == [System.find_executable("sleep"), "60"]
      [kilobytes, "kB"] = host_pid |> status_field("VmRSS") |> String.split()
      assert row.memory == String.to_integer(kilobytes) * 1024
      assert row.age in 0..60_000

      P.signal(session, :sigstop)
      eventually(fn -> row(session).state == "T" end)
    end

    test "a program at the checkpoint, but none that has ended" do
      {:ok, session} = P.spawn(argv: ["true"])
      await_ready()
      assert %Row{stage: :ready, processes: 1} = row(session)
      P.proceed(session)
      assert {:ok, {:exited, 0}} = P.wait(session)
      refute row(session)
    end

    for agent <- [:host, :dedicated] do
      test "its children and its daemons, with an agent of the kind #{agent}" do
        mark = mark()
        script = "sleep #{mark} & (setsid sh -c 'sleep #{mark}; :' &) ; sleep #{mark}; :"
        session = start(script, agent: unquote(agent))
        # Three that sleep, and two shells.
        eventually(fn -> length(processes("sleep\0" <> mark)) == 3 end)
        {:ok, host_pid} = P.host_pid(session)
        # The daemon has come to the process between the agent and the program.
        subreaper = parent(host_pid)
        eventually(fn -> length(children(subreaper)) == 2 end)

        row = row(session)
        assert row.processes == 5

        pids = [host_pid | processes(mark)] |> Enum.uniq()
        assert length(pids) == 5
        sizes = for pid <- pids, do: pid |> status_field("VmRSS") |> String.split() |> hd()
        assert row.memory == 1024 * (sizes |> Enum.map(&String.to_integer/1) |> Enum.sum())
      end
    end

    @tag :root
    test "the pids are the host's, also in a PID namespace" do
      session = start("sleep 60 & wait", namespaces: [:pid])
      eventually(fn -> match?(%{processes: 2}, row(session)) end)
      assert {:ok, row(session).host_pid} == P.host_pid(session)
      assert P.info(session).child_pid == 1
    end

    test "the processor time of the program" do
      session = start("while :; do :; done")
      eventually(fn -> row(session).cpu_time >= 100_000 end)
      row = row(session)
      assert row.state == "R"
      # What it had is what it has had since it started.
      assert_in_delta row.cpu_percent, row.cpu_time / (row.age * 1_000) * 100, 0.1
      P.stop(session)
    end

    test "and that of children and daemons which have ended" do
      file = Path.join(tmp_dir(), "done")

      session =
        start("#{burn(0.2)}; (setsid sh -c '#{burn(0.2)}; touch #{file}' &); exec sleep 60")

      eventually(fn -> File.exists?(file) end)
      # `timeout` counts the time that goes by, of which a busy machine gives but a share.
      eventually(fn -> row(session).processes == 1 end)
      {:ok, host_pid} = P.host_pid(session)
      # cutime and cstime
      waited_for =
        for pid <- [host_pid, parent(host_pid)], field <- [13, 14], do: stat_field(pid, field)

      ticks = waited_for |> Enum.map(&String.to_integer/1)
      own = for field <- [11, 12], do: host_pid |> stat_field(field) |> String.to_integer()
      assert Enum.all?(Enum.chunk_every(ticks, 2), &(Enum.sum(&1) > 0))
      assert row(session).cpu_time == Enum.sum(ticks ++ own) * 10_000
    end

    test "over an interval, only what was used meanwhile" do
      burnt = start("#{burn(0.2)}; exec sleep 60")

      eventually(fn -> match?(%{cpu_time: t, processes: 1, state: "S"} when t > 0, row(burnt)) end)

      burns = start("while :; do :; done")
      eventually(fn -> row(burns).cpu_time > 0 end)

      # A machine that is busy may have no time for it in one interval.
      eventually(fn ->
        rows = Map.new(Linx.top(interval: 200).rows, &{&1.session, &1})
        assert rows[burnt].cpu_percent == 0.0
        assert rows[burnt].cpu_time > 0
        rows[burns].cpu_percent > 0.0
      end)

      assert row(burnt).cpu_percent > 0.0
      P.stop(burns)
    end

    test "those that come and go meanwhile are no matter" do
      stop = :atomics.new(1, [])

      busy =
        Task.async(fn ->
          Enum.take_while(Stream.repeatedly(fn -> :again end), fn :again ->
            argv = ["/bin/sh", "-c", "true & true & true & :"]
            {:ok, session} = P.spawn(argv: argv, auto_proceed: true, owner: nil)
            {:ok, {:exited, 0}} = P.wait(session)
            P.stop(session)
            :atomics.get(stop, 1) == 0
          end)
        end)

      for _ <- 1..100 do
        assert Enum.all?(Linx.top().rows, &(&1.processes > 0))
      end

      :atomics.put(stop, 1, 1)
      Task.await(busy, 60_000)
    end
  end

  describe "the order" do
    setup do
      idle = start("exec sleep 60")
      burns = start("while :; do :; done")
      # More memory than a shell has.
      large =
        start("x=$(head -c 8000000 /dev/zero | tr '\\0' x); while read y; do :; done", stdio: :pty)

      eventually(fn -> row(burns).cpu_time > 0 end)
      eventually(fn -> row(large).memory > 8_000_000 end)
      %{idle: idle, burns: burns, large: large}
    end

    test "by processor, memory or age", %{idle: idle, burns: burns, large: large} do
      # It is not known what the last one had to do before.
      order = fn opts, of -> for %{session: s} <- Linx.top(opts).rows, s in of, do: s end
      assert order.([], [idle, burns]) == [burns, idle]
      assert order.([sort: :cpu], [idle, burns]) == [burns, idle]
      assert hd(order.([sort: :memory], [idle, burns, large])) == large
      assert order.([sort: :age], [idle, burns, large]) == [idle, burns, large]
      P.stop(burns)
    end
  end

  test "bad options are named" do
    assert Linx.top(sort: :name) == {:error, {:bad_sort, :name}}
    assert Linx.top(interval: 0) == {:error, {:bad_interval, 0}}
    assert Linx.top(interval: 1.5) == {:error, {:bad_interval, 1.5}}
    assert Linx.top(order: :cpu) == {:error, {:bad_option, :order}}
    assert Linx.top(:cpu) == {:error, {:bad_options, :cpu}}
  end

  describe "the table" do
    defp top(rows, interval \\ nil) do
      %Top{rows: rows, sort: :cpu, interval: interval, taken_at: DateTime.utc_now()}
    end

    defp ffmpeg(fields \\ []) do
      struct!(
        %Row{
          session: :c.pid(0, 151, 0),
          argv: ["/usr/bin/ffmpeg", "-i", "in.mkv", "out.mp4"],
          host_pid: 41234,
          stage: :running,
          state: "R",
          age: 192_040,
          cpu_time: 192_040_000,
          cpu_percent: 100.0,
          memory: 54_630_000
        },
        fields
      )
    end

    defp myd do
      %Row{
        session: :c.pid(0, 152, 0),
        name: MyApp.Web,
        argv: ["/usr/bin/myd", "--serve"],
        host_pid: 240,
        stage: :ready,
        state: "S",
        age: 42_000,
        cpu_time: 7_770_000,
        cpu_percent: 18.5,
        memory: 9_646_899,
        processes: 4
      }
    end

    defp command(row, opts \\ [width: :infinity]) do
      [_heading, _names, line] =
        row |> List.wrap() |> top() |> inspect(opts) |> String.split("\n")

      line |> String.split("#PID<0.151.0> ") |> Enum.at(1)
    end

    test "is aligned" do
      assert inspect(top([ffmpeg(), myd()])) == """
             #Linx.Top<2 workloads, 5 processes, CPU 118.5%, memory 61.3M, by cpu>
                 PID STATE   AGE  CPU%  TIME   MEM PROCS SESSION       COMMAND
               41234 R     3m12s 100.0 3m12s 52.1M     1 #PID<0.151.0> ffmpeg -i in.mkv out.…
                 240 ready 42.0s  18.5  7.8s  9.2M     4 MyApp.Web     myd --serve\
             """
    end

    test "of nothing is a line" do
      assert inspect(top([])) ==
               "#Linx.Top<0 workloads, 0 processes, CPU 0.0%, memory 0, by cpu>"

      assert inspect(top([ffmpeg()], 1_500)) =~ "1 workload, 1 process,"
      assert inspect(top([ffmpeg()], 1_500)) =~ ", over 1.5s>"
    end

    test "shows as many rows as inspect/2 is to show" do
      table = inspect(top(List.duplicate(ffmpeg(), 60)))
      assert table |> String.split("\n") |> length() == 53
      assert table =~ ~r/\n  … 10 more$/
      refute inspect(top(List.duplicate(ffmpeg(), 60)), limit: :infinity) =~ "more"
    end

    test "cuts long commands to the width of the terminal" do
      long = ffmpeg(argv: ["echo" | List.duplicate("word", 100)])

      for width <- [80, 100, 200],
          line <- String.split(inspect(top([long]), width: width), "\n") do
        assert String.length(line) <= width
      end

      assert command(long, width: 80) =~ ~r/^echo word.*…$/
      refute command(long) =~ "…"
    end

    test "shows arguments for what they are" do
      assert command(ffmpeg(argv: ["/bin/sh", "-c", "a b", ""])) == ~S(sh -c "a b" "")
      assert command(ffmpeg(argv: ["é", "日本"])) == "é 日本"
      # Nothing that a terminal would obey.
      assert command(ffmpeg(argv: ["x", "a\nb", "\e[31m", "\x7f"])) == ~S(x "a\nb" "\e[31m" "\d")
      assert command(ffmpeg(argv: ["x", <<255, 0>>])) == "x <<255, 0>>"
      assert command(ffmpeg(argv: ["x", ~S(")])) == ~S(x "\"")
    end

    test "an argument of megabytes takes no time" do
      huge = ffmpeg(argv: ["x", String.duplicate("y", 8_000_000)])
      {μs, table} = :timer.tc(fn -> inspect(top([huge])) end)
      assert byte_size(table) < 500
      assert μs < 1_000_000
    end

    test "ages and sizes of all orders" do
      cells = fn fields ->
        [_heading, _names, line] = top([ffmpeg(fields)]) |> inspect() |> String.split("\n")
        [_pid, _state, age, _percent, _time, memory | _] = String.split(line)
        {age, memory}
      end

      assert cells.(age: 0, memory: 0) == {"0ms", "0"}
      assert cells.(age: 999, memory: 1023) == {"999ms", "1023"}
      assert cells.(age: 1_000, memory: 1024) == {"1.0s", "1.0K"}
      assert cells.(age: 3_599_000, memory: 1 * 1024 ** 3) == {"59m59s", "1.0G"}
      assert cells.(age: 3_660_000, memory: 3 * 1024 ** 4) == {"1h01m", "3.0T"}
      assert cells.(age: 273_600_000, memory: 1536) == {"3d04h", "1.5K"}
    end
  end
end
