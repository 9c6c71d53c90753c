defmodule Bench.Programs do
  @moduledoc false

  # The C programs of bench/c, which `make -C bench build` has compiled, and their files.

  @directory Path.expand("../target/bench", __DIR__)

  def path(name), do: Path.join(@directory, name)

  @doc "A path for a file of this run."
  def scratch(name) do
    directory = Path.join(System.tmp_dir!(), "linx-bench-#{System.pid()}")
    File.mkdir_p!(directory)
    Path.join(directory, "#{name}")
  end

  def clean, do: "" |> scratch() |> File.rm_rf!()

  def check! do
    unless File.exists?(path("spawn")), do: raise("no C programs: run `make -C bench build`")
  end

  @doc "What a program prints: a number a line."
  def samples([program | args]) do
    case System.cmd(path(program), Enum.map(args, &to_string/1), stderr_to_stdout: true) do
      {output, 0} -> numbers(output)
      {output, _status} -> raise "#{program}: #{output}"
    end
  end

  def numbers(output), do: output |> String.split() |> Enum.map(&String.to_integer/1)

  @doc "The time at the first instruction of a program that is started now."
  def stamp do
    path = scratch("stamp")
    {"", 0} = System.cmd(path("first"), [path])
    [read_stamp(path)]
  end

  def read_stamp(path) do
    <<ns::64-native>> = File.read!(path)
    ns
  end
end
