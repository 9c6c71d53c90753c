defmodule Linx.Agent.WirePropertyTest do
  # The agent's encoder and decoder against the BEAM's own: native/linx_process/examples/wire_mirror.rs
  # answers with what the agent makes of what it is given.
  use ExUnit.Case, async: true

  @compile {:no_warn_undefined, :proper_types}

  import Linx.Test.Property
  import Linx.Test.Terms

  alias :proper_types, as: Type
  alias Linx.Agent.Wire
  alias Linx.Test.WireModel

  @moduletag :property
  @moduletag timeout: :infinity
  @patience 60_000

  # Built first, which may take longer than an answer. Where it has been, that is over at once.
  defp mirror(_context) do
    example = ~w(--quiet --locked --package linx_process --example wire_mirror)
    {output, status} = System.cmd("cargo", ["build" | example], stderr_to_stdout: true)
    assert status == 0, output
    cargo = System.find_executable("cargo")
    options = [:binary, :exit_status, packet: 4, args: ["run" | example]]
    %{mirror: Port.open({:spawn_executable, cargo}, options)}
  end

  defp ask(mirror, kind, bytes) do
    Port.command(mirror, [kind, bytes])

    receive do
      {^mirror, {:data, answer}} -> answer
      {^mirror, {:exit_status, status}} -> flunk("the mirror has broken: #{status}")
    after
      @patience -> flunk("the mirror says nothing")
    end
  end

  defp understood(mirror, kind, bytes), do: mirror |> ask(kind, bytes) |> :erlang.binary_to_term()

  # All ways in which this BEAM writes a term for others.
  defp encodings do
    for version <- [0, 1, 2], more <- [[] | deterministic()], do: [minor_version: version] ++ more
  end

  # Since OTP 24.1.
  defp deterministic, do: known_option(:deterministic)
  # Since OTP 26.
  defp local, do: known_option(:local)

  defp known_option(option) do
    :erlang.term_to_binary([], [option])
    [[option]]
  rescue
    ArgumentError -> []
  end

  describe "what the agent understands" do
    @describetag :cargo
    setup :mirror

    test "of requests", %{mirror: mirror} do
      for_all(request(), 200, fn request ->
        for options <- encodings() do
          bytes = :erlang.term_to_binary(request, options)
          assert understood(mirror, ?r, bytes) == WireModel.request(request)
        end
      end)
    end

    test "of requests with something wrong, or odd, somewhere", %{mirror: mirror} do
      for_all(grafted(request(), term()), 1_000, fn request ->
        bytes = :erlang.term_to_binary(request)
        assert understood(mirror, ?r, bytes) == WireModel.request(request)
      end)
    end

    test "of commands, with integers of every width", %{mirror: mirror} do
      for_all(command(), 500, fn command ->
        for options <- encodings() do
          bytes = :erlang.term_to_binary(command, options)
          assert understood(mirror, ?c, bytes) == WireModel.command(command)
        end
      end)
    end

    test "of commands with something wrong, or odd, somewhere", %{mirror: mirror} do
      for_all(grafted(command(), term()), 1_500, fn command ->
        bytes = :erlang.term_to_binary(command)
        assert understood(mirror, ?c, bytes) == WireModel.command(command)
      end)
    end

    test "of any term", %{mirror: mirror} do
      for_all(term(), 300, fn term ->
        bytes = :erlang.term_to_binary(term)
        assert understood(mirror, ?r, bytes) == WireModel.request(term)
        assert understood(mirror, ?c, bytes) == WireModel.command(term)
      end)
    end

    test "of terms as deep as they may be, and deeper", %{mirror: mirror} do
      for_all(Type.choose(55, 70), 50, fn depth ->
        # The value of a key is at depth 2.
        deep = Enum.reduce(3..depth, [], fn _level, term -> [term] end)
        request = {:spawn, %{argv: ["x"], deep: deep}}
        expected = if depth <= 64, do: WireModel.request(request), else: :malformed
        assert understood(mirror, ?r, :erlang.term_to_binary(request)) == expected
      end)
    end

    test "nothing, of a term that is compressed", %{mirror: mirror} do
      for_all(Type.oneof([request(), command()]), 300, fn term ->
        compressed = :erlang.term_to_binary(term, [:compressed])
        # What does not get smaller is not compressed.
        compressed? = match?(<<131, 80, _::binary>>, compressed)
        assert understood(mirror, ?c, compressed) == :malformed == compressed?
      end)
    end

    # Not of any term: OTP 27.3 aborts when one with an external fun in it is made local.
    test "nothing, of a term that is local", %{mirror: mirror} do
      for options <- local(), term <- [{:spawn, %{argv: ["x"]}}, :proceed] do
        assert understood(mirror, ?r, :erlang.term_to_binary(term, options)) == :malformed
        assert understood(mirror, ?c, :erlang.term_to_binary(term, options)) == :malformed
      end
    end

    test "nothing, or the same as the BEAM, of damaged bytes", %{mirror: mirror} do
      bytes = map(Type.oneof([request(), command()]), &:erlang.term_to_binary/1)

      for_all(damaged(bytes), 1_000, fn bytes ->
        {request, command} = {understood(mirror, ?r, bytes), understood(mirror, ?c, bytes)}

        with {:ok, term} <- safely_decoded(bytes) do
          assert request in [:malformed, WireModel.request(term)]
          assert command in [:malformed, WireModel.command(term)]
        end
      end)
    end

    test "nothing, of bytes behind a term", %{mirror: mirror} do
      for_all({request(), Type.non_empty(Type.binary())}, 100, fn {request, more} ->
        bytes = :erlang.term_to_binary(request) <> more
        assert understood(mirror, ?r, bytes) == :malformed
      end)
    end

    test "of what Linx.Agent.Wire encodes", %{mirror: mirror} do
      fields =
        map({request(), Type.elements([:spawn, :enter])}, fn {{_, map}, mode} -> {mode, map} end)

      for_all(fields, 300, fn {mode, fields} ->
        bytes = Wire.request(mode, fields)
        {^mode, sent} = :erlang.binary_to_term(bytes)
        ours = Map.take(fields, WireModel.keys())
        wanted = for {key, value} <- ours, value != nil, into: %{}, do: {key, value}
        assert sent == Map.put(wanted, :causes, true)
        assert understood(mirror, ?r, bytes) == WireModel.request({mode, sent})
      end)

      for_all({unsigned(64), plain_command()}, 300, fn {ref, command} ->
        assert :erlang.binary_to_term(Wire.command(command)) == command
        assert :erlang.binary_to_term(Wire.call(ref, command)) == {:call, ref, command}
        assert understood(mirror, ?c, Wire.command(command)) == WireModel.command(command)
        assert {^ref, _} = understood(mirror, ?c, Wire.call(ref, command))
      end)
    end
  end

  # The BEAM's decoder without its power to make atoms.
  defp safely_decoded(bytes) do
    {term, used} = :erlang.binary_to_term(bytes, [:safe, :used])
    if used == byte_size(bytes), do: {:ok, term}, else: :error
  rescue
    ArgumentError -> :error
  end

  describe "what the agent says" do
    @describetag :cargo
    setup :mirror

    test "has a stage that Linx.Agent.Wire knows", %{mirror: mirror} do
      assert understood(mirror, ?s, "") -- Wire.stages() == []
    end

    test "is understood", %{mirror: mirror} do
      stages = understood(mirror, ?s, "")

      for_all(event(stages), 1_000, fn {words, term, event} ->
        bytes = ask(mirror, ?e, Enum.join(words, " "))
        assert :erlang.binary_to_term(bytes) == term
        assert Wire.decode(bytes) == {:ok, event}
      end)

      for_all(Type.binary(), 100, fn output ->
        bytes = ask(mirror, ?o, output)
        assert :erlang.binary_to_term(bytes) == {:pty_out, output}
        assert Wire.decode(bytes) == {:ok, {:pty_out, output}}
      end)
    end

    # Each as the words for the mirror, the term on the wire, and what Linx makes of that.
    defp event(stages) do
      pid = unsigned(31)

      Type.oneof([
        map(pid, &{[:unmapped, &1], {:status, :unmapped, &1}, {:unmapped, &1}}),
        map(pid, &{[:spawned, &1], {:status, :spawned, &1}, {:spawned, &1}}),
        map(pid, &{[:ready, &1], {:status, :ready, &1}, {:ready, &1}}),
        {[:running], {:status, :running}, :running},
        map(pid, &{[:aborted, &1], {:status, :aborted, &1}, {:ended, :aborted}}),
        map(pid, &{[:exited, &1], {:status, :exited, &1}, {:ended, {:exited, &1}}}),
        map(pid, &{[:signaled, &1], {:status, :signaled, &1}, {:ended, {:signaled, &1}}}),
        map(error(stages), fn {errno, stage} ->
          {[:error, errno, stage], {:error, errno, stage}, {:ended, {:error, errno, stage, nil}}}
        end),
        map({error(stages), Type.elements([:exited, :signaled]), pid}, fn {{errno, stage}, how, n} ->
          term = {:error, errno, stage, {how, n}}
          {[:error, errno, stage, how, n], term, {:ended, term}}
        end),
        map({unsigned(64), answer(stages)}, fn {ref, {words, answer}} ->
          {[:reply, ref | words], {:reply, ref, answer}, {:reply, ref, answer}}
        end)
      ])
    end

    defp answer(stages) do
      Type.oneof([
        {[:ok], :ok},
        map(error(stages), fn {errno, stage} ->
          {[:error, errno, stage], {:error, errno, stage}}
        end),
        map({unsigned(31), unsigned(64)}, fn {abi, bits} ->
          enforced = %{abi: abi, fs: bits, net: 0, scoped: bits}
          {[:landlock, abi, bits, 0, bits], {:ok, enforced}}
        end),
        map({unsigned(31), unsigned(31)}, fn {os_pid, fd} ->
          slave = "/dev/pts/#{fd}"
          {[:pty_master, os_pid, fd, slave], {:ok, %{os_pid: os_pid, fd: fd, slave: slave}}}
        end)
      ])
    end

    # 41 is none of Linux's.
    defp error(stages), do: {Type.choose(1, 40), Type.elements(stages)}
  end

  describe "whatever comes, Linx.Agent.Wire.decode/1" do
    defp from_agent do
      Type.oneof([
        {:status, Type.elements([:unmapped, :spawned, :ready, :aborted, :exited, :signaled]),
         integer()},
        {:status, :running},
        {:pty_out, Type.binary()},
        {:error, integer(), Type.elements(Wire.stages())},
        {:error, integer(), :execve, {Type.elements([:exited, :signaled]), integer()}},
        {:reply, integer(), Type.oneof([:ok, {:error, integer(), :signal}, {:ok, %{fd: 1}}])}
      ])
    end

    test "does not raise" do
      for_all(grafted(from_agent(), term()), 2_000, fn term ->
        assert {term, decoded(:erlang.term_to_binary(term))}
      end)

      bytes = map(from_agent(), &:erlang.term_to_binary/1)
      for_all(damaged(bytes), 2_000, &decoded/1)
      for_all(Type.binary(), 500, &decoded/1)
    end

    # What is passed on has one of the shapes that are promised.
    defp decoded(bytes) do
      case Wire.decode(bytes) do
        :error ->
          :error

        {:ok, :running} ->
          :ok

        {:ok, {kind, pid}} when kind in [:unmapped, :spawned, :ready] and is_integer(pid) ->
          :ok

        {:ok, {:pty_out, bytes}} when is_binary(bytes) ->
          :ok

        {:ok, {:reply, ref, :ok}} when is_integer(ref) ->
          :ok

        {:ok, {:reply, ref, {:ok, %{}}}} when is_integer(ref) ->
          :ok

        {:ok, {:reply, ref, {:error, n, stage}}} when is_integer(ref + n) and is_atom(stage) ->
          :ok

        {:ok, {:ended, :aborted}} ->
          :ok

        {:ok, {:ended, {how, n}}} when how in [:exited, :signaled] and is_integer(n) ->
          :ok

        {:ok, {:ended, {:error, n, stage, nil}}} when is_integer(n) and is_atom(stage) ->
          :ok

        {:ok, {:ended, {:error, n, stage, {_, m}}}} when is_integer(n + m) and is_atom(stage) ->
          :ok

        other ->
          flunk("this is no event: #{inspect(other)}")
      end
    end

    @placeholder :an_atom_00000000

    test "makes no atoms" do
      for_all(grafted(from_agent(), @placeholder), 1_000, fn term ->
        # The same term with an atom that is nowhere else.
        number = Integer.to_string(rem(System.unique_integer([:positive]), 99_999_999) + 1)
        unknown = "an_atom_" <> String.pad_leading(number, 8, "0")
        bytes = :erlang.term_to_binary(term)
        bytes = :binary.replace(bytes, Atom.to_string(@placeholder), unknown, [:global])
        assert Wire.decode(bytes) == :error
        assert_raise ArgumentError, fn -> String.to_existing_atom(unknown) end
      end)
    end
  end
end
