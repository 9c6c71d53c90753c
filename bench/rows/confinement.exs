defmodule Bench.Rows.Confinement do
  @moduledoc false

  # What each way to confine /bin/true costs, beside a plain one. What takes a namespace comes after that
  # namespace alone. The values are those of the strict sandbox, which is the last one.

  alias Bench.{Measure, Peers, Settings}
  alias Linx.{Cgroup, Sandbox, Seccomp}

  @argv ["/bin/true"]
  @plain "plain"

  def name, do: "confinement"

  def run(settings) do
    {rounds, count} = Settings.pick(settings, {20, 10}, {2, 2})
    {:ok, strict} = Sandbox.expand(sandbox: :strict)
    cgroup = Cgroup.create("linx-bench-#{System.pid()}")

    try do
      contenders = for {name, opts} <- ways(strict, cgroup), do: contender(name, opts)
      table = Measure.table("/bin/true, confined", contenders, rounds, count)
      [%{table | plain: @plain}]
    after
      with {:ok, cgroup} <- cgroup, do: Cgroup.delete(cgroup, kill: true)
    end
  end

  # What this machine or this version cannot do is not here.
  defp contender(name, opts) do
    run = fn -> Peers.Linx.run(@argv, opts.()) end

    case Measure.isolated(run) do
      {:ok, _} -> Measure.timed(name, run)
      {:error, why} -> {:not_run, name, "not here: #{why}"}
    end
  end

  defp ways(strict, cgroup) do
    {:ok, filter} = Seccomp.default()
    bind = {:bind, "/usr", "/usr", [:read_only]}

    [
      {@plain, fn -> [] end},
      {"user namespace, mapped", fn -> mapped([], strict) end},
      {"· and PID namespace", fn -> mapped([:pid], strict) end},
      {"· and an init in it", fn -> mapped([:pid], strict) ++ [init: true] end},
      {"· and mount namespace", fn -> mapped([:mount], strict) end},
      {"· and a read-only bind", fn -> mapped([:mount], strict) ++ [mounts: [bind]] end},
      {"· and PID, mount namespaces", fn -> mapped([:pid, :mount], strict) end},
      {"· and a small root directory",
       fn -> mapped([:pid, :mount], strict) ++ [mounts: root(), cwd: "/"] end},
      {"· and UTS namespace", fn -> mapped([:uts], strict) end},
      {"· and a hostname in it", fn -> mapped([:uts], strict) ++ [hostname: "sandbox"] end},
      {"· and network namespace", fn -> mapped([:net], strict) end},
      {"· and loopback up in it", fn -> mapped([:net], strict) ++ [loopback: true] end},
      {"seven namespaces, an init",
       fn -> mapped(strict[:namespaces], strict) ++ [init: true] end},
      {"capabilities", fn -> Keyword.take(strict, [:capabilities]) end},
      {"seccomp", fn -> [seccomp: filter] end},
      {"seccomp, compiled each time", fn -> [seccomp: compiled()] end},
      {"Landlock", fn -> [landlock: [execute: ["/"], write: ["/tmp", "/dev"]]] end},
      {"#{length(strict[:rlimits])} rlimits", fn -> Keyword.take(strict, [:rlimits]) end},
      {"nice, umask, OOM score", fn -> [nice: 5, umask: 0o027, oom_score_adj: 100] end},
      {"a cgroup", fn -> [cgroup: made(cgroup)] end},
      {"all: the strict sandbox", fn -> [sandbox: :strict] end}
    ]
  end

  defp root do
    system =
      for path <- ~w(/usr /bin /lib /lib64), File.exists?(path) do
        case File.read_link(path) do
          {:ok, target} -> {:symlink, path, target}
          {:error, _no_link} -> {:bind, path, path, [:read_only, :make]}
        end
      end

    more = [
      {:proc, "/proc", [:make]},
      {:tmpfs, "/tmp", [:make]},
      {:bind, "/dev/null", "/dev/null", [:make]}
    ]

    [{:tmpfs, "/"}] ++ system ++ more
  end

  defp mapped(namespaces, strict) do
    [namespaces: Enum.uniq([:user | namespaces])] ++ Keyword.take(strict, [:uid_map, :gid_map])
  end

  defp made({:ok, cgroup}), do: cgroup
  defp made({:error, why}), do: raise("no cgroup: #{inspect(why)}")

  defp compiled do
    {:ok, filter} = Seccomp.default()
    filter
  end
end
