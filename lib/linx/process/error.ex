defmodule Linx.Process.Error do
  @moduledoc """
  What stands behind a workload that could not be started, or a command that the kernel refused.

    * `:stage` – the step that failed, such as `:clone`, `:setns_net`, `:chdir` or `:execve`;
    * `:errno` – the kernel's error by name, such as `:enoent`, see `Linx.Errno`;
    * `:code` – its number;
    * `:signal` – when a signal killed the child in that step, its number, else `nil`;
    * `:hint` – what else is known, in words, such as what `newuidmap` has said, else `nil`.

  `:proc` means that there is no `/proc` in which the agent could find the processes it would have to
  kill, so nothing was begun; `:sweep`, that something the workload left does not die.

  Two stages are Linx's own: `:agent`, when the agent could not be started or was not understood, and
  `:agent_died`, when it went away without a word. The latter has `errno: :unknown`, and its `:code`
  is the agent's exit status, or 0 when nobody has seen that.

      iex> error = %Linx.Process.Error{stage: :execve, errno: :enoent, code: 2}
      iex> Exception.message(error)
      "execve: no such file or directory (ENOENT)"
  """

  alias Linx.{Errno, Signal}

  @enforce_keys [:stage, :errno, :code]
  defexception [:stage, :errno, :code, :signal, :hint]

  @type t :: %__MODULE__{
          stage: atom,
          errno: Errno.t(),
          code: integer,
          signal: pos_integer | nil,
          hint: String.t() | nil
        }

  @doc false
  @spec new(atom, integer, Linx.Agent.Wire.cause()) :: t
  def new(stage, code, cause \\ nil) do
    %__MODULE__{stage: stage, errno: Errno.name(code), code: code, signal: signal(cause)}
  end

  @doc false
  @spec agent_died(integer) :: t
  def agent_died(exit_status) do
    %__MODULE__{stage: :agent_died, errno: :unknown, code: exit_status}
  end

  @impl true
  def message(%{stage: :agent_died, code: exit_status}) do
    "agent_died: the agent ended without a word, with exit status #{exit_status}"
  end

  def message(%{stage: stage, errno: errno, code: code, signal: signal, hint: hint}) do
    "#{stage}: #{Errno.message(code)}#{name(errno)}#{killer(signal)}#{hint && ": " <> hint}"
  end

  defp signal({:signaled, n}), do: n
  defp signal(_cause), do: nil

  defp name(:unknown), do: ""
  defp name(errno), do: " (#{upcase(errno)})"

  defp killer(nil), do: ""
  defp killer(n) when n in 1..64, do: ", killed by #{n |> Signal.name() |> upcase()}"
  defp killer(n), do: ", killed by signal #{n}"

  defp upcase(name), do: name |> Atom.to_string() |> String.upcase()
end
