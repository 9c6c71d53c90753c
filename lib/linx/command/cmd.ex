defmodule Linx.Command.Cmd do
  @moduledoc false

  # `System.cmd/3`, on a session.

  alias Linx.Command
  alias Linx.Command.{Input, Lines}
  alias Linx.Process.{Error, Info}

  @spec cmd(binary, [binary], keyword) :: {Collectable.t(), non_neg_integer | :timeout}
  def cmd(command, args, opts) do
    check_strings(command, args)
    program = find(command, args, opts)
    {own, others} = split(opts)

    input = own[:input] |> Input.check() |> ok!(opts)
    {stdin, stdout, stderr} = stdio(own, Input.stdin(input))
    options = [program | args] |> Command.options(others, stdin, stdout, stderr) |> ok!(opts)
    {initial, into} = Collectable.into(Keyword.get(own, :into, ""))

    {acc, info} = run(options, input, own[:lines], initial, into, opts)
    {into.(acc, :done), status(info)}
  end

  defp check_strings(command, args) do
    if :binary.match(command, <<0>>) != :nomatch do
      raise ArgumentError,
            "cannot execute Linx.cmd/3 for program with null byte, got: #{inspect(command)}"
    end

    unless Enum.all?(args, &is_binary/1) do
      raise ArgumentError, "all arguments for Linx.cmd/3 must be binaries"
    end
  end

  # On the BEAM's own PATH, whatever the environment of the program is.
  defp find(command, args, opts) do
    if Path.type(command) == :absolute do
      command
    else
      System.find_executable(command) || :erlang.error(:enoent, [command, args, opts])
    end
  end

  # The options that this module knows, checked, and those that sessions know, by the names they have
  # there.
  defp split(opts) do
    unless Keyword.keyword?(opts), do: Command.raise!({:bad_options, opts}, opts)
    {own, others} = Enum.split_with(opts, fn {key, value} -> own?(key, value) end)

    {own, Enum.flat_map(others, &translate/1)}
  end

  defp own?(:into, _any), do: true
  defp own?(:input, _any), do: true
  defp own?(:lines, max) when is_integer(max) and max > 0, do: true
  defp own?(:stderr_to_stdout, flag) when is_boolean(flag), do: true
  defp own?(:use_stdio, flag) when is_boolean(flag), do: true
  defp own?(_key, _value), do: false

  defp translate({:cd, directory}) when is_binary(directory), do: [cwd: directory]
  # Every program has a scheduler of its own.
  defp translate({:parallelism, flag}) when is_boolean(flag), do: []
  defp translate({:env, env}), do: env(Enum.map(env, &variable/1))
  defp translate({key, value}) when key in [:cd, :parallelism], do: invalid(key, value)

  defp translate({key, value}) when key in [:lines, :stderr_to_stdout, :use_stdio],
    do: invalid(key, value)

  defp translate(option), do: [option]

  # An empty list changes nothing. A session would take it for all of the environment.
  defp env([]), do: []
  defp env(variables), do: [env: variables]

  defp variable({name, value}) when is_binary(name) and (is_binary(value) or value == nil),
    do: {name, value}

  defp variable(other) do
    raise ArgumentError, "invalid environment key-value #{inspect(other)}"
  end

  @spec invalid(atom, term) :: no_return
  defp invalid(key, value) do
    raise ArgumentError, "invalid option #{inspect(key)} with value #{inspect(value)}"
  end

  defp stdio(own, stdin) do
    cond do
      own[:use_stdio] == false and stdin == :devnull -> {:inherit, :inherit, :inherit}
      own[:use_stdio] == false -> {stdin, :inherit, :inherit}
      own[:stderr_to_stdout] -> {stdin, :pipe, :stdout}
      true -> {stdin, :pipe, :inherit}
    end
  end

  defp run(options, input, lines, initial, into, opts) do
    command = options |> Command.start(input) |> ok!(opts)
    fold(command, lines, initial, into, opts)
  catch
    kind, reason ->
      into.(initial, :halt)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp fold(command, nil, initial, into, opts) do
    command
    |> Command.reduce(initial, fn _source, bytes, acc -> {:cont, into.(acc, {:cont, bytes})} end)
    |> ended!(opts)
  end

  # The number is that of bytes which System.cmd/3 would read at a time. It cuts no line.
  defp fold(command, _max, initial, into, opts) do
    {{acc, lines}, info} =
      command
      |> Command.reduce({initial, Lines.new()}, fn _source, bytes, {acc, lines} ->
        {done, lines} = Lines.split(lines, bytes)
        {:cont, {collect(done, acc, into), lines}}
      end)
      |> ended!(opts)

    {collect(Lines.rest(lines), acc, into), info}
  end

  defp collect(lines, acc, into), do: Enum.reduce(lines, acc, &into.(&2, {:cont, &1}))

  defp ended!({:ok, acc, info}, _opts), do: {acc, info}
  defp ended!({:error, reason}, opts), do: raise!(reason, opts)

  defp ok!({:ok, value}, _opts), do: value
  defp ok!({:error, reason}, opts), do: raise!(reason, opts)

  # A program that cannot be executed is what `Port.open/2` raises.
  defp raise!(%Error{stage: :execve, errno: errno, signal: nil}, _opts), do: :erlang.error(errno)
  defp raise!(reason, opts), do: Command.raise!(reason, opts)

  defp status(%Info{timed_out?: true}), do: :timeout
  defp status(%Info{result: {:ok, {:exited, code}}}), do: code
  defp status(%Info{result: {:ok, {:signaled, number}}}), do: 128 + number
end
