defmodule Bench.Peers.Sandboxes do
  @moduledoc false

  # Programs that run a program in namespaces, each behind a plain port: unshare(1), bubblewrap, crun.

  alias Bench.{Peers, Programs}
  alias Bench.Peers.{Paths, Peer}

  def peers do
    [peer("unshare", &unshare/2), peer("bwrap", &bwrap/2), peer("crun", &crun/2)]
  end

  # One that does not work on this machine is as good as not here.
  defp peer(name, args) do
    with {:ok, path} <- Paths.program(name),
         {_, 0} <- quietly(path, args.(["/bin/true"], [:mount, :uts])),
         {version, 0} <- quietly(path, ["--version"]) do
      run = fn argv, opts -> Peers.run_port([path | args.(argv, opts[:namespaces])]) end
      %Peer{name: name, run: run, version: version |> String.split("\n") |> hd()}
    else
      {:error, why} -> {:not_run, name, why}
      {said, _status} -> {:not_run, name, said |> String.trim() |> String.split("\n") |> hd()}
    end
  end

  defp quietly(path, args), do: System.cmd(path, args, stderr_to_stdout: true)

  defp unshare(argv, namespaces) do
    ["--fork" | for(namespace <- namespaces, do: "--#{namespace}")] ++ argv
  end

  # It always makes a mount namespace, with a root of its own.
  defp bwrap(argv, namespaces) do
    flags = for namespace <- namespaces, namespace != :mount, do: "--unshare-#{namespace}"
    ["--dev-bind", "/", "/" | flags] ++ argv
  end

  defp crun(argv, namespaces) do
    id = "linx-bench-#{System.unique_integer([:positive])}"
    state = ["--root", Programs.scratch("crun"), "--cgroup-manager=disabled"]
    state ++ ["run", "--bundle", bundle(argv, namespaces), id]
  end

  # The root is the host's, and nothing is mounted.
  defp bundle(argv, namespaces) do
    directory = Programs.scratch("bundle-#{:erlang.phash2({argv, namespaces})}")
    config = Path.join(directory, "config.json")

    unless File.exists?(config) do
      File.mkdir_p!(directory)
      File.write!(config, config(argv, namespaces))
    end

    directory
  end

  defp config(argv, namespaces) do
    """
    {"ociVersion": "1.0.0",
     "process": {"user": {"uid": 0, "gid": 0}, "args": [#{strings(argv)}], "env": ["PATH=/usr/bin:/bin"], "cwd": "/"},
     "root": {"path": "/"}, "mounts": [],
     "linux": {
       #{if :user in namespaces, do: mapping("uid") <> mapping("gid")}
       "namespaces": [#{Enum.map_join(namespaces, ", ", &~s({"type": "#{oci(&1)}"}))}]}}
    """
  end

  defp mapping(id), do: ~s("#{id}Mappings": [{"containerID": 0, "hostID": 0, "size": 1}], )
  defp strings(list), do: Enum.map_join(list, ", ", &~s("#{&1}"))
  defp oci(:net), do: "network"
  defp oci(namespace), do: namespace
end
