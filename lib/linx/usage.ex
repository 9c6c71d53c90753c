defmodule Linx.Usage do
  @moduledoc """
  What a program has used, as the kernel counted it: the program itself and those of its children
  that it has waited for, see getrusage(2).

    * `:user_time`, `:system_time` – processor time, in microseconds;
    * `:max_rss` – the most memory it had at a time, in bytes; of several processes, that of the largest;
    * `:minor_faults`, `:major_faults` – pages it was given without and with a read from disk;
    * `:blocks_in`, `:blocks_out` – blocks of 512 bytes read from disk and written to it;
    * `:voluntary_switches`, `:involuntary_switches` – how often it waited, and how often it had to.
  """

  @fields [
    user_time: :utime,
    system_time: :stime,
    max_rss: :maxrss,
    minor_faults: :minflt,
    major_faults: :majflt,
    blocks_in: :inblock,
    blocks_out: :oublock,
    voluntary_switches: :nvcsw,
    involuntary_switches: :nivcsw
  ]

  @enforce_keys Keyword.keys(@fields)
  defstruct Keyword.keys(@fields)

  @type t :: %__MODULE__{
          user_time: non_neg_integer,
          system_time: non_neg_integer,
          max_rss: non_neg_integer,
          minor_faults: non_neg_integer,
          major_faults: non_neg_integer,
          blocks_in: non_neg_integer,
          blocks_out: non_neg_integer,
          voluntary_switches: non_neg_integer,
          involuntary_switches: non_neg_integer
        }

  # From the agent, which names them as getrusage(2) does.
  @doc false
  @spec new(%{atom => non_neg_integer}) :: t
  def new(rusage) do
    struct!(__MODULE__, for({field, name} <- @fields, do: {field, Map.fetch!(rusage, name)}))
  end
end
