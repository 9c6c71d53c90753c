defmodule Linx.Seccomp.Action do
  @moduledoc false

  # What a filter answers, as Linx says it and as the kernel does: linux/seccomp.h.

  import Bitwise

  alias Linx.Errno

  @actions [
    kill_process: 0x8000_0000,
    kill_thread: 0,
    trap: 0x0003_0000,
    notify: 0x7FC0_0000,
    log: 0x7FFC_0000,
    allow: 0x7FFF_0000
  ]
  @errno 0x0005_0000
  @trace 0x7FF0_0000

  # MAX_ERRNO: the kernel makes a smaller number of a greater one.
  @last_errno 4095

  @doc "The number of an action."
  @spec encode(term) :: {:ok, non_neg_integer} | {:error, {:bad_action, term}}
  for {name, number} <- @actions do
    def encode(unquote(name)), do: {:ok, unquote(number)}
  end

  def encode({:errno, number}) when number in 0..@last_errno, do: {:ok, @errno ||| number}
  def encode({:trace, number}) when number in 0..0xFFFF, do: {:ok, @trace ||| number}

  def encode({:errno, name} = action) when is_atom(name) do
    case Errno.number(name) do
      {:ok, number} -> {:ok, @errno ||| number}
      :error -> {:error, {:bad_action, action}}
    end
  end

  def encode(action), do: {:error, {:bad_action, action}}

  @doc "The action of a number. The kernel kills whoever gets an answer that it does not know."
  @spec decode(non_neg_integer) :: Linx.Seccomp.action()
  def decode(answer) do
    data = answer &&& 0xFFFF

    case answer &&& 0xFFFF_0000 do
      @errno -> {:errno, errno(min(data, @last_errno))}
      @trace -> {:trace, data}
      other -> name(other)
    end
  end

  for {name, number} <- @actions, do: defp(name(unquote(number)), do: unquote(name))
  defp name(_unknown), do: :kill_process

  defp errno(number) do
    with :unknown <- Errno.name(number), do: number
  end
end
