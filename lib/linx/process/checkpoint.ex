defmodule Linx.Process.Checkpoint do
  @moduledoc false

  # What the parked child is told to do to itself. The modules of the facilities say it in their words.
  #
  # A command that comes before the child is parked waits for that. One that the kernel refuses ends the
  # session, so that nothing runs half-confined.

  alias Linx.Process.{Error, Session}

  @type answer :: :ok | {:ok, map} | {:error, Error.t() | :running | :no_process}

  @doc "Changes the place where the program is going to run, at once."
  @spec setup(Linx.Process.session(), term) :: answer
  def setup(session, operation), do: Session.call(session, {:command, {:setup, operation}})

  @doc """
  Takes something from the program, when it begins to run. The answer is the kernel's, which has tried
  it on a copy of the child, together with all that has been asked for before.
  """
  @spec confine(Linx.Process.session(), term) :: answer
  def confine(session, confinement) do
    Session.call(session, {:command, {:confine, confinement}})
  end

  @doc "Several of them; the first that is refused ends it."
  @spec confine_all(Linx.Process.session(), [term]) :: :ok | {:error, term}
  def confine_all(session, confinements) do
    Enum.reduce_while(confinements, :ok, fn confinement, :ok ->
      case confine(session, confinement) do
        {:error, reason} -> {:halt, {:error, reason}}
        _ok -> {:cont, :ok}
      end
    end)
  end
end
