defmodule Linx.Top.Procfs do
  @moduledoc false

  # What /proc tells of the machine's processes: all of them in one pass, since a process is known
  # there by its parent, not by its children.
  #
  # The files are read raw, so that looking at thousands of them does not keep everybody else away
  # from the file server. A process that ends meanwhile is not there any more, and that is all.

  # utime and the like are counted in USER_HZ, which is part of the kernel's interface to programs, and
  # 100 on every architecture that an agent is built for. The kernel's own HZ is another matter.
  @ticks_per_second 100

  @type t :: %{optional(pos_integer) => stat}

  @typedoc "Times are in µs; `:reaped` is what children had used that have been waited for."
  @type stat :: %{
          name: binary,
          state: binary,
          parent: non_neg_integer,
          used: non_neg_integer,
          reaped: non_neg_integer
        }

  @doc "Every process that can be seen."
  @spec read() :: t
  def read do
    {:ok, names} = :file.list_dir("/proc")

    for [digit | _] = name <- names,
        digit in ?1..?9,
        {:ok, line} <- [read("#{name}/stat")],
        into: %{} do
      {List.to_integer(name), parse(line)}
    end
  end

  # See proc_pid_stat(5). The name, in parentheses, may contain anything; what follows it are numbers.
  defp parse(line) do
    {from, _} = :binary.match(line, "(")
    {to, _} = line |> :binary.matches(")") |> List.last()
    name = binary_part(line, from + 1, to - from - 1)

    fields =
      line |> binary_part(to + 2, byte_size(line) - to - 2) |> :binary.split(" ", [:global])

    [state, parent, _group, _session, _tty, _tpgid, _flags | fields] = fields
    [_minflt, _cminflt, _majflt, _cmajflt, utime, stime, cutime, cstime | _] = fields

    %{
      name: name,
      state: state,
      parent: String.to_integer(parent),
      used: microseconds(utime, stime),
      reaped: microseconds(cutime, cstime)
    }
  end

  defp microseconds(user, system) do
    div((String.to_integer(user) + String.to_integer(system)) * 1_000_000, @ticks_per_second)
  end

  @doc """
  The memory of a process that is there at the moment, in bytes; 0 for one that has ended.

  `status` gives it in kB, whatever the size of a page is on this machine.
  """
  @spec resident(pos_integer) :: non_neg_integer
  def resident(pid) do
    with {:ok, status} <- read("#{pid}/status"),
         [_before, rest] <- :binary.split(status, "\nVmRSS:"),
         [amount, _rest] <- :binary.split(rest, " kB") do
      amount |> String.trim() |> String.to_integer() |> Kernel.*(1024)
    else
      _gone_or_a_zombie -> 0
    end
  end

  # Both files are of one piece, and smaller than this.
  defp read(name) do
    with {:ok, file} <- :file.open("/proc/" <> name, [:read, :raw, :binary]) do
      read = :file.read(file, 16_384)
      :file.close(file)
      read
    end
  end
end
