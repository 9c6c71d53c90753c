defmodule Linx.Mount.Entry do
  @moduledoc """
  A mount, as a process sees it: one line of `/proc/<pid>/mountinfo`, proc_pid_mountinfo(5).

    * `:id` – its number, which may be another's when it is gone;
    * `:parent` – the number of what it is mounted on; of the first one, one that there is not;
    * `:device` – `{major, minor}` of its files;
    * `:root` – the directory or file of the file system that is mounted, `"/"` for all of it;
    * `:target` – where it is, seen from the root of the process;
    * `:options` – what is said of this mount: `[:read_only, :nosuid, :relatime]`, with the names that
      `Linx.Mount` has, in the order of the kernel; what it has no name for is a string;
    * `:propagation` – how it hears of mounts below its peers, and they of those below it: `:private`,
      `:unbindable`, or a list of `{:shared, group}`, `{:master, group}` and `{:propagate_from, group}`;
    * `:type` – the type of the file system, such as `"ext4"`;
    * `:source` – what the file system says it is on;
    * `:super_options` – what is said of the file system: `["rw", "size=64k"]`.
  """

  @enforce_keys [:id, :parent, :device, :root, :target, :options, :propagation] ++
                  [:type, :source, :super_options]
  defstruct @enforce_keys

  @type propagation ::
          :private
          | :unbindable
          | [{:shared | :master | :propagate_from, pos_integer}, ...]

  @type t :: %__MODULE__{
          id: non_neg_integer,
          parent: non_neg_integer,
          device: {non_neg_integer, non_neg_integer},
          root: String.t(),
          target: String.t(),
          options: [atom | String.t()],
          propagation: propagation,
          type: String.t(),
          source: String.t(),
          super_options: [String.t()]
        }

  @options %{
    "ro" => :read_only,
    "nosuid" => :nosuid,
    "nodev" => :nodev,
    "noexec" => :noexec,
    "nosymfollow" => :nosymfollow,
    "nodiratime" => :nodiratime,
    "noatime" => :noatime,
    "relatime" => :relatime
  }

  @doc false
  @spec parse(String.t()) :: t
  def parse(line) do
    # Before the dash are as many fields of propagation as there are.
    [mount, file_system] = String.split(line, " - ", parts: 2)
    [id, parent, device, root, target, options | propagation] = String.split(mount, " ")
    [type, source, super_options] = String.split(file_system, " ", parts: 3)
    [major, minor] = String.split(device, ":")

    %__MODULE__{
      id: String.to_integer(id),
      parent: String.to_integer(parent),
      device: {String.to_integer(major), String.to_integer(minor)},
      root: unescape(root),
      target: unescape(target),
      options: for(name <- String.split(options, ","), name != "rw", do: option(name)),
      propagation: propagation(propagation),
      type: unescape(type),
      source: unescape(source),
      super_options: super_options |> String.split(",") |> Enum.map(&unescape/1)
    }
  end

  defp option(name), do: Map.get(@options, name, name)

  defp propagation([]), do: :private
  defp propagation(["unbindable" | _]), do: :unbindable

  defp propagation(fields) do
    for field <- fields, group = group(field), do: group
  end

  defp group("shared:" <> group), do: {:shared, String.to_integer(group)}
  defp group("master:" <> group), do: {:master, String.to_integer(group)}
  defp group("propagate_from:" <> group), do: {:propagate_from, String.to_integer(group)}
  # The kernel may come to say more.
  defp group(_other), do: nil

  # The kernel writes space, tab, newline, backslash and some more as three octal digits.
  @doc false
  @spec unescape(String.t()) :: String.t()
  def unescape(text), do: text |> unescaped() |> IO.iodata_to_binary()

  defp unescaped(text) do
    case :binary.split(text, "\\") do
      [before, <<a, b, c, rest::binary>>] when a in ?0..?3 and b in ?0..?7 and c in ?0..?7 ->
        [before, (a - ?0) * 64 + (b - ?0) * 8 + c - ?0 | unescaped(rest)]

      [before, rest] ->
        [before, ?\\ | unescaped(rest)]

      [all] ->
        [all]
    end
  end
end
