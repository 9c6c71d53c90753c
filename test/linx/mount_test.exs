defmodule Linx.MountTest do
  # What a parked child mounts, as /proc and a program see it, and what it cannot be brought to mount. The host's
  # mounts are the same after every test.
  use ExUnit.Case, async: true
  doctest Linx.Mount

  import Linx.Test.Helpers

  alias Linx.Mount
  alias Linx.Mount.{Entry, Error}
  alias Linx.Process, as: P

  @own [:user, :mount, :pid, :net, :ipc]
  @system [{:tmpfs, "/"}, {:bind, "/usr", "/usr", [:read_only, :make]}] ++
            for(name <- ~w(bin lib lib64), do: {:symlink, "/" <> name, "usr/" <> name})

  setup do
    before = File.read!("/proc/self/mountinfo")
    on_exit(fn -> assert File.read!("/proc/self/mountinfo") == before end)
  end

  # Root inside, whoever that is outside.
  defp options(opts) do
    own = File.stat!("/proc/self")

    defaults = [
      argv: ["/bin/true"],
      namespaces: @own,
      uid_map: [{0, own.uid, 1}],
      gid_map: [{0, own.gid, 1}],
      stdio: [stdout: :pipe],
      cwd: "/"
    ]

    Keyword.merge(defaults, opts)
  end

  defp parked(opts \\ []) do
    {:ok, session} = P.spawn(options(opts))
    await_ready()
    session
  end

  # With little of the system in a new root, and what `build` adds.
  defp in_new_root(script, build, opts \\ []) do
    session = parked([argv: ["/bin/sh", "-c", script]] ++ opts)
    {:ok, terms} = Mount.terms(@system)

    for term <- terms -- [:pivot_root],
        do: :ok = P.Checkpoint.setup(session, {:mount, term})

    build.(session)
    assert Mount.pivot_root(session) == :ok
    session
  end

  defp output(session) do
    :ok = P.proceed(session)
    output = read_output(session)
    assert P.wait(session) == {:ok, {:exited, 0}}
    output
  end

  defp mounted(session, target) do
    {:ok, mounts} = Mount.list(session)
    mounts |> Enum.filter(&(&1.target == target)) |> List.last()
  end

  # What the kernel refuses ends the session.
  defp refused(result, session, stage, errno) do
    assert {:error, %P.Error{stage: ^stage, errno: ^errno} = error} = result
    assert P.wait(session) == {:error, error}
  end

  describe "in a new root" do
    test "there is what was put there, and nothing else" do
      script = """
      ls -a /; ls /srv/ssl >/dev/null && cat /etc/motd; echo x >/dev/null && touch /tmp/y
      touch /usr/x 2>/dev/null || echo "no $?"; ls /proc/self/fd | wc -l; ls /proc | grep -c '^[0-9]'
      ls /sys/class/net; test -c /dev/pts/ptmx && test -d /dev/mqueue && stat -c %a /tmp /etc/motd /var/lib
      """

      session =
        in_new_root(script, fn session ->
          assert Mount.bind(session, "/etc/ssl", "/srv/ssl", [:read_only, :make]) == :ok
          assert Mount.bind(session, "/no/such", "/no/such", [:make, :optional]) == :ok
          assert Mount.bind(session, "/dev/null", "/dev/null", [:make]) == :ok
          assert Mount.make_file(session, "/etc/motd", "hello\n", mode: 0o604) == :ok
          assert Mount.make_directory(session, "/var/lib", mode: 0o1700) == :ok
          assert Mount.make_directory(session, "/var/lib") == :ok
          assert Mount.tmpfs(session, "/tmp", [:make, size: 65_536, mode: 0o1770]) == :ok
          assert Mount.proc(session, "/proc", [:make]) == :ok
          assert Mount.sysfs(session, "/sys", [:make, :read_only]) == :ok
          assert Mount.devpts(session, "/dev/pts", [:make]) == :ok
          assert Mount.mqueue(session, "/dev/mqueue", [:make]) == :ok
        end)

      assert %Entry{type: "tmpfs", options: [:nosuid, :nodev, :relatime], propagation: :private} =
               mounted(session, "/")

      assert "size=64k" in mounted(session, "/tmp").super_options
      assert %{type: "proc", options: options} = mounted(session, "/proc")
      assert [:nosuid, :nodev, :noexec] -- options == []
      assert :read_only in mounted(session, "/sys").options
      {:ok, mounts} = Mount.list(session)
      assert Enum.all?(mounts, &(&1.propagation == :private))

      assert output(session) |> String.split("\n", trim: true) ==
               ~w(. .. bin dev etc lib lib64 proc srv sys tmp usr var) ++
                 ["hello", "no 1", "4", "3", "lo", "1770", "604", "1700"]
    end

    test "of the old one nothing is left: no directory, no descriptor, no init that keeps it" do
      # The BEAM is somewhere, too, and so was what it has started.
      script = """
      pwd; ls /proc/self/fd | wc -l; readlink /proc/self/root /proc/self/cwd; cd ..; ls -d * */null
      for pid in 1 2; do for dir in cwd root; do (cd /proc/$pid/$dir 2>&- && ls -d * ../*); done; done; true
      """

      build = fn session ->
        :ok = Mount.proc(session, "/proc", [:make])
        :ok = Mount.bind(session, "/dev/null", "/dev/null", [:make])
      end

      session = in_new_root(script, build, init: true, stdio: [stdin: :devnull, stdout: :pipe])
      assert ["/", "4", "/", "/" | names] = output(session) |> String.split("\n", trim: true)
      names = names |> Enum.map(&String.trim_leading(&1, "../")) |> Enum.uniq() |> Enum.sort()
      assert names == ~w(bin dev dev/null lib lib64 proc usr)
    end

    test "the option says all of it at once, and pivots" do
      mounts = @system ++ [{:proc, "/proc", [:make]}, {:make_file, "/etc/x", "x"}]
      {:ok, session} = P.spawn(options(argv: ["/bin/ls", "/"], mounts: mounts))
      assert output(session) == "bin\netc\nlib\nlib64\nproc\nusr\n"
    end

    test "a directory can be one, and what is mounted in it is there" do
      root = tmp_dir()
      File.mkdir!(Path.join(root, "below"))
      File.write!(Path.join(root, "file"), "x")
      session = parked()
      assert Mount.tmpfs(session, Path.join(root, "below")) == :ok
      assert Mount.pivot_root(session, root) == :ok
      {:ok, mounts} = Mount.list(session)
      assert Enum.map(mounts, & &1.target) == ["/", "/below"]
      assert hd(mounts).root =~ Path.basename(root)
      :ok = P.abort(session)
    end

    test "an overlay can be one, and what is written goes to the uppermost" do
      [lower, over, upper, work] = for name <- ~w(lower over upper work), do: layer(name)
      File.mkdir!(Path.join(lower, "usr"))
      File.write!(Path.join(lower, "a"), "lower")
      File.write!(Path.join(over, "a"), "over")
      argv = ["/usr/bin/sh", "-c", "cat /a; echo new >/b; rm /a; echo"]
      session = parked(argv: argv)
      opts = [lower: [over, lower], upper: upper, work: work, userxattr: true]
      assert Mount.overlay(session, "/", opts) == :ok
      assert Mount.bind(session, "/usr", "/usr", [:read_only]) == :ok
      for name <- ~w(lib lib64), do: :ok = Mount.symlink(session, "/" <> name, "usr/" <> name)
      assert Mount.pivot_root(session) == :ok
      assert mounted(session, "/").type == "overlay"
      assert output(session) == "over\n"
      assert File.read!(Path.join(upper, "b")) == "new\n"
      assert File.ls!(over) == ["a"] and Enum.sort(File.ls!(lower)) == ["a", "usr"]
    end
  end

  # In memory: what is below may be an overlay already, which takes no other.
  defp layer(name) do
    path =
      Path.join(
        "/dev/shm",
        "linx-test-#{System.pid()}-#{System.unique_integer([:positive])}-#{name}"
      )

    File.mkdir!(path)
    on_exit(fn -> File.rm_rf(path) end)
    path
  end

  describe "read-only" do
    test "goes all the way down, also for what was mounted below" do
      dir = tmp_dir()
      for name <- ~w(a c), do: File.mkdir!(Path.join(dir, name))
      [a, b, c] = for name <- ~w(a a/b c), do: Path.join(dir, name)
      script = "for d in #{a} #{b} #{c} #{c}/b; do touch $d/x 2>/dev/null && echo $d; done; true"
      session = parked(argv: ["sh", "-c", script])
      assert Mount.tmpfs(session, a) == :ok
      assert Mount.tmpfs(session, b, [:make]) == :ok
      assert Mount.bind(session, a, c, [:read_only, atime: :noatime]) == :ok

      for path <- [c, c <> "/b"],
          do: assert([:read_only, :noatime] -- mounted(session, path).options == [])

      assert output(session) == "#{a}\n#{b}\n"

      session = parked(argv: ["sh", "-c", script])
      assert Mount.tmpfs(session, a) == :ok
      assert Mount.tmpfs(session, b, [:make]) == :ok
      assert Mount.read_only(session, a, recursive: false) == :ok
      assert :read_only not in mounted(session, b).options
      assert Mount.read_only(session, a) == :ok
      assert output(session) == "#{c}\n"
    end

    test "stays so for who has no capability, and for root of a user namespace below" do
      dir = tmp_dir()
      File.mkdir!(Path.join(dir, "below"))

      script = """
      again() { unshare --user --map-root-user --mount "$@" 2>/dev/null; }
      try() { touch #{dir}/$1 2>/dev/null && echo "written $1"; }
      again true && echo root
      mount -o remount,bind,rw #{dir} 2>/dev/null; try a
      umount #{dir} 2>/dev/null; try b
      again sh -c "mount -o remount,bind,rw #{dir}; touch #{dir}/c" && echo "written c"
      again sh -c "umount #{dir}; touch #{dir}/d" && echo "written d"
      again sh -c "mount --bind #{dir} #{dir}/below && mount -o remount,bind,rw #{dir}/below; touch #{dir}/below/e" && echo "written e"
      """

      mounts = [{:bind, dir, dir, [:read_only]}]
      opts = options(argv: ["sh", "-c", script <> "true"], mounts: mounts)
      # Root's own map could not be written without a capability.
      [{0, uid, 1}] = opts[:uid_map]
      user = [uid_map: [{1000, uid, 1}], capabilities: [keep: []]]
      {:ok, session} = P.spawn(Keyword.merge(opts, user))
      assert output(session) == "root\n"
      assert File.ls!(dir) == ["below"]

      # Who has them all can.
      {:ok, session} = P.spawn(opts)
      assert output(session) =~ "written a\n"
    end

    test "all the host can be" do
      dir = tmp_dir()

      session =
        parked(
          argv: ["sh", "-c", "touch #{dir}/x || echo no"],
          stdio: [stdout: :pipe, stderr: :pipe]
        )

      assert Mount.read_only(session, "/") == :ok
      {:ok, mounts} = Mount.list(session)
      assert Enum.all?(mounts, &(:read_only in &1.options))
      assert output(session) == "no\n"
      assert File.ls!(dir) == []
    end
  end

  test "what was mounted last goes first" do
    dir = tmp_dir()
    session = parked()
    assert Mount.tmpfs(session, dir, size: 8192) == :ok
    assert Mount.tmpfs(session, dir, size: 4096) == :ok
    assert mounted(session, dir).super_options |> Enum.member?("size=4k")
    assert Mount.attributes(session, dir, [:noexec, nosuid: false]) == :ok
    assert [:nosuid, :noexec] -- mounted(session, dir).options == []
    assert Mount.unmount(session, dir) == :ok
    assert mounted(session, dir).super_options |> Enum.member?("size=8k")
    assert Mount.propagation(session, dir, :shared) == :ok
    assert [shared: _group] = mounted(session, dir).propagation
    assert Mount.propagation(session, dir, :unbindable) == :ok
    assert mounted(session, dir).propagation == :unbindable
    assert Mount.make_directory(session, dir <> "/below") == :ok
    assert Mount.tmpfs(session, dir <> "/below") == :ok
    assert Mount.unmount(session, dir, [:detach]) == :ok
    assert mounted(session, dir) == nil
    :ok = P.abort(session)
  end

  @tag :root
  test "root needs no user namespace, and all is private there, too" do
    dir = tmp_dir()
    {:ok, session} = P.spawn(argv: ["/bin/true"], namespaces: [:mount], cwd: "/")
    await_ready()
    assert Mount.tmpfs(session, dir) == :ok

    assert Mount.file_system(session, "tmpfs", dir, source: "mine", options: [{"size", "8k"}]) ==
             :ok

    assert %{source: "mine", propagation: :private, options: [:relatime]} = mounted(session, dir)
    {:ok, mounts} = Mount.list(session)
    assert Enum.all?(mounts, &(&1.propagation == :private))
    :ok = P.abort(session)
  end

  describe "links" do
    @inside "linx-inside"

    test "that point out of the new root do not lead there" do
      outside = tmp_dir()
      up = String.duplicate("../", 30)

      for link <- [
            outside,
            up <> outside,
            "/proc/self/root" <> outside,
            "/proc/1/root" <> outside
          ] do
        root = tmp_dir()
        File.ln_s!(link, Path.join(root, "link"))
        session = parked()
        assert Mount.bind(session, root, "/") == :ok
        File.mkdir_p!(Path.join(root, outside))
        # The way it would be without.
        unless link =~ "proc", do: assert(File.exists?(Path.join(root, "link")))

        if link =~ "/proc" do
          File.mkdir!(Path.join(root, "proc"))
          assert Mount.proc(session, "/proc") == :ok
          result = Mount.make_file(session, "/link/file", "x")
          refused(result, session, :mount_make, :eloop)
        else
          assert Mount.make_file(session, "/link/file", "x") == :ok
          assert Mount.tmpfs(session, "/link") == :ok
          assert Mount.pivot_root(session) == :ok
          assert %Entry{} = mounted(session, outside)
          assert File.read!(Path.join([root, outside, "file"])) == "x"
          :ok = P.abort(session)
        end
      end

      assert File.ls!(outside) == []
    end

    test "that somebody changes meanwhile do not, either" do
      outside = tmp_dir()
      root = tmp_dir()
      up = String.duplicate("../", 30)
      for path <- [@inside, outside], do: File.mkdir_p!(Path.join(root, path))
      link = Path.join(root, "link")
      swap(link, outside)
      File.write!(Path.join(link, "proof"), "")
      assert File.ls!(outside) == ["proof"]

      session = parked()
      assert Mount.bind(session, root, "/") == :ok

      swapper =
        Task.async(fn ->
          contents = Stream.cycle([@inside, outside, up <> outside])

          Enum.find(contents, fn content ->
            swap(link, content)
            stop?()
          end)
        end)

      mounts = fn n ->
        assert Mount.make_file(session, "/link/file#{n}", "") == :ok
        assert Mount.tmpfs(session, "/link/mount#{n}", [:make]) == :ok
      end

      made = fn path -> length(File.ls!(Path.join(root, path))) end
      Enum.each(1..200, mounts)

      # Until either way has been taken.
      eventually(fn ->
        mounts.(System.unique_integer([:positive, :monotonic]) + 200)
        made.(@inside) > 0 and made.(outside) > 0
      end)

      send(swapper.pid, :stop)
      Task.await(swapper)
      assert made.(@inside) + made.(outside) >= 400
      assert File.ls!(outside) == ["proof"]
      :ok = P.abort(session)
    end

    defp swap(link, content) do
      File.ln_s!(content, link <> ".new")
      File.rename!(link <> ".new", link)
    end

    defp stop? do
      receive do
        :stop -> true
      after
        0 -> false
      end
    end
  end

  describe "what cannot be" do
    test "is refused with its stage, and ends the session" do
      dir = tmp_dir()
      file = Path.join(dir, "file")
      File.write!(file, "")

      for {operation, stage, errno} <- [
            {&Mount.bind(&1, "/no/such", dir), :mount_bind, :enoent},
            {&Mount.bind(&1, dir, file), :mount_bind, :einval},
            {&Mount.bind(&1, dir, dir <> "/no"), :mount_target, :enoent},
            {&Mount.tmpfs(&1, file <> "/below", [:make]), :mount_target, :enotdir},
            {&Mount.file_system(&1, "no_such_type", dir), :mount_file_system, :enodev},
            {&Mount.tmpfs(&1, dir, options: ["no_such"]), :mount_file_system, :einval},
            {&Mount.read_only(&1, file), :mount_attributes, :einval},
            {&Mount.propagation(&1, dir, :shared), :mount_propagation, :einval},
            {&Mount.unmount(&1, dir), :mount_unmount, :einval},
            {&Mount.unmount(&1, "/"), :mount_target, :ebusy},
            {&Mount.make_file(&1, file, ""), :mount_make, :eexist},
            {&Mount.make_directory(&1, file), :mount_make, :enotdir},
            {&Mount.pivot_root/1, :pivot_root, :einval},
            {&Mount.pivot_root(&1, dir <> "/no"), :mount_bind, :enoent}
          ] do
        session = parked()
        refused(operation.(session), session, stage, errno)
      end
    end

    test "is anything in a mount namespace that others are in" do
      session = parked(namespaces: [:user])
      refused(Mount.tmpfs(session, "/mnt"), session, :mount_file_system, :einval)

      target = parked()
      {:ok, pid} = P.host_pid(target)
      {:ok, entered} = P.enter(pid, argv: ["/bin/true"], namespaces: [:user, :mount], cwd: "/")
      await_ready()
      refused(Mount.tmpfs(entered, "/mnt"), entered, :mount_file_system, :einval)
      assert mounted(target, "/mnt") == nil
      :ok = P.abort(target)

      opts = options(namespaces: [:user], mounts: [{:tmpfs, "/mnt"}])
      assert P.spawn(opts) == {:error, {:bad_mounts, :no_mount_namespace}}
    end

    test "is anything once the program runs" do
      session = parked(argv: ["/bin/cat"], stdio: [stdin: :pipe])
      :ok = P.proceed(session)
      await_running()
      assert Mount.tmpfs(session, "/mnt") == {:error, :running}
      :ok = P.stop(session)
      assert Mount.tmpfs(session, "/mnt") == {:error, :no_process}
    end

    test "what is locked together is not taken apart" do
      session = parked()
      {:ok, mounts} = Mount.list(session)
      below = Enum.map(mounts, & &1.target)
      assert "/dev/pts" in below
      dir = tmp_dir()
      refused(Mount.bind(session, "/dev", dir, recursive: false), session, :mount_bind, :einval)
      session = parked()
      refused(Mount.unmount(session, "/dev/pts"), session, :mount_unmount, :einval)
    end

    test "is found before the kernel is asked, if it is a mistake" do
      session = parked()

      for {operation, mistake} <- [
            {&Mount.bind(&1, "usr", "/usr"), {:bad_path, "usr"}},
            {&Mount.bind(&1, "/usr", "/usr/../bin"), {:bad_path, "/usr/../bin"}},
            {&Mount.bind(&1, "/usr", "/a\0b"), {:bad_path, "/a\0b"}},
            {&Mount.bind(&1, "/usr", :usr), {:bad_path, :usr}},
            {&Mount.bind(&1, "/usr", "/usr", [:readonly]),
             {:bad_mount_options, [readonly: true]}},
            {&Mount.bind(&1, "/usr", "/usr", size: 1), {:bad_mount_options, [size: 1]}},
            {&Mount.bind(&1, "/usr", "/usr", :make), {:bad_mount_options, :make}},
            {&Mount.bind(&1, "/usr", "/usr", [:make | :x]), {:bad_mount_options, [:make | :x]}},
            {&Mount.tmpfs(&1, "/tmp", size: -1), {:bad_mount_options, [size: -1]}},
            {&Mount.tmpfs(&1, "/tmp", atime: :never), {:bad_mount_options, [atime: :never]}},
            {&Mount.overlay(&1, "/tmp", lower: []), {:bad_mount_options, [lower: []]}},
            {&Mount.make_directory(&1, "/tmp", mode: -1), {:bad_mount_options, [mode: -1]}},
            {&Mount.propagation(&1, "/", :private, [:make]), {:bad_mount_options, [make: true]}},
            {&Mount.symlink(&1, "/a", ""), {:bad_path, ""}}
          ] do
        assert operation.(session) == {:error, mistake}
      end

      for mounts <- [:proc, [:proc | :sysfs]],
          do: assert(Mount.terms(mounts) == {:error, {:bad_mounts, mounts}})

      assert {:error, {:bad_mount, _}} = Mount.propagation(session, "/", :public)

      assert {:error, {:bad_mount, _}} =
               Mount.make_file(session, "/a", String.duplicate("x", 32_769))

      assert output(session) == ""

      wrong = [{:bind, "usr", "/usr"}, {:mount, "/usr"}]
      opts = options(mounts: [{:tmpfs, "/"} | wrong])
      assert P.spawn(opts) == {:error, {:bad_mounts, wrong}}
      assert P.spawn(options(mounts: :all)) == {:error, {:bad_mounts, :all}}
    end
  end

  describe "the list" do
    test "is of any process" do
      session = parked()
      dir = Path.join(tmp_dir(), "a b\tc\nd\\e#ü")
      File.mkdir!(dir)
      assert Mount.tmpfs(session, dir, source: "a b\\040") == :ok
      assert %Entry{source: "a b\\040", root: "/"} = mounted(session, dir)
      {:ok, pid} = P.host_pid(session)
      assert Mount.list(pid) == Mount.list(session)
      :ok = P.stop(session)
      assert Mount.list(session) == {:error, :no_process}
      assert Mount.list(:self) == Mount.list(String.to_integer(System.pid()))
      assert Mount.list(2_147_483_647) == {:error, :no_process}
      assert Mount.list(0) == {:error, {:bad_pid, 0}}
    end

    test "says what the kernel says" do
      line =
        "36 35 98:0 /mnt1 /mnt\\0402 ro,noatime,idmapped shared:1 master:2 new:3 - ext3 /dev/root rw,errors=continue"

      assert Entry.parse(line) == %Entry{
               id: 36,
               parent: 35,
               device: {98, 0},
               root: "/mnt1",
               target: "/mnt 2",
               options: [:read_only, :noatime, "idmapped"],
               propagation: [shared: 1, master: 2],
               type: "ext3",
               source: "/dev/root",
               super_options: ["rw", "errors=continue"]
             }

      assert Entry.unescape("\\134040\\04\\999\\") == "\\040\\04\\999\\"
    end

    test "tells why it is none" do
      error = Error.new(:list, :eacces, "/proc/1/mountinfo")
      assert Exception.message(error) == "list /proc/1/mountinfo: permission denied (EACCES)"
      assert error.code == 13
    end
  end
end
