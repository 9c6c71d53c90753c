defmodule Linx.LandlockTest do
  # Real programs against the kernel's Landlock. What is refused is always tried without rules, too.
  use ExUnit.Case, async: true
  doctest Linx.Landlock

  import Linx.Test.Helpers

  alias Linx.Landlock
  alias Linx.Landlock.Enforced
  alias Linx.Process, as: P
  alias Linx.Process.Error

  @programs ["/usr", "/bin", "/lib", "/lib64"]
  # What any program needs, perl included.
  @base [execute: @programs, read: ["/dev/null", "/etc/perl"], missing: :skip]

  defp with_base(rules) do
    Keyword.merge(@base, rules, fn
      key, base, more when key in [:execute, :read] -> base ++ more
      _key, _base, other -> other
    end)
  end

  defp parked(argv, opts \\ []) do
    defaults = [argv: argv, stdio: [stdin: :devnull, stdout: :pipe, stderr: :stdout], owner: nil]
    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    session
  end

  defp finish(session) do
    :ok = P.proceed(session)
    output = read_output(session)
    {output, P.wait(session)}
  end

  # The exit code of a program under these rules, or under none.
  defp code(argv, rules, opts \\ []) do
    session = parked(argv, opts)
    if rules, do: {:ok, _enforced} = Landlock.restrict(session, rules)
    {_output, {:ok, {:exited, code}}} = finish(session)
    code
  end

  defp sh(script, rules), do: code(["sh", "-c", script], rules)

  defp perl(script, args, rules), do: code(["perl", "-MSocket", "-e", script | args], rules)

  defp file(dir, name, content) do
    path = Path.join(dir, name)
    File.write!(path, content)
    path
  end

  describe "rules" do
    test "become one step, which says what is forbidden and what is not" do
      assert Landlock.steps([]) == {:ok, [{:landlock, 0, [], []}]}

      assert Landlock.steps(write: ["/tmp"], read: ["/etc"], execute: ["/usr"]) ==
               {:ok,
                [
                  {:landlock, 0, [:fs],
                   [
                     {:path, "/tmp", [:write]},
                     {:path, "/etc", [:read]},
                     {:path, "/usr", [:read, :execute]}
                   ]}
                ]}

      assert Landlock.steps(connect_tcp: [443], bind_tcp: [], scope: [:signal]) ==
               {:ok, [{:landlock, 0, [:connect_tcp, :bind_tcp, :signal], [{:connect_tcp, 443}]}]}

      assert Landlock.steps(read: ["/x"], missing: :skip, require: 3) ==
               {:ok, [{:landlock, 3, [:fs], [{:optional_path, "/x", [:read]}]}]}

      for {rules, least} <- [
            {[], 1},
            {[bind_tcp: []], 4},
            {[read: []], 5},
            {[scope: [:signal]], 6}
          ] do
        assert {:ok, [{:landlock, ^least, _handled, _rules}]} =
                 Landlock.steps([require: true] ++ rules)
      end
    end

    test "that are wrong are named" do
      for {key, value, wrong} <- [
            {:read, "/etc", "/etc"},
            {:read, ["/etc", "etc", ~c"/x", "/a\0b"], ["etc", ~c"/x", "/a\0b"]},
            {:write, ["/a" | "/b"], ["/a" | "/b"]},
            {:execute, [nil], [nil]},
            {:connect_tcp, 80, 80},
            {:connect_tcp, [80, -1, 65_536, "80"], [-1, 65_536, "80"]},
            {:bind_tcp, :all, :all},
            {:scope, [:signal, :files], [:files]},
            {:scope, :signal, :signal},
            {:missing, true, true},
            {:require, 0, 0},
            {:require, :abi, :abi},
            {:colour, :red, :red},
            {nil, 1, 1}
          ] do
        assert Landlock.steps([{key, value}]) == {:error, {:bad_landlock, {key, wrong}}}
        # Before anything is asked of anybody.
        assert Landlock.restrict(self(), [{key, value}]) ==
                 {:error, {:bad_landlock, {key, wrong}}}
      end

      for bad <- [nil, :best_effort, %{read: []}, ["/etc"], [{"read", []}]] do
        assert Landlock.steps(bad) == {:error, {:bad_landlock, bad}}
      end
    end
  end

  describe "what is enforced" do
    test "is told, and is what the kernel knows of it" do
      {:ok, abi} = Landlock.abi()
      assert abi >= 6, "these tests are about a kernel with version 6 of Landlock; it has #{abi}"
      session = parked(["true"])

      assert {:ok, %Enforced{abi: ^abi, fs: [], net: [], scope: []}} =
               Landlock.restrict(session, [])

      assert {:ok, %Enforced{abi: ^abi, fs: [], net: [:connect_tcp], scope: [:signal]}} =
               Landlock.restrict(session, connect_tcp: [], scope: [:signal])

      assert {:ok, %Enforced{fs: fs, net: [:bind_tcp], scope: []}} =
               Landlock.restrict(session, with_base(bind_tcp: []))

      assert length(fs) == 16
      assert [:execute | _] = fs
      assert List.last(fs) == :ioctl_dev
      assert {_output, {:ok, {:exited, 0}}} = finish(session)
    end

    test "leaves the caller as it was" do
      before =
        {Process.info(self(), [:messages, :links, :monitors]), Process.flag(:trap_exit, true)}

      assert {:ok, _abi} = Landlock.abi()
      assert before == {Process.info(self(), [:messages, :links, :monitors]), false}
    end

    test "is less with every version before, as the agent reckons it" do
      every = %{abi: 7, fs: 0xFFFF, net: 3, scoped: 3}
      assert %Enforced{net: [:bind_tcp, :connect_tcp]} = Enforced.new(every)
      assert %Enforced{scope: [:abstract_unix_socket, :signal]} = Enforced.new(every)
      assert :refer not in Enforced.new(%{every | fs: 0x1FFF}).fs
      assert :truncate not in Enforced.new(%{every | fs: 0x3FFF}).fs
      assert :truncate in Enforced.new(%{every | fs: 0x7FFF}).fs
    end

    test "holds when the program runs, and not before" do
      output = Path.join(tmp_dir(), "output")
      argv = ["grep", "^NoNewPrivs", "/proc/self/status"]
      stdio = [stdin: :devnull, stdout: {:file, output, [:write]}, stderr: :devnull]

      for agent <- [:host, :dedicated] do
        session = parked(argv, stdio: stdio, agent: agent)
        assert {:ok, _enforced} = Landlock.restrict(session, with_base(read: ["/proc"]))
        {:ok, pid} = P.host_pid(session)
        # It is part of the rules. The copy that has tried them had it.
        assert status_field(pid, "NoNewPrivs") == "0"
        # The standard output is opened where the program itself may not write.
        :ok = P.proceed(session)
        assert P.wait(session) == {:ok, {:exited, 0}}
        assert File.read!(output) == "NoNewPrivs:\t1\n"
      end
    end
  end

  describe "files" do
    setup do
      dir = tmp_dir()
      for name <- ["in", "out"], do: File.mkdir!(Path.join(dir, name))
      file(dir, "in/file", "inside\n")
      file(dir, "out/file", "outside\n")
      File.ln_s!("../out/file", Path.join(dir, "in/link"))
      %{inside: Path.join(dir, "in"), outside: Path.join(dir, "out")}
    end

    # Forbidden by the rules, and by nothing else.
    defp assert_forbidden(script, rules) do
      assert sh(script, rules) != 0, "allowed by #{inspect(rules)}: #{script}"
      assert sh(script, nil) == 0, "forbidden by something else: #{script}"
    end

    defp assert_allowed(script, rules), do: assert(sh(script, rules) == 0, script)

    test "are read where they may be", %{inside: inside, outside: outside} do
      rules = with_base(read: [inside])
      assert_allowed("cat #{inside}/file", rules)
      assert_allowed("ls #{inside}", rules)
      assert_forbidden("cat #{outside}/file", rules)
      assert_forbidden("ls #{outside}", rules)
      # However one gets there.
      assert_forbidden("cat #{inside}/../out/file", rules)
      assert_forbidden("cat #{inside}/link", rules)
      assert_forbidden("cd #{outside} && cat file", rules)
      assert_forbidden("echo more >> #{inside}/file", rules)
    end

    test "are read one by one, and by their links", %{inside: inside, outside: outside} do
      assert_allowed("cat #{outside}/file", with_base(read: ["#{outside}/file"]))
      assert_allowed("cat #{inside}/link", with_base(read: ["#{inside}/link"]))
      assert_allowed("cat #{outside}/file", with_base(read: ["#{inside}/link"]))
      assert_forbidden("ls #{outside}", with_base(read: ["#{outside}/file"]))
      # A rule is about the file, not about its name.
      session = parked(["sh", "-c", "cat #{inside}/file; cat #{outside}/moved"])
      {:ok, _enforced} = Landlock.restrict(session, with_base(read: ["#{outside}/file"]))
      File.rename!("#{outside}/file", "#{outside}/elsewhere")
      File.write!("#{outside}/file", "another\n")
      :ok = P.proceed(session)
      assert P.wait(session) == {:ok, {:exited, 1}}
    end

    test "are written, made, moved and removed where they may be", context do
      %{inside: inside, outside: outside} = context
      rules = with_base(write: [inside])

      for script <- [
            "echo more >> DIR/file",
            "echo new > DIR/new",
            "mkdir DIR/a && rmdir DIR/a",
            "mkfifo DIR/fifo && rm DIR/fifo",
            "ln -s x DIR/symbolic && rm DIR/symbolic",
            "ln DIR/file DIR/hard",
            "mv DIR/new DIR/newer",
            "rm DIR/newer DIR/hard",
            # Without opening it.
            "perl -e 'truncate(shift, 0) or die' DIR/file"
          ] do
        assert_allowed(String.replace(script, "DIR", inside), rules)
        assert_forbidden(String.replace(script, "DIR", outside), rules)
      end

      # To write is not to read.
      assert_forbidden("cat #{inside}/file", rules)
      assert_forbidden("ls #{inside}", rules)
      assert_allowed("cat #{inside}/file", with_base(write: [inside], read: [inside]))
    end

    test "are moved from one place to another if both may be written", context do
      %{inside: inside, outside: outside} = context
      mv = "mv #{inside}/file #{outside}/moved && mv #{outside}/moved #{inside}/file"
      assert_allowed(mv, with_base(write: [inside, outside]))
      # Not by copying, either.
      assert_forbidden(mv, with_base(write: [inside], read: [inside, outside]))
      assert_forbidden(mv, with_base(write: [outside], read: [inside, outside]))
    end

    test "are executed where they may be", %{inside: inside, outside: outside} do
      for dir <- [inside, outside] do
        File.cp!("/bin/true", "#{dir}/true")
        file(dir, "script", "#!/bin/sh\n")
        for name <- ["true", "script"], do: File.chmod!("#{dir}/#{name}", 0o755)
      end

      rules = with_base(execute: [inside], read: [outside])

      for name <- ["true", "script"] do
        assert_allowed("#{inside}/#{name}", rules)
        assert_forbidden("#{outside}/#{name}", rules)
      end

      # A script that is read needs no such right, as ever.
      assert_allowed("sh #{outside}/script", rules)
    end

    test "that are no programs any more cannot be executed by Linx either" do
      session = parked(["true"])
      assert {:ok, _enforced} = Landlock.restrict(session, read: ["/"])
      :ok = P.proceed(session)
      assert {:error, %Error{stage: :execve, errno: :eacces}} = P.wait(session)
    end

    test "are closed, all of them, to who mentions none" do
      for rules <- [[read: []], [write: []], [execute: []]] do
        session = parked(["true"])
        assert {:ok, %Enforced{fs: [_ | _]}} = Landlock.restrict(session, rules)
        :ok = P.proceed(session)
        assert {:error, %Error{stage: :execve, errno: :eacces}} = P.wait(session)
      end
    end

    test "that are not there are an error, or no rule", %{inside: inside} do
      missing = "#{inside}/nosuch"

      for path <- [missing, "#{inside}/file/below"] do
        session = parked(["true"])
        rules = [execute: ["/usr"], read: [path], missing: :error]

        assert {:error, %Error{stage: :landlock_path, errno: errno} = error} =
                 Landlock.restrict(session, rules)

        assert errno in [:enoent, :enotdir]
        # Nothing runs half-confined.
        assert P.wait(session) == {:error, error}
        assert code(["true"], with_base(read: [path])) == 0
      end

      # It is not made allowed by being made.
      assert_forbidden("cat #{file(inside, "later", "")}", with_base(read: [missing]))
    end

    test "are any that have a name, but not a pipe" do
      session = parked(["true"])

      assert {:error, %Error{stage: :landlock_rule, errno: :ebadfd}} =
               Landlock.restrict(session, with_base(read: ["/proc/self/ns/net"]))

      assert code(
               ["sh", "-c", "cat </dev/null >/dev/null"],
               with_base(read: ["/dev/null"], write: ["/dev/null"])
             ) == 0
    end

    test "in rules beyond what the agent holds are refused" do
      session = parked(["true"])
      rules = [read: for(n <- 1..5_000, do: "/nosuch/#{n}"), missing: :skip]

      assert {:error, %Error{stage: :landlock_restrict, errno: :e2big}} =
               Landlock.restrict(session, rules)
    end

    @tag :root
    test "are looked up by the user that the program runs as", %{inside: inside} do
      closed = Path.join(inside, "closed")
      File.mkdir!(closed)
      file(closed, "file", "")
      File.chmod!(closed, 0o700)
      rules = with_base(read: ["#{closed}/file"])
      assert code(["cat", "#{closed}/file"], rules) == 0
      session = parked(["true"], user: "nobody")

      assert {:error, %Error{stage: :landlock_path, errno: :eacces}} =
               Landlock.restrict(session, rules)
    end

    @tag :root
    test "are looked up in the namespaces of the program" do
      dir = tmp_dir()
      mount = "mount -t tmpfs none #{dir} && touch #{dir}/mounted && exec sleep 60"

      {:ok, host} =
        P.spawn(
          argv: ["sh", "-c", mount],
          namespaces: [:mount],
          stdio: :devnull,
          auto_proceed: true
        )

      eventually(fn -> comm(elem(P.host_pid(host), 1)) == "sleep" end)
      {:ok, pid} = P.host_pid(host)
      refute File.exists?("#{dir}/mounted")
      rules = [execute: ["/usr"], read: ["#{dir}/mounted"]]
      stdio = [stdin: :devnull, stdout: :pipe, stderr: :stdout]

      {:ok, guest} =
        P.enter(pid,
          argv: ["cat", "#{dir}/mounted"],
          namespaces: [:mount],
          stdio: stdio,
          owner: nil
        )

      assert {:ok, _enforced} = Landlock.restrict(guest, rules)
      assert finish(guest) == {"", {:ok, {:exited, 0}}}
      :ok = P.stop(host)
    end
  end

  describe "ports" do
    @connect ~S"""
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
    connect($s, sockaddr_in(shift, INADDR_LOOPBACK)) or exit(1);
    """
    @bind ~S"""
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
    bind($s, sockaddr_in(shift, INADDR_LOOPBACK)) or exit(1);
    """
    @udp ~S"""
    socket(my $s, PF_INET, SOCK_DGRAM, 0) or die;
    connect($s, sockaddr_in(shift, INADDR_LOOPBACK)) or exit(1);
    bind($s, sockaddr_in(0, INADDR_LOOPBACK));
    """

    setup do
      ports =
        for _ <- 1..2 do
          {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
          {:ok, port} = :inet.port(listener)
          port
        end

      %{ports: ports}
    end

    test "are those to which connections may be made", %{ports: [one, other]} do
      for port <- [one, other], do: assert(perl(@connect, ["#{port}"], nil) == 0)
      assert perl(@connect, ["#{one}"], connect_tcp: [one]) == 0
      assert perl(@connect, ["#{other}"], connect_tcp: [one]) == 1
      assert perl(@connect, ["#{one}"], connect_tcp: []) == 1
      assert perl(@connect, ["#{one}"], connect_tcp: [one, other]) == 0
      # What is not mentioned is not restricted.
      assert perl(@connect, ["#{one}"], bind_tcp: []) == 0
      assert perl(@connect, ["#{one}"], with_base([])) == 0
      # Nor is anything but TCP.
      assert perl(@udp, ["#{one}"], connect_tcp: [], bind_tcp: []) == 0
    end

    test "are those to which sockets may be bound" do
      # One that was free a moment ago.
      {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(listener)
      :ok = :gen_tcp.close(listener)
      assert perl(@bind, ["#{port}"], nil) == 0
      assert perl(@bind, ["#{port}"], bind_tcp: [port]) == 0
      assert perl(@bind, ["#{port}"], bind_tcp: []) == 1
      assert perl(@bind, ["#{port}"], bind_tcp: [0]) == 1
      assert perl(@bind, ["0"], bind_tcp: [0]) == 0
      assert perl(@bind, ["0"], bind_tcp: [port]) == 1
      assert perl(@bind, ["#{port}"], connect_tcp: []) == 0
    end
  end

  describe "the scope" do
    test "keeps signals among the program and those that it starts" do
      {:ok, other} =
        P.spawn(argv: ["sleep", "60"], stdio: :devnull, auto_proceed: true, owner: nil)

      {:ok, pid} = eventually(fn -> with {:error, :not_ready} <- P.host_pid(other), do: nil end)
      kill = "kill -0 #{pid}"
      assert_forbidden(kill, scope: [:signal])
      assert_allowed(kill, scope: [:abstract_unix_socket])
      assert_allowed("sleep 60 & kill $!", scope: [:signal])
      # The session is not bound by it.
      session = parked(["sleep", "60"])
      {:ok, _enforced} = Landlock.restrict(session, scope: [:signal])
      :ok = P.proceed(session)
      assert P.stop(session) == :ok
      :ok = P.stop(other)
    end

    test "keeps it from Unix sockets with abstract names" do
      name = "linx-test-#{System.pid()}-#{System.unique_integer([:positive])}"
      {:ok, listener} = :gen_tcp.listen(0, ifaddr: {:local, <<0, name::binary>>})

      connect = ~S"""
      socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
      connect($s, sockaddr_un("\0" . shift)) or exit(1);
      """

      assert perl(connect, [name], nil) == 0
      assert perl(connect, [name], scope: [:abstract_unix_socket]) == 1
      assert perl(connect, [name], scope: [:signal]) == 0
      :ok = :gen_tcp.close(listener)
    end
  end

  describe "what the kernel has to have" do
    test "is nothing, all that is asked for, or a version" do
      {:ok, abi} = Landlock.abi()

      for least <- [false, true, 1, abi] do
        assert code(["true"], with_base(scope: [:signal], require: least)) == 0
      end

      for rules <- [[], with_base([])] do
        session = parked(["true"])

        assert {:error, %Error{stage: :landlock_abi, errno: :eopnotsupp} = error} =
                 Landlock.restrict(session, [require: abi + 1] ++ rules)

        assert P.wait(session) == {:error, error}
      end
    end
  end

  describe "as an option of a session" do
    defp run(argv, rules, opts \\ []) do
      stdio = [stdin: :devnull, stdout: :pipe, stderr: :devnull]
      defaults = [argv: argv, stdio: stdio, auto_proceed: true, owner: nil, landlock: rules]
      {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
      {read_output(session), P.wait(session)}
    end

    test "it is the same" do
      secret = file(tmp_dir(), "secret", "secret")

      for agent <- [:host, :dedicated] do
        assert run(["cat", secret], @base, agent: agent) == {"", {:ok, {:exited, 1}}}

        assert run(["cat", secret], with_base(read: [secret]), agent: agent) ==
                 {"secret", {:ok, {:exited, 0}}}
      end

      status = "/proc/self/status"
      argv = ["grep", "^NoNewPrivs", status]
      assert {"NoNewPrivs:\t1\n", {:ok, {:exited, 0}}} = run(argv, with_base(read: ["/proc"]))
    end

    test "it binds all programs of a chain" do
      secret = file(tmp_dir(), "secret", "secret")
      assert {"", {:ok, {:exited, 1}}} = run(["true"], @base, chain: [["cat", secret]])
      assert {"", {:ok, {:exited, 1}}} = run(["cat", secret], @base, chain: [["true"]])

      assert {"secretsecret", {:ok, {:exited, 0}}} =
               run(["cat", secret], with_base(read: [secret]), chain: [["cat", secret]])
    end

    test "it is refused when it is wrong, and ends the session when the kernel refuses" do
      assert P.spawn(argv: ["true"], landlock: [read: "/etc"]) ==
               {:error, {:bad_landlock, {:read, "/etc"}}}

      assert {"", {:error, %Error{stage: :landlock_path, errno: :enoent}}} =
               run(["true"], read: ["/nosuch"])

      assert {"", {:error, %Error{stage: :landlock_abi, errno: :eopnotsupp}}} =
               run(["true"], require: 1_000_000)
    end

    test "it is one layer, and each call another" do
      [one, other] = for name <- ["one", "other"], do: file(tmp_dir(), name, "")

      for {more, status} <- [{[one, other], 0}, {[one], 0}, {[other], 1}, {[], 1}] do
        session = parked(["cat", one], landlock: with_base(read: [one]))
        {:ok, _enforced} = Landlock.restrict(session, with_base(read: more))
        assert {_output, {:ok, {:exited, ^status}}} = finish(session)
      end

      # As many as the kernel stacks.
      session = parked(["true"])
      answers = for _ <- 1..17, do: Landlock.restrict(session, scope: [:signal])

      assert {List.duplicate(:ok, 16), [:error]} ==
               answers |> Enum.map(&elem(&1, 0)) |> Enum.split(16)

      assert {:error, %Error{stage: :landlock_restrict, errno: :e2big}} = List.last(answers)
    end
  end

  test "a session that has begun cannot be restricted any more" do
    session = parked(["sleep", "60"])
    :ok = P.proceed(session)
    assert Landlock.restrict(session, @base) == {:error, :running}
    :ok = P.stop(session)
    assert Landlock.restrict(session, @base) == {:error, :no_process}
  end
end
