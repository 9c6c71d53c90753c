defmodule Bench.Peers.Paths do
  @moduledoc false

  # Where peers are that do not come with this repository: LINX_BENCH_PEERS, a list of paths with colons
  # between them. Each is a program, a directory of programs, the directory of a compiled application
  # (with ebin/ in it), or a directory of such directories, as _build/dev/lib is.

  @variable "LINX_BENCH_PEERS"

  @doc "Loads and starts an application, and returns its version."
  def application(name) do
    with [app | _] <- found(["#{name}.app", "ebin/#{name}.app", "#{name}*/ebin/#{name}.app"]) do
      ebin = Path.dirname(app)
      # The others beside it are what it depends on.
      for beside <- Path.wildcard("#{ebin}/../../*/ebin"), do: Code.append_path(beside)
      Code.prepend_path(ebin)

      case Application.ensure_all_started(name) do
        {:ok, _started} -> {:ok, to_string(Application.spec(name, :vsn))}
        {:error, {failed, why}} -> {:error, "#{failed} does not start: #{inspect(why)}"}
      end
    else
      [] -> {:error, "no path in #{@variable}"}
    end
  end

  @doc "The path of a program, from the variable or else the PATH."
  def program(name) do
    case found(["", name, "priv/#{name}", "*/priv/#{name}"], name) do
      [path | _] -> {:ok, path}
      [] -> on_path(name)
    end
  end

  defp on_path(name) do
    case System.find_executable(name) do
      nil -> {:error, "no path in #{@variable}, and not on the PATH"}
      path -> {:ok, path}
    end
  end

  # The files below one of the paths that match a pattern, and have this name, if one is given.
  defp found(patterns, name \\ nil) do
    for path <- paths(),
        pattern <- patterns,
        file <- Path.wildcard(Path.join(path, pattern)),
        File.regular?(file),
        name in [nil, Path.basename(file)],
        do: file
  end

  defp paths do
    @variable |> System.get_env("") |> String.split(":", trim: true) |> Enum.map(&Path.expand/1)
  end
end
