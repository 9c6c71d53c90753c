defmodule Linx.Seccomp.Trace do
  @moduledoc """
  Which system calls a program has made: what `Linx.Seccomp.trace/2` returns.

    * `:syscalls` – their names, sorted, for `Linx.Seccomp.allow/2`;
    * `:others` – what has no name here, as `{abi, number}`: calls of another ABI, for which there are no
      rules, and calls that are newer than Linx. `abi` is `:x86_64`, `:aarch64`, `:x32`, `:i386`, `:arm`, or a number of
      linux/audit.h;
    * `:status` – how the program ended, as in `:result`;
    * `:result` – the `Linx.Result` of its run.
  """

  alias Linx.{Agent, Command, Process, Result}
  alias Linx.Process.Program
  alias Linx.Seccomp.{Native, Options}

  @enforce_keys [:syscalls, :others, :status, :result]
  defstruct [:syscalls, :others, :status, :result]

  @type t :: %__MODULE__{
          syscalls: [String.t()],
          others: [{atom | non_neg_integer, non_neg_integer}],
          status: Result.status() | :unknown,
          result: Result.t()
        }

  @doc false
  @spec run(Linx.command(), keyword) :: {:ok, t} | {:error, term}
  def run(command, opts) do
    with {:ok, [program | arguments]} <- Command.argv(command),
         {:ok, {own, _others}} <- Command.split(opts, [:env, :cwd]),
         {:ok, env} <- given(:env, own),
         {:ok, cwd} <- given(:cwd, own),
         {:ok, path} <- Program.find(program, env, cwd) do
      with_report(fn report ->
        argv = [Agent.Binary.path(), "--trace", report, path | arguments]

        with {:ok, result} <- Linx.run(argv, opts), do: read(File.read!(report), result)
      end)
    end
  end

  defp given(name, opts) do
    case opts[name] do
      nil -> {:ok, nil}
      value -> Process.Options.check(name, value)
    end
  end

  # The program may be another user's, who can write here, and not look for what is here.
  defp with_report(fun) do
    name = Base.url_encode64(:crypto.strong_rand_bytes(12), padding: false)
    dir = Path.join(System.tmp_dir!(), "linx_trace_#{name}")
    report = Path.join(dir, "report")

    try do
      File.mkdir!(dir)
      File.chmod!(dir, 0o711)
      File.write!(report, "")
      File.chmod!(report, 0o622)
      fun.(report)
    after
      File.rm_rf(dir)
    end
  end

  defp read(report, result) do
    lines = for line <- String.split(report, "\n", trim: true), do: String.split(line, " ")

    case Enum.find(lines, &(not match?(["call", _arch, _number], &1))) do
      [stage, code] when stage in ["execve", "ptrace"] ->
        {:error, Process.Error.new(String.to_existing_atom(stage), String.to_integer(code))}

      # Nobody has written a line: the tracer could not begin.
      nil when lines == [] and not result.timed_out? ->
        {:error, Process.Error.new(:ptrace, 71)}

      nil ->
        {:ok, trace(Enum.map(lines, &call/1), result)}
    end
  end

  defp call(["call", audit, number]) do
    Options.call(String.to_integer(audit), String.to_integer(number))
  end

  defp trace(calls, result) do
    machine = Options.machine()
    names = Map.new(Native.syscalls(machine), fn {name, number} -> {{machine, number}, name} end)
    {named, others} = Enum.split_with(calls, &is_map_key(names, &1))

    %__MODULE__{
      syscalls: named |> Enum.map(&names[&1]) |> Enum.sort(),
      others: Enum.sort(others),
      status: result.status,
      result: result
    }
  end
end
