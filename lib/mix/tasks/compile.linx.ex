defmodule Mix.Tasks.Compile.Linx do
  @shortdoc "Builds the port binary linx_process and the NIF library linx_nif with cargo"

  @moduledoc """
  Builds `linx_process`, the port binary of Linx, and `linx_nif.so`, the NIF library of
  `Linx.Seccomp`, and puts them in `priv/`.

  Linx's own `mix.exs` runs this task after the Elixir compiler. A project that depends on Linx
  needs Rust on the machine that builds it and nothing else: `mix deps.compile` does the rest.

  The binary is built in release mode and linked statically: it starts a little sooner, and it
  runs inside a root filesystem that has no C library. The library is built so that a panic in it
  is an exception in Elixir. Cargo is asked on every compile, because only cargo knows what is
  stale; when nothing is, that takes some 20 ms for each and prints nothing. A new file replaces
  the old one by rename, so a build is safe while the old one is in use.

  ## Without Rust

  `LINX_AGENT=/path/to/linx_process` in the environment installs that prebuilt binary instead, and
  `LINX_NIF=/path/to/linx_nif.so` that library; what is prebuilt is not built. With a prebuilt binary
  and no cargo the library is left out: all but `Linx.Seccomp` works, which says what is missing.

  ## Cleaning

  `mix clean` removes both from `priv/`, and what cargo has built of them.
  """

  use Mix.Task.Compiler

  alias Mix.Task.Compiler.Diagnostic

  # What is built of each package. Cargo writes one JSON object a line for tools to stdout, and what
  # people read to stderr; the pattern finds in the former where the product is.
  @agent %{
    package: "linx_process",
    what: "port binary",
    file: "linx_process",
    env: "LINX_AGENT",
    profile: "release",
    target: ~w(--bin linx_process),
    flags: ~w(-C target-feature=+crt-static),
    pattern: ~r/"executable":"([^"]+)"/
  }

  @nif %{
    package: "linx_nif",
    what: "NIF library",
    file: "linx_nif.so",
    env: "LINX_NIF",
    profile: "nif",
    target: ~w(--lib --crate-type cdylib),
    flags: ~w(-C target-feature=-crt-static),
    pattern: ~r/"filenames":\["([^"]+\/liblinx_nif\.so)"/
  }

  @max_line 64 * 1024

  @impl true
  def run(_args) do
    with {:ok, agent} <- make(@agent),
         {:ok, nif} <- make(@nif) do
      {if(:ok in [agent, nif], do: :ok, else: :noop), []}
    else
      {:error, message, details} ->
        Mix.shell().error(message)
        {:error, [diagnostic(message <> details)]}
    end
  end

  @impl true
  def manifests, do: [installed(@agent), installed(@nif)]

  @impl true
  def clean do
    for product <- [@agent, @nif] do
      File.rm(installed(product))

      # A machine that never had cargo has nothing of cargo's to remove.
      if cargo = System.find_executable("cargo") do
        args = ~w(clean --profile #{product.profile} --package #{product.package})
        System.cmd(cargo, args, cd: root(), stderr_to_stdout: true)
      end
    end

    :ok
  end

  defp make(product) do
    with {:ok, path} <- source(product), do: install(product, path)
  end

  defp source(product) do
    case {System.get_env(product.env, ""), System.find_executable("cargo")} do
      {"", nil} -> without_cargo(product)
      {"", cargo} -> cargo_build(product, cargo)
      {path, _cargo} -> prebuilt(product, Path.expand(path))
    end
  end

  # While Mix compiles Linx, as the project or as a dependency, the current Mix project is Linx.
  defp root, do: Path.dirname(Mix.Project.project_file())

  defp installed(product), do: Path.join([root(), "priv", product.file])

  defp prebuilt(%{env: env} = product, path) do
    case File.stat(path) do
      {:ok, %File.Stat{type: :regular}} when product == @nif ->
        {:ok, path}

      {:ok, %File.Stat{type: :regular, mode: mode}} when Bitwise.band(mode, 0o111) != 0 ->
        {:ok, path}

      {:ok, _stat} when product == @nif ->
        error("#{env} is set to #{path}, which is not a file")

      {:ok, _stat} ->
        error("#{env} is set to #{path}, which is not an executable file")

      {:error, reason} ->
        error("#{env} is set to #{path}: #{:file.format_error(reason)}")
    end
  end

  # What is told to people, and what is added to it for tools that read diagnostics.
  defp error(message, details \\ ""), do: {:error, message, details}

  # The agent comes first: who gets to the library has a prebuilt one.
  defp without_cargo(@nif), do: {:ok, :left_out}

  defp without_cargo(product) do
    error(
      "Linx builds its #{product.what} with Rust #{rust_version()} or newer, and there is no " <>
        "cargo on the PATH. Install Rust (https://rustup.rs), #{or_prebuilt(product)}"
    )
  end

  defp cargo_build(product, cargo) do
    args =
      ~w(rustc --profile #{product.profile} --locked --package #{product.package}) ++
        product.target ++ ~w(--message-format=json-render-diagnostics --) ++ product.flags

    port =
      Port.open({:spawn_executable, cargo}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        {:line, @max_line},
        args: args,
        cd: root()
      ])

    collect(product, port, "", [], nil)
  end

  # Reads cargo's output as it comes: what it says to people is passed on at once, since a first
  # build takes a while, and its account of the product tells where that is, wherever the
  # user's cargo configuration puts targets.
  defp collect(product, port, partial, said, path) do
    receive do
      {^port, {:data, {:noeol, chunk}}} ->
        collect(product, port, partial <> chunk, said, path)

      {^port, {:data, {:eol, chunk}}} ->
        case partial <> chunk do
          ~s({"reason":) <> _ = json ->
            collect(product, port, "", said, path(product, json) || path)

          line ->
            tell(line)
            collect(product, port, "", [said, line, ?\n], path)
        end

      {^port, {:exit_status, 0}} when path != nil ->
        {:ok, path}

      {^port, {:exit_status, status}} ->
        failure(product, status, IO.iodata_to_binary(said))
    end
  end

  # Cargo's last line is all that it says when nothing was stale, and tells nothing when something
  # was.
  defp tell("    Finished " <> _), do: :ok
  defp tell(line), do: Mix.shell().info(line)

  defp path(product, json) do
    with [_, path] <- Regex.run(product.pattern, json), do: path
  end

  # Cargo refuses a toolchain older than rust-version by itself, though an old one may stumble
  # over the lock file before it gets there: so a failure, and only a failure, asks for the
  # versions.
  defp failure(product, status, output) do
    case Enum.filter(["cargo", "rustc"], &too_old?/1) do
      [] ->
        error(
          "cargo could not build #{product.package} (exit status #{status})",
          ":\n\n#{output}"
        )

      old ->
        error(
          "Linx builds its #{product.what} with Rust #{rust_version()} or newer, and this machine " <>
            "has #{Enum.map_join(old, " and ", &"#{&1} #{tool_version(&1)}")}. " <>
            "Update Rust (rustup update), #{or_prebuilt(product)}"
        )
    end
  end

  defp or_prebuilt(product), do: "or set #{product.env} to a prebuilt #{product.file}"

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

  defp install(_product, :left_out), do: {:ok, :noop}

  defp install(product, path) do
    target = installed(product)

    status =
      if same_content?(path, target) do
        :noop
      else
        # Writing over the old file would fail with ETXTBSY while an agent runs it, and change a
        # library under a BEAM that has loaded it; a rename leaves them theirs.
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
      error("the new #{product.file} could not be put in place: #{Exception.message(error)}")
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
