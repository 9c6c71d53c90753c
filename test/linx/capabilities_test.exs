defmodule Linx.CapabilitiesTest do
  use ExUnit.Case, async: true
  doctest Linx.Capabilities

  import Linx.Test.Helpers

  alias Linx.Capabilities
  alias Linx.Process, as: P
  alias Linx.Process.Error

  @every_set [:effective, :permitted, :inheritable, :bounding, :ambient]
  @header "/usr/include/linux/capability.h"

  describe "names" do
    test "are those of the kernel's header" do
      defined =
        for [_, name, number] <-
              Regex.scan(~r/^#define CAP_(\w+)\s+(\d+)\s*$/m, File.read!(@header)),
            do: {String.to_integer(number), name |> String.downcase() |> String.to_atom()}

      numbered = Enum.with_index(Capabilities.all(), &{&2, &1})
      # The header may be newer.
      assert List.starts_with?(Enum.sort(defined), numbered)
    end

    test "lead to a mask and back, in every spelling" do
      for {name, n} <- Enum.with_index(Capabilities.all()) do
        for spelling <- [name, :"cap_#{name}", "CAP_#{String.upcase("#{name}")}", "#{name}", n] do
          assert Capabilities.mask([spelling]) == {:ok, 2 ** n}
        end

        assert Capabilities.names(2 ** n) == [name]
      end

      assert Capabilities.mask([]) == {:ok, 0}
      assert Capabilities.mask([:chown, :chown, "chown"]) == {:ok, 1}
      every = 2 ** 64 - 1
      assert {:ok, ^every} = every |> Capabilities.names() |> Capabilities.mask()
    end

    test "that there are not are named, all of them" do
      for bad <- [:typo, "CAP_TYPO", :cap_cap_chown, 64, -1, 1.0, nil, "", ~c"chown", {:chown}] do
        assert Capabilities.mask([:chown, bad, :kill, :no]) ==
                 {:error, {:bad_capabilities, [bad, :no]}}
      end

      for bad <- [:chown, "chown", 1, nil, %{}, [:chown | :kill]] do
        assert Capabilities.mask(bad) == {:error, {:bad_capabilities, bad}}
      end
    end

    test "known are as many as the kernel has" do
      last =
        "/proc/sys/kernel/cap_last_cap" |> File.read!() |> String.trim() |> String.to_integer()

      assert length(Capabilities.known()) == last + 1
    end
  end

  describe "read" do
    test "has what the kernel tells of a process" do
      # Process 1 is readable to everybody.
      for pid <- [String.to_integer(System.pid()), 1] do
        {:ok, caps} = Capabilities.read(pid)

        for {set, field} <-
              Enum.zip(@every_set, ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"]) do
          {:ok, mask} = Capabilities.mask(Map.fetch!(caps, set))
          assert mask == pid |> status_field(field) |> String.to_integer(16)
        end

        assert caps.no_new_privs? == (status_field(pid, "NoNewPrivs") == "1")
      end
    end

    test "of a session is that of its workload" do
      {:ok, session} =
        P.spawn(argv: ["sleep", "60"], no_new_privs: true, auto_proceed: true, stdio: :devnull)

      await_running()
      assert {:ok, %Capabilities{no_new_privs?: true}} = Capabilities.read(session)
      assert Capabilities.read(session) == Capabilities.read(await_pid(session))
      :ok = P.stop(session)
      assert Capabilities.read(session) == {:error, :no_process}
    end

    test "of nobody is no process" do
      # Greater than any pid_max.
      assert Capabilities.read(0x7FFF_FFFF) == {:error, :no_process}
      assert Capabilities.read(-1) == {:error, :no_process}
      assert Capabilities.read(:no_such_session) == {:error, :no_process}
    end
  end

  defp await_pid(session) do
    {:ok, pid} = P.host_pid(session)
    pid
  end

  describe "the option" do
    test "keep is made of the four steps, none of which asks for what the kernel does not know" do
      {:ok, known} = Capabilities.mask(Capabilities.known())
      {:ok, [drop, securebits, thread, ambient]} = Capabilities.steps(keep: [:net_bind_service])
      assert drop == {:cap_drop_bounding, known - 0x400}
      assert securebits == {:securebits, 0x2F}
      assert thread == {:cap_set_thread, 0x400, 0x400, 0x400}
      assert ambient == {:cap_set_ambient, 0x400}
      # Nothing to drop needs no right.
      assert {:ok, [{:securebits, _} | _]} = Capabilities.steps(keep: Capabilities.known())
    end

    test "the parts are a step each" do
      {:ok, known} = Capabilities.mask(Capabilities.known())
      assert Capabilities.steps([]) == {:ok, []}
      assert Capabilities.steps(drop_bounding: :all) == {:ok, [{:cap_drop_bounding, known}]}
      assert Capabilities.steps(drop_bounding: [:chown]) == {:ok, [{:cap_drop_bounding, 1}]}
      assert Capabilities.steps(drop_bounding: [63]) == {:ok, []}
      assert Capabilities.steps(ambient: [0, 1]) == {:ok, [{:cap_set_ambient, 3}]}

      assert Capabilities.steps(thread: [permitted: [:chown, :kill], effective: [:chown]]) ==
               {:ok, [{:cap_set_thread, 1, 33, 0}]}

      assert Capabilities.steps(ambient: [], thread: [], drop_bounding: [:chown]) ==
               {:ok, [{:cap_set_ambient, 0}, {:cap_set_thread, 0, 0, 0}, {:cap_drop_bounding, 1}]}
    end

    test "with a mistake is refused, and shows it" do
      for {bad, shown} <- [
            {[keep: [:typo]], [:typo]},
            {[keep: :all], :all},
            {[keep: [], ambient: []], [keep: []]},
            {[drop_bounding: [:typo]], [:typo]},
            {[thread: [permitted: [:typo]]], [:typo]},
            {[thread: [typo: []]], [typo: []]},
            {[thread: :all], :all},
            {[ambient: :chown], :chown},
            {[ambient: [], ambient: [:chown]], [ambient: [], ambient: [:chown]]},
            {[typo: []], [typo: []]},
            {[:chown], [:chown]},
            {:all, :all}
          ] do
        assert Capabilities.steps(bad) == {:error, {:bad_capabilities, shown}}
      end
    end
  end

  # A parked session.
  defp parked(opts) do
    {:ok, session} = P.spawn(Keyword.merge([argv: ["sleep", "60"], stdio: :devnull], opts))
    await_ready()
    session
  end

  # The sets of the program of a parked session, once it runs.
  defp sets_of_program(session) do
    :ok = P.proceed(session)
    await_running()
    {:ok, caps} = Capabilities.read(session)
    :ok = P.stop(session)
    assert_receive {:linx_process, :signaled, _}
    caps
  end

  defp only?(caps, names), do: Enum.all?(@every_set, &(Map.fetch!(caps, &1) == names))

  describe "keep" do
    @describetag :root

    test "leaves root nothing but what is kept, in every set, after exec" do
      for agent <- [:host, :dedicated], names <- [[], [:net_bind_service], [:chown, :setpcap]] do
        session = parked(agent: agent)
        assert Capabilities.keep(session, names) == :ok
        assert session |> sets_of_program() |> only?(names)
      end
    end

    test "leaves another user the same" do
      for names <- [[], [:net_bind_service]] do
        session = parked(user: "nobody")
        assert Capabilities.keep(session, names) == :ok
        assert session |> sets_of_program() |> only?(names)
      end
    end

    test "does what it says: a root without capabilities does not override permissions" do
      path = Path.join(tmp_dir(), "secret")
      File.write!(path, "secret")
      File.chmod!(path, 0)

      for {names, status} <- [{[:dac_override], 0}, {[], 1}] do
        session = parked(argv: ["cat", path])
        :ok = Capabilities.keep(session, names)
        :ok = P.proceed(session)
        assert P.wait(session) == {:ok, {:exited, status}}
      end
    end

    test "holds for what the program executes, set-uid programs included" do
      # Whoever executes it is root, and would have every capability.
      copy = Path.join(tmp_dir(), "cat")
      File.cp!(System.find_executable("cat"), copy)
      File.chmod!(copy, 0o4755)

      # Without the confinement first: the same program has all there is.
      for {keep, expected} <- [
            {nil, &(&1.effective == &1.bounding and :chown in &1.effective)},
            {[:net_bind_service],
             &(&1.effective == [] and &1.permitted == [] and &1.bounding == [:net_bind_service])}
          ] do
        pipe = Path.join(tmp_dir(), "pipe")
        {_, 0} = System.cmd("mkfifo", ["-m", "644", pipe])
        argv = ["sh", "-c", ~s("$0" "$1" & wait), copy, pipe]
        session = parked(argv: argv, user: "nobody")
        if keep, do: assert(Capabilities.keep(session, keep) == :ok)
        :ok = P.proceed(session)
        await_running()
        [child] = eventually(fn -> match?([_], reading(copy)) && reading(copy) end)
        assert status_field(child, "Uid") |> String.split() |> Enum.at(1) == "0"
        {:ok, caps} = Capabilities.read(child)
        assert expected.(caps), inspect(caps)
        :ok = P.stop(session)
        assert_receive {:linx_process, ending, _} when ending in [:signaled, :exited]
      end
    end

    # The processes that have become the set-uid program.
    defp reading(copy) do
      for pid <- processes(copy), comm(pid) == "cat", do: pid
    end
  end

  describe "the parts" do
    @describetag :root

    test "drop_bounding takes out what is named, whatever the user" do
      session = parked([])
      assert Capabilities.drop_bounding(session, [:sys_admin, :sys_boot]) == :ok
      caps = sets_of_program(session)
      {:ok, own} = Capabilities.read(String.to_integer(System.pid()))
      assert caps.bounding == own.bounding -- [:sys_admin, :sys_boot]
      assert caps.effective == caps.bounding

      session = parked([])
      assert Capabilities.drop_bounding(session, :all) == :ok
      assert %{bounding: [], effective: [], permitted: []} = sets_of_program(session)
    end

    test "thread sets and ambient set last beyond exec" do
      names = [:kill, :net_raw]
      session = parked(user: "nobody")

      # Nobody keeps a permitted set when it stops being root, so this is about root as another user.
      assert {:error, %Error{stage: :cap_set_thread, errno: :eperm}} =
               Capabilities.set_thread_sets(session, permitted: names, inheritable: names)

      session = parked([])

      assert Capabilities.set_thread_sets(session, permitted: names, inheritable: names) == :ok
      assert Capabilities.set_ambient(session, names) == :ok
      assert %{ambient: ^names, inheritable: ^names} = sets_of_program(session)
    end

    test "are carried out in the order that the kernel needs" do
      # Who has given up everything could drop nothing.
      session = parked([])
      assert Capabilities.set_thread_sets(session, []) == :ok
      assert Capabilities.drop_bounding(session, [:sys_boot]) == :ok
      caps = sets_of_program(session)
      assert :sys_boot not in caps.bounding
      assert caps.bounding != []
    end

    test "are answered for what has been said so far" do
      # What is raised has to be inheritable.
      session = parked([])

      assert {:error, %Error{stage: :cap_set_ambient, errno: :eperm} = error} =
               Capabilities.set_ambient(session, [:kill])

      assert P.wait(session) == {:error, error}
    end

    test "a refusal is the kernel's, and ends the session" do
      session = parked([])
      {:ok, own} = Capabilities.read(String.to_integer(System.pid()))
      missing = (Capabilities.known() -- own.permitted) ++ [63]
      # One that the kernel does not know it cannot raise.
      assert {:error, %Error{stage: :cap_set_ambient} = error} =
               Capabilities.set_ambient(session, missing)

      assert error.errno in [:eperm, :einval]
      assert P.wait(session) == {:error, error}
    end
  end

  test "mistakes are found before anybody is asked" do
    bad = {:error, {:bad_capabilities, [:typo]}}
    assert Capabilities.keep(:no_such_session, [:typo]) == bad
    assert Capabilities.drop_bounding(:no_such_session, [:typo]) == bad
    assert Capabilities.set_ambient(:no_such_session, [:typo]) == bad
    assert Capabilities.set_thread_sets(:no_such_session, permitted: [:typo]) == bad
  end

  test "a session that runs, or has ended, is told nothing more" do
    {:ok, session} = P.spawn(argv: ["sleep", "60"], stdio: :devnull, auto_proceed: true)

    await_running()
    assert Capabilities.keep(session, []) == {:error, :running}
    assert Capabilities.set_ambient(session, []) == {:error, :running}
    :ok = P.stop(session)
    assert Capabilities.keep(session, []) == {:error, :no_process}
  end

  test "a user namespace has the right to give them up, without root, too" do
    for names <- [[], [:net_bind_service]] do
      session = parked(namespaces: [:user])
      assert Capabilities.keep(session, names) == :ok
      assert session |> sets_of_program() |> only?(names)
    end
  end

  test "without :setpcap it is :eperm at the first step" do
    {:ok, own} = Capabilities.read(String.to_integer(System.pid()))

    if :setpcap not in own.effective do
      session = parked([])

      assert {:error, %Error{stage: :cap_drop_bounding, errno: :eperm} = error} =
               Capabilities.keep(session, [])

      assert P.wait(session) == {:error, error}
    end
  end
end
