defmodule Linx.Test.Helpers do
  @moduledoc false

  # What tests of real processes need: to wait for a condition, and to look into /proc.

  import ExUnit.Assertions

  @patience 10_000

  @doc "The next event of any session, in the order of arrival."
  def next_event do
    receive do
      event when is_tuple(event) and elem(event, 0) == :linx_process -> event
    after
      @patience -> flunk("no event came; the mailbox holds #{inspect(mailbox())}")
    end
  end

  @doc "Passes the `:ready` event and returns the host pid in it."
  def await_ready do
    assert_receive {:linx_process, :ready, host_pid}
    host_pid
  end

  @doc "Passes the `:running` event."
  def await_running do
    assert_receive {:linx_process, :running}
    :ok
  end

  @doc "Waits until `fun` returns something true, and returns that."
  def eventually(fun, deadline \\ now() + @patience) do
    case fun.() do
      nothing when nothing in [nil, false] ->
        if now() > deadline, do: flunk("what was waited for has not come about")
        Process.sleep(5)
        eventually(fun, deadline)

      result ->
        result
    end
  end

  @doc "Collects terminal output until it contains `wanted`, and returns all of it."
  def read_pty_until(wanted, seen \\ "") do
    if seen =~ wanted do
      seen
    else
      receive do
        {:linx_process, :pty_out, bytes} -> read_pty_until(wanted, seen <> bytes)
      after
        @patience -> flunk("waited for #{inspect(wanted)} and saw #{inspect(seen)}")
      end
    end
  end

  @doc """
  Runs `argv` and returns what it wrote to standard output, with how it ended.

  The options are those of `Linx.Process.spawn/1`. `start` may be another function, such as an enter.
  """
  def capture(argv, opts \\ [], start \\ &Linx.Process.spawn/1) do
    path = socket_path()
    {:ok, listener} = listen(path)
    stdio = Keyword.merge([stdin: :devnull, stdout: {:connect_unix, path}], opts[:stdio] || [])
    defaults = [argv: argv, auto_proceed: true, owner: nil]
    {:ok, session} = start.(Keyword.merge(defaults, Keyword.put(opts, :stdio, stdio)))

    output =
      case :gen_tcp.accept(listener, @patience) do
        {:ok, socket} -> read_all(socket, "")
        {:error, :timeout} -> flunk("no output came: #{inspect(Linx.Process.info(session))}")
      end

    :gen_tcp.close(listener)
    result = Linx.Process.wait(session, @patience)
    :ok = Linx.Process.stop(session)
    {output, result}
  end

  @doc "A listening Unix socket."
  def listen(path) do
    ExUnit.Callbacks.on_exit(fn -> File.rm(path) end)
    :gen_tcp.listen(0, ifaddr: {:local, path}, mode: :binary, active: false)
  end

  @doc "A path for a socket that nobody else uses."
  def socket_path do
    Path.join(System.tmp_dir!(), "linx-test-#{System.pid()}-#{unique()}.sock")
  end

  @doc "A fresh directory, removed after the test."
  def tmp_dir do
    path = Path.join(System.tmp_dir!(), "linx-test-#{System.pid()}-#{unique()}")
    File.mkdir_p!(path)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf(path) end)
    path
  end

  @doc "An executable shell script with this body."
  def script(body) do
    path = Path.join(tmp_dir(), "script")
    File.write!(path, "#!/bin/sh\n" <> body)
    File.chmod!(path, 0o755)
    path
  end

  @doc "Whether a process of the host exists and is no zombie."
  def alive?(pid), do: stat(pid) not in [nil, "Z", "X"]

  @doc "The state letter of a process of the host, `nil` when there is none."
  def stat(pid), do: stat_field(pid, 0)

  @doc "How many bytes a process of the host has written, by its own account."
  def written(pid) do
    [_, bytes] = Regex.run(~r/^wchar: (\d+)$/m, File.read!("/proc/#{pid}/io"))
    String.to_integer(bytes)
  end

  @doc "Whether a process that has written something sleeps, and has written no more for a while."
  def waits_to_write?(pid) do
    before = written(pid)
    Process.sleep(100)
    before > 0 and stat(pid) == "S" and written(pid) == before
  end

  @doc "What a session has to be read of one output, up to its end."
  def read_output(session, source \\ :stdout) do
    IO.iodata_to_binary(output_pieces(session, source))
  end

  defp output_pieces(session, source) do
    case Linx.Process.recv(session, source, 30_000) do
      {:ok, bytes} -> [bytes | output_pieces(session, source)]
      :eof -> []
    end
  end

  @doc "When a process was born, `nil` when there is none. A pid alone may become another's."
  def born(pid), do: stat_field(pid, 19)

  @doc "A field of /proc/<pid>/stat, counted from the state; `nil` when there is no such process."
  def stat_field(pid, index) do
    case File.read("/proc/#{pid}/stat") do
      # Before the state is the name in parentheses, which may contain anything.
      {:ok, line} -> line |> String.split(") ") |> List.last() |> String.split() |> Enum.at(index)
      {:error, _reason} -> nil
    end
  end

  @doc "The pid of a process's parent."
  def parent(pid), do: status_field(pid, "PPid") |> String.to_integer()

  @doc "The pids of a process's children, zombies among them."
  def children(pid) do
    # Each thread has its own.
    for {:ok, threads} <- [File.ls("/proc/#{pid}/task")],
        thread <- threads,
        {:ok, pids} <- [File.read("/proc/#{pid}/task/#{thread}/children")],
        child <- String.split(pids),
        do: String.to_integer(child)
  end

  @doc "The pid of erl_child_setup, by which the BEAM starts its ports."
  def forker, do: Enum.find(children(System.pid()), &(comm(&1) == "erl_child_setup"))

  @doc "The name of a process, of which the kernel keeps 15 bytes; `nil` when there is none."
  def comm(pid) do
    case File.read("/proc/#{pid}/comm") do
      {:ok, name} -> String.trim_trailing(name, "\n")
      {:error, _reason} -> nil
    end
  end

  @doc "The pid of the agent of a workload with this pid."
  def agent_of(host_pid) do
    host_pid |> ancestors() |> Enum.find(&(comm(&1) != "linx_subreaper"))
  end

  @doc "The pids of a process's ancestors, the nearest first."
  def ancestors(pid) do
    pid |> Stream.iterate(&parent/1) |> Stream.drop(1) |> Stream.take_while(&(&1 > 0))
  end

  @doc """
  The pids of all that the agents consist of, zombies among them. Hosts, which stay, do not count, but
  what they have started for their sessions does.
  """
  def agents, do: agents_below(forker()) -- hosts()

  defp agents_below(pid) do
    name = Linx.Agent.Binary.path() |> Path.basename() |> String.slice(0, 15)

    agents =
      for child <- children(pid),
          comm(child) in [name, "linx_subreaper"],
          do: [child | agents_below(child)]

    List.flatten(agents)
  end

  @doc "The pids of the guardians and agents that are hosts of this BEAM."
  def hosts do
    for port <- host_ports(), {:os_pid, guardian} <- [Port.info(port, :os_pid)] do
      [guardian | children(guardian)]
    end
    |> List.flatten()
  end

  @doc "The ports of this BEAM but those of hosts, which stay."
  def ports, do: Port.list() -- host_ports()

  @doc "The ports of hosts."
  def host_ports do
    hosts = for {_index, _load, host, _witness} <- :ets.tab2list(Linx.Agent.Hosts), do: host

    for port <- Port.list(),
        {:connected, pid} <- [Port.info(port, :connected)],
        pid in hosts,
        do: port
  end

  @doc "Whether sessions share agents, unless they ask for another."
  def hosted?, do: Application.fetch_env!(:linx, :agent) == :host

  @doc "Makes all hosts be there, so that nothing is left of a session but what was there before."
  def warm_up do
    hosts = :ets.tab2list(Linx.Agent.Hosts)

    if hosted?() and length(host_ports()) < length(hosts) do
      # As many at a time as there are hosts have one each.
      sessions =
        for _host <- hosts do
          {:ok, session} = Linx.Process.spawn(argv: ["/bin/true"], owner: nil)
          session
        end

      eventually(fn -> length(host_ports()) == length(hosts) end)
      Enum.each(sessions, &Linx.Process.stop/1)
    end

    :ok
  end

  @doc "Options of a session in these namespaces, and in a user namespace of its own for want of rights."
  def in_namespaces(types) do
    if root?(), do: [namespaces: types], else: [namespaces: [:user | types]] ++ own_ids()
  end

  @doc "Maps of the ids that one has to those of root, which everybody may write."
  def own_ids do
    [uid, gid] = for what <- ["-u", "-g"], do: System.cmd("id", [what]) |> elem(0) |> integer()
    [uid_map: [{0, uid, 1}], gid_map: [{0, gid, 1}], setgroups: :deny]
  end

  @doc "Options of a session with an init, and in these namespaces, too."
  def beside_init(types \\ []), do: [init: true] ++ in_namespaces([:pid | types])

  @doc "Whether this is root, with all rights."
  def root?, do: :root not in Keyword.get(ExUnit.configuration(), :exclude, [])

  defp integer(line), do: line |> String.trim() |> String.to_integer()

  @doc "A field of /proc/<pid>/status."
  def status_field(pid, name) do
    [_, value] = Regex.run(~r/^#{name}:\s*(.*)$/m, File.read!("/proc/#{pid}/status"))
    value
  end

  @doc "What identifies a process's namespace of a type, as named in /proc/<pid>/ns."
  def namespace(pid, type), do: File.read_link!("/proc/#{pid}/ns/#{type}")

  @doc "The pids of all processes whose command line contains `marker`."
  def processes(marker) do
    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/,
        {:ok, cmdline} <- [File.read("/proc/#{name}/cmdline")],
        cmdline =~ marker,
        pid = String.to_integer(name),
        alive?(pid),
        do: pid
  end

  @doc "A word that no other test uses."
  def marker, do: "marker-#{System.pid()}-#{unique()}"

  @doc "A number that no other test uses, for `sleep`; all have one length, so that none is a part of another."
  def mark do
    pid = String.pad_leading(System.pid(), 7, "0")
    unique = rem(unique(), 10_000_000)
    "9" <> pid <> String.pad_leading("#{unique}", 7, "0")
  end

  defp read_all(socket, seen) do
    case :gen_tcp.recv(socket, 0, @patience) do
      {:ok, bytes} -> read_all(socket, seen <> bytes)
      {:error, :closed} -> seen
    end
  end

  defp unique, do: System.unique_integer([:positive])
  defp mailbox, do: Process.info(self(), :messages) |> elem(1)
  defp now, do: System.monotonic_time(:millisecond)
end
