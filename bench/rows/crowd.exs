defmodule Bench.Rows.Crowd do
  @moduledoc false

  # Many runs of /bin/true, 16 at a time: what the whole took, for each of them.

  alias Bench.Measure.Contender
  alias Bench.{Measure, Peers, Programs, Settings, Table}

  @argv ["/bin/true"]
  @at_once 16

  def name, do: "crowd"

  def run(settings) do
    runs = Settings.pick(settings, 400, 64)
    rounds = Settings.pick(settings, 11, 1)
    contenders = Enum.map(Peers.commands(), &crowd(&1, runs)) ++ [c_floor(runs)]

    [
      Measure.table(
        "/bin/true, #{runs} runs, #{@at_once} at a time",
        contenders,
        rounds,
        1
      )
      |> Table.target("Linx", :at_most, 0.70, "System.cmd")
      |> Table.target("Linx", :at_most, 0.85, "erlexec")
      |> Table.note("the wall time of all, for each of them")
    ]
  end

  defp crowd(%Peers.Peer{} = peer, runs) do
    run = fn _ -> peer.run.(@argv, []) end

    sample = fn 1 ->
      began = Measure.now()

      1..runs
      |> Task.async_stream(run, max_concurrency: @at_once, ordered: false, timeout: :infinity)
      |> Stream.run()

      [div(Measure.now() - began, runs)]
    end

    %Contender{name: peer.name, sample: sample}
  end

  defp crowd(not_run, _runs), do: not_run

  defp c_floor(runs) do
    sample = fn 1 ->
      [whole] = Programs.samples(["spawn", "crowd", runs, @at_once, "none"] ++ @argv)
      [div(whole, runs)]
    end

    %Contender{name: "posix_spawn", sample: sample}
  end
end
