defmodule Linx.Agent.HostProtocolTest do
  # The wire protocol of a host, seen from its process table and its descriptors, and with more sessions than a
  # scenario of c_compat/ has. What a host answers to whom is there.

  use ExUnit.Case, async: true

  import Linx.Test.Helpers
  import Linx.Test.RawAgent

  @kill %{orphan: :kill, descendants: :kill, auto_proceed: true}

  defp spawn_frame(argv, opts \\ %{}), do: {:spawn, Map.merge(@kill, Map.put(opts, :argv, argv))}

  # The guardian is what the BEAM has started; the host is its child, and there when it answers.
  defp host_pid(host) do
    send_frame(host, {0, {:call, 0, :abort}})
    skip_to(host, &(&1 == {0, {:reply, 0, {:error, 3, :ended}}}))
    {:os_pid, guardian} = Port.info(host, :os_pid)
    assert [pid] = children(guardian)
    pid
  end

  defp open_files(pid), do: length(File.ls!("/proc/#{pid}/fd"))

  # What each of `ids` says, up to and with its last event.
  defp until_ended(host, ids, said \\ %{}, ended \\ MapSet.new()) do
    if MapSet.size(ended) == length(ids) do
      Map.new(said, fn {id, terms} -> {id, Enum.reverse(terms)} end)
    else
      {id, term} = next(host)
      assert id in ids and id not in ended
      said = Map.update(said, id, [term], &[term | &1])
      until_ended(host, ids, said, if(last?(term), do: MapSet.put(ended, id), else: ended))
    end
  end

  defp last?({:status, how, _}) when how in [:exited, :signaled, :aborted], do: true
  defp last?({:status, :hangup}), do: true
  defp last?(term), do: elem(term, 0) == :error

  defp life(pid, ending), do: [{:status, :spawned, pid}, {:status, :ready, pid}] ++ ending

  test "two hundred sessions at once each have their own life, and leave nothing in the host" do
    host = start_host()
    pid = host_pid(host)
    ids = Enum.map(1..200, &(&1 * 21_474_836))
    before = open_files(pid)

    for round <- 1..3 do
      for {id, code} <- Enum.with_index(ids) do
        send_frame(host, {id, spawn_frame(["/bin/sh", "-c", "exit #{rem(code, 256)}"])})
      end

      lives = until_ended(host, ids)

      for {id, code} <- Enum.with_index(ids) do
        [{:status, :spawned, workload} | _] = lives[id]

        assert {round, lives[id]} ==
                 {round,
                  life(workload, [{:status, :running}, {:status, :exited, rem(code, 256)}])}
      end
    end

    eventually(fn -> children(pid) == [] and open_files(pid) == before end)
    close(host)
  end

  test "the end of the channel is the end of a hundred sessions and all they have started" do
    host = start_host()
    mark = mark()
    forks = ["/bin/sh", "-c", "setsid sleep #{mark} & exec sleep #{mark}"]
    for id <- 1..100, do: send_frame(host, {id, spawn_frame(forks)})
    eventually(fn -> length(processes("sleep\0" <> mark)) == 200 end)
    close(host)
    assert processes(mark) == []
  end

  test "so is the death of the host" do
    host = start_host()
    mark = mark()
    forks = ["/bin/sh", "-c", "setsid sleep #{mark} & exec sleep #{mark}"]
    for id <- 1..30, do: send_frame(host, {id, spawn_frame(forks, %{orphan: :leave})})
    eventually(fn -> length(processes("sleep\0" <> mark)) == 60 end)
    {"", 0} = System.cmd("kill", ["-9", "#{host_pid(host)}"])
    assert {_events, 137} = rest(host)
    assert processes(mark) == []
  end

  test "a session takes what it has started with it, and nothing of others" do
    host = start_host()
    marks = for _ <- 1..8, do: mark()

    for {mark, id} <- Enum.with_index(marks) do
      forks = ["/bin/sh", "-c", "setsid sleep #{mark} & sleep #{mark} & exec sleep #{mark}"]
      send_frame(host, {id, spawn_frame(forks)})
    end

    alive = fn mark -> length(processes("sleep\0" <> mark)) end
    eventually(fn -> Enum.all?(marks, &(alive.(&1) == 3)) end)

    for {mark, id} <- Enum.with_index(marks) do
      send_frame(host, {id, {:signal, 9}})
      assert skip_to(host, &match?({^id, {:status, :signaled, 9}}, &1))
      assert alive.(mark) == 0
      assert Enum.all?(Enum.drop(marks, id + 1), &(alive.(&1) == 3))
    end

    close(host)
  end

  test "workloads inherit nothing of each other" do
    host = start_host()
    terminal = spawn_frame(["/bin/cat"], %{stdio: :pty})
    for id <- 1..20, do: send_frame(host, {id, terminal})
    Enum.each(1..20, fn _ -> skip_to(host, &match?({_, {:status, :running}}, &1)) end)
    send_frame(host, {21, spawn_frame(["/bin/ls", "/proc/self/fd"], %{stdio: :pty})})
    assert {21, {:pty_out, listed}} = skip_to(host, &match?({21, {:pty_out, _}}, &1))
    # The fourth is the directory that is being listed.
    assert String.split(listed) == ~w(0 1 2 3)
    close(host)
  end

  test "six terminals that flood the channel at once lose nothing" do
    host = start_host()
    flood = ["/bin/sh", "-c", "stty raw; head -c 1000000 /dev/zero"]
    ids = Enum.to_list(1..6)

    for id <- ids, do: send_frame(host, {id, spawn_frame(flood, %{stdio: :pty})})
    lives = until_ended(host, ids)

    for id <- ids do
      output = for {:pty_out, bytes} <- lives[id], into: <<>>, do: bytes
      assert byte_size(output) == 1_000_000
      assert List.last(lives[id]) == {:status, :exited, 0}
    end

    close(host)
  end

  # What the host says passes through somebody who takes his time.
  @slowly """
  "$0" --host 3<&0 4>&1 </dev/null >/dev/null |
    perl -e 'while (sysread STDIN, $_, 65536) { syswrite STDOUT, $_; select undef, undef, undef, .01 }'
  """

  test "of many terminals that never stop, none is kept waiting for the others" do
    host =
      Port.open({:spawn_executable, "/bin/sh"}, [
        :binary,
        packet: 4,
        args: ["-c", @slowly, Linx.Agent.Binary.path()]
      ])

    ids = Enum.to_list(1..16)
    for id <- ids, do: send_frame(host, {id, spawn_frame(["/usr/bin/yes"], %{stdio: :pty})})
    for id <- ids, do: skip_to(host, &match?({^id, {:pty_out, _}}, &1))

    shares = shares(host, %{}, 24_000_000)
    # A fifth of what each would have if all had the same.
    for id <- ids, do: assert(shares[id] > 300_000, inspect(shares))
    Port.close(host)
  end

  defp shares(_host, shares, left) when left <= 0, do: shares

  defp shares(host, shares, left) do
    {id, {:pty_out, bytes}} = skip_to(host, &match?({_, {:pty_out, _}}, &1))
    size = byte_size(bytes)
    shares(host, Map.update(shares, id, size, &(&1 + size)), left - size)
  end
end
