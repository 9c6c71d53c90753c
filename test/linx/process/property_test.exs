defmodule Linx.Process.PropertyTest do
  # What holds for every session, with any options, whoever calls what.
  use ExUnit.Case, async: true

  @compile {:no_warn_undefined, :proper_types}

  import Linx.Test.Helpers
  import Linx.Test.Property
  import Linx.Test.Tree, only: [kill: 2]

  alias :proper_types, as: Type
  alias Linx.Process, as: P
  alias Linx.Process.{Error, Info}

  @moduletag :property
  @moduletag :capture_log
  @moduletag timeout: :infinity

  @patience 15_000

  test "there is one end, the same for all, and every call has an answer" do
    Process.flag(:trap_exit, true)
    callers = Type.resize(4, Type.list(Type.resize(8, Type.list(call()))))
    for_all({options(), callers}, 150, &live/1)
  end

  # MARK stands for a number that marks the processes of the workload.
  defp options do
    program =
      Type.frequency([
        {2, [argv: ["true"]]},
        {2, map(Type.choose(0, 255), &[argv: ["sh", "-c", "exit #{&1}"]])},
        {4, [argv: ["sleep", "MARK"]]},
        {2, [argv: ["sh", "-c", "trap '' TERM; sleep MARK"]]},
        {2, [argv: ["sh", "-c", "sleep MARK & (setsid sleep MARK &); exit 3"]]},
        {3, [argv: ["cat"], stdio: :pty]},
        {1, [argv: ["sleep", "MARK"], stdio: :pty]},
        {1, [argv: ["true"], cwd: "/does/not/exist"]},
        {1, [argv: ["/bin"], env: []]}
      ])

    namespaces = if privileged?(), do: Type.elements([[], [], [:pid], [:uts, :net]]), else: []

    rest = [
      auto_proceed: Type.boolean(),
      linger: Type.boolean(),
      orphan: leftover(),
      descendants: leftover(),
      no_new_privs: Type.boolean(),
      grace: Type.elements([0, 20, 50]),
      namespaces: namespaces
    ]

    map({program, rest}, fn {program, rest} ->
      [stdio: :devnull] |> Keyword.merge(program) |> Keyword.merge(rest)
    end)
  end

  defp leftover, do: Type.elements([:kill, :leave])

  defp privileged?, do: :root not in ExUnit.configuration()[:exclude]

  # A function of Linx.Process, and the arguments behind the session.
  defp call do
    size = {Type.choose(0, 65_535), 80, 0, 0}

    Type.frequency([
      {6, {:proceed, []}},
      {2, {:abort, []}},
      {3, {:signal, [Type.choose(0, 66)]}},
      {2, {:signal, [Type.choose(1, 64), [to: Type.elements([:process, :group, :tree])]]}},
      {1, {:signal, [Type.elements([:sigterm, :sigwinch, :sigcont, :signothing])]}},
      {2, {:stop, [[grace: Type.elements([0, 20])]]}},
      {1, {:stop, []}},
      {3, {:wait, [Type.elements([0, 1, 20])]}},
      {3, {:pty_write, [Type.elements(["line\n", "word", <<3>>, <<4>>, "", :bad]), 20]}},
      {1, {:pty_write, [Type.exactly(String.duplicate("much\n", 20_000)), 5]}},
      {2, {:pty_set_winsize, [Type.oneof([size, :bad])]}},
      {2, {:pty_master, []}},
      {3, {:info, []}},
      {2, {:host_pid, []}},
      {2, {:set_owner, [Type.elements([:first, :second, :third])]}}
    ])
  end

  defp live({options, callers}) do
    mark = mark()
    argv = Enum.map(options[:argv], &String.replace(&1, "MARK", mark))
    owners = for name <- [:first, :second, :third], into: %{}, do: {name, owner()}

    try do
      options = Keyword.merge(options, argv: argv, owner: owners.first)

      case P.spawn(options) do
        {:ok, session} -> live(session, options, callers, owners)
        # Not a program.
        {:error, error} -> assert {%Error{stage: :execve}, ["/bin"]} = {error, argv}
      end

      if options[:orphan] == :kill and options[:descendants] == :kill do
        assert processes(mark) == []
      end
    after
      for {_name, owner} <- owners, do: Process.exit(owner, :kill)
      for pid <- processes(mark), do: kill(pid, :KILL)
    end
  end

  defp live(session, options, callers, owners) do
    monitor = Process.monitor(session)
    waiting = for _ <- 1..3, do: Task.async(fn -> P.wait(session) end)

    calling =
      for calls <- callers do
        Task.async(fn -> for call <- calls, do: {call, answer(session, call, owners)} end)
      end

    answers = calling |> Task.await_many(@patience) |> Enum.concat()
    assert Enum.reject(answers, fn {call, answer} -> answer?(call, answer) end) == []

    # Nothing else is sure to end it.
    info = P.info(session)
    stopped = P.stop(session, grace: 0)
    assert stopped in [:ok, {:error, :no_process}]
    waited = Task.await_many(waiting, @patience)
    assert_receive {:DOWN, ^monitor, :process, ^session, reason}, @patience
    assert_receive {:EXIT, ^session, ^reason}, @patience

    told = Enum.flat_map(owners, fn {_name, owner} -> events(owner) end)
    assert [ending] = Enum.filter(told, &ending?/1)
    assert Enum.count(told, &match?({_, :ready, _}, &1)) <= 1
    assert Enum.count(told, &match?({_, :running}, &1)) <= 1
    for {_, :ready, host_pid} <- told, do: refute(alive?(host_pid))

    # Whoever waited, and was not too late for it, has been told what the owner was.
    results = waited ++ for({{:wait, _}, answer} <- answers, do: answer) ++ [result(info)]
    assert for(result <- results, result?(result), event(result) != ending, do: result) == []

    if options[:linger] and not Enum.any?(answers, &match?({{:stop, _}, _}, &1)) do
      assert Enum.all?(waited, &result?/1) and stopped == :ok
    end
  end

  defp result(%Info{result: result}), do: result
  defp result({:error, :no_process}), do: nil

  defp result?({:ok, _outcome}), do: true
  defp result?(other), do: match?({:error, %Error{}}, other)

  defp answer(session, {:set_owner, [owner]}, owners), do: P.set_owner(session, owners[owner])
  defp answer(session, {name, arguments}, _owners), do: apply(P, name, [session | arguments])

  defp answer?(_call, {:error, :no_process}), do: true

  defp answer?({name, arguments}, answer) do
    case {name, answer} do
      {:wait, {:ok, {:exited, code}}} ->
        code in 0..255

      {:wait, {:ok, {:signaled, signal}}} ->
        signal in 1..64

      {:wait, {:ok, :aborted}} ->
        true

      {:wait, {:error, %Error{stage: stage}}} ->
        stage in [:execve, :chdir]

      {:wait, other} ->
        other == {:error, :timeout}

      {:info, answer} ->
        is_struct(answer, Info)

      {:host_pid, {:ok, pid}} ->
        pid > 0

      {:host_pid, other} ->
        other == {:error, :not_ready}

      {:pty_master, {:ok, %{os_pid: _, fd: _, slave: "/dev/pts/" <> _}}} ->
        true

      {:signal, {:error, {:bad_signal, signal}}} ->
        [signal] == arguments and signal in [0, 65, 66, :signothing]

      {:pty_write, {:error, {:bad_data, :bad}}} ->
        hd(arguments) == :bad

      {:pty_write, {:error, :timeout}} ->
        true

      {:pty_set_winsize, {:error, {:bad_winsize, :bad}}} ->
        arguments == [:bad]

      {name, {:error, :running}} ->
        name in [:proceed, :abort]

      {name, {:error, :not_pty}} ->
        name in [:pty_write, :pty_set_winsize, :pty_master]

      {name, :ok} ->
        name in [:proceed, :abort, :signal, :stop, :pty_write, :pty_set_winsize, :set_owner]

      _other ->
        false
    end
  end

  # The event that goes with a result.
  defp event({:ok, :aborted}), do: {:linx_process, :aborted}
  defp event({:ok, {how, number}}), do: {:linx_process, how, number}
  defp event({:error, %Error{code: code, stage: stage}}), do: {:linx_process, :error, code, stage}

  defp ending?({:linx_process, kind}), do: kind == :aborted
  defp ending?({:linx_process, kind, _}), do: kind in [:exited, :signaled]
  defp ending?({:linx_process, kind, _, _}), do: kind == :error

  # A process that keeps what it is sent.
  defp owner, do: spawn(fn -> owner([]) end)

  defp owner(events) do
    receive do
      {:events, from} -> send(from, {self(), Enum.reverse(events)})
      event -> owner([event | events])
    end
  end

  defp events(owner) do
    send(owner, {:events, self()})
    assert_receive {^owner, events}, @patience
    events
  end
end
