defmodule Linx.Process.RemoteTest do
  # A session's pid, or its name with its node, is the handle from any node.
  use ExUnit.Case, async: false

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Info

  setup do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    {:ok, _} = Node.start(:"linx_test_#{System.pid()}@127.0.0.1", :longnames)
    on_exit(&Node.stop/0)

    cookie = Node.get_cookie() |> Atom.to_charlist()
    name = "linx_peer_#{System.pid()}" |> String.to_charlist()

    {:ok, peer, node} =
      :peer.start(%{name: name, host: ~c"127.0.0.1", args: [~c"-setcookie", cookie]})

    on_exit(fn -> if Process.alive?(peer), do: :peer.stop(peer) end)
    :ok = :erpc.call(node, :code, :add_paths, [:code.get_path()])

    {:ok, session} = P.spawn(argv: ["sleep", "60"], auto_proceed: true, name: __MODULE__.Session)
    host_pid = await_ready()
    await_running()
    %{peer: peer, node: node, session: session, host_pid: host_pid}
  end

  defp there(node, function, args), do: :erpc.call(node, P, function, args)

  test "another node asks, waits and signals", %{node: node, session: session, host_pid: host_pid} do
    assert %Info{host_pid: ^host_pid} = there(node, :info, [session])
    assert there(node, :host_pid, [{__MODULE__.Session, node()}]) == {:ok, host_pid}
    assert there(node, :wait, [session, 10]) == {:error, :timeout}
    assert there(node, :signal, [session, 9]) == :ok
    assert there(node, :wait, [session]) == {:ok, {:signaled, 9}}
    assert there(node, :stop, [session]) == :ok
    assert there(node, :info, [session]) == {:error, :no_process}
  end

  test "an owner may live on another node", %{node: node, session: session} do
    owner = Node.spawn(node, :timer, :sleep, [:infinity])
    assert P.set_owner(session, owner) == :ok
    P.signal(session, 9)
    told = {:messages, [{:linx_process, :signaled, 9}]}
    eventually(fn -> :erpc.call(node, Process, :info, [owner, :messages]) == told end)
  end

  test "a node that goes takes its waiters with it, and nothing else", context do
    %{peer: peer, node: node, session: session} = context
    :erpc.cast(node, P, :wait, [session])
    eventually(fn -> map_size(:sys.get_state(session).callers) == 1 end)
    P.set_owner(session, {:somebody, node})
    :peer.stop(peer)
    eventually(fn -> :sys.get_state(session).callers == %{} end)
    assert P.signal(session, 9) == :ok
    assert P.wait(session) == {:ok, {:signaled, 9}}
    assert P.info({__MODULE__.Session, node}) == {:error, :no_process}
  end
end
