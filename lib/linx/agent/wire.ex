defmodule Linx.Agent.Wire do
  @moduledoc false

  # The language of the agent: frames of External Term Format and what they mean, as
  # docs/wire-protocol.md specifies.
  #
  # Data that comes in is checked here, so that the rest of Linx meets no other shapes than the
  # types below.

  @type mask :: non_neg_integer

  @type command ::
          :proceed
          | :abort
          | :mapped
          | {:signal, 1..64}
          | {:signal, 1..64, :process | :group | :tree}
          | {:stop, grace_ms :: non_neg_integer}
          | {:stop, grace_ms :: non_neg_integer, signal :: 1..64}
          | {:stdin, binary}
          | :close_stdin
          | {:credit, :stdout | :stderr | :pty, pos_integer}
          | {:pty_in, binary}
          | {:pty_winsize, {rows :: 0..65535, cols :: 0..65535, 0..65535, 0..65535}}
          | :pty_master
          | {:cap_drop_bounding, mask}
          | {:cap_set_thread, effective :: mask, permitted :: mask, inheritable :: mask}
          | {:cap_set_ambient, mask}
          | {:seccomp_install, binary}
          | {:setup, term}
          | {:confine, term}

  @typedoc "The number of a session of a host."
  @type id :: 0..0x7FFF_FFFF

  @type errno :: integer
  @type stage :: atom

  @type answer :: :ok | {:ok, map} | {:error, errno, stage}

  @typedoc "A death that lies behind an error."
  @type cause :: {:signaled, pos_integer} | {:exited, non_neg_integer} | nil

  @type outcome ::
          {:exited, non_neg_integer}
          | {:signaled, pos_integer}
          | :aborted
          | {:error, errno, stage, cause}

  @type event ::
          {:unmapped, host_pid :: pos_integer}
          | {:spawned, host_pid :: pos_integer}
          | {:ready, child_pid :: pos_integer}
          | :running
          | {:pty_out, binary}
          | {:stdout, binary}
          | {:stderr, binary}
          | {:eof, :stdout | :stderr}
          | {:usage, %{atom => non_neg_integer}}
          | {:reply, ref :: non_neg_integer, answer}
          | {:ended, outcome}

  @request_keys [
    :target,
    :argv,
    :chain,
    :env,
    :namespaces,
    :stdio,
    :winsize,
    :uid,
    :gid,
    :groups,
    :cwd,
    :files,
    :usage,
    :no_new_privs,
    :orphan,
    :descendants,
    :origin,
    :arg0,
    :credit,
    :output,
    :uid_map,
    :gid_map,
    :setgroups,
    :mapped_by,
    :init,
    :cgroup,
    :setup,
    :confine
  ]

  # What an agent reads at once. A host that is sent more ends, with all its sessions, and so it is not
  # sent what a host could not tell whose it is.
  @max_frame 8 * 1024 * 1024
  @max_elements 400_000

  # Beside its lists a request has less than this; and so many bytes are its address.
  @few_elements 256
  @address 7

  @emsgsize 90
  @einval 22

  # The agent allows for twice as many.
  @max_id 0x7FFF_FFFF

  # Terms are decoded with `:safe`, which makes no atoms. Naming the stages here makes them.
  @stages [
            :malformed_request,
            :request_too_big,
            :command_too_big,
            :congested,
            :sigprocmask,
            :signalfd,
            :epoll,
            :proc,
            :guardian,
            :subreaper,
            :pipe2,
            :socketpair,
            :mmap,
            :posix_openpt,
            :ptsetup,
            :ptsname,
            :pts_open,
            :clone,
            :fork,
            :close_range,
            :process_group,
            :uid_map,
            :gid_map,
            :setgroups_deny,
            :cgroup,
            :ready_frame,
            :malformed_ready,
            :checkpoint,
            :hostname,
            :loopback,
            :time_offsets,
            :mount_bind,
            :mount_file_system,
            :mount_target,
            :mount_attributes,
            :mount_propagation,
            :mount_unmount,
            :mount_make,
            :pivot_root,
            :nice,
            :oom_score_adj,
            :cpu_affinity,
            :umask,
            :securebits,
            :cap_drop_bounding,
            :cap_set_thread,
            :cap_set_ambient,
            :seccomp_no_new_privs,
            :landlock_abi,
            :landlock_ruleset,
            :landlock_path,
            :landlock_rule,
            :landlock_restrict,
            :seccomp_install,
            :stdio,
            :setgroups,
            :setgid,
            :setuid,
            :chdir,
            :stage_file,
            :setrlimit,
            :death_signal,
            :execve,
            :exec_outcome,
            :running,
            :ended,
            :signal,
            :sweep,
            :pty_in,
            :pty_winsize,
            :pty_master,
            :stdin,
            :unknown
          ] ++
            [
              :open_ns_user,
              :open_ns_mount,
              :open_ns_uts,
              :open_ns_ipc,
              :open_ns_cgroup,
              :open_ns_net,
              :open_ns_time,
              :open_ns_pid,
              :setns_user,
              :setns_mount,
              :setns_uts,
              :setns_ipc,
              :setns_cgroup,
              :setns_net,
              :setns_time,
              :setns_pid
            ]

  # Likewise, in the answer to a Landlock confinement.
  @landlock [:abi, :fs, :net, :scoped]

  # Likewise.
  @usage [:utime, :stime, :maxrss, :minflt, :majflt, :inblock, :oublock, :nvcsw, :nivcsw]

  @doc "Every stage at which the agent may say that something failed."
  @spec stages() :: [stage]
  def stages, do: @stages

  @doc """
  The first frame of a session: what to run, and how. Fields that are `nil` are left out, and so are
  those that do not concern the agent.
  """
  @spec request(:spawn | :enter, map) :: binary
  def request(mode, fields) do
    fields = Map.merge(fields, fields[:confinement] || %{})

    map =
      for {key, value} <- Map.take(fields, @request_keys),
          value != nil,
          into: %{},
          do: {key, value}

    map = if fields[:auto_proceed], do: Map.put(map, :auto_proceed, true), else: map
    encode({mode, Map.put(map, :causes, true)})
  end

  @doc "The same, unless it is larger than an agent reads; the error is what that one would say."
  @spec sendable_request(:spawn | :enter, map) :: {:ok, binary} | {:error, errno, stage}
  def sendable_request(mode, fields) do
    frame = request(mode, fields)

    cond do
      too_big?(frame) -> {:error, @emsgsize, :request_too_big}
      elements(fields) > @max_elements -> {:error, @einval, :malformed_request}
      true -> {:ok, frame}
    end
  end

  @doc "Whether a frame is larger than an agent reads."
  @spec too_big?(binary) :: boolean
  def too_big?(frame), do: byte_size(frame) + @address > @max_frame

  defp elements(fields) do
    # A list is one, and so is its end.
    chain = for argv <- fields[:chain] || [], do: length(argv) + 2

    length(fields.argv) + length(fields.env || []) + length(fields[:groups] || []) +
      4 * length(fields[:files] || []) + Enum.sum(chain) + inner(fields[:confinement]) +
      @few_elements
  end

  # What is in a term, however deep.
  defp inner(map) when is_map(map), do: map |> Map.values() |> inner()
  defp inner(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> inner()
  defp inner([first | rest]), do: 1 + inner(first) + inner(rest)
  defp inner(_leaf), do: 1

  @doc "A frame for one of a host's sessions."
  @spec address(id, binary) :: iodata
  def address(id, <<131, term::binary>>) do
    <<131, number::binary>> = encode(id)
    [<<131, 104, 2>>, number, term]
  end

  @doc "The greatest number that a session may have."
  @spec max_id() :: id
  def max_id, do: @max_id

  @doc "A command that needs no answer; `:hangup` is one for a host."
  @spec command(command | :hangup) :: binary
  def command(command), do: encode(command)

  @doc "A command whose answer will carry `ref`."
  @spec call(non_neg_integer, command) :: binary
  def call(ref, command), do: encode({:call, ref, command})

  @doc "What the agent says in a frame."
  @spec decode(binary) :: {:ok, event} | :error
  def decode(<<131, term::binary>>), do: with({:ok, :hangup} <- decode_term(term), do: :error)
  def decode(_other), do: :error

  @doc """
  What a host says in a frame, and of which session: an event, or that it has hung up. The error is
  what cannot be understood.
  """
  @spec decode_addressed(binary) :: {:ok, id, event | :hangup} | {:error, id} | :error
  def decode_addressed(<<131, 104, 2, 97, id, term::binary>>), do: decode_of(id, term)

  def decode_addressed(<<131, 104, 2, 98, id::32, term::binary>>) when id <= @max_id,
    do: decode_of(id, term)

  def decode_addressed(_other), do: :error

  defp decode_of(id, term) do
    case decode_term(term) do
      {:ok, event} -> {:ok, id, event}
      :error -> {:error, id}
    end
  end

  # As the agent writes it: what comes in quantities is not copied.
  for source <- [:pty_out, :stdout, :stderr], name = Atom.to_string(source) do
    defp decode_term(
           <<104, 2, 119, unquote(byte_size(name)), unquote(name), 109, size::32,
             bytes::binary-size(size)>>
         ) do
      {:ok, {unquote(source), bytes}}
    end
  end

  defp decode_term(term) do
    <<131, term::binary>> |> :erlang.binary_to_term([:safe]) |> event()
  rescue
    ArgumentError -> :error
  end

  # The same bytes from every release of OTP: those of docs/wire-protocol.md.
  defp encode(term), do: :erlang.term_to_binary(term, [:deterministic, minor_version: 2])

  defp event({:status, :unmapped, pid}) when is_integer(pid), do: {:ok, {:unmapped, pid}}
  defp event({:status, :spawned, pid}) when is_integer(pid), do: {:ok, {:spawned, pid}}
  defp event({:status, :ready, pid}) when is_integer(pid), do: {:ok, {:ready, pid}}
  defp event({:status, :running}), do: {:ok, :running}

  defp event({source, bytes}) when source in [:pty_out, :stdout, :stderr] and is_binary(bytes),
    do: {:ok, {source, bytes}}

  defp event({:eof, source}) when source in [:stdout, :stderr], do: {:ok, {:eof, source}}

  defp event({:reply, ref, answer}) when is_integer(ref) do
    if answer?(answer), do: {:ok, {:reply, ref, answer}}, else: :error
  end

  defp event({:usage, usage}) when is_map(usage) do
    numbers? = Enum.all?(@usage, &match?(%{^&1 => n} when is_integer(n), usage))
    if numbers?, do: {:ok, {:usage, usage}}, else: :error
  end

  defp event({:status, :exited, code}) when is_integer(code), do: {:ok, {:ended, {:exited, code}}}
  defp event({:status, :signaled, n}) when is_integer(n), do: {:ok, {:ended, {:signaled, n}}}
  defp event({:status, :aborted, _child_pid}), do: {:ok, {:ended, :aborted}}
  defp event({:status, :hangup}), do: {:ok, :hangup}
  defp event({:error, errno, stage}), do: event({:error, errno, stage, nil})

  defp event({:error, errno, stage, cause}) when is_integer(errno) and is_atom(stage) do
    if cause?(cause), do: {:ok, {:ended, {:error, errno, stage, cause}}}, else: :error
  end

  defp event(_other), do: :error

  defp answer?(:ok), do: true

  defp answer?({:ok, %{abi: _} = map}),
    do: Enum.all?(@landlock, &match?(%{^&1 => n} when is_integer(n), map))

  defp answer?({:ok, map}), do: is_map(map)
  defp answer?({:error, errno, stage}), do: is_integer(errno) and is_atom(stage)
  defp answer?(_other), do: false

  defp cause?(nil), do: true
  defp cause?({:signaled, n}), do: is_integer(n)
  defp cause?({:exited, code}), do: is_integer(code)
  defp cause?(_other), do: false
end
