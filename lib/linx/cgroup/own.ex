defmodule Linx.Cgroup.Own do
  @moduledoc false

  # The cgroups that sessions have for themselves: where they are, whether they can have limits, what they
  # are called, and what is left of those of dead BEAMs.
  #
  # A name says whose it is: the PID and the time namespace of the BEAM, its pid and when it began, as seen
  # in there, and a number. So another BEAM, later, knows that nobody needs it any more.

  alias Linx.{Cgroup, Errno}
  alias Linx.Cgroup.{Limits, Tree}

  @typedoc "Where there is to be one, and its limits."
  @type plan :: {place :: String.t(), [Cgroup.limit()]}

  @doc """
  A plan for one with these limits. That there is no controller for them, as far as can be told without
  making any, is found here.
  """
  @spec plan(term) ::
          {:ok, plan} | {:error, Cgroup.no_controller() | :not_mounted | Cgroup.mistake()}
  def plan(limits) do
    with {:ok, writes} <- Limits.parse(limits),
         {:ok, place} <- place(Limits.controllers(writes)),
         do: {:ok, {place, limits}}
  end

  @doc """
  A new one. The first in a place has removed what is left there of dead BEAMs, but does not wait for that.
  """
  @spec create(plan) :: {:ok, Cgroup.t()} | {:error, code :: pos_integer}
  def create({place, limits}) do
    remember({:swept, place}, fn -> is_pid(spawn(fn -> sweep(place) end)) end)

    with {:error, reason} <- Cgroup.create(Path.join(place, name()), limits),
         do: {:error, code(reason)}
  end

  # What the plan could not know: that a controller which is there may not be switched on.
  defp code(%Cgroup.Error{code: code}), do: code

  defp code(_no_controller) do
    {:ok, code} = Errno.number(:enodev)
    code
  end

  @doc "Whether there can be one with such limits. It is tried, once for all sessions."
  @spec usable?([Cgroup.limit()]) :: boolean
  def usable?(limits) do
    remember({:usable, Keyword.keys(limits)}, fn ->
      with {:ok, plan} <- plan(limits),
           {:ok, cgroup} <- create(plan),
           :ok <- Cgroup.delete(cgroup) do
        true
      else
        _error -> false
      end
    end)
  end

  @doc "Removes, with all that is in them, the cgroups in this directory whose BEAMs are no more."
  @spec sweep(String.t()) :: :ok
  def sweep(place) do
    with {:ok, names} <- File.ls(place) do
      for name <- names, stale?(name), do: Cgroup.delete(Path.join(place, name), kill: true)
    end

    :ok
  end

  # A place that has been found stays one; another may yet be made.
  defp place(controllers) do
    key = {__MODULE__, {:place, controllers}}

    with nil <- :persistent_term.get(key, nil),
         {:ok, place} <- find_place(controllers) do
      :persistent_term.put(key, place)
      {:ok, place}
    else
      {:error, reason} -> {:error, reason}
      place -> {:ok, place}
    end
  end

  defp find_place(controllers) do
    with {:ok, top} <- Cgroup.root(),
         {:ok, current} <- Cgroup.current() do
      place = Tree.parent(top, current, controllers)

      case Tree.missing(place, controllers) do
        [] -> {:ok, place}
        [missing | _] -> {:error, {:no_controller, missing, Tree.available(place)}}
      end
    end
  end

  defp name, do: "#{beam()}-#{System.unique_integer([:positive])}"

  defp beam do
    remember(:beam, fn ->
      {pid, born} = process("self")
      "linx-#{namespaces()}-#{pid}-#{born}"
    end)
  end

  # Of pids and moments in other namespaces nothing is known here.
  defp stale?(name) do
    case Regex.run(~r/\Alinx-(\d+-\d+)-(\d+)-(\d+)-\d+\z/, name) do
      [_name, namespaces, pid, born] ->
        namespaces == namespaces() and process(pid) != {pid, born}

      nil ->
        false
    end
  end

  # A kernel before 5.6 has no time namespaces.
  defp namespaces do
    Enum.map_join(["pid", "time"], "-", fn type ->
      case File.stat("/proc/self/ns/#{type}") do
        {:ok, %{inode: number}} -> number
        {:error, :enoent} -> 0
      end
    end)
  end

  # The pid of a process that is there, and when it began: proc_pid_stat(5). There may be anything in the
  # name between the parentheses. A zombie has ended.
  defp process(pid) do
    with {:ok, stat} <- File.read("/proc/#{pid}/stat"),
         [state | fields] = stat |> String.split(") ") |> List.last() |> String.split(),
         false <- state in ["Z", "X"] do
      {stat |> String.split(" ") |> hd(), Enum.at(fields, 18)}
    else
      _gone -> nil
    end
  end

  # As long as the BEAM lives.
  defp remember(what, fun) do
    key = {__MODULE__, what}

    with nil <- :persistent_term.get(key, nil) do
      value = fun.()
      :persistent_term.put(key, value)
      value
    end
  end
end
