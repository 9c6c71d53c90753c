defmodule Bench.Peers.CAgent do
  @moduledoc false

  # The agent in C that Linx's wire protocol comes from: a port for each run, as it was made for.

  alias Bench.Peers
  alias Bench.Peers.Peer

  @name "C agent"
  @path Path.expand("../../target/c_compat/c_agent", __DIR__)

  def path, do: @path

  def peers, do: [peer()]

  def peer do
    if here?(),
      do: %Peer{name: @name, run: &run/2},
      else: not_run()
  end

  def here?, do: File.exists?(@path)

  def not_run, do: {:not_run, @name, "its source, or libei to compile it with, is not here"}

  def run(argv, opts) do
    port = start(argv, opts)
    {:status, :exited, 0} = await(port, :exited)

    receive do
      {^port, {:exit_status, 0}} -> :ok
    end
  end

  @doc "Starts a program and lets it proceed, unless `proceed: false`; returns once it is ready."
  def start(argv, opts \\ []) do
    port = Port.open({:spawn_executable, @path}, [:nouse_stdio, :binary, :exit_status, packet: 4])

    request =
      Map.merge(
        %{argv: argv, stdio: :devnull},
        Map.new(Keyword.take(opts, [:namespaces, :stdio]))
      )

    tell(port, {:spawn, request})
    {:status, :ready, _} = await(port, :ready)
    if Keyword.get(opts, :proceed, true), do: tell(port, :proceed)
    port
  end

  def tell(port, term), do: Port.command(port, :erlang.term_to_binary(term))

  @doc "Kills what may still run: the agent leaves it behind when the port is closed."
  def stop(port) do
    Peers.tell_and_await_end(port, :erlang.term_to_binary({:signal, 9}))
  end

  def await(port, status) do
    receive do
      {^port, {:data, frame}} ->
        case :erlang.binary_to_term(frame) do
          term when elem(term, 0) == :status and elem(term, 1) == status -> term
          {:error, errno, stage} -> raise "errno #{errno} at #{stage}"
          _other -> await(port, status)
        end

      {^port, {:exit_status, status}} ->
        raise "it exited with #{status}"
    end
  end
end
