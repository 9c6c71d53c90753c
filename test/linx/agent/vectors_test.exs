defmodule Linx.Agent.VectorsTest do
  # docs/wire-protocol.md: its vectors, tables and sessions are read from the document itself.

  use ExUnit.Case, async: true

  import Linx.Test.RawAgent

  alias Linx.Agent.Wire

  @path Path.expand("../../../docs/wire-protocol.md", __DIR__)
  @external_resource @path
  @document File.read!(@path)

  @blocks Regex.scan(~r/^```([^\n]*)\n(.*?)^```$/ms, @document, capture: :all_but_first)

  # What the document calls the workload's pid.
  @pid 4242

  defp hex?(line), do: line =~ ~r/\A[0-9a-f]{2}( [0-9a-f]{2})*\z/

  defp bytes(lines) do
    lines |> Enum.join(" ") |> String.split() |> Enum.map_join(&Base.decode16!(&1, case: :lower))
  end

  # `{text, bytes}` of each vector of this kind.
  defp vectors(kind) do
    vectors =
      for ["vector " <> ^kind, body] <- @blocks do
        {text, hex} = body |> String.split("\n", trim: true) |> Enum.split_while(&(not hex?(&1)))
        assert Enum.all?(hex, &hex?/1)
        {Enum.join(text, "\n"), bytes(hex)}
      end

    assert vectors != []
    vectors
  end

  # The same with the term; the first of several with the same term is what Linx writes.
  defp terms(kind) do
    for {text, bytes} <- vectors(kind), do: {elem(Code.eval_string(text), 0), bytes}
  end

  defp canonical(kind), do: kind |> terms() |> Enum.uniq_by(fn {term, _bytes} -> term end)

  # The names in the first column of the first table below a heading.
  defp names(heading) do
    [_, rest] = String.split(@document, ~r/^#+ #{heading}$/m, parts: 2)
    [table | _] = Regex.run(~r/(^\|.*\|\n)+/m, rest)

    for row <- table |> String.split("\n", trim: true) |> Enum.drop(2),
        [_, name] <- Regex.scan(~r/`(\w+)`/, row |> String.split("|") |> Enum.at(1)),
        do: String.to_atom(name)
  end

  test "every kind of vector is one of these" do
    kinds =
      ~w(request command event malformed-request malformed-command) ++
        ~w(to-host from-host malformed-to-host)

    assert Enum.uniq(for ["vector " <> kind, _] <- @blocks, do: kind) |> Enum.sort() ==
             Enum.sort(kinds)
  end

  test "the bytes of a vector are those of its term" do
    for kind <- ~w(request command event to-host from-host), {term, bytes} <- terms(kind) do
      assert :erlang.binary_to_term(bytes) == term
    end
  end

  test "requests are written as documented" do
    written =
      for {{mode, %{causes: true} = fields} = term, bytes} <- canonical("request") do
        assert {term, Wire.request(mode, fields)} == {term, bytes}
      end

    assert length(written) >= 3
  end

  test "commands are written as documented" do
    for {term, bytes} <- canonical("command") do
      case term do
        {:call, ref, command} -> assert {term, Wire.call(ref, command)} == {term, bytes}
        command -> assert {term, Wire.command(command)} == {term, bytes}
      end
    end
  end

  test "events are understood" do
    for {term, bytes} <- terms("event") do
      assert {^term, {:ok, event}} = {term, Wire.decode(bytes)}
      assert event_of(term) == event
    end
  end

  defp event_of({:status, :running}), do: :running
  defp event_of({:status, :aborted, _pid}), do: {:ended, :aborted}
  defp event_of({:status, how, n}) when how in [:exited, :signaled], do: {:ended, {how, n}}
  defp event_of({:status, how, pid}), do: {how, pid}
  defp event_of({:error, errno, stage}), do: {:ended, {:error, errno, stage, nil}}
  defp event_of({:error, _errno, _stage, _cause} = error), do: {:ended, error}
  defp event_of(as_it_is), do: as_it_is

  test "the stages are those of the document, with those of the C agent" do
    documented = names("Stages") ++ names("Stages of the C agent alone")
    assert Enum.sort(Wire.stages()) == Enum.sort(documented)
  end

  test "the agent refuses malformed requests" do
    results =
      vectors("malformed-request")
      |> Task.async_stream(fn {text, bytes} -> {text, session([bytes])} end, timeout: :infinity)
      |> Enum.reject(&match?({:ok, {_, {[{:error, 22, :malformed_request}], 2}}}, &1))

    assert results == []
  end

  test "no command ends a running workload, but no term does" do
    {no_terms, no_commands} =
      "malformed-command"
      |> vectors()
      |> Enum.split_with(fn {text, _} -> text =~ ~r/\A# no term/ end)

    running = fn ->
      agent = start([{:spawn, %{argv: ["/bin/sleep", "60"]}}, :proceed])
      skip_to(agent, &(&1 == {:status, :running}))
      agent
    end

    agent = running.()
    for {_text, bytes} <- no_commands, do: send_frame(agent, bytes)
    send_frame(agent, {:signal, 9})
    assert {events, 0} = rest(agent)
    assert List.last(events) == {:status, :signaled, 9}
    assert Enum.all?(Enum.drop(events, -1), &match?({:reply, 7, {:error, 22, _}}, &1))

    for {text, bytes} <- no_terms do
      agent = running.()
      send_frame(agent, bytes)
      assert {text, rest(agent)} == {text, {[{:error, 22, :malformed_request}], 2}}
    end
  end

  test "a host ends where a frame has no address, and not where it has no term" do
    {no_addresses, no_terms} =
      "malformed-to-host"
      |> vectors()
      |> Enum.split_with(fn {text, _} -> text =~ ~r/\A# no address/ end)

    for {text, bytes} <- no_addresses do
      host = start_host()
      send_frame(host, bytes)
      assert {text, rest(host)} == {text, {[{:error, 22, :malformed_request}], 2}}
    end

    host = start_host()

    # Without a session 7 it may have been a request; then there is one to be ended by it.
    for {text, bytes} <- no_terms do
      send_frame(host, bytes)
      assert {text, next(host)} == {text, {7, {:error, 22, :malformed_request}}}
      send_frame(host, {7, {:spawn, %{argv: ["/bin/true"]}}})
      assert {7, {:status, :spawned, _}} = next(host)
      assert {7, {:status, :ready, _}} = next(host)
      send_frame(host, bytes)
      assert {text, next(host)} == {text, {7, {:error, 22, :malformed_request}}}
    end

    close(host)
  end

  for {kind, info, start} <- [{"session", "text", :start}, {"host", "text host", :start_host}] do
    describe "the #{kind}" do
      @sessions for [^info, "> " <> _ = body] <- @blocks, do: body

      for {body, number} <- Enum.with_index(@sessions, 1) do
        test "number #{number}, byte for byte" do
          {frames, ["exit code " <> code]} =
            unquote(body) |> String.split("\n", trim: true) |> Enum.split(-1)

          replay(unquote(start)(), frames(frames), String.to_integer(code))
        end
      end
    end
  end

  defp replay(agent, [], code), do: assert(rest(agent) == {[], code})

  # With the port goes the exit code.
  defp replay(agent, [["end of file"]], 0), do: close(agent)

  defp replay(agent, [[line | hex] | frames], code) do
    <<length::32, body::binary-size(length)>> = bytes(hex)
    <<direction::binary-1, " ", text::binary>> = line
    {term, _} = Code.eval_string(text)
    assert :erlang.binary_to_term(body) == term

    case direction do
      ">" -> send_frame(agent, body)
      "<" -> assert inspect(as_documented(next_bytes(agent))) == inspect(body)
    end

    replay(agent, frames, code)
  end

  # Each with its term, then the lines of its bytes.
  defp frames(lines) do
    Enum.chunk_while(
      lines,
      [],
      fn
        <<direction, _::binary>> = line, frame when direction in [?<, ?>, ?e] ->
          {:cont, Enum.reverse(frame), [line]}

        line, frame ->
          {:cont, [line | frame]}
      end,
      &{:cont, Enum.reverse(&1), []}
    )
    |> Enum.reject(&(&1 == []))
  end

  defp as_documented(frame) do
    case without_address(:erlang.binary_to_term(frame)) do
      {:status, event, pid} when event in [:spawned, :ready, :aborted] ->
        size = byte_size(frame) - 5
        assert <<head::binary-size(size), 98, ^pid::32>> = frame
        <<head::binary, 98, @pid::32>>

      _other ->
        frame
    end
  end

  defp without_address({id, term}) when is_integer(id), do: term
  defp without_address(term), do: term
end
