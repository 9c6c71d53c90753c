defmodule Mix.Tasks.Compile.LinxTest do
  # A Mix of its own compiles a project of its own, which has nothing of Linx but this compiler:
  # the suite around it goes on using the real priv/ and the real PATH.
  use ExUnit.Case, async: true

  @mix_exs """
  # The PATH of what the compiler starts, not of Mix itself.
  System.put_env("PATH", System.fetch_env!("TOOLS"))

  defmodule Scratch.MixProject do
    use Mix.Project

    def project do
      [app: :scratch, version: "0.1.0", compilers: Mix.compilers() ++ [:linx]]
    end
  end
  """

  setup_all do
    dir = Path.join(System.tmp_dir!(), "linx_compiler_#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)

    File.mkdir_p!(Path.join(dir, "lib"))
    File.write!(Path.join(dir, "mix.exs"), @mix_exs)
    File.cp!("Cargo.toml", Path.join(dir, "Cargo.toml"))
    File.cp!("lib/mix/tasks/compile.linx.ex", Path.join(dir, "lib/compile.linx.ex"))
    %{dir: dir}
  end

  setup %{dir: dir} do
    for scrap <- ["priv", "tools"], do: File.rm_rf!(Path.join(dir, scrap))
    File.mkdir_p!(Path.join(dir, "tools"))
    :ok
  end

  describe "LINX_AGENT and LINX_NIF" do
    test "are installed, and cargo is not run", %{dir: dir} do
      tool(dir, "cargo", "echo cargo was run; exit 1")
      agent = script(dir, "agent", "echo first")
      nif = library(dir, "first")

      assert {output, 0} = compile(dir, [{"LINX_AGENT", agent}, {"LINX_NIF", nif}])
      refute output =~ "cargo was run"
      assert installed(dir) == {"first\n", 0}
      assert File.read!(installed_library(dir)) == "first"
    end
  end

  describe "LINX_NIF" do
    test "is needed neither with cargo nor without", %{dir: dir} do
      agent = {"LINX_AGENT", script(dir, "agent", "echo first")}
      assert {_, 0} = compile(dir, [agent])
      refute File.exists?(installed_library(dir))

      tool(dir, "cargo", announcing(library(dir, "built")))
      assert {_, 0} = compile(dir, [agent])
      assert File.read!(installed_library(dir)) == "built"
    end

    test "replaces what was installed before, in one step", %{dir: dir} do
      agent = {"LINX_AGENT", script(dir, "agent", "echo first")}
      {_, 0} = compile(dir, [agent, {"LINX_NIF", library(dir, "first")}])
      first = File.stat!(installed_library(dir)).inode
      {_, 0} = compile(dir, [agent, {"LINX_NIF", library(dir, "other")}])

      assert File.read!(installed_library(dir)) == "other"
      assert File.stat!(installed_library(dir)).inode != first
      assert Enum.sort(File.ls!(Path.join(dir, "priv"))) == ["linx_nif.so", "linx_process"]
    end

    test "that is not there is an error in one sentence", %{dir: dir} do
      agent = {"LINX_AGENT", script(dir, "agent", "echo first")}
      nif = Path.join(dir, "nothing")
      assert {output, 1} = compile(dir, [agent, {"LINX_NIF", nif}])
      assert "LINX_NIF is set to #{nif}: no such file or directory" in lines(output)
      assert {output, 1} = compile(dir, [agent, {"LINX_NIF", dir}])
      assert "LINX_NIF is set to #{dir}, which is not a file" in lines(output)
    end
  end

  describe "LINX_AGENT" do
    test "replaces what was installed before, in one step", %{dir: dir} do
      {_, 0} = compile(dir, [{"LINX_AGENT", script(dir, "agent", "echo first")}])
      first = File.stat!(binary(dir)).inode
      {_, 0} = compile(dir, [{"LINX_AGENT", script(dir, "agent", "echo second")}])

      assert installed(dir) == {"second\n", 0}
      assert File.stat!(binary(dir)).inode != first
      assert File.ls!(Path.join(dir, "priv")) == ["linx_process"]
    end

    test "is left alone when it is installed already", %{dir: dir} do
      agent = script(dir, "agent", "echo first")
      {_, 0} = compile(dir, [{"LINX_AGENT", agent}])
      first = File.stat!(binary(dir)).inode
      {_, 0} = compile(dir, [{"LINX_AGENT", agent}])

      assert File.stat!(binary(dir)).inode == first
    end

    test "that is not there is an error in one sentence", %{dir: dir} do
      agent = Path.join(dir, "nothing")
      assert {output, 1} = compile(dir, [{"LINX_AGENT", agent}])
      assert "LINX_AGENT is set to #{agent}: no such file or directory" in lines(output)
    end

    test "that cannot be executed is an error in one sentence", %{dir: dir} do
      agent = script(dir, "agent", "echo first")
      File.chmod!(agent, 0o644)

      for path <- [agent, dir] do
        assert {output, 1} = compile(dir, [{"LINX_AGENT", path}])
        assert "LINX_AGENT is set to #{path}, which is not an executable file" in lines(output)
      end
    end
  end

  describe "cargo" do
    test "tells where it put the executable", %{dir: dir} do
      agent = script(dir, "agent", "echo built")
      nif = library(dir, "built")

      tool(dir, "cargo", """
      case $* in
        *linx_nif*) #{announcing(nif)} ;;
        *)
          echo '{"reason":"compiler-artifact","executable":null,"fresh":true}'
          echo '   Compiling linx_process' >&2
          echo '{"reason":"compiler-artifact","executable":"#{agent}","fresh":false}'
          echo '{"reason":"build-finished","success":true}'
          echo '    Finished in no time' >&2
      esac
      """)

      assert {output, 0} = compile(dir)
      assert File.read!(installed_library(dir)) == "built"
      assert "   Compiling linx_process" in lines(output)
      refute output =~ "reason"
      refute output =~ "Finished"
      assert installed(dir) == {"built\n", 0}
    end

    test "that is missing is an error in one sentence", %{dir: dir} do
      assert {output, 1} = compile(dir)
      assert output =~ ~r"^Linx .* Rust [\d.]+ or newer.* no cargo on the PATH.*rustup\.rs.*$"m
    end

    test "that is too old is an error in one sentence", %{dir: dir} do
      tool(dir, "cargo", """
      case $1 in
        --version) echo 'cargo 1.84.1 (66221abde 2024-11-19)' ;;
        *) echo 'error: lock file version 4 requires `-Znext-lockfile-bump`' >&2; exit 101 ;;
      esac
      """)

      tool(dir, "rustc", "echo 'rustc 1.84.1 (e71f9a9a9 2025-01-27)'")

      assert {output, 1} = compile(dir)

      assert output =~
               ~r"^Linx .* Rust [\d.]+ or newer, .* has cargo 1.84.1 and rustc 1.84.1.*$"m
    end

    test "that fails is heard once", %{dir: dir} do
      tool(dir, "cargo", "echo 'error[E0425]: cannot find value' >&2; exit 101")

      assert {output, 1} = compile(dir)
      assert Enum.count(lines(output), &(&1 == "error[E0425]: cannot find value")) == 1
      assert "cargo could not build linx_process (exit status 101)" in lines(output)
      refute File.exists?(binary(dir))
    end
  end

  test "mix clean removes the binary and the library", %{dir: dir} do
    agent = script(dir, "agent", "echo first")
    {_, 0} = compile(dir, [{"LINX_AGENT", agent}, {"LINX_NIF", library(dir, "first")}])
    tool(dir, "cargo", ~s(echo "$@" >> cleaned))
    {_, 0} = mix(dir, "clean", [])

    refute File.exists?(binary(dir))
    refute File.exists?(installed_library(dir))

    assert File.read!(Path.join(dir, "cleaned")) == """
           clean --profile release --package linx_process
           clean --profile nif --package linx_nif
           """
  end

  defp compile(dir, env \\ []), do: mix(dir, "compile", env)

  defp mix(dir, task, env) do
    # What would lead the inner Mix to files of the outer one.
    outer =
      for name <- ~w(MIX_EXS MIX_BUILD_PATH MIX_BUILD_ROOT LINX_AGENT LINX_NIF), do: {name, nil}

    env = outer ++ [{"MIX_ENV", "dev"}, {"TOOLS", Path.join(dir, "tools")}] ++ env
    System.cmd("mix", [task], cd: dir, env: env, stderr_to_stdout: true)
  end

  defp tool(dir, name, body), do: script(Path.join(dir, "tools"), name, body)

  defp script(dir, name, body) do
    path = Path.join(dir, name)
    File.write!(path, "#!/bin/sh\n#{body}\n")
    File.chmod!(path, 0o755)
    path
  end

  defp library(dir, content) do
    path = Path.join(dir, "liblinx_nif.so")
    File.write!(path, content)
    path
  end

  # What cargo says of a library, and of a compiler plug-in, which is one, too.
  defp announcing(library) do
    ~s(echo '{"reason":"compiler-artifact","filenames":["/else/librustler_codegen.so"]}'; ) <>
      ~s(echo '{"reason":"compiler-artifact","filenames":["#{library}"],"executable":null}')
  end

  defp binary(dir), do: Path.join(dir, "priv/linx_process")
  defp installed_library(dir), do: Path.join(dir, "priv/linx_nif.so")
  defp installed(dir), do: System.cmd(binary(dir), [])
  defp lines(output), do: String.split(output, "\n", trim: true)
end
