defmodule Linx.Daemon.BackoffTest do
  use ExUnit.Case, async: true

  alias Linx.Daemon.Backoff

  # So many delays in a row.
  defp delays(backoff, count) do
    {delays, _backoff} = Enum.map_reduce(1..count, backoff, fn _n, b -> Backoff.next(b) end)
    delays
  end

  defp many(count, fun), do: for(_n <- 1..count, do: fun.())

  test "each delay is from a range that begins where the one before has ended, up to the limit" do
    ranges = [100..200, 200..400, 400..800, 500..1000, 500..1000]

    for delays <- many(200, fn -> delays(Backoff.new(100, 1000), 5) end),
        {delay, range} <- Enum.zip(delays, ranges),
        do: assert(delay in range)
  end

  test "the whole range is drawn from" do
    first = many(500, fn -> hd(delays(Backoff.new(1, 1000), 1)) end)
    assert Enum.uniq(first) |> Enum.sort() == [1, 2]
  end

  test "a limit that is no greater than the least delay is that delay" do
    assert delays(Backoff.new(7, 7), 4) == [7, 7, 7, 7]
    for delay <- delays(Backoff.new(100, 150), 100), do: assert(delay in 100..150)
  end

  test "it begins anew after a stable run, and only then" do
    {_delay, backoff} = Backoff.next(Backoff.new(100, 1000))
    assert Backoff.after_run(backoff, 999) == backoff
    assert Backoff.after_run(backoff, 1000) == Backoff.new(100, 1000)
  end
end
