defmodule Linx.Cgroup.Control do
  @moduledoc false

  # What is done to all processes of a cgroup at once, and its end.
  #
  # The kernel would wake whoever polls cgroup.events; the BEAM cannot, so it looks again and again.

  alias Linx.Cgroup.{Error, Files}

  # Milliseconds: the first pause between two looks, and the longest.
  @first_pause 1
  @longest_pause 50

  @spec events(String.t()) ::
          {:ok, %{populated: boolean, frozen: boolean}} | {:error, Error.t()}
  def events(path) do
    with {:ok, content} <- Files.read(Path.join(path, "cgroup.events")) do
      pairs = Files.pairs(content)
      {:ok, %{populated: pairs["populated"] == 1, frozen: pairs["frozen"] == 1}}
    end
  end

  @spec freeze(String.t(), boolean, timeout :: pos_integer) ::
          :ok | {:error, :timeout | Error.t()}
  def freeze(path, wanted, timeout) do
    value = if wanted, do: "1", else: "0"

    with :ok <- Files.write(Path.join(path, "cgroup.freeze"), value, :freeze) do
      until(now() + timeout, fn ->
        with {:ok, %{frozen: frozen}} <- events(path),
             do: if(frozen == wanted, do: :ok, else: :not_yet)
      end)
    end
  end

  @spec kill(String.t()) :: :ok | {:error, Error.t()}
  def kill(path), do: Files.write(Path.join(path, "cgroup.kill"), "1", :kill)

  @spec remove(String.t()) :: :ok | {:error, Error.t()}
  def remove(path) do
    with {:error, errno} <- File.rmdir(path), do: {:error, Error.new(:delete, path, errno)}
  end

  @doc "Removes it with all that is in it and below it."
  @spec clear(String.t(), timeout :: pos_integer) :: :ok | {:error, :timeout | Error.t()}
  def clear(path, timeout) do
    deadline = now() + timeout

    with :ok <- kill(path),
         :ok <- until(deadline, fn -> empty(path) end) do
      # The kernel may still be at the last of them.
      until(deadline, fn ->
        with {:error, %Error{errno: :ebusy}} <- remove_all(path), do: :not_yet
      end)
    end
  end

  defp empty(path) do
    with {:ok, %{populated: populated}} <- events(path),
         do: if(populated, do: :not_yet, else: :ok)
  end

  # The files of a cgroup go with it.
  defp remove_all(path) do
    with {:ok, names} <- ls(path),
         below = names |> Enum.map(&Path.join(path, &1)) |> Enum.filter(&File.dir?/1),
         :ok <- Enum.find_value(below, :ok, &refusal(remove_all(&1))) do
      remove(path)
    end
  end

  defp refusal(:ok), do: nil
  defp refusal(error), do: error

  defp ls(path) do
    with {:error, errno} <- File.ls(path), do: {:error, Error.new(:delete, path, errno)}
  end

  defp until(deadline, fun, pause \\ @first_pause) do
    case fun.() do
      :not_yet ->
        if now() < deadline do
          Process.sleep(pause)
          until(deadline, fun, min(pause * 2, @longest_pause))
        else
          {:error, :timeout}
        end

      answer ->
        answer
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
