defmodule Linx.Daemon.Output do
  @moduledoc false

  # The process that reads what a program writes, and logs it.
  #
  # It takes the next bytes when it has logged the last, so a slow logger holds up the program, by way
  # of the full pipe, and nothing piles up in the BEAM. It is none of the daemon's own process, which
  # can therefore be asked, and stopped, meanwhile.

  alias Linx.Command.Lines
  alias Linx.Daemon.{Log, Stats}
  alias Linx.Process.{Info, Session}

  @enforce_keys [:daemon, :run, :session, :log, :tally, :max_line, :awaited]
  defstruct [
    :daemon,
    :run,
    :session,
    :log,
    :tally,
    :max_line,
    :awaited,
    os_pid?: false,
    complained?: false,
    lines: %{}
  ]

  @type t :: %__MODULE__{
          daemon: pid,
          run: reference,
          session: pid,
          log: Log.t(),
          tally: Stats.tally(),
          max_line: pos_integer,
          awaited: (String.t() -> as_boolean(term)) | nil,
          os_pid?: boolean,
          complained?: boolean,
          lines: %{Log.source() => Lines.t()}
        }

  @doc """
  Starts to read. The daemon gets `{run, :ready}` when there is a line for which `awaited` is true, or
  `{run, :never_ready, why}` when that raises, and `{run, :ended, info}` when everything has been logged;
  `info` is `nil` when the session has gone without a word.
  """
  @spec start_link(t) :: pid
  def start_link(output), do: spawn_link(fn -> read(output) end)

  defp read(output) do
    case Session.next(output.session) do
      {:output, source, bytes} ->
        lines = Map.get_lazy(output.lines, source, fn -> Lines.new(output.max_line) end)
        {complete, lines} = Lines.split(lines, bytes)
        Stats.add(output.tally, length(complete), byte_size(bytes))

        output
        |> put(source, complete)
        |> Map.update!(:lines, &Map.put(&1, source, lines))
        |> read()

      {:ended, info} ->
        finish(output, info)

      {:error, :no_process} ->
        finish(output, nil)
    end
  end

  defp finish(output, info) do
    Enum.reduce(output.lines, output, fn {source, lines}, output ->
      last = Lines.rest(lines)
      Stats.add(output.tally, length(last), 0)
      put(output, source, last)
    end)

    send(output.daemon, {output.run, :ended, info})
  end

  defp put(output, _source, []), do: output

  defp put(output, source, lines) do
    lines = Enum.map(lines, &Log.text/1)
    output = output |> with_os_pid() |> look(lines)
    Enum.reduce(lines, output, &log(&2, source, &1))
  end

  # A program that writes has a pid.
  defp with_os_pid(%{os_pid?: true} = output), do: output

  defp with_os_pid(output) do
    case Linx.Process.info(output.session) do
      %Info{host_pid: pid} ->
        metadata = Keyword.put_new(output.log.metadata, :os_pid, pid)
        %{output | os_pid?: true, log: %{output.log | metadata: metadata}}

      {:error, :no_process} ->
        output
    end
  end

  # What is waited for is told before the lines are logged, which may take its time.
  defp look(%{awaited: nil} = output, _lines), do: output

  defp look(output, lines) do
    if Enum.any?(lines, output.awaited) do
      send(output.daemon, {output.run, :ready})
      %{output | awaited: nil}
    else
      output
    end
  catch
    kind, reason ->
      why = {Exception.normalize(kind, reason, __STACKTRACE__), __STACKTRACE__}
      send(output.daemon, {output.run, :never_ready, why})
      %{output | awaited: nil}
  end

  defp log(output, source, line) do
    Log.line(output.log, source, line)
    output
  catch
    # A function of the user's that fails at an odd line should not take a working program along.
    kind, reason -> output |> complain(kind, reason, __STACKTRACE__) |> log_plain(source, line)
  end

  defp complain(%{complained?: true} = output, _kind, _reason, _stacktrace), do: output

  defp complain(output, kind, reason, stacktrace) do
    failure = Exception.format(kind, reason, stacktrace)
    Log.notice(output.log, :error, "a line could not be logged as asked for\n" <> failure)
    %{output | complained?: true}
  end

  defp log_plain(output, source, line) do
    Log.plain(output.log, source, line)
    output
  end
end
