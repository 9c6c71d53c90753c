defmodule Linx.Agent.Port do
  @moduledoc false

  # The port behind which an agent runs: opened, written to, read from, closed.

  alias Linx.Errno

  @type message :: {:frame, binary} | {:exit_status, 0..255} | :closed | :unrelated

  # With `:nouse_stdio` the agent speaks on its descriptors 3 and 4, and 0, 1 and 2 are left to the
  # workload. Without the limits a send would suspend the session, or fail, when a large request
  # has not been read yet; what is queued stays bounded all the same, because each command waits for
  # its answer.
  @options [
    :nouse_stdio,
    :binary,
    :exit_status,
    packet: 4,
    busy_limits_port: :disabled,
    busy_limits_msgq: :disabled
  ]

  # A process that ends is looked after this often, in ms.
  @interval 1

  @doc """
  Starts the agent at `path`, or tells which error number stands against it. The options are further
  ones of `Port.open/2`.
  """
  @spec open(Path.t(), keyword) :: {:ok, port} | {:error, pos_integer}
  def open(path, options \\ []) do
    {:ok, Port.open({:spawn_executable, path}, @options ++ options)}
  rescue
    error in ErlangError -> {:error, errno(error.original)}
    SystemLimitError -> {:error, errno(:enfile)}
    ArgumentError -> {:error, errno(:einval)}
  end

  @doc "The pid, on the host, of the process behind the port; `nil` when it has ended."
  @spec os_pid(port) :: pos_integer | nil
  def os_pid(port) do
    with {:os_pid, os_pid} <- Port.info(port, :os_pid), do: os_pid
  end

  @doc "Returns when the process behind a port has ended, or at the timeout."
  @spec await_end(os_pid :: pos_integer | nil, timeout) :: :ok
  def await_end(nil, _timeout), do: :ok

  def await_end(os_pid, timeout) do
    # Whoever started it reaps it as soon as it ends.
    if timeout > 0 and File.exists?("/proc/#{os_pid}") do
      Process.sleep(@interval)
      await_end(os_pid, timeout - @interval)
    else
      :ok
    end
  end

  @doc "Writes a frame. To a closed port nothing is written: the message that tells of it is near."
  @spec write(port | nil, iodata) :: :ok
  def write(port, frame) do
    Port.command(port, frame)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "What a message of the process that opened the port says of the port."
  @spec message(port | nil, term) :: message
  def message(port, {port, {:data, frame}}), do: {:frame, frame}
  def message(port, {port, {:exit_status, status}}), do: {:exit_status, status}
  def message(port, {:EXIT, port, _reason}) when is_port(port), do: :closed
  def message(_port, _message), do: :unrelated

  @doc "Closes the port, which tells the agent to end its workload and itself."
  @spec close(port) :: :ok
  def close(port) do
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  # Whatever else Erlang calls it, it is a failure of input and output.
  defp errno(name) do
    case Errno.number(name) do
      {:ok, number} -> number
      :error -> errno(:eio)
    end
  end
end
