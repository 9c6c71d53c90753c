defmodule Linx.Process.Stdio do
  @moduledoc false

  # The option `:stdio`: where a workload's standard descriptors lead, and which of them lead to its
  # session.

  alias Linx.Process.CString

  @fds [:stdin, :stdout, :stderr]

  # `sun_path` has 108 bytes, the last of which ends the string.
  @max_socket_path 107

  @modes [[:read], [:write], [:append], [:read, :write], [:append, :read]]

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @typedoc "What the agent is told."
  @type t :: :inherit | :devnull | :pty | :pipe | [{:stdin | :stdout | :stderr, term}]

  @typedoc "Where output comes from."
  @type source :: :stdout | :stderr | :pty

  @doc "The option as the agent takes it; the error is what is wrong in it."
  @spec check(term) :: {:ok, t} | {:error, offending :: term}
  def check(word) when word in [:inherit, :devnull, :pty, :pipe], do: {:ok, word}

  def check(directives) when is_proper_list(directives) do
    with nil <- Enum.find(directives, &(not directive?(&1))),
         [] <- directives -- Enum.uniq_by(directives, &elem(&1, 0)) do
      {:ok, Enum.map(directives, &complete/1)}
    else
      [again | _] -> {:error, again}
      bad -> {:error, bad}
    end
  end

  def check(other), do: {:error, other}

  @doc "What comes to the session."
  @spec outputs(t) :: [source]
  def outputs(:pipe), do: [:stdout, :stderr]
  def outputs(:pty), do: [:pty]

  def outputs(list) when is_list(list),
    do: for(fd <- [:stdout, :stderr], list[fd] == :pipe, do: fd)

  def outputs(_word), do: []

  @doc "The command by which the session gives the workload something to read; `nil` if it cannot."
  @spec input(t) :: :stdin | :pty_in | nil
  def input(:pipe), do: :stdin
  def input(:pty), do: :pty_in
  def input(list) when is_list(list), do: if(list[:stdin] == :pipe, do: :stdin)
  def input(_word), do: nil

  defp complete({:stdin, {:file, path}}), do: {:stdin, {:file, path, [:read]}}
  defp complete({fd, {:file, path}}), do: {fd, {:file, path, [:write]}}
  defp complete(directive), do: directive

  defp directive?({fd, how}) when fd in @fds and how in [:inherit, :devnull, :pipe], do: true
  defp directive?({:stderr, :stdout}), do: true
  defp directive?({fd, {:file, path}}) when fd in @fds, do: path?(path)
  defp directive?({fd, {:file, path, modes}}) when fd in @fds, do: path?(path) and modes?(modes)

  defp directive?({fd, {:connect_unix, path}}) when fd in @fds,
    do: path?(path) and byte_size(path) <= @max_socket_path

  defp directive?(_other), do: false

  defp modes?(modes) when is_proper_list(modes) do
    {exclusive, modes} = Enum.split_with(modes, &(&1 == :exclusive))
    modes = Enum.sort(modes)

    modes in @modes and length(exclusive) <= 1 and
      (exclusive == [] or modes != [:read])
  end

  defp modes?(_other), do: false

  defp path?(path), do: path != "" and CString.valid?(path)
end
