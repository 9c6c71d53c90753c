defmodule Linx.Sandbox do
  @moduledoc """
  A place where a program can do little harm: the option `:sandbox` of `Linx.Process`, `Linx.cmd/3`,
  `Linx.run/2`, `Linx.stream!/2` and `Linx.Daemon`.

      {:ok, result} = Linx.run(["sh", "-c", "id -un; ls /home"], sandbox: :strict)
      result.stdout
      #=> "sandbox\\nsandbox\\n"

  It needs no root, only user namespaces, and fails closed: what the kernel refuses is an error, and the
  program does not run.

  ## What a program finds

    * namespaces of its own of every type but time. It is pid 2; pid 1 reaps what it leaves, and sees
      nothing else. There is a network with nothing but the loopback interface;
    * one user, `sandbox`, with the number 1000. To the host that is the user of the BEAM, or *nobody*
      when that is root, or the one that the option `:user` names, and `:group` its group. (With `user: "root"` what only root may
      change in `/proc` is read-only or hidden; but the kernel does not hold root to `:pids`.)
    * a root directory that is empty but for what of the host's system is needed to run programs, all of
      it read-only: `/usr`, `/bin`, `/sbin`, `/lib*` and little of `/etc`; `/proc` of its own; a `/dev`
      with `null`, `zero`, `full`, `random`, `urandom`, `tty`, `shm` and terminals of its own; and
      `/tmp` and `/home/sandbox`, where it begins: empty, writable, in memory, and gone with it;
    * no environment but `PATH`, `HOME`, `USER`, `LANG` and `TERM`, and what `:env` adds;
    * no capability, none to be had by executing anything, no set-user-ID program that works;
    * the system calls that `Linx.Seccomp.default/1` leaves;
    * where the kernel has Landlock, no way to write elsewhere than in those directories;
    * limits: 1,024 open files for each process, no core dumps; and 512 processes and 1 GiB of memory, see
      [Limits](#module-limits).

  A program without a slash in its name is looked up in there, on the `PATH` of there.

  ## Options

  `sandbox: :strict` is all of that. A list relaxes it, or tightens it further:

    * `:read` – paths of the host that are there, too, read-only, each a path or `{path, path_inside}`.
      What is not there is an error;
    * `:write` – likewise, and writable, as far as the files' permissions let the user that it is to the host;
    * `:root` – a directory whose files are there, read-only, in place of those of the host's system: the root of
      another distribution, say. Its `/dev`, `/home`, `/proc`, `/sys` and `/tmp` are left out;
    * `:net` – `:loopback` (the default), `:none`, where not even that is up, or `:host`, the host's
      network, with its `/etc/resolv.conf` and `/etc/hosts`;
    * `:env` – what is added to the environment: names of variables that are passed on from the BEAM's, or
      pairs. The option `:env` beside `:sandbox` is added likewise, unless it is a list of `"NAME=value"`,
      which is all of it;
    * `:tmp`, `:home` – the sizes of `/tmp`, and of `/dev/shm` likewise, and of `/home/sandbox`, in bytes; 64 MiB
      each by default;
    * `:memory` – how many bytes of memory, or `:infinity`;
    * `:pids` – how many processes and threads, or `:infinity`;
    * `:cpu` – how many processors' time all of them may have, such as `0.5`; not without a cgroup;
    * `:cgroup` – `true` (the default) has a cgroup for these three where there can be one, `:require` makes it
      an error where there cannot, `false` has none;
    * `:files` – how many files each process may have open (`RLIMIT_NOFILE`);
    * `:seccomp` – a filter, or a list of them, in place of `Linx.Seccomp.default/1`; or `false`;
    * `:caps` – capabilities that the program has inside, such as `[:net_bind_service]`;
    * `:landlock` – `false` for none, `:require` if a kernel without it shall be an error; `true` by
      default;
    * `:hostname` – `"sandbox"` by default.

  Other options say what they say elsewhere: `:cwd` and `:files` are of the inside, `:mounts`, `:seccomp`,
  `:landlock`, `:nice` and so on come on top; `:rlimits` and `:capabilities` count in place of its own.

  ## Limits

  Where the BEAM may make cgroups (version 2) with limits of memory and processes, each sandbox has one of its
  own: `:memory` and `:pids` are for all its processes together. What is in `/tmp`, `/dev/shm` and
  `/home/sandbox` counts as memory, and nothing of it is swapped out, if the kernel can be told so; when there is
  no more, the kernel kills one of the processes. What was used is the `:cgroup_stats` of a `Linx.Result`.

  Elsewhere they are limits of each process: how much data it may have (`RLIMIT_DATA`), so that many of them have
  as many times as much, and memory that is no data, as of a shared mapping, is not limited at all; and how many
  processes its user may have in there (`RLIMIT_NPROC`). So it is also with `cgroup: false`; beside the option
  `:cgroup` of `Linx.Process`, since a program is in one cgroup only; and with `orphan: :leave` or
  `descendants: :leave`.

  `limits/0` says which of the two it is here. `cgroup: :require` is for those to whom only the first will do.

  ## Errors

  A mistake is `{:error, {:bad_sandbox, what}}`; also `{:cgroup, :require}` or `{:cpu, _}` where other options
  leave it no cgroup of its own. Where the machine has none, these two are answered as by `Linx.Cgroup`, with
  `{:no_controller, name, available}` or a `Linx.Process.Error` with the stage `:cgroup`.

  That there are no user namespaces, or not for this user, is a `Linx.Process.Error` with the stage `:clone` or
  `:uid_map`; what else the kernel may refuse has the stage of its facility.
  """

  alias Linx.{Landlock, Mount, Seccomp}
  alias Linx.Mount.Operation
  alias Linx.Process.{Credentials, CString, Environment}
  alias Linx.Sandbox.{Limits, Root}

  @type option ::
          {:read, [String.t() | {String.t(), String.t()}]}
          | {:write, [String.t() | {String.t(), String.t()}]}
          | {:root, String.t()}
          | {:net, :loopback | :none | :host}
          | {:env, [String.t() | {atom | String.t(), String.t()}] | %{String.t() => String.t()}}
          | {:tmp, pos_integer}
          | {:home, pos_integer}
          | {:memory, pos_integer | :infinity}
          | {:pids, pos_integer | :infinity}
          | {:cpu, number}
          | {:cgroup, boolean | :require}
          | {:files, pos_integer}
          | {:seccomp, term | false}
          | {:caps, [Linx.Capabilities.name()]}
          | {:landlock, boolean | :require}
          | {:hostname, String.t()}

  @typedoc "The value of the option `:sandbox`."
  @type t :: :strict | [option]

  @mebibyte 1024 * 1024

  @strict %{
    read: [],
    write: [],
    root: nil,
    net: :loopback,
    env: [],
    tmp: 64 * @mebibyte,
    home: 64 * @mebibyte,
    memory: 1024 * @mebibyte,
    pids: 512,
    cpu: nil,
    cgroup: true,
    files: 1024,
    seccomp: nil,
    caps: [],
    landlock: true,
    hostname: "sandbox"
  }

  # Inside.
  @id 1000
  @home "/home/sandbox"
  @path "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  # The user that owns nothing.
  @nobody 65_534

  @namespaces [:user, :pid, :mount, :ipc, :uts, :cgroup]

  # What no other option can change.
  @settled [:uid_map, :gid_map, :groups, :init, :no_new_privs]

  # It is written to files, where a space or a line would be something else.
  @hostname ~r/\A[[:alnum:]._-]+\z/

  # The kernel takes more for no limit at all.
  @largest 0x7FFF_FFFF_FFFF_FFFF

  @doc false
  @spec home() :: String.t()
  def home, do: @home

  @doc """
  What keeps a sandbox to its `:memory` and `:pids`: a `:cgroup`, which is for all its processes together, or
  `:rlimits` of each process, see [Limits](#module-limits).

      iex> Linx.Sandbox.limits() in [:cgroup, :rlimits]
      true

  This is tried once, when it is first asked for or needed.
  """
  @spec limits() :: :cgroup | :rlimits
  def limits, do: if(Limits.usable(@strict), do: :cgroup, else: :rlimits)

  # The options of a session in the place of `:sandbox`, which may be among them.
  @doc false
  @spec expand(keyword) :: {:ok, keyword} | {:error, {atom, term}}
  def expand(opts) do
    case Keyword.fetch(opts, :sandbox) do
      :error -> {:ok, opts}
      {:ok, sandbox} when sandbox in [nil, false] -> {:ok, Keyword.delete(opts, :sandbox)}
      {:ok, sandbox} -> expand(sandbox, Keyword.delete(opts, :sandbox))
    end
  end

  defp expand(sandbox, opts) do
    with {:ok, sandbox} <- parse(sandbox),
         :ok <- beside(opts),
         sandbox = Map.merge(sandbox, Map.new(Keyword.take(opts, [:hostname]))),
         {:ok, sandbox} <- resolve(sandbox),
         {:ok, {uid, gid}} <- outside(opts),
         {:ok, env} <- environment(sandbox.env, opts[:env]),
         {:ok, {cgroup, rlimits}} <- Limits.resolve(sandbox, opts),
         {:ok, mounts} <- mounts(Keyword.get(opts, :mounts, [])),
         {:ok, root} <- Root.operations(sandbox, uid),
         {:ok, landlock} <- landlock(sandbox, mounts),
         {:ok, filters} <- filters(sandbox.seccomp) do
      operations = root ++ mounts ++ Root.finish()

      # These are what the sandbox is; of the others the caller's count.
      fixed = [
        namespaces: Enum.uniq(namespaces(sandbox.net) ++ Keyword.get(opts, :namespaces, [])),
        init: true,
        uid_map: [{@id, uid, 1}],
        gid_map: [{@id, gid, 1}],
        setup: Enum.map(operations, &{:mount, &1}),
        confine: landlock,
        env: env,
        no_new_privs: true,
        rlimits: Keyword.merge(rlimits, Keyword.get(opts, :rlimits, [])),
        seccomp: filters ++ List.wrap(opts[:seccomp])
      ]

      defaults = [
        hostname: sandbox.hostname,
        loopback: sandbox.net == :loopback,
        cwd: @home,
        umask: 0o022,
        capabilities: [keep: sandbox.caps]
      ]

      # One without limits is one.
      defaults = if cgroup, do: [cgroup: cgroup] ++ defaults, else: defaults

      given = Keyword.drop(opts, [:user, :group, :groups, :mounts | Keyword.keys(fixed)])
      {:ok, defaults |> Keyword.merge(given) |> Keyword.merge(fixed)}
    end
  end

  defp parse(:strict), do: {:ok, @strict}

  defp parse(opts) do
    with true <- Keyword.keyword?(opts),
         nil <- Enum.find(opts, fn {key, value} -> not option?(key, value) end) do
      # As in `Keyword.get/2`, the first of several values counts.
      {:ok, Map.merge(@strict, opts |> Enum.reverse() |> Map.new())}
    else
      false -> {:error, {:bad_sandbox, opts}}
      wrong -> {:error, {:bad_sandbox, wrong}}
    end
  end

  # What other options may not say: what a sandbox is, and what is merged with its own and has to be a list for that.
  defp beside(opts) do
    case Enum.find(opts, fn {key, value} -> not beside?(key, value) end) do
      nil -> :ok
      {key, _value} = wrong when key in @settled -> {:error, {:bad_sandbox, wrong}}
      {key, value} -> {:error, {:"bad_#{key}", value}}
    end
  end

  defp beside?(key, value) when key in [:init, :no_new_privs], do: value == true
  defp beside?(key, _value) when key in @settled, do: false
  defp beside?(:env, env), do: env == nil or env?(env)
  defp beside?(:namespaces, namespaces), do: proper?(namespaces)
  defp beside?(:seccomp, filters), do: not is_list(filters) or proper?(filters)
  defp beside?(:rlimits, limits), do: Keyword.keyword?(limits)
  defp beside?(:hostname, name), do: hostname?(name)
  defp beside?(_key, _value), do: true

  defp option?(key, paths) when key in [:read, :write],
    do: proper?(paths) and Enum.all?(paths, &bind?/1)

  defp option?(:root, path), do: path?(path)
  defp option?(:net, net), do: net in [:loopback, :none, :host]
  defp option?(:env, env), do: env?(env)
  defp option?(:files, most), do: is_integer(most) and most > 0
  defp option?(key, size) when key in [:tmp, :home], do: size in 1..@largest
  defp option?(key, :infinity) when key in [:memory, :pids], do: true
  defp option?(key, most) when key in [:memory, :pids], do: is_integer(most) and most > 0
  defp option?(:cpu, cpu), do: is_number(cpu) and cpu >= 0.01
  defp option?(:cgroup, cgroup), do: cgroup in [true, false, :require]
  defp option?(:seccomp, filters), do: not is_list(filters) or proper?(filters)
  defp option?(:caps, caps), do: is_list(caps)
  defp option?(:landlock, landlock), do: landlock in [true, false, :require]
  defp option?(:hostname, name), do: hostname?(name)
  defp option?(_unknown, _value), do: false

  # The root is another option, and in what is being made nothing leads up.
  defp bind?({path, inside}) do
    case Operation.term({:bind, path, inside}) do
      {:ok, bind} -> not Operation.new_root?(bind)
      {:error, _mistake} -> false
    end
  end

  defp bind?(path), do: bind?({path, path})

  defp path?(path), do: match?("/" <> _, path) and CString.valid?(path)

  defp hostname?(name), do: is_binary(name) and name =~ @hostname

  # Names of variables, or pairs; what is in these is looked at when they come together.
  defp env?(env) when is_map(env), do: not is_struct(env)
  defp env?(env), do: proper?(env) and Enum.all?(env, &(not is_binary(&1) or CString.valid?(&1)))

  defp proper?(list), do: is_list(list) and not List.improper?(list)

  # What the caller shares is what the names lead to now, and nothing that somebody puts there later.
  defp resolve(sandbox) do
    with {:ok, read} <- resolve_all(sandbox.read),
         {:ok, write} <- resolve_all(sandbox.write),
         {:ok, root} <- resolve_path(sandbox.root) do
      {:ok, %{sandbox | read: read, write: write, root: root}}
    end
  end

  defp resolve_all(binds) do
    Enum.reduce_while(binds, {:ok, []}, fn bind, {:ok, resolved} ->
      {path, inside} = if is_tuple(bind), do: bind, else: {bind, bind}

      case resolve_path(path) do
        {:ok, path} -> {:cont, {:ok, resolved ++ [{path, inside}]}}
        error -> {:halt, error}
      end
    end)
  end

  defp resolve_path(nil), do: {:ok, nil}

  defp resolve_path(path) do
    with {:error, link} <- Linx.Sandbox.Path.resolve(path),
         do: {:error, {:bad_sandbox, {:untrusted_link, link}}}
  end

  # The root is the sandbox's.
  defp mounts(mounts) do
    with {:ok, operations} <- Mount.terms(mounts) do
      if :pivot_root in operations, do: {:error, {:bad_mounts, "/"}}, else: {:ok, operations}
    end
  end

  defp namespaces(:host), do: @namespaces
  defp namespaces(_own), do: @namespaces ++ [:net]

  # Whom the host takes the program for.
  defp outside(opts) do
    {uid, gid} = Credentials.own()

    with {:ok, user} <- named(:user, opts), {:ok, group} <- named(:group, opts) do
      case {user, group} do
        {nil, group} when uid == 0 -> {:ok, {@nobody, group || @nobody}}
        {nil, group} -> {:ok, {uid, group || gid}}
        {{uid, primary}, group} -> {:ok, {uid, group || primary || @nobody}}
      end
    end
  end

  defp named(key, opts) do
    case Keyword.fetch(opts, key) do
      :error ->
        {:ok, nil}

      {:ok, name} ->
        with :error <- apply(Credentials, key, [name]), do: {:error, {:"bad_#{key}", name}}
    end
  end

  defp environment(_more, [<<_, _::binary>> | _] = whole), do: {:ok, whole}

  defp environment(more, given) do
    base = %{
      "PATH" => @path,
      "HOME" => @home,
      "USER" => "sandbox",
      "LANG" => "C.UTF-8",
      "TERM" => System.get_env("TERM", "dumb")
    }

    own = if Enum.any?(more, &is_binary/1), do: System.get_env(), else: %{}

    pairs =
      Enum.flat_map(more, fn
        name when is_binary(name) -> for value <- [own[name]], value, do: {name, value}
        pair -> [pair]
      end)

    with {:error, offending} <-
           Environment.over(base, pairs ++ Enum.to_list(given || [])),
         do: {:error, {:bad_env, offending}}
  end

  # It is the same each time.
  defp filters(nil) do
    with nil <- :persistent_term.get({__MODULE__, :filters}, nil),
         {:ok, filter} <- Seccomp.default() do
      :persistent_term.put({__MODULE__, :filters}, {:ok, [filter]})
      {:ok, [filter]}
    end
  end

  defp filters(false), do: {:ok, []}
  defp filters(filters), do: {:ok, List.wrap(filters)}

  # Beneath the caller's: a program may do what both allow.
  defp landlock(%{landlock: false}, _mounts), do: {:ok, []}

  defp landlock(sandbox, mounts) do
    given = for {_path, inside} <- sandbox.write, do: inside
    writable = Root.writable() ++ given ++ Root.written_to(mounts)

    Landlock.steps(
      read: ["/"],
      execute: ["/"],
      write: writable,
      scope: [:abstract_unix_socket, :signal],
      require: sandbox.landlock == :require
    )
  end
end
