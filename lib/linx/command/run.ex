defmodule Linx.Command.Run do
  @moduledoc false

  # A program from its start to its end, and what became of it as one `Linx.Result`.

  alias Linx.{Command, ExitError, Result}
  alias Linx.Command.{Collector, Input}

  @own [:input, :max_output, :stderr]

  @spec run(Linx.command(), keyword) :: {:ok, Result.t()} | {:error, Command.reason()}
  def run(command, opts) do
    with {:ok, argv} <- Command.argv(command),
         {:ok, {own, others}} <- Command.split(opts, @own),
         {:ok, input} <- Input.check(own[:input]),
         {:ok, limit} <- limit(own[:max_output]),
         {:ok, stderr} <- stderr(Keyword.get(own, :stderr, :pipe)),
         {:ok, options} <- Command.options(argv, others, Input.stdin(input), :pipe, stderr),
         {:ok, command} <- Command.start(options, input),
         collectors = %{stdout: Collector.new(limit), stderr: Collector.new(limit)},
         {:ok, collectors, info} <- Command.reduce(command, collectors, &collect/3) do
      {:ok, result(collectors, info)}
    end
  end

  @spec run!(Linx.command(), keyword) :: Result.t()
  def run!(command, opts) do
    case run(command, opts) do
      {:ok, %Result{status: {:exited, 0}, timed_out?: false} = result} ->
        result

      {:ok, result} ->
        {:ok, argv} = Command.argv(command)

        raise ExitError,
          argv: argv,
          status: result.status,
          timed_out?: result.timed_out?,
          result: result

      {:error, reason} ->
        Command.raise!(reason, opts)
    end
  end

  defp limit(nil), do: {:ok, :infinity}
  defp limit(:infinity), do: {:ok, :infinity}
  defp limit(max) when is_integer(max) and max >= 0, do: {:ok, {max, :truncate}}

  defp limit({max, policy})
       when is_integer(max) and max >= 0 and policy in [:kill, :truncate, :tail],
       do: {:ok, {max, policy}}

  defp limit(other), do: {:error, {:bad_max_output, other}}

  defp stderr(how) when how in [:pipe, :stdout, :inherit, :devnull], do: {:ok, how}
  defp stderr(other), do: {:error, {:bad_stderr, other}}

  defp collect(source, bytes, collectors) do
    {verdict, collector} = collectors |> Map.fetch!(source) |> Collector.add(bytes)
    {verdict, %{collectors | source => collector}}
  end

  defp result(collectors, info) do
    {stdout, more?} = Collector.result(collectors.stdout)
    {stderr, still_more?} = Collector.result(collectors.stderr)

    %Result{
      status: Command.status(info),
      stdout: stdout,
      stderr: stderr,
      duration: info.duration,
      usage: info.usage,
      cgroup_stats: info.cgroup_stats,
      timed_out?: info.timed_out?,
      truncated?: more? or still_more?
    }
  end
end
