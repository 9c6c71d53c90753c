defmodule Linx.Daemon.Notify do
  @moduledoc false

  # The socket to which a program says that it is ready, as sd_notify(3) has it: datagrams of
  # "NAME=value" lines.
  #
  # A process of its own, which takes the socket's file away when its daemon is killed, too.

  use GenServer

  # Others may go through the directory, but cannot list it, and nobody guesses what is in there: a
  # program that runs as another user reaches its socket, and who has not been told of it does not.
  @directory_mode 0o711
  @socket_mode 0o666

  @type news :: %{optional(:ready) => true, optional(:status) => String.t()}

  @doc """
  Opens a socket for one run. The caller gets `{ref, :news, news}`, and the next datagram is not read before
  it has said `next/1`.
  """
  @spec start_link(reference) :: {:ok, pid, path :: String.t()} | {:error, :inet.posix()}
  def start_link(ref) do
    with {:ok, notify} <- GenServer.start_link(__MODULE__, {ref, self()}) do
      {:ok, notify, GenServer.call(notify, :path)}
    end
  end

  @doc "The news have been taken."
  @spec next(pid) :: :ok
  def next(notify), do: GenServer.cast(notify, :next)

  @doc "Closes the socket, and removes it."
  @spec stop(pid) :: :ok
  def stop(notify) do
    GenServer.stop(notify)
  catch
    :exit, _it_has_stopped -> :ok
  end

  @doc "The environment in which a program finds the socket."
  @spec environment(Linx.Process.env() | nil, String.t()) :: Linx.Process.env()
  def environment(nil, path), do: %{"NOTIFY_SOCKET" => path}

  def environment(env, path) when env == [] or is_binary(hd(env)) do
    ["NOTIFY_SOCKET=" <> path | Enum.reject(env, &String.starts_with?(&1, "NOTIFY_SOCKET="))]
  end

  def environment(env, path), do: Enum.to_list(env) ++ [{"NOTIFY_SOCKET", path}]

  @doc """
  What a datagram says. One that is not made of assignments says nothing, and what nobody here cares
  for (`MAINPID`, `WATCHDOG` …) is left out.
  """
  @spec parse(binary) :: news
  def parse(datagram) do
    lines = datagram |> String.trim_trailing("\n") |> String.split("\n")

    if String.valid?(datagram) and Enum.all?(lines, &assignment?/1),
      do: Enum.reduce(lines, %{}, &assign/2),
      else: %{}
  end

  defp assignment?(line), do: line =~ ~r/\A[A-Za-z_][A-Za-z0-9_]*=/

  defp assign("READY=1", news), do: Map.put(news, :ready, true)
  defp assign("STATUS=" <> status, news), do: Map.put(news, :status, status)
  defp assign(_other, news), do: news

  @impl true
  def init({ref, listener}) do
    Process.flag(:trap_exit, true)
    directory = Path.join(System.tmp_dir!(), "linx-notify-" <> random())
    path = Path.join(directory, random())

    with :ok <- File.mkdir(directory),
         :ok <- File.chmod(directory, @directory_mode),
         {:ok, socket} <- open(path),
         :ok <- File.chmod(path, @socket_mode) do
      {:ok, %{socket: socket, path: path, directory: directory, ref: ref, listener: listener}}
    else
      {:error, reason} ->
        remove(path, directory)
        {:stop, reason}
    end
  end

  @impl true
  def handle_call(:path, _from, state), do: {:reply, state.path, state}

  @impl true
  def handle_cast(:next, state), do: {:noreply, read(state)}

  @impl true
  def handle_info({:udp, socket, _from, _port, datagram}, %{socket: socket} = state) do
    case parse(datagram) do
      nothing when nothing == %{} ->
        {:noreply, read(state)}

      news ->
        send(state.listener, {state.ref, :news, news})
        {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    :gen_udp.close(state.socket)
    remove(state.path, state.directory)
  end

  defp read(state) do
    :inet.setopts(state.socket, active: :once)
    state
  end

  defp open(path), do: :gen_udp.open(0, [:binary, :local, ifaddr: {:local, path}, active: :once])

  defp remove(path, directory) do
    File.rm(path)
    File.rmdir(directory)
  end

  defp random, do: Base.encode32(:crypto.strong_rand_bytes(15), case: :lower)
end
