defmodule Mix.Tasks.Compile.Linx do
  @shortdoc "Builds the port binary linx_process with cargo"

  @moduledoc """
  Builds `linx_process`, the port binary of Linx, and puts it in `priv/`.

  Linx's own `mix.exs` runs this task after the Elixir compiler. A project that depends on Linx
  needs Rust on the machine that builds it and nothing else: `mix deps.compile` does the rest.

  The binary is built in release mode and linked statically: it starts a little sooner, and it
  runs inside a root filesystem that has no C library. Cargo is asked on every compile, because
  only cargo knows what is stale; when nothing is, that takes some 20 ms and prints nothing. A new
  binary replaces the old one by rename, so a build is safe while the old one is running.

  ## Without Rust

  `LINX_AGENT=/path/to/linx_process` in the environment installs that prebuilt binary instead, and
  nothing is built.

  ## Cleaning

  `mix clean` removes `priv/linx_process` and what cargo has built of it.
  """

  use Mix.Task.Compiler

  alias Mix.Task.Compiler.Diagnostic

  @binary "linx_process"

  # cargo writes one JSON object a line for tools to stdout, and what people read to stderr.
  @cargo_args ~w(rustc --release --locked --package #{@binary} --bin #{@binary}) ++
                ~w(--message-format=json-render-diagnostics -- -C target-feature=+crt-static)

  @max_line 64 * 1024

  @impl true
  def run(_args) do
    source =
      case System.get_env("LINX_AGENT", "") do
        "" -> cargo_build()
        path -> prebuilt(Path.expand(path))
      end

    with {:ok, path} <- source,
         {:ok, status} <- install(path) do
      {status, []}
    else
      {:error, message, details} ->
        Mix.shell().error(message)
        {:error, [diagnostic(message <> details)]}
    end
  end

  @impl true
  def manifests, do: [installed()]

  @impl true
  def clean do
    File.rm(installed())

    # A machine that never had cargo has nothing of cargo's to remove.
    if cargo = System.find_executable("cargo") do
      args = ~w(clean --release --package #{@binary})
      System.cmd(cargo, args, cd: root(), stderr_to_stdout: true)
    end

    :ok
  end

  # While Mix compiles Linx, as the project or as a dependency, the current Mix project is Linx.
  defp root, do: Path.dirname(Mix.Project.project_file())

  defp installed, do: Path.join([root(), "priv", @binary])

  defp prebuilt(path) do
    case File.stat(path) do
      {:ok, %File.Stat{type: :regular, mode: mode}} when Bitwise.band(mode, 0o111) != 0 ->
        {:ok, path}

      {:ok, _stat} ->
        error("LINX_AGENT is set to #{path}, which is not an executable file")

      {:error, reason} ->
        error("LINX_AGENT is set to #{path}: #{:file.format_error(reason)}")
    end
  end

  # What is told to people, and what is added to it for tools that read diagnostics.
  defp error(message, details \\ ""), do: {:error, message, details}

  defp cargo_build do
    case System.find_executable("cargo") do
      nil ->
        error(
          "Linx builds its port binary with Rust #{rust_version()} or newer, and there is no " <>
            "cargo on the PATH. Install Rust (https://rustup.rs), #{or_prebuilt()}"
        )

      cargo ->
        port =
          Port.open({:spawn_executable, cargo}, [
            :binary,
            :exit_status,
            :stderr_to_stdout,
            {:line, @max_line},
            args: @cargo_args,
            cd: root()
          ])

        collect(port, "", [], nil)
    end
  end

  # Reads cargo's output as it comes: what it says to people is passed on at once, since a first
  # build takes a while, and its account of the executable tells where that is, wherever the
  # user's cargo configuration puts targets.
  defp collect(port, partial, said, executable) do
    receive do
      {^port, {:data, {:noeol, chunk}}} ->
        collect(port, partial <> chunk, said, executable)

      {^port, {:data, {:eol, chunk}}} ->
        case partial <> chunk do
          ~s({"reason":) <> _ = json ->
            collect(port, "", said, executable(json) || executable)

          line ->
            tell(line)
            collect(port, "", [said, line, ?\n], executable)
        end

      {^port, {:exit_status, 0}} when executable != nil ->
        {:ok, executable}

      {^port, {:exit_status, status}} ->
        failure(status, IO.iodata_to_binary(said))
    end
  end

  # Cargo's last line is all that it says when nothing was stale, and tells nothing when something
  # was.
  defp tell("    Finished " <> _), do: :ok
  defp tell(line), do: Mix.shell().info(line)

  defp executable(json) do
    with [_, path] <- Regex.run(~r/"executable":"([^"]+)"/, json), do: path
  end

  # Cargo refuses a toolchain older than rust-version by itself, though an old one may stumble
  # over the lock file before it gets there: so a failure, and only a failure, asks for the
  # versions.
  defp failure(status, output) do
    case Enum.filter(["cargo", "rustc"], &too_old?/1) do
      [] ->
        error("cargo could not build linx_process (exit status #{status})", ":\n\n#{output}")

      old ->
        error(
          "Linx builds its port binary with Rust #{rust_version()} or newer, and this machine " <>
            "has #{Enum.map_join(old, " and ", &"#{&1} #{tool_version(&1)}")}. " <>
            "Update Rust (rustup update), #{or_prebuilt()}"
        )
    end
  end

  defp or_prebuilt, do: "or set LINX_AGENT to a prebuilt linx_process"

  defp too_old?(tool) do
    with version when is_binary(version) <- tool_version(tool),
         {:ok, version} <- Version.parse(version) do
      Version.compare(version, rust_version() <> ".0") == :lt
    else
      _unknown -> false
    end
  end

  defp tool_version(tool) do
    with path when is_binary(path) <- System.find_executable(tool),
         {output, 0} <- System.cmd(path, ["--version"], cd: root(), stderr_to_stdout: true),
         [_, version] <- Regex.run(~r/#{tool} (\d+\.\d+\.\d+)/, output) do
      version
    else
      _unknown -> nil
    end
  end

  defp rust_version do
    [_, version] = Regex.run(~r/^rust-version = "([\d.]+)"/m, File.read!(cargo_toml()))
    version
  end

  defp cargo_toml, do: Path.join(root(), "Cargo.toml")

  defp install(path) do
    target = installed()

    status =
      if same_content?(path, target) do
        :noop
      else
        # Writing over the old binary would fail with ETXTBSY while an agent runs it; a rename
        # leaves that agent its file.
        new = "#{target}.#{System.pid()}"
        File.mkdir_p!(Path.dirname(target))
        File.cp!(path, new)
        File.chmod!(new, 0o755)
        File.rename!(new, target)
        :ok
      end

    # Mix links _build's priv to ours before it compiles, and only if there was one by then.
    Mix.Project.build_structure()
    {:ok, status}
  rescue
    error in [File.Error, File.CopyError, File.RenameError] ->
      error("the new linx_process could not be put in place: #{Exception.message(error)}")
  end

  defp same_content?(a, b) do
    with {:ok, %{size: size}} <- File.stat(a),
         {:ok, %{size: ^size}} <- File.stat(b) do
      File.read(a) == File.read(b)
    else
      _missing_or_other_size -> false
    end
  end

  defp diagnostic(message) do
    %Diagnostic{
      compiler_name: "linx",
      file: cargo_toml(),
      message: message,
      position: 0,
      severity: :error
    }
  end
end
