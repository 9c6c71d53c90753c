defmodule Linx.Landlock do
  @moduledoc """
  What a program may still do to files, TCP ports and processes that are not its own: landlock(7).

  Rules are given in categories. A category that is not mentioned is not restricted; in one that is,
  everything is forbidden but what is listed.

    * `:read`, `:write`, `:execute` – lists of absolute paths, of files, or of directories with all that is
      beneath them. The three are one category: with any of them, every file that is in none is closed.
      * `:read` – to read files and to list directories;
      * `:write` – to write, truncate, make, link, rename and remove, and to use the ioctls of devices that are
        opened. What is to be read, too, stands in both lists;
      * `:execute` – to run programs. The kernel has them read for that, so it includes `:read`;
    * `:connect_tcp` – a list of ports, of whatever host, to which TCP connections may be made;
    * `:bind_tcp` – a list of ports to which TCP sockets may be bound. 0 is one that the kernel chooses;
    * `:scope` – a list of what stays among the program and those that it starts: `:signal`, signals;
      `:abstract_unix_socket`, connections to Unix sockets with abstract names.

  Beside them there are

    * `:missing` – what becomes of a path that is not there: `:error` (default) or `:skip`;
    * `:require` – what the kernel has to have. `false` (default) is best effort: what it does not know is left
      out. `true` is all of what is asked for, and a number is that version of Landlock, or a later one.

  The same is the value of the option `:landlock` of `Linx.Process`, `Linx.cmd/3` and the others.

  A program needs no privileges to be restricted, and gets none: `no_new_privs` is part of it. As it is, it lasts for
  the program and for all that it starts; another layer can only forbid more.

  ## What a program needs

  A program that is linked dynamically is executed, its loader is executed, and its libraries are read:
  `execute: ["/usr"]` is enough where `/bin` and `/lib` are links to what is in there, `["/usr", "/bin", "/lib", "/lib64"]`
  everywhere. Many want `/dev/null` in `:read` and `:write`, and `/etc` in `:read`.

  Paths are looked up when the program is about to be executed, where it is going to run, and by its user: in its
  namespaces, and behind symbolic links. A rule is about the file that was found, whatever becomes of the name.

  ## What it does not stop

  What is open is open: the standard descriptors of the session are not restricted. Neither are
  `stat`, `chdir`, `chmod`, `chown`, `access`, extended attributes, sockets other than TCP, Unix sockets with a path,
  and whatever changes no file but the system. A rule with a directory holds for what is mounted beneath it.

  ## What kernels know

  | version | Linux | |
  |---|---|---|
  | 1 | 5.13 | files, except what follows; moving files between directories is always forbidden |
  | 2 | 5.19 | moving files between directories can be allowed |
  | 3 | 6.2 | `truncate` |
  | 4 | 6.7 | `:connect_tcp`, `:bind_tcp` |
  | 5 | 6.10 | ioctls of devices |
  | 6 | 6.12 | `:scope` |

  So `require: true` takes version 5 for files, 4 for ports, 6 for the scope. Before version 3 a file can be emptied
  that must not be written.

  ## Errors

  What the kernel refuses is a `Linx.Process.Error`, and the session ends:

    * `:landlock_abi` – `:eopnotsupp`, the kernel is older than `:require` wants it; `:enosys` or `:eopnotsupp`, it has no Landlock;
    * `:landlock_path` – a path cannot be opened: `:enoent`, `:eacces` …;
    * `:landlock_rule` – `:ebadfd`, a path leads to what is in no file system, such as a pipe in `/proc/self/fd`;
    * `:landlock_ruleset`, `:landlock_restrict` – `:e2big` behind 16 other layers, and for more than 32 KiB of rules at the
      checkpoint; else for want of memory.

  A mistake is `{:error, {:bad_landlock, {key, value}}}`, with a key that there is not, or the part of a value that is
  wrong; and `{:error, {:bad_landlock, rules}}` when they are no keyword list.
  """

  alias Linx.Landlock.Enforced
  alias Linx.Process.{Checkpoint, CString, Error, Options, Session}

  @fs [:read, :write, :execute]
  @ports [:connect_tcp, :bind_tcp]
  @scopes [:abstract_unix_socket, :signal]

  # The version in which a category is complete.
  @complete %{fs: 5, connect_tcp: 4, bind_tcp: 4, abstract_unix_socket: 6, signal: 6}
  @max_abi 0xFFFF_FFFF

  # False for improper lists, too.
  defguardp is_proper_list(term) when length(term) >= 0

  @type path :: String.t()
  @type rules :: [
          read: [path],
          write: [path],
          execute: [path],
          connect_tcp: [0..65_535],
          bind_tcp: [0..65_535],
          scope: [:abstract_unix_socket | :signal],
          missing: :error | :skip,
          require: boolean | pos_integer
        ]

  @type mistake :: {:bad_landlock, term}

  @doc """
  Restricts the program of a session that is parked at its checkpoint, and tells what that means on this
  kernel.

      iex> argv = ["sh", "-c", "cat /etc/passwd || echo no"]
      iex> {:ok, session} = Linx.Process.spawn(argv: argv, stdio: [stdout: :pipe, stderr: :devnull])
      iex> rules = [execute: ["/usr", "/bin", "/lib", "/lib64"], missing: :skip]
      iex> {:ok, %Linx.Landlock.Enforced{net: []}} = Linx.Landlock.restrict(session, rules)
      iex> :ok = Linx.Process.proceed(session)
      iex> Linx.Process.recv(session, :stdout)
      {:ok, "no\\n"}

  The rules are tried at once, in a copy of the program's process, and hold when it is executed. Rules given
  in several calls are layers: a program may do what all of them allow.
  """
  @spec restrict(Linx.Process.session(), rules) ::
          {:ok, Enforced.t()} | {:error, Error.t() | :running | :no_process | mistake}
  def restrict(session, rules) do
    with {:ok, [step]} <- steps(rules),
         {:ok, answer} <- Checkpoint.confine(session, step) do
      {:ok, Enforced.new(answer)}
    end
  end

  @doc """
  The version of Landlock that the running kernel has, 0 when it has none or was told not to use it.

      iex> {:ok, abi} = Linx.Landlock.abi()
      iex> abi in 0..100
      true

  The kernel is asked by an agent; the error is that there is none.
  """
  @spec abi() :: {:ok, non_neg_integer} | {:error, Error.t() | :no_process}
  def abi do
    # Parked, and never executed.
    {:ok, options} = Options.spawn(argv: ["/"], stdio: :devnull, owner: nil)

    with {:ok, session} <- Session.start(%{options | lifeline: self()}) do
      answer = restrict(session, [])
      _ = Session.stop(session, 0)
      with {:ok, enforced} <- answer, do: {:ok, enforced.abi}
    end
  end

  # The option `:landlock` as steps of the agent.
  @doc false
  @spec steps(term) :: {:ok, [tuple]} | {:error, mistake}
  def steps(rules) do
    with true <- Keyword.keyword?(rules),
         rules = Enum.uniq_by(rules, &elem(&1, 0)),
         nil <- Enum.find_value(rules, &mistake/1) do
      {:ok, [step(rules)]}
    else
      false -> {:error, {:bad_landlock, rules}}
      mistake -> {:error, {:bad_landlock, mistake}}
    end
  end

  defp step(rules) do
    handled = rules |> Enum.flat_map(&handled/1) |> Enum.uniq()
    kind = if rules[:missing] == :skip, do: :optional_path, else: :path

    {:landlock, least_abi(rules[:require], handled), handled,
     Enum.flat_map(rules, &allowed(&1, kind))}
  end

  defp handled({key, _paths}) when key in @fs, do: [:fs]
  defp handled({key, _ports}) when key in @ports, do: [key]
  defp handled({:scope, scopes}), do: scopes
  defp handled(_other), do: []

  defp allowed({:execute, paths}, kind),
    do: for(path <- paths, do: {kind, path, [:read, :execute]})

  defp allowed({key, paths}, kind) when key in @fs,
    do: for(path <- paths, do: {kind, path, [key]})

  defp allowed({key, ports}, _kind) when key in @ports, do: for(port <- ports, do: {key, port})
  defp allowed(_other, _kind), do: []

  defp least_abi(true, handled), do: Enum.max([1 | Enum.map(handled, &@complete[&1])])
  defp least_abi(abi, _handled) when is_integer(abi), do: abi
  defp least_abi(_best_effort, _handled), do: 0

  defp mistake({key, paths}) when key in @fs, do: wrong(key, paths, &path?/1)
  defp mistake({key, ports}) when key in @ports, do: wrong(key, ports, &(&1 in 0..65_535))
  defp mistake({:scope, scopes}), do: wrong(:scope, scopes, &(&1 in @scopes))
  defp mistake({:missing, fate}) when fate in [:error, :skip], do: nil
  defp mistake({:require, least}) when is_boolean(least) or least in 1..@max_abi, do: nil
  defp mistake({key, value}), do: {key, value}

  defp wrong(key, list, right?) when is_proper_list(list) do
    case Enum.reject(list, right?) do
      [] -> nil
      wrong -> {key, wrong}
    end
  end

  defp wrong(key, other, _right?), do: {key, other}

  # Where a relative path leads is not certain before the program's directory is its own.
  defp path?(path), do: CString.valid?(path) and String.starts_with?(path, "/")
end
