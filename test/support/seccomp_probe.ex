defmodule Linx.Test.SeccompProbe do
  @moduledoc false

  # The kernel's own word on a filter: see seccomp_probe.c beside this file.

  import ExUnit.Assertions

  alias Linx.Test.CProgram

  @source Path.join(__DIR__, "seccomp_probe.c")
  @external_resource @source

  @doc "Whether the prober has been written for this machine."
  def available?, do: Linx.Seccomp.Options.machine() == :x86_64

  @doc """
  What the kernel does under these filters to each of the calls, `{:syscall | :int80, number, arguments}`, in the prober's words.
  """
  def verdicts(filters, calls) do
    dir = Path.join(System.tmp_dir!(), "linx_probe_#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)

    programs =
      for {program, index} <-
            filters |> List.wrap() |> Enum.flat_map(& &1.programs) |> Enum.with_index() do
        path = Path.join(dir, "#{index}")
        File.write!(path, program)
        path
      end

    input = Path.join(dir, "calls")
    File.write!(input, Enum.map(calls, &line/1))
    command = ["-c", ~s(input=$1; shift; exec "$@" <"$input"), "sh", input, path() | programs]
    {output, status} = System.cmd("sh", command)
    File.rm_rf!(dir)
    assert status == 0
    answers = String.split(output, "\n", trim: true)
    assert length(answers) == length(calls)
    answers
  end

  @doc "An action in the prober's words: it cannot tell who is killed, or what is logged, and nobody listens."
  def told(:allow), do: "allow"
  def told(:log), do: "allow"
  def told(:notify), do: "errno 38"
  def told(:trap), do: "trap 0"
  def told({:trace, number}), do: "trace #{number}"
  def told({:errno, number}) when is_integer(number), do: "errno #{number}"

  def told({:errno, name}) do
    {:ok, number} = Linx.Errno.number(name)
    "errno #{number}"
  end

  def told(kill) when kill in [:kill_process, :kill_thread], do: "killed"

  defp line({how, number, arguments}) do
    arguments = Enum.map(0..5, &Enum.at(arguments, &1, 0))
    [Enum.join([how, number | arguments], " "), ?\n]
  end

  defp path do
    CProgram.path("seccomp_probe", [@source])
  end
end
