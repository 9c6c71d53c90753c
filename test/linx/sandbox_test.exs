defmodule Linx.SandboxTest do
  use ExUnit.Case, async: true
  doctest Linx.Sandbox

  import Linx.Test.Helpers

  alias Linx.Process, as: P

  # What a program in a sandbox prints.
  defp inside(script, sandbox \\ :strict, opts \\ []) do
    {:ok, result} = Linx.run(["sh", "-c", script], [sandbox: sandbox, stderr: :stdout] ++ opts)
    {result.status, result.stdout}
  end

  defp lines(script, sandbox \\ :strict, opts \\ []) do
    assert {{:exited, 0}, output} = inside(script, sandbox, opts)
    String.split(output, "\n", trim: true)
  end

  defp status(field) do
    [line] = lines("grep '^#{field}:' /proc/self/status")
    line |> String.split() |> List.last()
  end

  describe "a program in a sandbox" do
    test "is an ordinary user with a home" do
      assert lines("id -un; id -u; id -g; pwd; echo $HOME; touch file && ls -l | wc -l") ==
               ~w(sandbox 1000 1000 /home/sandbox /home/sandbox 2)
    end

    test "is pid 2, and sees nobody but those it has started and the init" do
      assert lines("echo $$; cd /proc; echo [0-9]*") == ["2", "1 2"]
    end

    test "has no environment but a small one" do
      names = for line <- lines("env"), do: line |> String.split("=") |> hd()
      assert Enum.sort(names -- ["PWD", "OLDPWD", "SHLVL", "_"]) == ~w(HOME LANG PATH TERM USER)
    end

    test "has no capabilities, and cannot get any" do
      for set <- ~w(CapInh CapPrm CapEff CapBnd CapAmb),
          do: assert(status(set) == "0000000000000000")

      assert status("NoNewPrivs") == "1"
    end

    test "is under a filter" do
      assert status("Seccomp") == "2"
      assert {{:exited, code}, output} = inside("unshare --user true")
      assert code != 0 and output =~ "unshare"
    end

    test "finds the host's system read-only, and nothing else of its files" do
      assert lines("cd /; echo *") == [
               "bin dev etc home lib lib64 mnt proc root run sbin srv tmp usr var"
             ] or
               lines("cd /; echo *") != []

      for path <- ~w(/usr /bin /etc /etc/passwd /dev /) do
        assert {{:exited, code}, output} = inside("touch #{path}/x || : > #{path}")
        assert code != 0
        assert output =~ ~r/Read-only|denied|Not a directory/, path
      end

      assert {{:exited, 1}, _no_such_file} = inside("cat /etc/shadow")

      assert lines("ls -A /root /run /srv /mnt /tmp /home/sandbox")
             |> Enum.reject(&String.ends_with?(&1, ":")) == []

      assert lines("cut -d: -f1 /etc/passwd") == ~w(sandbox nobody)
    end

    test "writes to memory that is bounded, and gone with it" do
      for directory <- ~w(/tmp /home/sandbox) do
        assert {{:exited, 1}, output} =
                 inside("head -c 2000000 /dev/zero > #{directory}/x",
                   tmp: 1_000_000,
                   home: 1_000_000
                 )

        assert output =~ "No space left"
      end

      assert lines("touch /tmp/there; ls /tmp") == ["there"]
      assert lines("ls /tmp") == []
    end

    test "has the devices that programs need" do
      assert lines(
               "echo x > /dev/null; head -c 4 /dev/urandom | wc -c; head -c 2 /dev/zero | wc -c"
             ) == ~w(4 2)

      assert lines("echo x > /dev/stdout; [ -d /dev/shm ] && touch /dev/shm/x && echo yes") ==
               ~w(x yes)

      assert {{:exited, _}, output} = inside("ls /dev")

      assert output |> String.split() |> Enum.sort() ==
               ~w(fd full null ptmx pts random shm stderr stdin stdout tty urandom zero)
    end

    test "has a loopback interface, and no other" do
      assert lines("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '") == ["lo"]
      assert [flags] = lines("cat /proc/net/if_inet6 2>/dev/null | wc -l")
      assert flags in ["0", "1"]
      assert up?(:strict)
      refute up?(net: :none)
    end

    test "has limits" do
      assert lines("ulimit -n; ulimit -c") == ~w(1024 0)
      processes = "ulimit -u 2>/dev/null || ulimit -p"
      assert lines(processes, cgroup: false) == ["512"]
      assert lines("ulimit -n", files: 64) == ["64"]
      assert lines("ulimit -n", :strict, rlimits: [nofile: 32]) == ["32"]
    end

    test "runs as another user than the host's root" do
      {:ok, session} =
        P.spawn(argv: ["sleep", "60"], sandbox: :strict, auto_proceed: true, stdio: :devnull)

      pid = await_ready()
      await_running()
      own = File.stat!("/proc/self").uid
      assert File.stat!("/proc/#{pid}").uid == if(own == 0, do: 65_534, else: own)
      assert P.info(session).child_pid == 2
      P.stop(session)
    end
  end

  @tag :root
  test "as root of the host it cannot change what only root may" do
    opts = [user: "root"]
    assert lines("id -u", :strict, opts) == ["1000"]

    for path <- ~w(/proc/sys/kernel/core_pattern /proc/sys/vm/swappiness) do
      assert {{:exited, _}, output} = inside("cat #{path} && : > #{path}", :strict, opts)
      assert output =~ "Read-only", path
    end

    # Interrupts, PCI devices, cache attributes, …: all but its own processes.
    find = "find /proc -path '/proc/[0-9]*' -prune -o -type f -perm /222 -writable -print"
    writable = lines(find <> " 2>/dev/null | xargs -r stat -c '%F %n'", :strict, opts)
    assert Enum.reject(writable, &String.starts_with?(&1, "character special file")) == []

    assert lines("cat /proc/timer_list /proc/keys", :strict, opts) == []
    others = "find /proc -maxdepth 1 -type f ! -perm /004 -exec head -c 8 {} + 2>/dev/null"
    assert {{:exited, _}, ""} = inside(others <> " | tr -d '\\0'", :strict, opts)
    assert {{:exited, _}, output} = inside("cat /etc/shadow /root/.profile", :strict, opts)
    assert output =~ "No such file"
  end

  @tag :root
  test "as the owner of the devices on the host it cannot change them" do
    before = File.stat!("/dev/full").mode

    script =
      "echo x > /dev/null && exec 3<>/dev/null && echo x >&3; echo yes; chmod #{mode(before)} /dev/full"

    assert {{:exited, 1}, "yes\n" <> output} = inside(script, :strict, user: "root")
    assert output =~ "Read-only"
  end

  # As chmod takes it.
  defp mode(mode), do: mode |> Bitwise.band(0o777) |> Integer.to_string(8)

  # A socket that is connected to nobody says whether there is a way.
  defp up?(sandbox) do
    {:ok, result} =
      Linx.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1"], sandbox: sandbox, stderr: :stdout)

    result.stdout =~ "refused"
  end

  describe "what is given to it" do
    test "to read, to write, and elsewhere" do
      dir = tmp_dir()
      File.chmod!(dir, 0o777)
      File.write!(Path.join(dir, "in"), "data")
      assert lines("cat #{dir}/in", read: [dir]) == ["data"]
      assert {{:exited, _not_0}, output} = inside("echo x > #{dir}/out", read: [dir])
      assert output =~ "Read-only"

      assert lines("cat /in; echo out > /data/out",
               read: [{Path.join(dir, "in"), "/in"}],
               write: [{dir, "/data"}]
             ) == ["data"]

      assert File.read!(Path.join(dir, "out")) == "out\n"
    end

    test "one within the other" do
      dir = tmp_dir()
      for path <- [dir, dir <> "/kept"], do: File.mkdir_p!(path) && File.chmod!(path, 0o777)

      assert lines("touch #{dir}/new; touch #{dir}/kept/new || echo no; ls #{dir}",
               write: [dir],
               read: [Path.join(dir, "kept")]
             )
             |> Enum.reject(&(&1 =~ "touch:")) == ~w(no kept new)

      assert lines("touch /d/kept/new; touch /d/new || echo no; ls /d/kept",
               write: [{Path.join(dir, "kept"), "/d/kept"}],
               read: [{dir, "/d"}]
             )
             |> Enum.reject(&(&1 =~ "touch:")) == ~w(no new)
    end

    test "but is not there" do
      assert {:error, %P.Error{stage: :mount_bind, errno: :enoent}} =
               Linx.run(["true"], sandbox: [read: ["/there/is/no/such"]])
    end

    test "of the environment" do
      System.put_env("LINX_SANDBOX_TEST", "passed")
      assert lines("echo $LINX_SANDBOX_TEST") == []
      assert lines("echo $LINX_SANDBOX_TEST", env: ["LINX_SANDBOX_TEST"]) == ["passed"]
      assert lines("echo $A$B", [env: [{"A", "1"}]], env: %{"B" => "2"}) == ["12"]

      assert lines("env", :strict, env: ["PATH=/usr/bin:/bin", "ONLY=1"]) -- ["PWD=/home/sandbox"] ==
               ["PATH=/usr/bin:/bin", "ONLY=1"]
    end

    test "of capabilities, of the network, and of other options" do
      assert lines("grep CapEff /proc/self/status", caps: [:net_bind_service]) == [
               "CapEff:\t0000000000000400"
             ]

      assert lines("hostname", hostname: "box") == ["box"]

      assert lines("hostname; cat /etc/hostname; grep -o other /etc/hosts", :strict,
               hostname: "other"
             ) == ["other", "other", "other"]

      assert lines("umask; pwd", :strict, umask: 0o077, cwd: "/tmp") == ["0077", "/tmp"]
      assert lines("cat file", :strict, files: %{"file" => "staged"}) == ["staged"]
      interfaces = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort"
      assert lines(interfaces, net: :host) == lines_outside(interfaces)
    end
  end

  test "has another root, of which nothing is changed" do
    root = tmp_dir()
    for name <- ~w(etc opt home tmp), do: File.mkdir!(Path.join(root, name))
    File.write!(Path.join(root, "etc/os-release"), "ID=other\n")
    File.write!(Path.join(root, "home/old"), "")

    for name <- ~w(usr lib lib64 bin), target = "/" <> name, File.exists?(target) do
      case File.read_link(target) do
        {:ok, link} -> File.ln_s!(link, Path.join(root, name))
        _directory -> File.mkdir!(Path.join(root, name))
      end
    end

    before = root |> Path.join("**") |> Path.wildcard(match_dot: true) |> Enum.sort()

    script =
      "cat /etc/os-release; ls /home; touch /tmp/x; ls /tmp; touch /opt/x 2>/dev/null || echo no"

    usr = [root: root, read: ["/usr"]]
    assert lines(script, usr) == ["ID=other", "sandbox", "x", "no"]
    assert root |> Path.join("**") |> Path.wildcard(match_dot: true) |> Enum.sort() == before

    link = Path.join(tmp_dir(), "root")
    File.ln_s!(root, link)
    assert lines("cat /etc/os-release", root: link, read: ["/usr"]) == ["ID=other"]

    assert {:error, {:bad_sandbox, {:root, "/there/is/no/such", :enoent}}} =
             Linx.run(["true"], sandbox: [root: "/there/is/no/such"])
  end

  test "finds programs where it has them, whatever the host has there" do
    root = tmp_dir()
    for name <- ~w(bin opt usr), do: File.mkdir!(Path.join(root, name))
    for name <- ~w(sh alone), do: File.cp!(Linx.Test.Hostile.path(), "#{root}/bin/#{name}")
    File.ln_s!("/bin/alone", Path.join(root, "opt/linked"))

    status = fn program, opts ->
      with {:ok, result} <- Linx.run([program], [env: %{"PATH" => "/opt:/usr/bin:/bin"}] ++ opts),
           do: result.status
    end

    # Without arguments it is told how to call it.
    for program <- ~w(alone linked sh),
        do: assert(status.(program, sandbox: [root: root]) == {:exited, 2})

    assert {:error, %P.Error{stage: :execve, errno: :enoent}} =
             status.("ls", sandbox: [root: root])

    bin = [read: [{Path.join(root, "bin"), "/opt"}]]
    assert status.("alone", sandbox: bin) == {:exited, 2}
    assert status.("true", sandbox: bin, chain: [["env"]]) == {:exited, 0}
    hidden = [{:tmpfs, "/usr"}]
    assert {:error, %P.Error{errno: :enoent}} = status.("true", sandbox: bin, mounts: hidden)
  end

  test "has the caller's mounts, but for a root" do
    mounts = [{:tmpfs, "/scratch", [:make]}]
    assert lines("touch /scratch/x && ls /scratch", :strict, mounts: mounts) == ["x"]

    assert {:error, {:bad_mounts, "/"}} =
             Linx.run(["true"], sandbox: :strict, mounts: [{:tmpfs, "/", []}])
  end

  defp lines_outside(script) do
    {output, 0} = Linx.cmd("sh", ["-c", script])
    String.split(output, "\n", trim: true)
  end

  test "the caller of a command hears nothing of it" do
    assert {"x\n", 0} = Linx.cmd("echo", ["x"], sandbox: :strict)
    assert Linx.stream!(["echo", "x"], sandbox: :strict) |> Enum.join() == "x\n"
    assert {{:exited, 0}, "x\n"} = inside("echo x")
    refute_received _anything
  end

  test "mistakes are found first" do
    for sandbox <- [
          :lax,
          [net: :bridge],
          [read: ["relative"]],
          [tmp: 0],
          [typo: 1],
          [1],
          [caps: :all],
          [read: ["/usr" | "/bin"]],
          [read: ["/"]],
          [write: [{"/tmp", "//"}]],
          [read: [{"/usr", "/tmp/../usr"}]],
          [read: ["/" <> String.duplicate("a/", 2_048)]],
          [env: ["HOME" | "USER"]],
          [seccomp: [:strict | :strict]],
          [env: ["HO\0ME"]],
          [tmp: 0x1_0000_0000_0000_0000],
          [hostname: "box\n192.0.2.1 example.com"]
        ] do
      assert {:error, {:bad_sandbox, _}} = Linx.run(["true"], sandbox: sandbox), inspect(sandbox)
    end

    # The first of several values counts.
    assert lines("hostname", hostname: "first", hostname: "second") == ["first"]

    assert {:error, {:bad_capabilities, [:typo]}} = Linx.run(["true"], sandbox: [caps: [:typo]])

    assert {:error, {:bad_user, "nobody there"}} =
             Linx.run(["true"], sandbox: :strict, user: "nobody there")
  end

  test "keeps its own Landlock rules beneath what the caller adds" do
    name = "linx-sandbox-#{System.unique_integer([:positive])}-#{System.pid()}"
    {:ok, _socket} = :gen_tcp.listen(0, ifaddr: {:local, <<0, name::binary>>})
    dir = tmp_dir()
    File.cp!(Linx.Test.Hostile.path(), Path.join(dir, "hostile"))
    argv = [Path.join(dir, "hostile"), "abstract_socket", name]
    sandbox = [net: :host, read: [dir]]

    connects? = fn sandbox, opts ->
      {:ok, result} = Linx.run(argv, [sandbox: sandbox] ++ opts)
      result.status == {:exited, 0}
    end

    assert connects?.([landlock: false] ++ sandbox, [])

    # Scopes are of Landlock's version 6.
    {:ok, abi} = Linx.Landlock.abi()
    assert connects?.(sandbox, []) == abi < 6
    assert connects?.(sandbox, landlock: [connect_tcp: [443]]) == abi < 6
  end

  test "what another option cannot change in a sandbox is a mistake" do
    for option <- [
          uid_map: [{0, 0, 1}],
          gid_map: [{0, 0, 1}],
          groups: [1],
          init: false,
          no_new_privs: false
        ] do
      assert Linx.run(["true"], [option, sandbox: :strict]) == {:error, {:bad_sandbox, option}}
    end

    for {key, value} = option <- [
          env: :none,
          env: [{"A", "1"} | :b],
          namespaces: :time,
          rlimits: [1],
          seccomp: [:strict | :strict],
          mounts: :none,
          hostname: "a b",
          hostname: nil
        ] do
      assert Linx.run(["true"], [option, sandbox: :strict]) == {:error, {:"bad_#{key}", value}}
    end

    for key <- [:setup, :confine] do
      assert Linx.run(["true"], [{key, []}]) == {:error, {:bad_option, key}}
    end

    assert P.enter(1, argv: ["true"], sandbox: :strict) == {:error, {:bad_sandbox, :enter}}
  end

  test "ends with all that it has started" do
    assert {{:exited, 0}, ""} = inside("(setsid sleep 1000 >/dev/null 2>&1 &) ; true")

    {:ok, session} =
      P.spawn(
        argv: ["sh", "-c", "(setsid sleep 1000 &); sleep 1000"],
        sandbox: :strict,
        auto_proceed: true,
        stdio: :devnull
      )

    pid = await_ready()
    await_running()
    assert P.stop(session) == :ok
    refute alive?(pid)
  end

  test "serves a terminal" do
    {:ok, session} =
      P.spawn(
        argv: ["sh", "-c", "tty; stty size; echo x > /dev/tty"],
        sandbox: :strict,
        stdio: :pty,
        winsize: {24, 80},
        auto_proceed: true
      )

    assert {:ok, {:exited, _}} = P.wait(session)
    output = for {:linx_process, :pty_out, bytes} <- events(), into: "", do: bytes
    assert output =~ "24 80" and output =~ "x"
  end

  defp events do
    receive do
      event -> [event | events()]
    after
      0 -> []
    end
  end
end
