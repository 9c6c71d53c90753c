defmodule Bench.Peers.Linx do
  @moduledoc false

  alias Bench.Peers.{Discard, Peer}
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

  @doc "A program of which one learns what `System.cmd/3` tells, by what is like it."
  def commands do
    [
      %Peer{
        name: "Linx.cmd",
        run: fn [program | args], _opts -> {_, 0} = Linx.cmd(program, args) end
      },
      %Peer{name: "Linx.run", run: fn argv, _opts -> %{} = Linx.run!(argv) end}
    ]
  end

  def pipers do
    [
      %Peer{
        name: "Linx.cmd",
        drop: fn [program | args] ->
          {%Discard{bytes: bytes}, 0} = Linx.cmd(program, args, into: %Discard{})
          bytes
        end,
        keep: fn [program | args] ->
          {output, 0} = Linx.cmd(program, args)
          output
        end,
        lines: fn [program | args] ->
          {lines, 0} = Linx.cmd(program, args, into: [], lines: 1_000_000)
          length(lines)
        end
      },
      %Peer{
        name: "Linx.run",
        keep: &Linx.run!(&1).stdout,
        feed: fn argv, bytes -> %{} = Linx.run!(argv, input: bytes) end
      },
      %Peer{
        name: "Linx.run, a stream",
        feed: fn argv, bytes -> %{} = Linx.run!(argv, input: chunks(bytes)) end
      },
      %Peer{
        name: "Linx.stream!",
        drop: &(&1 |> Linx.stream!() |> Enum.reduce(0, fn b, size -> size + byte_size(b) end)),
        lines: &(&1 |> Linx.stream!(lines: true) |> Enum.count()),
        hold: fn argv, ms ->
          argv |> Linx.stream!() |> Enum.each(fn _ -> Process.sleep(ms) end)
        end
      },
      %Peer{
        name: "Linx.Process",
        drop: &(&1 |> start_active(0) |> elem(1)),
        talk: &talk/2,
        hold: &start_active/2
      }
    ]
  end

  # Not a list, which would be put together at once.
  defp chunks(bytes) do
    Stream.unfold(bytes, fn
      "" -> nil
      <<chunk::binary-size(65_536), rest::binary>> -> {chunk, rest}
      rest -> {rest, ""}
    end)
  end

  # The owner gets all there is, at once, as from a port.
  defp start_active(argv, ms) do
    stdio = [stdin: :devnull, stdout: :pipe, stderr: :inherit]
    {:ok, session} = P.spawn(argv: argv, stdio: stdio, active: true, auto_proceed: true)
    bytes = drain(ms, 0)
    P.stop(session)
    {:ok, bytes}
  end

  defp drain(ms, size) do
    receive do
      {:linx_process, :stdout, bytes} ->
        if ms > 0, do: Process.sleep(ms)
        drain(ms, size + byte_size(bytes))

      {:linx_process, :exited, 0} ->
        flush()
        size
    end
  end

  defp talk(argv, fun) do
    stdio = [stdin: :pipe, stdout: :pipe, stderr: :inherit]
    {:ok, session} = P.spawn(argv: argv, stdio: stdio, auto_proceed: true)

    fun.(fn line ->
      :ok = P.write(session, line)
      {:ok, bytes} = P.recv(session, :stdout)
      bytes
    end)

    P.stop(session)
  end

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
