defmodule Linx.Test.Timings do
  @moduledoc false

  # How long things took: a table for whoever asks for it with LINX_FAULT_ROUNDS=N, and nothing
  # otherwise. Each cell is measured N times.

  import ExUnit.Assertions

  @variable "LINX_FAULT_ROUNDS"

  # A machine that is busy may be late now and then, but not for so long, in milliseconds.
  @patience 30_000

  @doc """
  Asserts that what `measure` returns, in microseconds, is below `limit`, as many times as there are
  to be rounds.
  """
  def assert_within(limit, measure) do
    for _round <- 1..rounds() do
      deadline = System.monotonic_time(:millisecond) + @patience
      measure_until(limit, measure, deadline, [])
    end
  end

  defp measure_until(limit, measure, deadline, late) do
    time = measure.()

    cond do
      time < limit ->
        time

      System.monotonic_time(:millisecond) < deadline ->
        measure_until(limit, measure, deadline, [time | late])

      true ->
        flunk("more than #{limit} µs each time: #{inspect(Enum.reverse([time | late]))}")
    end
  end

  @doc "How long a test may take, in milliseconds: as ExUnit has it, for each round."
  def timeout, do: 60_000 * rounds()

  defp rounds, do: @variable |> System.get_env("1") |> String.to_integer()

  @doc """
  Has the table printed when the tests of a module are over. `columns` and `rows` are keyword lists
  of what is recorded and what it is called.
  """
  def print_after_all(title, columns, rows) do
    if System.get_env(@variable) do
      {:ok, cells} = Agent.start(fn -> %{} end, name: __MODULE__)

      ExUnit.Callbacks.on_exit(fn ->
        IO.puts(table(title, columns, rows, Agent.get(cells, & &1)))
        Agent.stop(cells)
      end)
    end

    :ok
  end

  @doc "Remembers one measurement of a cell, in microseconds."
  def record(row, column, time) do
    if Process.whereis(__MODULE__) do
      Agent.update(__MODULE__, fn cells ->
        Map.update(cells, {row, column}, [time], &[time | &1])
      end)
    end
  end

  defp table(title, columns, rows, cells) do
    width = rows |> Enum.map(fn {_row, name} -> String.length(name) end) |> Enum.max()

    lines =
      for {row, name} <- rows do
        values = for {column, _name} <- columns, do: describe(cells[{row, column}])
        [String.pad_trailing(name, width) | values]
      end

    header = [String.pad_trailing("", width) | for({_column, name} <- columns, do: name)]

    text =
      Enum.map_join([header | lines], "\n", fn [name | values] ->
        name <> Enum.map_join(values, &String.pad_leading(&1, 15))
      end)

    "\n\n#{title}\n\n#{text}\n"
  end

  defp describe(nil), do: "-"
  defp describe([time]), do: milliseconds(time)

  defp describe(times) do
    median = times |> Enum.sort() |> Enum.at(div(length(times), 2))
    "#{milliseconds(median)} / #{milliseconds(Enum.max(times))}"
  end

  defp milliseconds(time), do: Integer.to_string(round(time / 1000))
end
