defmodule Linx.Test.Attacks.Fixture do
  @moduledoc false

  # What hostile programs are after: files, sockets, shared memory and processes of the host, all of them
  # made for it.

  import ExUnit.Callbacks, only: [on_exit: 1]
  import Linx.Test.Helpers, except: [root?: 0]

  alias Linx.Process, as: P
  alias Linx.Test.Hostile

  @type t :: %{String.t() => String.t()}

  @doc """
  Makes all of it, by the words that the table has for it, for as long as the calling process lives and
  until the tests are over.
  """
  @spec new() :: t
  def new do
    # Where a set-uid program is one, and a device: /tmp may be a file system on which they are not.
    dir = "/var/tmp/linx-attacks-#{System.pid()}"
    on_exit(fn -> File.rm_rf!(dir) end)
    [bin, shared, private] = for name <- ~w(bin shared private), do: Path.join(dir, name)
    for path <- [bin, shared, private], do: File.mkdir_p!(path)
    # Who is confined is perhaps nobody.
    File.chmod!(shared, 0o777)
    File.write!(Path.join(private, "file"), "of the caller")

    [hostile, set_uid, capability] =
      for name <- ~w(hostile set_uid capability) do
        path = Path.join(bin, name)
        File.cp!(Hostile.path(), path)
        File.chmod!(path, 0o755)
        path
      end

    if root?() do
      File.chmod!(set_uid, 0o4755)
      {_, 0} = System.cmd(hostile, ["plant_capability", capability])
    end

    key = "#{rem(String.to_integer(System.pid()), 1_000_000) + 1_000_000}"
    {_, 0} = System.cmd(hostile, ["plant_ipc", key])
    on_exit(fn -> {_, 0} = System.cmd(hostile, ["uproot_ipc", key]) end)

    secret = "secret-#{mark()}"
    System.put_env("LINX_ATTACKS", secret)
    on_exit(fn -> System.delete_env("LINX_ATTACKS") end)

    mark = mark()
    sibling = sibling(argv: ["/bin/sleep", mark])
    {mark1, mark2} = String.split_at(mark, 8)

    Map.merge(sockets(private), %{
      "BIN" => bin,
      "SHARED" => shared,
      "PRIVATE" => private,
      "FILE" => Path.join(private, "file"),
      "SET_UID" => set_uid,
      "FILE_CAPABILITY" => capability,
      "KEY" => key,
      "SECRET" => secret,
      "SIBLING" => "#{sibling}",
      "-SIBLING" => "-#{sibling}",
      "AGENT" => "#{agent_of(sibling)}",
      "BEAM" => System.pid(),
      "MARK1" => mark1,
      "MARK2" => mark2,
      "TERMINAL" => terminal(),
      "DISK" => disk(),
      "CGROUP" => cgroup(),
      "CGROUP_PROCS" => cgroup_procs()
    })
  end

  # Another session; its pid when it runs.
  defp sibling(opts) do
    {:ok, session} = P.spawn([auto_proceed: true, owner: self()] ++ opts)
    on_exit(fn -> P.stop(session) end)
    host_pid = await_ready()
    await_running()
    host_pid
  end

  defp terminal do
    host_pid = sibling(argv: ["/bin/sleep", mark()], stdio: :pty)
    File.read_link!("/proc/#{host_pid}/fd/0")
  end

  # They listen as long as this process lives, which is that of all the tests.
  defp sockets(dir) do
    {:ok, tcp} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, backlog: 16)
    {:ok, port} = :inet.port(tcp)
    path = Path.join(dir, "socket")
    abstract = "linx-attacks-#{System.pid()}"
    {:ok, _} = :gen_tcp.listen(0, ifaddr: {:local, path}, backlog: 16)
    {:ok, _} = :gen_tcp.listen(0, ifaddr: {:local, <<0, abstract::binary>>}, backlog: 16)
    %{"PORT" => "#{port}", "SOCKET" => path, "ABSTRACT" => abstract}
  end

  # The disk with the root, if it is one.
  defp disk do
    number = File.stat!("/").major_device

    Path.wildcard("/dev/*")
    |> Enum.find("/none", fn path ->
      match?({:ok, %{type: :device, minor_device: ^number}}, File.stat(path))
    end)
  end

  # A file that says the same after it has been told what it has said.
  defp cgroup, do: first(~w(/sys/fs/cgroup/*/release_agent /sys/fs/cgroup/cgroup.max.depth))
  defp cgroup_procs, do: first(~w(/sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs))
  defp first(patterns), do: patterns |> Enum.flat_map(&Path.wildcard/1) |> List.first("/none")

  @doc "The words of the table as arguments of the program."
  @spec argv(t, [String.t()]) :: [String.t()]
  def argv(fixture, words), do: [hostile(fixture) | Enum.map(words, &argument(fixture, &1))]

  # Up from a directory, however deep that is.
  defp argument(fixture, "UP/" <> word),
    do: String.duplicate("../", 16) <> Map.fetch!(fixture, word)

  defp argument(fixture, word), do: Map.get(fixture, word, word)

  @doc "The program itself."
  @spec hostile(t) :: Path.t()
  def hostile(fixture), do: fixture["BIN"] <> "/hostile"

  def root?, do: match?({"0\n", 0}, System.cmd("id", ["-u"]))
end
