defmodule Linx.Seccomp.ProgramsTest do
  # Filters on real programs.
  use ExUnit.Case, async: true

  alias Linx.Process, as: P
  alias Linx.Seccomp

  defp run(filters, script) do
    argv = ["/bin/sh", "-c", "exec 2>&1; " <> script]
    opts = [seccomp: filters, namespaces: namespaces(), stdio: [stdin: :devnull]]
    {:ok, result} = Linx.run(argv, opts)
    {result.status, result.stdout}
  end

  # Where root may mount what it likes.
  defp namespaces do
    if {"0\n", 0} == System.cmd("id", ["-u"]), do: [:mount], else: []
  end

  setup_all do
    {:ok, filter} = Seccomp.default()
    %{default: filter}
  end

  describe "the default filter" do
    for {name, script} <- [
          {"sh",
           "for f in /etc/*; do test -e $f; done; (echo a | tr a b; sleep 0) & wait; ulimit -a"},
          {"cc",
           "d=$(mktemp -d) && cd $d && echo 'int main(){return 0;}' >a.c && cc -pthread a.c && ./a.out; s=$?; rm -r $d; exit $s"},
          {"git",
           "d=$(mktemp -d) && cd $d && git init -q . && echo a >a && git add a && git -c user.name=a -c user.email=a@b commit -qm a && git log -p >l && git gc -q; s=$?; rm -rf $d; exit $s"},
          {"perl", "perl -e 'socketpair(A,B,1,1,0) or die; fork or exit; wait; print `id`'"},
          {"python3",
           "python3 -c 'import threading, subprocess, socket, multiprocessing; threading.Thread(target=print).start(); subprocess.run([\"true\"], check=True); socket.socket()'"},
          {"node",
           "node -e 'require(\"fs\").readFile(\"/etc/passwd\", (e, d) => { require(\"child_process\").execSync(\"true\"); process.exit(e ? 1 : 0) })'"},
          {"make", "printf 'a:\\n\\t@true\\n' | make -j2 -f -"},
          {"erl",
           "erl -noshell -eval 'os:cmd(\"true\"), {ok, _} = gen_tcp:listen(0, []), halt()'"}
        ] do
      if System.find_executable(name) do
        test "lets #{name} work", %{default: filter} do
          assert {{:exited, 0}, _output} = run(filter, unquote(script))
        end
      else
        IO.puts("Not tried under the default filter: #{name}, which is not installed")
      end
    end

    @eperm "Operation not permitted"

    test "stops what it is there for", %{default: filter} do
      stops(filter, [
        {~S|perl -e 'my $x = "x"; ioctl(STDIN, 0x5412, $x) or die $!'|, @eperm},
        {~S|perl -e 'socket(S, 17, 3, 0) or die $!'|, "Address family not supported"}
      ])
    end

    @tag :root
    test "stops what root may do", %{default: filter} do
      stops(filter, [
        {"unshare --user true", @eperm},
        {"unshare --mount true", @eperm},
        {"nsenter --target $$ --uts true", @eperm},
        {"mount --make-private /proc", "permission denied"},
        {"chroot / true", @eperm}
      ])
    end
  end

  # What the filter stops, and nothing else does.
  defp stops(filter, attempts) do
    for {script, told} <- attempts do
      assert {{:exited, status}, output} = run(filter, script)
      assert {script, status != 0, output =~ told} == {script, true, true}
      {_end, output} = run([], script)
      assert {script, output =~ told} == {script, false}
    end
  end

  test "an allow-list that has no execve keeps the program from starting" do
    {:ok, filter} = Seccomp.allow([:read, :write, :exit_group])
    assert {:error, %{stage: :execve, errno: :eperm}} = Linx.run("/bin/true", seccomp: filter)
  end

  test "filters stack" do
    {:ok, a} = Seccomp.deny([:mkdir, :mkdirat])
    {:ok, b} = Seccomp.deny([:unlink, :unlinkat])
    assert {_, output} = run([a, b], "mkdir /tmp/linx_never; rm -f /etc/passwd")
    assert [first, second] = String.split(output, "\n", trim: true)
    assert first =~ "mkdir" and second =~ "rm" and second =~ "not permitted"
  end

  test "a profile in the shape of Docker's is enough for a shell" do
    {:ok, filter} = "test/support/profile.json" |> File.read!() |> Seccomp.from_oci()
    assert {{:exited, 0}, "hello\n"} = run(filter, "echo $(echo hello)")
    assert {{:exited, 1}, output} = run(filter, "exec unshare --user true")
    assert output =~ "not permitted"
  end

  describe "install/2" do
    setup do
      {:ok, session} = P.spawn(argv: ["/bin/sh", "-c", "mkdir /tmp/linx_never"], stdio: :devnull)
      %{session: session}
    end

    test "is answered by the kernel, and in force", %{session: session} do
      {:ok, deny} = Seccomp.deny([:mkdir, :mkdirat], action: :kill_process)
      {:ok, soft} = Seccomp.deny([:mkdir, :mkdirat])
      assert Seccomp.install(session, [deny, soft]) == :ok
      :ok = P.proceed(session)
      # The shell becomes the program that it runs last, or waits for it.
      assert {:ok, how} = P.wait(session)
      assert how in [{:signaled, 31}, {:exited, 128 + 31}]
    end

    test "ends a session whose kernel does not take the filter", %{session: session} do
      bad = %Seccomp.Filter{programs: [<<0::64>>], arch: Seccomp.Options.machine()}

      assert {:error, %P.Error{stage: :seccomp_install, errno: :einval}} =
               Seccomp.install(session, bad)

      assert {:error, %P.Error{stage: :seccomp_install}} = P.wait(session)
      assert {:error, :no_process} = Seccomp.install(session, bad)
    end

    test "comes too late for a program that runs" do
      {:ok, session} = P.spawn(argv: ["sleep", "60"], stdio: :devnull, auto_proceed: true)
      assert_receive {:linx_process, :running}
      {:ok, filter} = Seccomp.deny(:mkdirat)
      assert Seccomp.install(session, filter) == {:error, :running}
      P.stop(session)
    end
  end
end
