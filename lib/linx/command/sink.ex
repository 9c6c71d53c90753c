defmodule Linx.Command.Sink do
  @moduledoc false

  # The standard input of a program as a `Collectable`, for the process that writes it.
  #
  # What is collected goes out at once. The one who writes waits, for the program to have read most of
  # what was written before, only now and then, so that many small writes do not take a round trip each.
  # When nobody reads any more, the writer exits normally.

  alias Linx.Process.Session

  # So many bytes, or so many writes, are under way before the writer waits.
  @most_bytes 131_072
  @most_writes 256

  @enforce_keys [:session]
  defstruct [:session, bytes: 0, writes: 0]

  @type t :: %__MODULE__{
          session: pid,
          bytes: non_neg_integer,
          writes: non_neg_integer
        }

  @spec new(session :: pid) :: t
  def new(session), do: %__MODULE__{session: session}

  @spec write(t, iodata) :: t
  def write(sink, data), do: write_bytes(sink, IO.iodata_to_binary(data))

  defp write_bytes(sink, ""), do: sink

  defp write_bytes(sink, bytes) do
    under_way = sink.bytes + byte_size(bytes)

    if under_way < @most_bytes and sink.writes < @most_writes do
      Session.feed(sink.session, bytes)
      %{sink | bytes: under_way, writes: sink.writes + 1}
    else
      case Linx.Process.write(sink.session, bytes) do
        :ok -> %{sink | bytes: 0, writes: 0}
        {:error, _nobody_reads} -> exit(:normal)
      end
    end
  end

  defimpl Collectable do
    def into(sink) do
      {sink,
       fn
         sink, {:cont, data} -> Linx.Command.Sink.write(sink, data)
         sink, :done -> sink
         _sink, :halt -> :ok
       end}
    end
  end
end
