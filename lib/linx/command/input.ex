defmodule Linx.Command.Input do
  @moduledoc false

  # What a program reads on its standard input.
  #
  # Bytes are handed to the session at once. What has yet to be enumerated, or is written by a function,
  # is written by a process of its own, the *writer*, while the caller reads the output; and between the
  # two and the session stands another, the one here. It sees to it that the writer does not outlive the
  # session, and that the session does not outlive a writer that crashes, and ends as that one did.
  #
  # A program need not read its input: a writer that nobody listens to any more just ends.

  use GenServer

  alias Linx.Command.Sink
  alias Linx.Process.Session

  @type source :: nil | iodata | Enumerable.t() | (Collectable.t() -> term)

  @typedoc "The process that watches over the writer, if there is one."
  @opaque t :: pid | nil

  @doc "Checks what is to be input; iodata becomes one binary."
  @spec check(term) :: {:ok, source} | {:error, {:bad_input, term}}
  def check(nil), do: {:ok, nil}
  def check(bytes) when is_binary(bytes), do: {:ok, bytes}
  def check(write) when is_function(write, 1), do: {:ok, write}

  def check(list) when is_list(list) do
    {:ok, IO.iodata_to_binary(list)}
  rescue
    ArgumentError -> {:error, {:bad_input, list}}
  end

  # Enumerables that are functions have two arguments.
  def check(fun) when is_function(fun) and not is_function(fun, 2),
    do: {:error, {:bad_input, fun}}

  def check(other) do
    if Enumerable.impl_for(other), do: {:ok, other}, else: {:error, {:bad_input, other}}
  end

  @doc "What standard input has to be for that."
  @spec stdin(source) :: :devnull | :pipe
  def stdin(nil), do: :devnull
  def stdin(_source), do: :pipe

  @doc "Starts to write."
  @spec start(source, session :: pid) :: t
  def start(nil, _session), do: nil

  def start(bytes, session) when is_binary(bytes) do
    if bytes != "", do: Session.feed(session, bytes)
    Session.close_input(session)
    nil
  end

  def start(source, session) do
    callers = [self() | Process.get(:"$callers", [])]
    {:ok, input} = GenServer.start(__MODULE__, {source, session, callers})
    adopt(input)
    input
  end

  @doc """
  Ends the writer, whose session has ended. If the writer crashed, the caller crashes likewise.
  """
  @spec finish(t) :: :ok
  def finish(input) do
    case outcome(input) do
      {:raised, kind, reason, stacktrace} -> :erlang.raise(kind, reason, stacktrace)
      {:exited, reason} -> exit(reason)
      :ok -> :ok
    end
  end

  @doc "Ends the writer, however it fared, and whether or not it has been finished."
  @spec close(t) :: :ok
  def close(input) do
    _ = outcome(input)
    :ok
  end

  defp outcome(nil), do: :ok

  defp outcome(input) do
    GenServer.call(input, :finish, :infinity)
  catch
    # It has been finished, or has gone with who started it.
    :exit, _reason -> :ok
  end

  @doc """
  Called by who starts a session, or its input. When that one is itself the writer of another program's
  input, they are to be gone when the writer is.
  """
  @spec adopt(pid) :: :ok
  def adopt(pid) do
    if input = Process.get(__MODULE__), do: send(input, {:adopt, pid})
    :ok
  end

  @impl true
  def init({source, session, [starter | _] = callers}) do
    Process.flag(:trap_exit, true)
    Process.link(session)
    input = self()
    writer = spawn_link(fn -> write(source, session, input, callers) end)
    starter = Process.monitor(starter)
    {:ok, %{session: session, writer: writer, starter: starter, outcome: :ok, adopted: %{}}}
  end

  @impl true
  def handle_call(:finish, _from, state) do
    state = state |> end_writer() |> await_adopted()
    {:stop, :normal, state.outcome, state}
  end

  @impl true
  def handle_info({:EXIT, writer, reason}, %{writer: writer} = state) do
    state = %{state | writer: nil}

    case reason do
      :normal -> {:noreply, state}
      {:shutdown, {:raised, _, _, _} = raised} -> {:noreply, give_up(state, raised)}
      _killed -> {:noreply, give_up(state, {:exited, reason})}
    end
  end

  def handle_info({:EXIT, session, _reason}, %{session: session} = state) do
    {:noreply, end_writer(state)}
  end

  def handle_info({:adopt, pid}, state), do: {:noreply, adopted(pid, state)}

  def handle_info({:DOWN, starter, :process, _pid, _reason}, %{starter: starter} = state) do
    {:stop, :normal, state |> end_writer() |> await_adopted()}
  end

  def handle_info({:DOWN, ref, :process, _adopted, _reason}, state) do
    {:noreply, %{state | adopted: Map.delete(state.adopted, ref)}}
  end

  def handle_info(_unrelated, state), do: {:noreply, state}

  defp end_writer(%{writer: nil} = state), do: state

  defp end_writer(%{writer: writer} = state) do
    Process.exit(writer, :kill)

    receive do
      {:EXIT, ^writer, _reason} -> %{state | writer: nil}
    end
  end

  # They watch the writer, and stop by themselves.
  defp await_adopted(state) do
    receive do
      {:adopt, pid} -> pid |> adopted(state) |> await_adopted()
    after
      0 ->
        for ref <- Map.keys(state.adopted) do
          receive do
            {:DOWN, ^ref, :process, _adopted, _reason} -> :ok
          end
        end

        state
    end
  end

  defp adopted(pid, state) do
    %{state | adopted: Map.put(state.adopted, Process.monitor(pid), pid)}
  end

  defp give_up(state, outcome) do
    _ = Linx.Process.cancel(state.session, 0)
    %{state | outcome: outcome}
  end

  # The writer. Its crash is the caller's, who reports it.

  defp write(source, session, input, callers) do
    Process.put(:"$callers", callers)
    Process.put(__MODULE__, input)
    sink = Sink.new(session)

    if is_function(source, 1), do: source.(sink), else: Enum.into(source, sink)
    Session.close_input(session)
  catch
    :exit, :normal -> Session.close_input(session)
    kind, reason -> exit({:shutdown, {:raised, kind, reason, __STACKTRACE__}})
  end
end
