defmodule Linx.Command.Stream do
  @moduledoc false

  # The output of a program as a stream. The program is started when the stream is enumerated, and is
  # gone when that has ended, however it ends.

  alias Linx.{Command, ExitError}
  alias Linx.Command.{Input, Lines}
  alias Linx.Process.Info

  @own [:input, :lines, :stderr, :exit]

  @enforce_keys [:command, :tagged?, :lines]
  defstruct [:command, :tagged?, :lines]

  @spec stream!(Linx.command(), keyword) :: Enumerable.t()
  def stream!(command, opts) do
    argv = command |> Command.argv() |> ok!(opts)
    {own, others} = opts |> Command.split(@own) |> ok!(opts)
    input = own[:input] |> Input.check() |> ok!(opts)
    lines = own |> Keyword.get(:lines, false) |> lines() |> ok!(opts)
    stderr = own |> Keyword.get(:stderr, :inherit) |> stderr() |> ok!(opts)
    policy = own |> Keyword.get(:exit, :raise) |> policy() |> ok!(opts)
    options = fn -> Command.options(argv, others, Input.stdin(input), :pipe, stderr) end

    # A mistake is found at once. What the machine has to say may change until the program starts.
    with {:error, mistake} when not is_exception(mistake) <- options.() do
      Command.raise!(mistake, opts)
    end

    Stream.resource(
      fn ->
        command = options.() |> ok!(opts) |> Command.start(input) |> ok!(opts)
        lines = if lines, do: %{stdout: Lines.new(lines), stderr: Lines.new(lines)}
        %__MODULE__{command: command, tagged?: stderr == :pipe, lines: lines}
      end,
      &next(&1, policy, argv, opts),
      &close/1
    )
  end

  defp lines(false), do: {:ok, nil}
  defp lines(true), do: {:ok, :infinity}
  defp lines(max) when is_integer(max) and max > 0, do: {:ok, max}
  defp lines(other), do: {:error, {:bad_lines, other}}

  defp stderr(:element), do: {:ok, :pipe}
  defp stderr(how) when how in [:inherit, :stdout, :devnull], do: {:ok, how}
  defp stderr(other), do: {:error, {:bad_stderr, other}}

  defp policy(how) when how in [:raise, :element, :ignore], do: {:ok, how}
  defp policy(other), do: {:error, {:bad_exit, other}}

  defp next(%__MODULE__{} = state, policy, _argv, opts) do
    case Command.next(state.command) do
      {:output, source, bytes} -> output(state, source, bytes)
      {:ended, info} -> {rest(state) ++ last(policy, info), {:ended, info}}
      {:error, reason} -> Command.raise!(reason, opts)
    end
  end

  # After the last of the output.
  defp next({:ended, info} = state, policy, argv, _opts) do
    if policy == :raise and status(info) != {:exited, 0} do
      raise ExitError, argv: argv, status: Command.status(info), timed_out?: info.timed_out?
    end

    {:halt, state}
  end

  defp close(%__MODULE__{} = state), do: Command.close(state.command)
  defp close({:ended, _info}), do: :ok

  defp output(%{lines: nil} = state, source, bytes), do: {tag(state, source, [bytes]), state}

  defp output(state, source, bytes) do
    {done, lines} = Lines.split(state.lines[source], bytes)
    {tag(state, source, done), %{state | lines: %{state.lines | source => lines}}}
  end

  defp rest(%{lines: nil}), do: []

  defp rest(state) do
    Enum.flat_map([:stdout, :stderr], &tag(state, &1, Lines.rest(state.lines[&1])))
  end

  defp tag(%{tagged?: false}, _source, elements), do: elements
  defp tag(%{tagged?: true}, source, elements), do: Enum.map(elements, &{source, &1})

  defp last(:element, info), do: [{:exit, status(info)}]
  defp last(_policy, _info), do: []

  defp status(%Info{timed_out?: true}), do: :timeout
  defp status(info), do: Command.status(info)

  defp ok!({:ok, value}, _opts), do: value
  defp ok!({:error, reason}, opts), do: Command.raise!(reason, opts)
end
