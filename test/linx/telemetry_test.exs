defmodule Linx.TelemetryTest do
  # The module :telemetry is everybody's.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error

  # In place of the real one, which is no dependency: it tells the test what it is told.
  setup context do
    refute Code.ensure_loaded?(:telemetry)

    unless context[:absent] do
      {:module, :telemetry, _binary, _} =
        Module.create(
          :telemetry,
          quote do
            def execute(event, measurements, metadata) do
              message = {:telemetry, self(), event, measurements, metadata}
              send(unquote(__MODULE__), message)
              :ok
            end
          end,
          Macro.Env.location(__ENV__)
        )

      on_exit(fn ->
        :code.purge(:telemetry)
        :code.delete(:telemetry)
      end)
    end

    Process.register(self(), __MODULE__)
    :ok
  end

  # The next event of a session.
  defp next(session) do
    assert_receive {:telemetry, process, [:linx, :session, event],
                    %{monotonic_time: _} = measurements, %{session: ^session} = metadata}

    {event, measurements, metadata, process}
  end

  defp refute_more(session) do
    assert :ok = P.stop(session)
    refute_received {:telemetry, _, _, _, %{session: ^session}}
  end

  test "a session tells how it goes, from itself" do
    before = System.monotonic_time()
    {:ok, session} = P.spawn(argv: ["true"], name: __MODULE__.Session)
    host_pid = await_ready()

    assert {:start, start, metadata, ^session} = next(session)
    now = System.monotonic_time()
    assert start.monotonic_time in before..now
    clock = DateTime.from_unix!(start.system_time, :native)
    assert abs(DateTime.diff(DateTime.utc_now(), clock)) < 60
    assert Map.keys(start) == [:monotonic_time, :system_time]

    common = %{
      session: session,
      name: __MODULE__.Session,
      argv: [System.find_executable("true")],
      mode: :spawn
    }

    assert metadata == common

    assert {:ready, ready, metadata, ^session} = next(session)
    assert metadata == Map.put(common, :host_pid, host_pid)
    assert ready.monotonic_time == start.monotonic_time + ready.duration
    assert ready.duration > 0

    P.proceed(session)
    await_running()
    assert {:running, running, ^metadata, ^session} = next(session)
    assert running.monotonic_time == start.monotonic_time + running.duration
    assert running.duration > ready.duration

    assert {:stop, stop, metadata, ^session} = next(session)
    assert stop.monotonic_time == start.monotonic_time + stop.duration
    assert stop.duration > running.duration
    assert Map.take(metadata, Map.keys(common)) == common
    assert %{host_pid: ^host_pid, result: {:exited, 0}, timed_out?: false} = metadata
    refute_more(session)
  end

  test "what the program has used" do
    script = "head -c 20000000 /dev/zero | sha256sum >/dev/null"
    {:ok, session} = P.spawn(argv: ["sh", "-c", script], auto_proceed: true)
    assert {:ok, {:exited, 0}} = P.wait(session)
    for event <- [:start, :ready, :running], do: assert({^event, _, _, _} = next(session))
    assert {:stop, measurements, %{usage: usage}, _process} = next(session)
    assert %Linx.Usage{} = usage
    assert usage == P.info(session).usage

    native = &System.convert_time_unit(&1, :microsecond, :native)
    assert measurements.user_cpu_time == native.(usage.user_time)
    assert measurements.system_cpu_time == native.(usage.system_time)
    assert measurements.user_cpu_time + measurements.system_cpu_time > 0
    assert measurements.max_rss == usage.max_rss
  end

  test "an exit status that is not 0, a signal and an abort are results as well" do
    for {argv, deed, result} <- [
          {["sh", "-c", "exit 3"], &P.proceed/1, {:exited, 3}},
          {["sh", "-c", "kill -9 $$"], &P.proceed/1, {:signaled, 9}},
          {["true"], &P.abort/1, :aborted}
        ] do
      {:ok, session} = P.spawn(argv: argv)
      deed.(session)
      assert P.wait(session) == {:ok, result}
      assert %{stop: %{result: ^result}} = ends(session)
    end
  end

  # What `:stop` or `:exception` has told, after all the others.
  defp ends(session) do
    case next(session) do
      {event, _measurements, metadata, _process} when event in [:stop, :exception] ->
        refute_more(session)
        %{event => metadata}

      _earlier ->
        ends(session)
    end
  end

  test "a program that cannot run is an exception, with the error" do
    {:ok, session} = P.spawn(argv: [Path.join(tmp_dir(), "program")], auto_proceed: true)
    assert {:error, %Error{errno: :enoent} = error} = P.wait(session)

    %{usage: usage} = P.info(session)
    assert %{exception: metadata} = ends(session)
    assert %{kind: :error, reason: ^error, stacktrace: []} = metadata
    assert metadata.usage == usage
  end

  test "a session that is stopped tells its end, and so does one that goes with its parent" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true)
    await_running_of(session)
    assert :ok = P.stop(session)
    assert {:stop, _, %{result: {:signaled, 15}}, ^session} = next(session)

    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true)
    await_running_of(session)
    Process.unlink(session)
    Process.exit(session, :shutdown)
    assert {:stop, _, %{result: {:signaled, 15}}, ^session} = next(session)
  end

  defp await_running_of(session) do
    unless match?({:running, _, _, _}, next(session)), do: await_running_of(session)
  end

  test "for a session that was killed somebody else tells" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true, name: __MODULE__.Session)
    host_pid = await_ready()
    assert {:start, start, common, ^session} = next(session)
    await_running_of(session)
    Process.unlink(session)
    Process.exit(session, :kill)

    assert {:exception, measurements, metadata, process} = next(session)
    assert process not in [session, Process.whereis(Linx.Sessions)]
    assert measurements.monotonic_time == start.monotonic_time + measurements.duration

    assert metadata ==
             Map.merge(common, %{
               host_pid: host_pid,
               usage: nil,
               timed_out?: false,
               kind: :exit,
               reason: :killed,
               stacktrace: []
             })
  end

  test "but not for one that had told its end and was killed after it" do
    {:ok, session} = P.spawn(argv: ["true"], auto_proceed: true)
    assert {:ok, {:exited, 0}} = P.wait(session)
    Process.unlink(session)
    Process.exit(session, :kill)
    assert eventually(fn -> :ets.lookup(Linx.Sessions, session) == [] end)
    for event <- [:start, :ready, :running, :stop], do: assert({^event, _, _, _} = next(session))
    refute_received {:telemetry, _, _, _, %{session: ^session}}
  end

  @tag :absent
  test "without the module nothing is told, and nothing is missed" do
    {:ok, session} = P.spawn(argv: ["true"], auto_proceed: true)
    assert {:ok, {:exited, 0}} = P.wait(session)
    Process.unlink(session)
    Process.exit(session, :kill)
    assert eventually(fn -> :ets.lookup(Linx.Sessions, session) == [] end)
    refute_received {:telemetry, _, _, _, _}
    refute Code.ensure_loaded?(:telemetry)
  end
end
