defmodule Linx.Test.Terms do
  @moduledoc false

  # Types of terms for properties: any term that the BEAM can encode, and those of the agent's wire.

  @compile {:no_warn_undefined, :proper_types}

  import Bitwise
  import Linx.Test.Property, only: [map: 2]

  alias :proper_types, as: Type

  @namespaces [:net, :mount, :pid, :uts, :ipc, :user, :cgroup, :time]

  # Any term

  @doc "Any term, some of which look like those of the wire."
  def term, do: Type.resize(10, term(3))

  defp term(0), do: leaf()

  defp term(levels) do
    inner = Type.lazy(fn -> term(levels - 1) end)

    Type.frequency([
      {4, leaf()},
      {2, few(inner)},
      {1, map({few(inner), inner}, fn {list, tail} -> list ++ tail end)},
      {2, map(few(inner), &List.to_tuple/1)},
      {2,
       map({few(inner), few(inner)}, fn {keys, values} ->
         keys |> Enum.zip(values) |> Map.new()
       end)},
      {1, map(inner, &fn -> &1 end)},
      {1, Type.lazy(fn -> request(leaf()) end)},
      {1, Type.lazy(&command/0)}
    ])
  end

  defp leaf do
    Type.frequency([
      {4, integer()},
      {4, atom()},
      {2, Type.float()},
      {3, Type.binary()},
      {1, Type.bitstring()},
      {2, charlist()},
      {2, Type.elements([[], {}, %{}, "", [[]], {{}}])},
      {3, map(Type.elements(strange()), & &1)}
    ])
  end

  # Terms that mean something to a BEAM only: its own, and of a node that has never been there.
  defp strange do
    node = <<119, 8, "far@away">>

    far =
      for bytes <- [
            <<88, node::binary, 1::32, 2::32, 3::32>>,
            <<90, 3::16, node::binary, 1::32, 2::32, 3::32, 4::32>>,
            <<89, node::binary, 1::32, 2::32>>,
            <<120, node::binary, 1::64, 2::32>>
          ],
          do: :erlang.binary_to_term(<<131, bytes::binary>>)

    far ++ [self(), make_ref(), hd(Port.list()), &Enum.map/2, &__MODULE__.term/0, 0.0, -0.0]
  end

  defp few(type), do: Type.resize(6, Type.list(type))

  @doc "An integer of any width, often at the edge of one."
  def integer do
    edge =
      map(
        {Type.elements([7, 8, 15, 16, 31, 32, 59, 63, 64, 100, 2039, 2040, 4000]), edge_offset()},
        fn
          {bits, offset} -> (1 <<< bits) + offset
        end
      )

    Type.frequency([
      {4, Type.integer()},
      {3, edge},
      {1, map(edge, &(-&1))}
    ])
  end

  defp edge_offset, do: Type.choose(-2, 2)

  @doc "An integer from 0 to 2^`bits` - 1, often at an edge."
  def unsigned(bits) do
    map(integer(), &(abs(&1) &&& (1 <<< bits) - 1))
  end

  defp signed(bits), do: map(unsigned(bits), &(&1 - (1 <<< (bits - 1))))

  @doc "An atom, of which only a few exist."
  def atom do
    Type.elements([
      :argv,
      :spawn,
      :proceed,
      :pty,
      :kill,
      true,
      false,
      nil,
      :"",
      :ünïcode,
      :日本,
      :Ω,
      :"with space",
      String.to_atom(String.duplicate("x", 255)),
      String.to_atom(String.duplicate("é", 255))
    ])
  end

  # Requests

  @doc "A request with any of its keys, and with others."
  def request, do: request(term())

  defp request(anything) do
    keys = [
      argv: Type.non_empty(few(string())),
      chain: few(Type.non_empty(few(string()))),
      arg0: string(),
      env: few(string()),
      cwd: string(),
      namespaces: few(Type.elements(@namespaces)),
      target: map(unsigned(31), &max(&1, 1)),
      stdio: stdio(),
      files: few({string(), Type.binary(), unsigned(12)}),
      no_new_privs: Type.boolean(),
      orphan: leftover(),
      descendants: leftover(),
      causes: Type.boolean(),
      usage: Type.boolean(),
      winsize: {unsigned(16), unsigned(16), unsigned(16), unsigned(16)},
      uid: id(),
      gid: id(),
      groups: few(id()),
      uid_map: map_lines(),
      gid_map: map_lines(),
      setgroups: Type.elements([:allow, :deny]),
      mapped_by: Type.elements([:agent, :beam]),
      init: Type.boolean(),
      cgroup: string(),
      setup: few(setup()),
      confine: few(confinement()),
      credit: unsigned(32),
      output: Type.elements([:exit, :eof])
    ]

    present = for {key, value} <- keys, do: often(key, {key, value})
    other = {Type.elements([:colour, :"", :ünïcode, :owner, :grace]), anything}
    others = few(other)

    modes = Type.elements([:spawn, :spawn, :enter])
    fitting? = Type.frequency([{3, true}, {1, false}])

    map({modes, present, others, fitting?}, fn {mode, present, others, fitting?} ->
      request = {mode, Map.new(List.flatten(present) ++ others)}
      if fitting?, do: fit(request), else: request
    end)
  end

  # With the namespaces of its own that some keys need.
  defp fit({_mode, keys}) when is_map_key(keys, :uid_map) or is_map_key(keys, :gid_map),
    do: {:spawn, fresh(keys, [:user, :pid])}

  defp fit({_mode, %{init: true} = keys}), do: {:spawn, fresh(keys, [:pid])}
  defp fit(request), do: request

  defp fresh(keys, types), do: Map.update(keys, :namespaces, types, &(&1 ++ types))

  defp often(:argv, entry), do: Type.frequency([{20, entry}, {1, []}])

  defp often(key, entry) when key in [:uid_map, :gid_map],
    do: Type.frequency([{3, []}, {1, entry}])

  defp often(_key, entry), do: Type.oneof([[], entry])

  defp id, do: map(unsigned(32), &min(&1, 0xFFFF_FFFE))

  defp map_lines do
    line = {unsigned(32), unsigned(32), unsigned(32)}
    # As many as there may be, and one more.
    many =
      map({Type.elements([340, 341]), {0, 1000, 1}}, fn {n, line} -> List.duplicate(line, n) end)

    Type.frequency([{20, Type.non_empty(few(line))}, {1, many}])
  end

  @doc "What changes the place of a workload."
  def setup do
    offsets = {:time_offsets, signed(64), signed(64)}
    Type.oneof([:loopback, {:hostname, Type.binary()}, offsets, {:mount, mount()}])
  end

  defp mount do
    Type.oneof([
      {:bind, path(), target(), mount_flags()},
      {:file_system, path(), path(), target(), few(mount_option()), mount_flags()},
      {:propagation, target(), Type.elements([:private, :slave, :shared, :unbindable]),
       few(:recursive)},
      {:attributes, target(), mount_flags()},
      {:unmount, target(), few(:detach)},
      {:make_directory, target(), mode()},
      {:make_file, target(), mode(), Type.binary()},
      {:symlink, target(), path()},
      :pivot_root
    ])
  end

  # Mostly one, with names and with what leads nowhere.
  defp target do
    name = Type.frequency([{30, c_string()}, {5, Type.elements(["", ".", "..."])}, {1, ".."}])
    root = Type.frequency([{60, "/"}, {5, "//"}, {1, ""}])
    map({root, few(name)}, fn {root, names} -> root <> Enum.join(names, "/") end)
  end

  defp path, do: Type.frequency([{30, map(c_string(), &("/" <> &1))}, {1, c_string()}])

  defp mount_option, do: Type.oneof([path(), {path()}, {path(), c_string()}])

  defp mount_flags do
    attributes = [:read_only, :nosuid, :nodev, :noexec, :nosymfollow, :nodiratime]
    times = [:relatime, :noatime, :strictatime]
    few(Type.elements(attributes ++ times ++ [:recursive, :optional, :make]))
  end

  defp mode, do: Type.choose(0, 0o10000)

  @doc "What takes something from a workload."
  def confinement do
    Type.oneof([
      :no_new_privs,
      {Type.elements([:nice, :oom_score_adj]), signed(32)},
      {Type.elements([:cpu_affinity, :seccomp]), Type.binary()},
      {Type.elements([:umask, :securebits]), unsigned(32)},
      {:rlimit, unsigned(4), unsigned(64), unsigned(64)},
      {:cap_drop_bounding, unsigned(64)},
      {:cap_set_thread, unsigned(64), unsigned(64), unsigned(64)},
      {:cap_set_ambient, unsigned(64)},
      {:landlock, unsigned(32), few(landlocked()), few(landlock_rule())}
    ])
  end

  defp landlocked do
    Type.elements([:fs, :connect_tcp, :bind_tcp, :abstract_unix_socket, :signal])
  end

  defp landlock_rule do
    Type.oneof([
      {Type.elements([:path, :optional_path]), c_string(),
       few(Type.elements([:read, :write, :execute]))},
      {Type.elements([:connect_tcp, :bind_tcp]), unsigned(16)}
    ])
  end

  defp leftover, do: Type.elements([:kill, :leave])

  defp stdio do
    modes = few(Type.elements([:read, :write, :append, :exclusive]))
    file = {:file, string(), Type.oneof([[:read], [:write], [:append], modes])}
    directive = Type.oneof([:inherit, :devnull, :pipe, {:connect_unix, string()}, file])
    each = {Type.elements([:stdin, :stdout, :stderr]), directive}
    Type.oneof([:pty, :inherit, :devnull, :pipe, few(Type.oneof([each, {:stderr, :stdout}]))])
  end

  @doc "A string of the kernel's in any form that the wire has for it."
  def string do
    Type.frequency([
      {300, c_string()},
      {150, map(c_string(), &:binary.bin_to_list/1)},
      # Too long for the short form of a list of bytes.
      {1, map(Type.choose(65_530, 65_540), &List.duplicate(?x, &1))}
    ])
  end

  @doc "Bytes without a NUL."
  def c_string, do: map(Type.binary(), &:binary.replace(&1, <<0>>, <<255>>, [:global]))

  defp charlist, do: map(Type.binary(), &:binary.bin_to_list/1)

  # Commands

  @doc "A command, called or not."
  def command do
    Type.frequency([
      {2, plain_command()},
      {1, {:call, unsigned(64), plain_command()}}
    ])
  end

  @doc "A command that is not in a call."
  def plain_command do
    Type.oneof([
      Type.elements([:proceed, :mapped, :abort, :pty_master, :close_stdin]),
      {:signal, signed(32)},
      {:signal, signed(32), Type.elements([:process, :group, :tree])},
      {:stop, unsigned(64)},
      {:stop, unsigned(64), signed(32)},
      {Type.elements([:pty_in, :stdin]), Type.binary()},
      {:credit, Type.elements([:stdout, :stderr, :pty, :stdin]), unsigned(33)},
      {:pty_winsize, {unsigned(17), unsigned(17), integer(), unsigned(16)}},
      {:cap_drop_bounding, unsigned(64)},
      {:cap_set_thread, unsigned(64), unsigned(64), unsigned(64)},
      {:cap_set_ambient, unsigned(64)},
      {:seccomp_install, Type.binary()},
      {:setup, setup()},
      {:confine, confinement()}
    ])
  end

  # What has become of them

  @doc "Terms of `type`, in each of which a term from `other` has taken the place of a part."
  def grafted(type, other) do
    map({type, other, Type.non_neg_integer()}, fn {term, other, place} ->
      {grafted, _place} = graft(term, other, rem(place, parts(term)))
      grafted
    end)
  end

  # A term is its own first part; `place` counts down to the one that is replaced.
  defp graft(_term, other, 0), do: {other, -1}
  defp graft(term, _other, place) when place < 0, do: {term, place}

  defp graft(term, other, place) do
    {inner, place} = Enum.map_reduce(inner(term), place - 1, &graft(&1, other, &2))
    {rebuild(term, inner), place}
  end

  defp parts(term), do: 1 + (term |> inner() |> Enum.map(&parts/1) |> Enum.sum())

  defp inner(tuple) when is_tuple(tuple), do: Tuple.to_list(tuple)
  defp inner(map) when is_map(map), do: Enum.flat_map(:maps.to_list(map), &Tuple.to_list/1)
  # A list of bytes is one thing, and improper lists are nobody's.
  defp inner([_ | _] = list) when length(list) >= 0, do: if(bytes?(list), do: [], else: list)
  defp inner(_leaf), do: []

  defp bytes?(list), do: Enum.all?(list, &(is_integer(&1) and &1 in 0..255))

  defp rebuild(tuple, inner) when is_tuple(tuple), do: List.to_tuple(inner)

  defp rebuild(map, inner) when is_map(map),
    do: inner |> Enum.chunk_every(2) |> Map.new(&List.to_tuple/1)

  defp rebuild([_ | _] = list, inner), do: if(inner == [], do: list, else: inner)
  defp rebuild(leaf, []), do: leaf

  @doc "Bytes in which some have been changed, inserted or taken out, or the end cut off."
  def damaged(bytes) do
    damage =
      {Type.elements([:change, :insert, :delete, :cut]), Type.non_neg_integer(), Type.byte()}

    map({bytes, Type.non_empty(few(damage))}, fn {bytes, damages} ->
      Enum.reduce(damages, bytes, &damage/2)
    end)
  end

  defp damage(_damage, ""), do: ""

  defp damage({how, place, byte}, bytes) do
    place = rem(place, byte_size(bytes))
    <<before::binary-size(place), old, rest::binary>> = bytes

    case how do
      :change -> <<before::binary, byte, rest::binary>>
      :insert -> <<before::binary, byte, old, rest::binary>>
      :delete -> before <> rest
      :cut -> before
    end
  end
end
