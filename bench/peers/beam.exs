defmodule Bench.Peers.Beam do
  @moduledoc false

  # What comes with the BEAM.

  alias Bench.Peers
  alias Bench.Peers.{Discard, Peer}

  def peers do
    [
      %Peer{
        name: "System.cmd",
        run: fn [program | args], _opts -> {_, 0} = System.cmd(program, args) end
      },
      %Peer{name: "Port", run: fn argv, _opts -> Peers.run_port(argv) end}
    ]
  end

  def pipers, do: [port(), system_cmd()]

  defp port do
    %Peer{
      name: "Port",
      drop: &(&1 |> open() |> reduce(0, fn bytes, size -> size + byte_size(bytes) end)),
      keep: &(&1 |> open() |> reduce([], fn bytes, all -> [all | bytes] end) |> to_binary()),
      lines: &(&1 |> open(line: 1_000_000) |> reduce(0, fn {:eol, _line}, n -> n + 1 end)),
      feed: fn argv, bytes ->
        port = open(argv)
        Port.command(port, bytes)
        reduce(port, :ok, fn _bytes, :ok -> :ok end)
      end,
      talk: fn argv, fun ->
        port = open(argv)

        fun.(fn line ->
          Port.command(port, line)

          receive do
            {^port, {:data, bytes}} -> bytes
          end
        end)

        Port.close(port)
      end,
      hold: fn argv, ms -> argv |> open() |> reduce(nil, fn _, _ -> Process.sleep(ms) end) end
    }
  end

  defp system_cmd do
    %Peer{
      name: "System.cmd",
      drop: fn [program | args] ->
        {%Discard{bytes: bytes}, 0} = System.cmd(program, args, into: %Discard{})
        bytes
      end,
      keep: fn [program | args] ->
        {output, 0} = System.cmd(program, args)
        output
      end,
      lines: &lines/1
    }
  end

  if Version.match?(System.version(), ">= 1.15.0") do
    defp lines([program | args]) do
      {lines, 0} = System.cmd(program, args, into: [], lines: 1_000_000)
      length(lines)
    end
  else
    # As one did before it could.
    defp lines([program | args]) do
      {output, 0} = System.cmd(program, args)
      output |> String.split("\n", trim: true) |> length()
    end
  end

  defp open([program | args], opts \\ []) do
    Port.open({:spawn_executable, program}, [:binary, :exit_status, args: args] ++ opts)
  end

  defp reduce(port, acc, fun) do
    receive do
      {^port, {:data, data}} -> reduce(port, fun.(data, acc), fun)
      {^port, {:exit_status, 0}} -> acc
    end
  end

  defp to_binary(iodata), do: IO.iodata_to_binary(iodata)
end
