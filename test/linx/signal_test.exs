defmodule Linx.SignalTest do
  use ExUnit.Case, async: true
  doctest Linx.Signal

  alias Linx.Signal

  # The table of bash: [{:sigterm, 15}, …], without 32 and 33, which it does not name.
  defp bash do
    {output, 0} = System.cmd("bash", ["-c", "kill -l"])

    for [_, n, name] <- Regex.scan(~r/(\d+)\) (\S+)/, output) do
      {name |> String.downcase() |> String.to_atom(), String.to_integer(n)}
    end
  end

  test "names and numbers are those of kill -l" do
    assert bash() == Signal.all() -- [sig32: 32, sig33: 33]
  end

  test "every signal has a name that leads back to its number" do
    assert Keyword.values(Signal.all()) == Enum.to_list(1..64)

    for {name, n} <- Signal.all() do
      assert Signal.name(n) == name
      assert Signal.number(name) == {:ok, n}
      assert Signal.number(n) == {:ok, n}
    end
  end

  test "a second name has the number of the first" do
    for {other, name} <- [
          sigiot: :sigabrt,
          sigcld: :sigchld,
          sigpoll: :sigio,
          sigunused: :sigsys,
          "sigrtmin+30": :sigrtmax,
          "sigrtmin+16": :"sigrtmax-14",
          "sigrtmax-30": :sigrtmin,
          "sigrtmax-15": :"sigrtmin+15"
        ] do
      assert Signal.number(other) == Signal.number(name)
    end
  end

  test "anything else is no signal" do
    for other <- [0, -1, 65, 15.0, :sigfoo, :term, :"sigrtmin+31", :"sigrtmax-31", "sigterm", nil] do
      assert Signal.number(other) == {:error, {:bad_signal, other}}
    end
  end
end
