defmodule Bench.Rows.Echo do
  @moduledoc false

  # A line written to cat(1), until it has come back.

  alias Bench.Measure.Contender
  alias Bench.{Measure, Peers, Settings, Table}
  alias Bench.Peers.Peer

  @line "one line, as somebody may well type it\n"

  def name, do: "echo"

  def run(settings) do
    {rounds, count} = Settings.pick(settings, {15, 100}, {2, 5})
    argv = [System.find_executable("cat")]
    contenders = for peer <- Peers.who_can(:talk), do: contender(peer, argv)
    floor = Measure.program("bare C", &(["pipe", "echo", &1, 0] ++ argv))

    [
      "a line through cat and back"
      |> Measure.table(contenders ++ [floor], rounds, count)
      |> Map.put(:ours, "Linx.Process")
      |> Table.target("Linx.Process", :at_most, 1.30, "Port")
    ]
  end

  defp contender(%Peer{} = peer, argv) do
    sample = fn count ->
      tester = self()

      peer.talk.(argv, fn ask ->
        echo(ask)
        send(tester, {:samples, for(_ <- 1..count, do: echo(ask))})
      end)

      receive do
        {:samples, samples} -> samples
      end
    end

    %Contender{name: peer.name, sample: sample}
  end

  defp contender(not_run, _argv), do: not_run

  defp echo(ask) do
    began = Measure.now()
    @line = ask.(@line)
    Measure.now() - began
  end
end
