defmodule Bench.Settings do
  @moduledoc false

  # What the environment asks for: ROWS, QUICK.

  defstruct [:rows, :quick?, :whole?]

  def read(known) do
    rows = "ROWS" |> System.get_env("") |> String.split()
    quick? = System.get_env("QUICK", "") not in ["", "0"]

    with [unknown | _] <- rows -- known do
      IO.puts(:stderr, "bench: there is no row #{unknown}: #{Enum.join(known, " ")}")
      System.halt(2)
    end

    rows = if rows == [], do: known, else: rows
    %__MODULE__{rows: rows, quick?: quick?, whole?: rows == known and not quick?}
  end

  @doc "The first for a whole run, the second for a quick one."
  def pick(%__MODULE__{quick?: quick?}, whole, quick), do: if(quick?, do: quick, else: whole)
end
