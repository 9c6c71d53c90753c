defmodule Linx.Cgroup.TreeTest do
  # Where cgroups are made, tried with directories that look like cgroups.
  use ExUnit.Case, async: true

  import Linx.Test.Helpers

  alias Linx.Cgroup.{Error, Tree}

  # A directory with the files that a cgroup has.
  defp cgroup(path, files) do
    File.mkdir_p!(path)
    defaults = %{"cgroup.procs" => "", "cgroup.controllers" => "", "cgroup.subtree_control" => ""}

    for {name, content} <- Map.merge(defaults, Map.new(files)) do
      File.write!(Path.join(path, name), content)
    end

    path
  end

  defp inner(path, files), do: cgroup(path, [{"cgroup.type", "domain\n"} | files])

  defp control(path), do: File.read!(Path.join(path, "cgroup.subtree_control"))

  describe "the mount" do
    test "is found beside those of version 1" do
      assert Tree.mount("""
             31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
             36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
             41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
             """) == {:ok, {"/sys/fs/cgroup/unified", "/"}}
    end

    test "may be a part of the tree, and anywhere" do
      assert Tree.mount(
               "42 31 0:38 /a/b /mnt/with\\040space rw master:1 shared:2 - cgroup2 none rw\n"
             ) ==
               {:ok, {"/mnt/with space", "/a/b"}}
    end

    test "may be missing" do
      assert Tree.mount("31 23 0:28 / /sys/fs/cgroup2 rw - tmpfs cgroup2 rw\n") == :error
      assert Tree.mount("") == :error
    end
  end

  test "a process's cgroup has a directory, if it is in what is mounted" do
    hybrid = "9:name=systemd:/x\n4:memory:/y\n0::/a/b\n"
    assert Tree.directory({"/cg", "/"}, hybrid) == {:ok, "/cg/a/b"}
    assert Tree.directory({"/cg", "/a"}, hybrid) == {:ok, "/cg/b"}
    assert Tree.directory({"/cg", "/a/b"}, hybrid) == {:ok, "/cg"}
    assert Tree.directory({"/cg", "/"}, "0::/\n") == {:ok, "/cg"}
    assert Tree.directory({"/cg", "/c"}, hybrid) == :error
    assert Tree.directory({"/cg", "/"}, "0::/../outside\n") == :error
    assert Tree.directory({"/cg", "/"}, "4:memory:/y\n") == :error
  end

  describe "the place" do
    setup do
      top = cgroup(Path.join(tmp_dir(), "top"), %{"cgroup.procs" => "1\n"})
      slice = inner(Path.join(top, "slice"), [])
      %{top: top, slice: slice}
    end

    test "is the own cgroup when there are no limits", %{top: top, slice: slice} do
      own = inner(Path.join(slice, "own"), [{"cgroup.procs", "7\n"}])
      assert Tree.parent(top, own, []) == own
    end

    test "with limits is one without processes", %{top: top, slice: slice} do
      own = inner(Path.join(slice, "own"), [{"cgroup.procs", "7\n"}])
      assert Tree.parent(top, own, [:memory]) == slice
      # One that has the controllers switched on has no processes that matter.
      controls = [{"cgroup.procs", "8\n"}, {"cgroup.subtree_control", "memory pids\n"}]
      inner(slice, controls)
      assert Tree.parent(top, own, [:memory]) == slice
      assert Tree.parent(top, own, [:memory, :cpu]) == top
    end

    test "may be the topmost, processes or not", %{top: top} do
      assert Tree.parent(top, top, [:memory]) == top
    end

    test "is the own one when there is none", %{slice: slice} do
      # The topmost that is to be seen is not the topmost of all.
      own = inner(Path.join(slice, "own"), [{"cgroup.procs", "7\n"}])
      inner(slice, [{"cgroup.procs", "8\n"}])
      assert Tree.parent(slice, own, [:memory]) == own
    end
  end

  describe "controllers" do
    test "are switched on once" do
      top = cgroup(Path.join(tmp_dir(), "top"), [{"cgroup.controllers", "cpu memory pids\n"}])
      assert Tree.available(top) == [:cpu, :memory, :pids]
      assert Tree.enable(top, []) == :ok
      assert control(top) == ""
      assert Tree.enable(top, [:memory, :pids]) == :ok
      assert control(top) == "+memory +pids"
      File.write!(Path.join(top, "cgroup.subtree_control"), "memory pids\n")
      assert Tree.enable(top, [:pids]) == :ok
      assert control(top) == "memory pids\n"
    end

    test "come from above" do
      top = cgroup(Path.join(tmp_dir(), "top"), [{"cgroup.controllers", "cpu memory\n"}])
      slice = inner(Path.join(top, "slice"), [{"cgroup.controllers", "cpu\n"}])
      # Nobody makes them appear in the slice, as the kernel would.
      assert Tree.enable(slice, [:cpu, :memory]) == {:error, {:no_controller, :memory, [:cpu]}}
      assert control(top) == "+memory"
      assert control(slice) == ""
    end

    test "that there are not are named" do
      top = cgroup(Path.join(tmp_dir(), "top"), [{"cgroup.controllers", "pids\n"}])
      slice = inner(Path.join(top, "slice"), [{"cgroup.controllers", "pids\n"}])
      assert Tree.enable(slice, [:pids, :memory]) == {:error, {:no_controller, :memory, [:pids]}}
      assert Tree.enable(tmp_dir(), [:pids]) == {:error, {:no_controller, :pids, []}}
    end

    test "may be missing, even from above" do
      top = cgroup(Path.join(tmp_dir(), "top"), [{"cgroup.controllers", "cpu memory\n"}])
      slice = inner(Path.join(top, "slice"), [{"cgroup.controllers", "cpu\n"}])
      assert Tree.missing(slice, []) == []
      assert Tree.missing(slice, [:cpu]) == []
      assert Tree.missing(slice, [:pids, :cpu, :memory]) == [:pids]
      assert Tree.missing(top, [:pids, :memory]) == [:pids]
      # Nothing was changed.
      assert control(top) == ""
      # Where nobody may switch it on it is no use above.
      File.rm!(Path.join(top, "cgroup.subtree_control"))
      assert Tree.missing(slice, [:pids, :cpu, :memory]) == [:pids, :memory]
      # Nor is what cannot be seen.
      assert Tree.missing(inner(Path.join(tmp_dir(), "lone"), []), [:cpu]) == [:cpu]
    end

    test "that the kernel refuses are its error" do
      top = cgroup(Path.join(tmp_dir(), "top"), [{"cgroup.controllers", "pids\n"}])
      file = Path.join(top, "cgroup.subtree_control")
      File.rm!(file)
      File.mkdir!(file)

      assert {:error, %Error{operation: :enable, path: ^file, errno: :eisdir}} =
               Tree.enable(top, [:pids])
    end
  end
end
