defmodule Bench.Peers.Walls do
  @moduledoc false

  # What `sandbox: :strict` puts around a program, told to bubblewrap and to crun. It is read off the
  # sandbox itself, so all have the same walls, as far as these know them: neither has Landlock.

  alias Bench.{Measure, Peers, Programs}
  alias Bench.Peers.Paths

  @namespaces [:user, :mount, :pid, :ipc, :uts, :cgroup, :net]
  @uid_inside 1000

  @doc "The contenders that run `argv` behind them; the last one is C."
  def contenders(argv) do
    {:ok, strict} = Linx.Sandbox.expand(sandbox: :strict)
    write_filter(strict)

    [
      bwrap(argv, strict),
      bwrap_with_filter(argv, strict),
      crun(argv, strict),
      floor(argv, strict)
    ]
  end

  defp write_filter(strict) do
    [filter] = strict[:seccomp]
    File.write!(filter_path(), filter.programs)
  end

  defp filter_path, do: Programs.scratch("filter")

  # bubblewrap takes a filter from a descriptor, as it does files of its own for /etc, and a port passes on
  # none. So it does without, which spares it some work; a shell in front of it can open one.

  defp bwrap(argv, strict) do
    with_program("bwrap", fn bwrap ->
      command = [bwrap | bwrap_args(strict)] ++ argv
      timed("bwrap", fn -> Peers.run_port(command) end)
    end)
  end

  defp bwrap_with_filter(argv, strict) do
    name = "sh, bwrap with a filter"

    with_program("bwrap", name, fn bwrap ->
      sh = ["/bin/sh", "-c", ~s(exec "$@" 9<"$0"), filter_path(), bwrap]
      command = sh ++ ["--seccomp", "9"] ++ bwrap_args(strict) ++ argv
      timed(name, fn -> Peers.run_port(command) end)
    end)
  end

  # Who starts crun is C: where cgroups are of both versions crun refuses to do anything, but not in a
  # mount namespace in which they look otherwise, and only a long-lived one costs nothing that is counted.

  @in_mount_namespace ~S"""
  if [ -d /sys/fs/cgroup/unified ]; then mount -t cgroup2 none /sys/fs/cgroup; fi && exec "$@"
  """

  defp crun(argv, strict) do
    with_program("crun", fn crun ->
      state = ["--root", Programs.scratch("crun-state"), "--cgroup-manager=disabled"]
      command = [crun | state] ++ ["run", "--bundle", bundle(argv, strict), "linx-bench"]

      sample = fn count ->
        spawn = [Programs.path("spawn"), "one", "#{count}", "0", "none" | command]
        args = ["--mount", "/bin/sh", "-c", @in_mount_namespace, "sh" | spawn]

        case System.cmd("unshare", args, stderr_to_stdout: true) do
          {output, 0} -> Programs.numbers(output)
          {output, _status} -> raise output
        end
      end

      sample.(1)
      %Measure.Contender{name: "crun", sample: sample}
    end)
  end

  defp with_program(program, name \\ nil, fun) do
    name = name || program

    with {:ok, path} <- Paths.program(program),
         {:ok, contender} <- Measure.isolated(fn -> fun.(path) end) do
      contender
    else
      {:error, why} -> {:not_run, name, why}
    end
  end

  # One that does not work on this machine is as good as not here.
  defp timed(name, fun) do
    fun.()
    Measure.timed(name, fun)
  end

  # bubblewrap

  defp bwrap_args(strict) do
    unshare = for namespace <- @namespaces -- [:mount, :cgroup], do: "--unshare-#{namespace}"

    unshare ++
      ~w(--unshare-cgroup-try --uid #{@uid_inside} --gid #{@uid_inside} --dev /dev) ++
      Enum.flat_map(mounts(strict), &bwrap_mount/1) ++
      ["--hostname", strict[:hostname], "--chdir", strict[:cwd]] ++
      ~w(--cap-drop ALL --die-with-parent --new-session --clearenv) ++
      Enum.flat_map(strict[:env], &["--setenv" | String.split(&1, "=", parts: 2)])
  end

  # Its root is a tmpfs, and --dev makes all of /dev.
  defp bwrap_mount({:file_system, "tmpfs", _source, "/", _options, _flags}), do: []
  defp bwrap_mount({:bind, _source, "/dev/" <> _, _flags}), do: []
  defp bwrap_mount({:file_system, _type, _source, "/dev/" <> _, _options, _flags}), do: []
  defp bwrap_mount({:symlink, "/dev/" <> _, _content}), do: []

  defp bwrap_mount({:bind, source, target, flags}) do
    [if(:optional in flags, do: "--ro-bind-try", else: "--ro-bind"), source, target]
  end

  defp bwrap_mount({:file_system, "proc", _source, target, _options, _flags}),
    do: ["--proc", target]

  defp bwrap_mount({:file_system, "tmpfs", _source, target, options, _flags}) do
    sizes = for {"size", size} <- options, do: ["--size", size]
    modes = for {"mode", mode} <- options, do: ["--perms", mode]
    Enum.concat(sizes ++ modes) ++ ["--tmpfs", target]
  end

  defp bwrap_mount({:symlink, target, content}), do: ["--symlink", content, target]
  defp bwrap_mount({:make_directory, target, _mode}), do: ["--dir", target]
  defp bwrap_mount({:make_file, _target, _mode, _text}), do: []
  defp bwrap_mount({:attributes, "/", _flags}), do: ["--remount-ro", "/"]
  defp bwrap_mount(:pivot_root), do: []

  # crun. What is no mount is in the root directory of its bundle, and made once.

  defp bundle(argv, strict) do
    directory = Programs.scratch("bundle-strict")
    root = Path.join(directory, "rootfs")
    mounts = Enum.flat_map(mounts(strict), &oci_mount(&1, root))
    File.mkdir_p!(Path.join(root, "dev"))
    File.write!(Path.join(directory, "config.json"), json(oci(argv, strict, mounts)))
    directory
  end

  defp oci(argv, strict, mounts) do
    %{
      ociVersion: "1.0.0",
      hostname: strict[:hostname],
      root: %{path: "rootfs", readonly: true},
      mounts: [dev() | mounts],
      process: %{
        user: %{uid: @uid_inside, gid: @uid_inside},
        args: argv,
        env: strict[:env],
        cwd: strict[:cwd],
        noNewPrivileges: true,
        capabilities: Map.new(~w(bounding effective permitted inheritable ambient), &{&1, []}),
        rlimits:
          for {name, limit} <- strict[:rlimits] do
            type = "RLIMIT_" <> String.upcase(to_string(name))
            %{type: type, soft: limit, hard: limit}
          end
      },
      linux: %{
        namespaces: for(namespace <- @namespaces, do: %{type: oci(namespace)}),
        uidMappings: Enum.map(strict[:uid_map], &mapping/1),
        gidMappings: Enum.map(strict[:gid_map], &mapping/1),
        seccomp: seccomp()
      }
    }
  end

  defp oci(:net), do: "network"
  defp oci(namespace), do: "#{namespace}"

  defp mapping({inside, outside, count}),
    do: %{containerID: inside, hostID: outside, size: count}

  # The system calls that are refused whatever their arguments.
  defp seccomp do
    refused =
      for {name, {:errno, errno}, []} <- Linx.Seccomp.Profile.rules([], []) do
        {:ok, number} = Linx.Errno.number(errno)
        %{names: [name], action: "SCMP_ACT_ERRNO", errnoRet: number}
      end

    %{defaultAction: "SCMP_ACT_ALLOW", syscalls: refused}
  end

  # It makes the devices and links of a /dev in memory by itself.
  defp dev do
    %{destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"]}
  end

  defp oci_mount({:file_system, "tmpfs", _source, "/", _options, _flags}, _root), do: []
  defp oci_mount({:bind, _source, "/dev/" <> _, _flags}, _root), do: []
  defp oci_mount({:symlink, "/dev/" <> _, _content}, _root), do: []

  defp oci_mount({:bind, source, target, flags}, root) do
    inside = Path.join(root, target)
    File.mkdir_p!(Path.dirname(inside))

    cond do
      File.dir?(source) -> File.mkdir_p!(inside)
      File.exists?(source) -> File.touch!(inside)
      :optional in flags -> :left_out
    end

    for _there <- List.wrap(if File.exists?(source), do: source) do
      options = ["rbind" | oci_flags(flags)]
      %{destination: target, type: "bind", source: source, options: options}
    end
  end

  defp oci_mount({:file_system, type, source, target, options, flags}, root) do
    unless String.starts_with?(target, "/dev/"), do: File.mkdir_p!(Path.join(root, target))

    options =
      Enum.map(options, fn
        {name, value} -> "#{name}=#{value}"
        name -> name
      end)

    [%{destination: target, type: type, source: source, options: options ++ oci_flags(flags)}]
  end

  defp oci_mount({:symlink, target, content}, root) do
    File.mkdir_p!(Path.join(root, Path.dirname(target)))
    File.ln_s!(content, Path.join(root, target))
    []
  end

  defp oci_mount({:make_directory, target, _mode}, root) do
    File.mkdir_p!(Path.join(root, target))
    []
  end

  defp oci_mount({:make_file, target, _mode, text}, root) do
    File.mkdir_p!(Path.join(root, Path.dirname(target)))
    File.write!(Path.join(root, target), text)
    []
  end

  defp oci_mount({:attributes, "/", _flags}, _root), do: []
  defp oci_mount(:pivot_root, _root), do: []

  defp oci_flags(flags) do
    for flag <- flags, flag in [:read_only, :nosuid, :nodev, :noexec] do
      if flag == :read_only, do: "ro", else: "#{flag}"
    end
  end

  # C

  defp floor(argv, strict) do
    [{@uid_inside, uid, 1}] = strict[:uid_map]
    [{@uid_inside, gid, 1}] = strict[:gid_map]
    steps = strict |> mounts() |> Enum.flat_map(&c_step/1)

    Measure.program(
      "bare C",
      &(["walls", &1, uid, gid, filter_path()] ++ steps ++ ["--"] ++ argv)
    )
  end

  # It has made the root by then, and its order is its own.
  defp c_step({:file_system, "tmpfs", _source, "/", _options, _flags}), do: []
  defp c_step({:attributes, "/", _flags}), do: []
  defp c_step(:pivot_root), do: []
  defp c_step({:bind, "/dev/" <> _ = source, target, _flags}), do: ["device", source, target]

  defp c_step({:bind, source, target, _flags}),
    do: if(File.exists?(source), do: ["bind", source, target], else: [])

  defp c_step({:file_system, type, _source, target, _options, _flags}), do: [type, target]
  defp c_step({:symlink, target, content}), do: ["link", content, target]
  defp c_step({:make_directory, target, _mode}), do: ["directory", target]
  defp c_step({:make_file, target, _mode, text}), do: ["text", text, target]

  defp mounts(strict), do: for({:mount, mount} <- strict[:setup], do: mount)

  # Nothing here has a character that has to be escaped in another way than Elixir does.
  defp json(map) when is_map(map),
    do: ["{", map |> Enum.map(fn {k, v} -> [json("#{k}"), ":", json(v)] end) |> commas(), "}"]

  defp json(list) when is_list(list), do: ["[", list |> Enum.map(&json/1) |> commas(), "]"]
  defp json(text) when is_binary(text), do: inspect(text)
  defp json(other), do: "#{other}"

  defp commas(list), do: Enum.intersperse(list, ",")
end
