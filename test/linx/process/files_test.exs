defmodule Linx.Process.FilesTest do
  # Files that are there when the program begins.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Process, as: P
  alias Linx.Process.Error

  defp run(argv, opts) do
    defaults = [
      argv: argv,
      stdio: [stdout: :pipe, stderr: :stdout],
      auto_proceed: true,
      owner: nil
    ]

    {:ok, session} = P.spawn(Keyword.merge(defaults, opts))
    result = P.wait(session)
    output = read_output(session)
    P.stop(session)
    {output, result}
  end

  setup do
    %{dir: tmp_dir()}
  end

  test "are read by the program, byte for byte", %{dir: dir} do
    path = Path.join(dir, "file")
    data = <<0, 255, "\n no newline">>
    assert run(["cat", path], files: %{path => data}) == {data, {:ok, {:exited, 0}}}
    assert run(["cat", path], files: [{path, ["new", ?!]}]) == {"new!", {:ok, {:exited, 0}}}
    assert run(["cat", path], files: [{path, ""}]) == {"", {:ok, {:exited, 0}}}
    assert File.ls!(dir) == ["file"]
  end

  test "have the mode they are given, whatever the umask", %{dir: dir} do
    files = [{"a", ""}, {"b", "", 0o755}, {"c", "", 0o600}, {"d", "", 0o4777}]
    {_output, {:ok, {:exited, 0}}} = run(["true"], files: files, cwd: dir)

    for {name, mode} <- [{"a", 0o644}, {"b", 0o755}, {"c", 0o600}, {"d", 0o4777}] do
      assert Bitwise.band(File.stat!(Path.join(dir, name)).mode, 0o7777) == mode
    end
  end

  test "may be the program itself", %{dir: dir} do
    script = Path.join(dir, "script")

    assert run([script], files: [{script, "#!/bin/sh\necho staged\n", 0o755}]) ==
             {"staged\n", {:ok, {:exited, 0}}}
  end

  test "take the place of others at once", %{dir: dir} do
    path = Path.join(dir, "file")
    File.write!(path, "old")
    {:ok, old} = File.open(path, [:read])
    {_output, {:ok, {:exited, 0}}} = run(["true"], files: %{path => "new"})
    assert File.read!(path) == "new"
    assert IO.read(old, 3) == "old"
  end

  test "may be large", %{dir: dir} do
    data = :crypto.strong_rand_bytes(3_000_000)

    assert {"3000000 file\n", {:ok, _}} =
             run(["wc", "-c", "file"], files: %{"file" => data}, cwd: dir)

    assert File.read!(Path.join(dir, "file")) == data
    assert {"", {:error, error}} = run(["true"], files: %{"x" => :binary.copy("x", 9_000_000)})
    assert %Error{stage: :request_too_big, errno: :emsgsize} = error
  end

  test "that cannot be written are an error, and nothing is left of them", %{dir: dir} do
    assert {"", {:error, %Error{stage: :stage_file, errno: :enoent}}} =
             run(["true"], files: %{"/nowhere/file" => "x"})

    assert {"", {:error, %Error{stage: :stage_file}}} = run(["true"], files: %{dir => "x"})
    assert File.ls!(dir) == []
    assert {:ok, others} = File.ls(Path.dirname(dir))
    refute Enum.any?(others, &(&1 =~ Path.basename(dir) <> "."))
  end

  @tag :root
  test "are written in the program's own mount namespace", %{dir: dir} do
    {:ok, session} =
      P.spawn(
        argv: ["cat", Path.join(dir, "file")],
        namespaces: [:mount],
        files: %{Path.join(dir, "file") => "inside"},
        stdio: [stdout: :pipe]
      )

    pid = await_ready()
    # The host prepares the place while the child is at the checkpoint.
    {_, 0} = System.cmd("nsenter", ["-m", "-t", "#{pid}", "mount", "--make-rprivate", "/"])
    {_, 0} = System.cmd("nsenter", ["-m", "-t", "#{pid}", "mount", "-t", "tmpfs", "none", dir])
    P.proceed(session)
    assert P.recv(session, :stdout) == {:ok, "inside"}
    assert P.wait(session) == {:ok, {:exited, 0}}
    assert File.ls!(dir) == []
  end

  @tag :root
  test "are written by whom the program runs as", %{dir: dir} do
    File.chmod!(dir, 0o777)
    opts = [user: "nobody", cwd: dir]
    assert {_, {:ok, {:exited, 0}}} = run(["true"], [files: %{"file" => "x"}] ++ opts)
    {:ok, {uid, gid}} = Linx.Process.Credentials.user("nobody")
    assert %File.Stat{uid: ^uid, gid: ^gid} = File.stat!(Path.join(dir, "file"))
    File.chmod!(dir, 0o755)

    assert {"", {:error, %Error{stage: :stage_file, errno: :eacces}}} =
             run(["true"], [files: %{"other" => "x"}] ++ opts)
  end
end
