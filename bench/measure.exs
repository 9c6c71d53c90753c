defmodule Bench.Measure do
  @moduledoc false

  # Contenders take turns within one run, a small batch each, and another one begins in each round. So
  # whatever the machine does meanwhile, it does to all of them, and only ratios are worth much.

  alias Bench.{Programs, Table}

  defmodule Contender do
    @moduledoc false
    # `sample` takes a count and returns as many samples, or a few that stand for so many.
    defstruct [:name, :sample]
  end

  @doc "Nanoseconds of CLOCK_MONOTONIC, as the C programs read it."
  def now, do: :os.perf_counter(:nanosecond)

  @doc "Makes sure that `now/0` and the C programs mean the same."
  def check_clock! do
    before = now()
    [first] = Programs.stamp()

    unless first in before..now() do
      raise "the BEAM's clock is not CLOCK_MONOTONIC: #{before} is no time near #{first}"
    end
  end

  @doc "Runs `fun` once to warm up, then `count` times, each after a pause of so many ms."
  def timed(name, pause \\ 0, fun) do
    %Contender{
      name: name,
      sample: fn count ->
        fun.()

        for _ <- 1..count do
          if pause > 0, do: Process.sleep(pause)
          began = now()
          fun.()
          now() - began
        end
      end
    }
  end

  @doc "A C program that takes the samples itself, and prints them. It takes the count as `count.(n)`."
  def program(name, args_for_count) do
    %Contender{name: name, sample: fn count -> Programs.samples(args_for_count.(count)) end}
  end

  @doc """
  The samples of all contenders: `rounds` times `count` of each. What cannot run is left out, as is
  `{:not_run, name, why}`, and the table tells why.
  """
  def table(title, contenders, rounds, count) do
    {contenders, missing} = Enum.split_with(contenders, &is_struct(&1, Contender))
    table = %Table{title: title, not_run: for({:not_run, name, why} <- missing, do: {name, why})}
    if IO.ANSI.enabled?(), do: IO.write(:stderr, "#{title} …")

    {columns, failed} =
      Enum.reduce(1..rounds, {%{}, %{}}, fn round, {columns, failed} ->
        contenders
        |> Enum.reject(&is_map_key(failed, &1.name))
        |> rotate(round - 1)
        |> Enum.reduce({columns, failed}, fn contender, {columns, failed} ->
          case isolated(fn -> contender.sample.(count) end) do
            {:ok, samples} ->
              {Map.update(columns, contender.name, samples, &(samples ++ &1)), failed}

            {:error, why} ->
              {columns, Map.put(failed, contender.name, why)}
          end
        end)
      end)

    if IO.ANSI.enabled?(), do: IO.write(:stderr, "\r\e[K")

    %{
      table
      | columns:
          for(c <- contenders, not is_map_key(failed, c.name), do: {c.name, columns[c.name]}),
        not_run: table.not_run ++ Enum.to_list(failed)
    }
  end

  defp rotate(list, n) do
    {front, back} = Enum.split(list, rem(n, max(length(list), 1)))
    back ++ front
  end

  @doc """
  What `fun` returns, run in a process of its own: nothing is left in its mailbox, and its crash is told.
  """
  def isolated(fun) do
    {pid, ref} = spawn_monitor(fn -> exit({:returned, fun.()}) end)

    receive do
      {:DOWN, ^ref, :process, ^pid, {:returned, value}} -> {:ok, value}
      {:DOWN, ^ref, :process, ^pid, reason} -> {:error, why(reason)}
    end
  end

  defp why({%{__exception__: true} = error, _stack}), do: one_line(Exception.message(error))
  defp why(reason), do: one_line(Exception.format_exit(reason))

  # What an exception says comes behind that there was one.
  defp one_line(text),
    do:
      text |> String.split("\n", trim: true) |> Enum.take(2) |> Enum.map_join(" ", &String.trim/1)
end
