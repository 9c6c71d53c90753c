defmodule Linx.Cgroup.Stats do
  @moduledoc """
  What the processes of a cgroup, and of those below it, use and have used: the answer of
  `Linx.Cgroup.stats/1`. What the cgroup has no controller for is `nil`.

    * `:memory` – in bytes: `:current`, `:peak` (`nil` before Linux 5.19), `:swap`, and `:events`, how often
      it came to `:low`, `:high`, `:max`, `:oom`, `:oom_kill` and `:oom_group_kill`;
    * `:cpu` – in microseconds: `:usage`, and of it `:user` and `:system`. With the controller also
      `:periods`, how many there have been, `:throttled_periods`, in how many of them the limit was
      reached, and `:throttled`, how long was waited then, in microseconds; else these are `nil`;
    * `:pids` – the numbers of processes and threads: `:current`, `:max` (the limit, `:max` for none) and
      `:peak` (`nil` before Linux 6.1);
    * `:io` – by device (`"8:0"`): `:rbytes`, `:wbytes`, `:dbytes` (bytes read, written, discarded) and
      `:rios`, `:wios`, `:dios` (how many operations).
  """

  alias Linx.Cgroup.Files

  defstruct [:memory, :cpu, :pids, :io]

  @type t :: %__MODULE__{
          memory:
            %{
              current: non_neg_integer,
              peak: non_neg_integer | nil,
              swap: non_neg_integer | nil,
              events: %{optional(atom) => non_neg_integer}
            }
            | nil,
          cpu:
            %{
              usage: non_neg_integer,
              user: non_neg_integer,
              system: non_neg_integer,
              periods: non_neg_integer | nil,
              throttled_periods: non_neg_integer | nil,
              throttled: non_neg_integer | nil
            }
            | nil,
          pids:
            %{
              current: non_neg_integer,
              max: non_neg_integer | :max,
              peak: non_neg_integer | nil
            }
            | nil,
          io: %{optional(String.t()) => %{optional(atom) => non_neg_integer}} | nil
        }

  @memory_events ~w(low high max oom oom_kill oom_group_kill)a
  @io_fields ~w(rbytes wbytes dbytes rios wios dios)a

  @doc false
  @spec read(String.t()) :: t
  def read(path) do
    file = &Files.peek(Path.join(path, &1))
    number = &(&1 |> file.() |> Files.number())

    %__MODULE__{
      memory: memory(number.("memory.current"), number, file),
      cpu: cpu(file.("cpu.stat")),
      pids: pids(number.("pids.current"), number),
      io: io(file.("io.stat"))
    }
  end

  defp memory(nil, _number, _file), do: nil

  defp memory(current, number, file) do
    %{
      current: current,
      peak: number.("memory.peak"),
      swap: number.("memory.swap.current"),
      events: memory_events(file.("memory.events"))
    }
  end

  @doc false
  @spec memory_events(String.t() | nil) :: %{optional(atom) => non_neg_integer}
  def memory_events(content) do
    pairs = Files.pairs(content)
    for name <- @memory_events, count = pairs["#{name}"], into: %{}, do: {name, count}
  end

  defp cpu(nil), do: nil

  defp cpu(content) do
    pairs = Files.pairs(content)

    %{
      usage: pairs["usage_usec"],
      user: pairs["user_usec"],
      system: pairs["system_usec"],
      periods: pairs["nr_periods"],
      throttled_periods: pairs["nr_throttled"],
      throttled: pairs["throttled_usec"]
    }
  end

  defp pids(nil, _number), do: nil

  defp pids(current, number) do
    %{current: current, max: number.("pids.max"), peak: number.("pids.peak")}
  end

  defp io(nil), do: nil

  defp io(content) do
    Map.new(Files.fields(content), fn {device, fields} ->
      {device,
       for(
         name <- @io_fields,
         count = fields["#{name}"],
         into: %{},
         do: {name, String.to_integer(count)}
       )}
    end)
  end
end
