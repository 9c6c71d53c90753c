defmodule Bench.Stats do
  @moduledoc false

  def median(samples), do: quantile(samples, 0.5)
  def p95(samples), do: quantile(samples, 0.95)

  # By the nearest rank: always a value that was measured.
  defp quantile(samples, q) do
    sorted = Enum.sort(samples)
    Enum.at(sorted, max(ceil(q * length(sorted)) - 1, 0))
  end
end
