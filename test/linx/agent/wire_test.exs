defmodule Linx.Agent.WireTest do
  use ExUnit.Case, async: true

  alias Linx.Agent.Wire

  defp decode(term), do: Wire.decode(:erlang.term_to_binary(term))

  describe "a request" do
    defp request(fields), do: :erlang.binary_to_term(Wire.request(:spawn, fields))

    test "carries what concerns the agent, and asks for the causes of errors" do
      fields = %{
        argv: ["/bin/true"],
        env: ["A=1"],
        namespaces: [:net],
        stdio: :pty,
        cwd: "/",
        no_new_privs: true,
        orphan: :kill,
        descendants: :leave,
        credit: 262_144,
        output: :eof,
        usage: true,
        winsize: {24, 80, 0, 0},
        uid: 1,
        gid: 2,
        groups: [3],
        files: [{"/f", "x", 0o644}],
        chain: [["/bin/true"]]
      }

      others = %{owner: self(), linger: true, grace: 1, active: true, timeout: 1, user: {1, 2}}

      assert request(Map.merge(fields, others)) ==
               {:spawn, Map.put(fields, :causes, true)}
    end

    test "leaves out what is nil, but not what is false or empty" do
      assert request(%{argv: ["x"], env: nil, cwd: nil, no_new_privs: false, namespaces: []}) ==
               {:spawn, %{argv: ["x"], no_new_privs: false, namespaces: [], causes: true}}
    end

    test "to enter has a target" do
      assert :erlang.binary_to_term(Wire.request(:enter, %{argv: ["x"], target: 7})) ==
               {:enter, %{argv: ["x"], target: 7, causes: true}}
    end
  end

  test "a request says that nobody waits at the checkpoint, or nothing of it" do
    assert {:spawn, %{auto_proceed: true}} = request(%{argv: ["x"], auto_proceed: true})
    {:spawn, without} = request(%{argv: ["x"], auto_proceed: false})
    refute is_map_key(without, :auto_proceed)
  end

  test "what is larger than an agent reads is not sent" do
    sendable = &Wire.sendable_request(:spawn, %{argv: &1, env: nil})
    fields = %{argv: ["/bin/true"], env: ["A=1"]}
    assert Wire.sendable_request(:spawn, fields) == {:ok, Wire.request(:spawn, fields)}
    assert sendable.([String.duplicate("x", 8 * 1024 * 1024)]) == {:error, 90, :request_too_big}
    assert sendable.(List.duplicate("", 400_000)) == {:error, 22, :malformed_request}
    assert {:ok, _frame} = sendable.(List.duplicate("", 399_000))

    for {key, many} <- [
          chain: List.duplicate(["x"], 133_334),
          files: List.duplicate({"", "", 0}, 100_000),
          groups: List.duplicate(0, 400_000),
          confinement: %{uid_map: List.duplicate({0, 0, 1}, 100_000)},
          confinement: %{
            confine: [{:landlock, 1, [:fs], List.duplicate({:path, "/", [:read]}, 70_000)}]
          }
        ] do
      assert Wire.sendable_request(:spawn, Map.put(fields, key, many)) ==
               {:error, 22, :malformed_request}
    end

    refute Wire.too_big?(Wire.command({:pty_in, String.duplicate("x", 1_000_000)}))
    assert Wire.too_big?(Wire.command({:pty_in, String.duplicate("x", 8 * 1024 * 1024)}))
  end

  describe "on the channel of a host" do
    test "frames are pairs with the number of a session" do
      for id <- [0, 255, 256, Wire.max_id()] do
        frame = IO.iodata_to_binary(Wire.address(id, Wire.call(7, :proceed)))
        assert frame == :erlang.term_to_binary({id, {:call, 7, :proceed}}, minor_version: 2)

        assert Wire.decode_addressed(:erlang.term_to_binary({id, {:status, :running}})) ==
                 {:ok, id, :running}

        assert Wire.decode_addressed(:erlang.term_to_binary({id, {:status, :hangup}})) ==
                 {:ok, id, :hangup}

        assert Wire.decode_addressed(:erlang.term_to_binary({id, :nonsense})) == {:error, id}
      end

      assert decode({:status, :hangup}) == :error
    end

    test "what has no address is not understood" do
      for term <- [{:status, :running}, {-1, :running}, {0x8000_0000, :running}, :hangup, {7}] do
        assert Wire.decode_addressed(:erlang.term_to_binary(term)) == :error
      end
    end

    test "what comes in quantities is not copied" do
      # As the agent encodes it.
      bytes = String.duplicate("x", 16_384)

      for {source, head} <- [
            pty_out: <<119, 7, "pty_out">>,
            stdout: <<119, 6, "stdout">>,
            stderr: <<119, 6, "stderr">>
          ] do
        frame = <<131, 104, 2, 97, 9, 104, 2, head::binary, 109, 16_384::32, bytes::binary>>
        assert {:ok, 9, {^source, ^bytes = out}} = Wire.decode_addressed(frame)
        assert :binary.referenced_byte_size(out) == byte_size(frame)
      end
    end
  end

  test "commands travel as they are, or in a call" do
    for command <- [
          :proceed,
          :mapped,
          {:signal, 15, :tree},
          {:pty_in, <<0, 255>>},
          {:stop, 2_000},
          {:stop, 2_000, 2},
          {:stdin, <<0, 255>>},
          :close_stdin,
          {:credit, :stdout, 65_536}
        ] do
      assert :erlang.binary_to_term(Wire.command(command)) == command
      assert :erlang.binary_to_term(Wire.call(7, command)) == {:call, 7, command}
    end
  end

  @rusage Map.new(
            [:utime, :stime, :maxrss, :minflt, :majflt, :inblock, :oublock, :nvcsw, :nivcsw],
            &{&1, 0}
          )

  test "events" do
    for {term, event} <- [
          {{:status, :unmapped, 41}, {:unmapped, 41}},
          {{:status, :spawned, 41}, {:spawned, 41}},
          {{:status, :ready, 1}, {:ready, 1}},
          {{:status, :running}, :running},
          {{:pty_out, "hi\r\n"}, {:pty_out, "hi\r\n"}},
          {{:stdout, <<0, 255>>}, {:stdout, <<0, 255>>}},
          {{:stderr, "x"}, {:stderr, "x"}},
          {{:eof, :stdout}, {:eof, :stdout}},
          {{:eof, :stderr}, {:eof, :stderr}},
          {{:usage, @rusage}, {:usage, @rusage}},
          {{:reply, 0, :ok}, {:reply, 0, :ok}},
          {{:reply, 1, {:ok, %{fd: 7}}}, {:reply, 1, {:ok, %{fd: 7}}}},
          {{:reply, 2, {:error, 16, :running}}, {:reply, 2, {:error, 16, :running}}},
          {{:status, :exited, 3}, {:ended, {:exited, 3}}},
          {{:status, :signaled, 9}, {:ended, {:signaled, 9}}},
          {{:status, :aborted, 1}, {:ended, :aborted}},
          {{:error, 2, :execve}, {:ended, {:error, 2, :execve, nil}}},
          {{:error, 5, :checkpoint, {:signaled, 9}},
           {:ended, {:error, 5, :checkpoint, {:signaled, 9}}}},
          {{:error, 5, :checkpoint, {:exited, 102}},
           {:ended, {:error, 5, :checkpoint, {:exited, 102}}}}
        ] do
      assert decode(term) == {:ok, event}
    end
  end

  test "every stage is known, so that none is lost to decoding without new atoms" do
    for stage <- Wire.stages() do
      assert decode({:error, 1, stage}) == {:ok, {:ended, {:error, 1, stage, nil}}}
    end

    assert Wire.stages() == Enum.uniq(Wire.stages())
  end

  test "whatever else comes is no event, and makes no atoms" do
    for term <- [
          :running,
          {:status, :running, 1},
          {:status, :exited, :zero},
          {:status, :started, 1},
          {:pty_out, ~c"bytes"},
          {:stdout, :bytes},
          {:stdin, "x"},
          {:eof, :stdin},
          {:usage, %{}},
          {:usage, %{@rusage | stime: 1.0}},
          {:usage, Map.delete(@rusage, :nivcsw)},
          {:reply, :ref, :ok},
          {:reply, 1, :maybe},
          {:reply, 1, {:ok, []}},
          {:reply, 1, {:error, :enoent, :execve}},
          {:error, :enoent, :execve},
          {:error, 2, "execve"},
          {:error, 2, :execve, :because},
          %{}
        ] do
      assert decode(term) == :error
    end

    # {:error, 2, <an atom that is nowhere else>}, with the atom as SMALL_ATOM_UTF8_EXT.
    name = "stage_that_" <> "nobody_has_named"
    frame = <<131, 104, 3, 119, 5, "error", 97, 2, 119, byte_size(name), name::binary>>
    assert Wire.decode(frame) == :error
    assert_raise ArgumentError, fn -> String.to_existing_atom(name) end

    assert Wire.decode("") == :error
    assert Wire.decode(<<131, 104, 3>>) == :error
  end
end
