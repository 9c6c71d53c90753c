defmodule Linx.Mount.Operation do
  @moduledoc false

  # What is said in the words of `Linx.Mount`, in those of the agent (docs/wire-protocol.md). All that can be
  # found wrong without the kernel is found here.

  alias Linx.Process.CString

  @type mistake :: {:bad_path | :bad_mount_options | :bad_mount, term}

  @attributes [:read_only, :nosuid, :nodev, :noexec, :nosymfollow, :nodiratime]
  @times [:relatime, :noatime, :strictatime]

  # What file systems are not to have, as long as nobody says otherwise.
  @plain [nosuid: true, nodev: true]
  @kernel [nosuid: true, nodev: true, noexec: true]
  @terminals [nosuid: true, noexec: true]

  # The longest path, and the longest value of an option, without their zeroes.
  @max_path 4095
  @max_value 255
  # What the agent takes.
  @max_data 32_768

  @doc "The term for an operation."
  @spec term(term) :: {:ok, term} | {:error, mistake}
  def term({:bind, source, target}), do: term({:bind, source, target, []})

  def term({:bind, source, target, opts}) do
    with :ok <- source(source),
         :ok <- target(target),
         {:ok, flags} <-
           flags(opts, [:recursive, :optional, :make, :no_symlinks], recursive: true) do
      {:ok, {:bind, source, target, flags}}
    end
  end

  def term({:tmpfs, target}), do: term({:tmpfs, target, []})

  def term({:tmpfs, target, opts}) do
    file_system("tmpfs", target, opts, @plain,
      size: &size/1,
      inodes: {"nr_inodes", &size/1},
      mode: &mode/1
    )
  end

  def term(:proc), do: term({:proc, "/proc"})
  def term({:proc, target}), do: term({:proc, target, []})

  def term({:proc, target, opts}) do
    file_system("proc", target, opts, @kernel, hidepid: &hidden/1, subset: &subset/1)
  end

  def term(:sysfs), do: term({:sysfs, "/sys"})
  def term({:sysfs, target}), do: term({:sysfs, target, []})
  def term({:sysfs, target, opts}), do: file_system("sysfs", target, opts, @kernel, [])

  def term({:mqueue, target}), do: term({:mqueue, target, []})
  def term({:mqueue, target, opts}), do: file_system("mqueue", target, opts, @kernel, [])

  def term({:devpts, target}), do: term({:devpts, target, []})

  def term({:devpts, target, opts}) do
    with {:ok, {_, _, _, _, options, _} = term} <-
           file_system("devpts", target, opts, @terminals,
             mode: &mode/1,
             ptmxmode: &mode/1,
             gid: &id/1
           ) do
      # A terminal of the host's is none of ours.
      usual =
        for {"ptmxmode", _} = mode <- [{"ptmxmode", "0666"}], not has?(options, mode), do: mode

      {:ok, put_elem(term, 4, ["newinstance" | usual] ++ options)}
    end
  end

  def term({:overlay, target, opts}) do
    file_system("overlay", target, opts, [],
      lower: {"lowerdir", &layers/1},
      upper: {"upperdir", &layer/1},
      work: {"workdir", &layer/1},
      userxattr: &flag/1
    )
  end

  def term({:file_system, type, target}), do: term({:file_system, type, target, []})

  def term({:file_system, type, target, opts}) do
    if CString.valid?(type) and type != "",
      do: file_system(type, target, opts, [], []),
      else: {:error, {:bad_mount, {:file_system, type, target, opts}}}
  end

  def term({:propagation, target, how}), do: term({:propagation, target, how, []})

  def term({:propagation, target, how, opts})
      when how in [:private, :slave, :shared, :unbindable] do
    with :ok <- target(target),
         {:ok, flags} <- only(opts, :recursive) do
      {:ok, {:propagation, target, how, flags}}
    end
  end

  def term({:read_only, target}), do: term({:read_only, target, []})

  def term({:read_only, target, opts}) do
    with {:ok, opts} <- pairs(opts), do: term({:attributes, target, [read_only: true] ++ opts})
  end

  def term({:attributes, target, opts}) do
    with :ok <- target(target),
         {:ok, flags} <- flags(opts, [:recursive], recursive: true) do
      {:ok, {:attributes, target, flags}}
    end
  end

  def term({:unmount, target}), do: term({:unmount, target, []})

  def term({:unmount, target, opts}) do
    with :ok <- target(target), {:ok, flags} <- only(opts, :detach) do
      {:ok, {:unmount, target, flags}}
    end
  end

  def term({:make_directory, target}), do: term({:make_directory, target, []})

  def term({:make_directory, target, opts}) do
    with :ok <- target(target), {:ok, mode} <- permissions(opts, 0o755) do
      {:ok, {:make_directory, target, mode}}
    end
  end

  def term({:make_file, target, data}), do: term({:make_file, target, data, []})

  def term({:make_file, target, data, opts})
      when is_binary(data) and byte_size(data) <= @max_data do
    with :ok <- target(target), {:ok, mode} <- permissions(opts, 0o644) do
      {:ok, {:make_file, target, mode, data}}
    end
  end

  def term({:symlink, target, content}) do
    with :ok <- target(target) do
      if path?(content),
        do: {:ok, {:symlink, target, content}},
        else: {:error, {:bad_path, content}}
    end
  end

  def term(:pivot_root), do: {:ok, :pivot_root}
  def term(other), do: {:error, {:bad_mount, other}}

  @doc "Where the operation puts a new root."
  @spec new_root?(term) :: boolean
  def new_root?({:bind, _source, target, _flags}), do: root?(target)
  def new_root?({:file_system, _, _, target, _, _}), do: root?(target)
  def new_root?(_other), do: false

  defp root?(target), do: Path.split(target) -- ["/", "."] == []

  defp file_system(type, target, opts, defaults, known) do
    with :ok <- target(target),
         {:ok, opts} <- pairs(opts),
         {own, common} = Keyword.split(opts, [:source, :options | Keyword.keys(known)]),
         {:ok, flags} <- flags(common, [:make], defaults),
         {:ok, options} <- options(own, known) do
      {:ok, {:file_system, type, Keyword.get(own, :source, type), target, options, flags}}
    end
  end

  # What a file system takes, as it wants it written.
  defp options(own, known) do
    Enum.reduce_while(own, {:ok, []}, fn {key, value}, {:ok, options} ->
      case option(key, value, known[key]) do
        {:ok, more} -> {:cont, {:ok, options ++ more}}
        :error -> {:halt, {:error, {:bad_mount_options, [{key, value}]}}}
      end
    end)
  end

  defp option(:source, source, nil), do: if(path?(source), do: {:ok, []}, else: :error)

  defp option(:options, options, nil) when length(options) >= 0 do
    if Enum.all?(options, &raw?/1), do: {:ok, options}, else: :error
  end

  defp option(_key, _value, nil), do: :error
  defp option(_key, value, {name, write}), do: named(name, write.(value))
  defp option(key, value, write), do: named(Atom.to_string(key), write.(value))

  defp named(_name, :error), do: :error
  defp named(name, true), do: {:ok, [name]}
  defp named(_name, false), do: {:ok, []}

  defp named(name, value) do
    if byte_size(value) <= @max_value, do: {:ok, [{name, value}]}, else: :error
  end

  defp raw?({name, value}),
    do: raw?(name) and CString.valid?(value) and byte_size(value) <= @max_value

  defp raw?(name), do: path?(name)

  defp has?(options, {name, _value}), do: Enum.any?(options, &match?({^name, _}, &1))

  defp size(bytes) when is_integer(bytes) and bytes > 0, do: Integer.to_string(bytes)
  defp size(_other), do: :error

  defp mode(mode) when mode in 0..0o7777, do: "0" <> Integer.to_string(mode, 8)
  defp mode(_other), do: :error

  defp id(id) when id in 0..0xFFFF_FFFE, do: Integer.to_string(id)
  defp id(_other), do: :error

  defp flag(value) when is_boolean(value), do: value
  defp flag(_other), do: :error

  defp hidden(level) when level in 0..2, do: Integer.to_string(level)
  defp hidden(:ptraceable), do: "4"
  defp hidden(_other), do: :error

  defp subset(:pid), do: "pid"
  defp subset(_other), do: :error

  defp layers([_ | _] = layers) when length(layers) > 0 do
    if Enum.all?(layers, &layer?/1), do: Enum.map_join(layers, ":", &escape/1), else: :error
  end

  defp layers(layer), do: if(layer?(layer), do: escape(layer), else: :error)
  defp layer(layer), do: if(layer?(layer), do: layer, else: :error)
  defp layer?(layer), do: source(layer) == :ok

  # Between layers is a colon.
  defp escape(layer), do: String.replace(layer, ["\\", ":"], &("\\" <> &1))

  # What is common to all mounts.
  defp flags(opts, known, defaults) do
    with {:ok, opts} <- pairs(opts) do
      wrong = Enum.reject(opts, fn {key, value} -> flag?(key, value, known) end)
      opts = Keyword.merge(defaults, opts)

      if wrong == [] do
        flags = for {key, true} <- opts, do: key
        {:ok, Enum.uniq(flags ++ for({:atime, time} <- opts, do: time))}
      else
        {:error, {:bad_mount_options, wrong}}
      end
    end
  end

  defp flag?(:atime, value, _known), do: value in @times
  defp flag?(key, value, known), do: key in (@attributes ++ known) and is_boolean(value)

  defp only(opts, key) do
    with {:ok, opts} <- pairs(opts) do
      case Enum.reject(opts, fn {known, value} -> known == key and is_boolean(value) end) do
        [] -> {:ok, if(opts[key], do: [key], else: [])}
        wrong -> {:error, {:bad_mount_options, wrong}}
      end
    end
  end

  defp permissions(opts, default) do
    with {:ok, opts} <- pairs(opts) do
      case Enum.reject(opts, fn {key, value} -> key == :mode and value in 0..0o7777 end) do
        [] -> {:ok, Keyword.get(opts, :mode, default)}
        wrong -> {:error, {:bad_mount_options, wrong}}
      end
    end
  end

  # An atom alone is set.
  defp pairs(opts) when length(opts) >= 0 do
    pairs = Enum.map(opts, fn opt -> if is_atom(opt), do: {opt, true}, else: opt end)
    if Keyword.keyword?(pairs), do: {:ok, pairs}, else: {:error, {:bad_mount_options, opts}}
  end

  defp pairs(other), do: {:error, {:bad_mount_options, other}}

  defp source("/" <> _ = path), do: if(path?(path), do: :ok, else: {:error, {:bad_path, path}})
  defp source(other), do: {:error, {:bad_path, other}}

  defp target(path) do
    with :ok <- source(path) do
      if ".." in Path.split(path), do: {:error, {:bad_path, path}}, else: :ok
    end
  end

  defp path?(path), do: CString.valid?(path) and byte_size(path) in 1..@max_path
end
