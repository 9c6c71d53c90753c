defmodule Linx.Seccomp.PropertyTest do
  # What compile/1 makes of rules, against what the rules say.
  use ExUnit.Case, async: true

  import Bitwise

  alias Linx.Seccomp
  alias Linx.Test.{Property, SeccompProbe}
  alias :proper_types, as: Type

  @moduletag :property
  @compile {:no_warn_undefined, :proper_types}

  @names [:read, :write, :ioctl, :clone, :file_setattr]
  @numbers %{read: 0, write: 1, ioctl: 16, clone: 56, file_setattr: 469}

  # Where off-by-one errors live, in both halves.
  @values [0, 1, 2, 3, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF] ++
            [1 <<< 32, (1 <<< 32) + 1, (1 <<< 32) + 0xFFFF_FFFF, (2 <<< 32) + 1] ++
            [1 <<< 63, (1 <<< 64) - 1, (1 <<< 64) - 2]

  @from_the_most_restrictive [
    :kill_process,
    :kill_thread,
    :trap,
    :errno,
    :notify,
    :trace,
    :log,
    :allow
  ]

  test "a filter does what its rules say" do
    Property.for_all(Type.tuple([spec(), Type.non_empty(Type.list(call()))]), 300, fn {spec,
                                                                                       calls} ->
      {:ok, filter} = Seccomp.compile([arch: :x86_64] ++ spec)

      for {name, args} <- calls do
        assert {name, args, Seccomp.evaluate(filter, name, args: args)} ==
                 {name, args, model(spec, name, args)}
      end
    end)
  end

  if SeccompProbe.available?() do
    test "and so does the kernel" do
      Property.for_all(Type.tuple([spec(), Type.vector(20, call())]), 30, fn {spec, calls} ->
        {:ok, filter} = Seccomp.compile(spec)
        asked = for {name, args} <- calls, do: {:syscall, @numbers[name], args}
        expected = for {name, args} <- calls, do: SeccompProbe.told(model(spec, name, args))
        assert SeccompProbe.verdicts(filter, asked) == expected
      end)
    end
  end

  test "long rules, and many, whose jumps are far" do
    long = for index <- 0..5, value <- 1..40, do: {index, :ne, value + 100, 64}
    many = for value <- 1..200, do: {:ioctl, {:errno, :eio}, [{1, :eq, value, 32}]}
    spec = [default: :allow, rules: [{:write, :trap, long}, {:read, :log, []} | many]]
    {:ok, filter} = Seccomp.compile([arch: :x86_64] ++ spec)

    for name <- @names, index <- 0..5, value <- [0, 1, 100, 101, 140, 141, 200, 201] do
      args = List.duplicate(0, index) ++ [value]
      assert Seccomp.evaluate(filter, name, args: args) == model(spec, name, args)
    end
  end

  test "what is no program is none to evaluate/3 and disassemble/1, and breaks nothing" do
    garbage = Type.union([Type.binary(), instructions()])

    Property.for_all(garbage, 2000, fn program ->
      filter = %Seccomp.Filter{programs: [program], arch: :x86_64}
      assert is_binary(Seccomp.disassemble(filter))

      case Seccomp.evaluate(filter, :read, args: [1, 2, 3]) do
        {:error, :bad_program} -> :ok
        action -> assert is_binary(SeccompProbe.told(action))
      end
    end)
  end

  # Opcodes that are, mostly, and a return behind them.
  defp instructions do
    code =
      Type.union([Type.integer(0, 0xFF), Type.oneof([0x20, 0x15, 0x25, 0x05, 0x06, 0x54, 0x80])])

    k = Type.union([Type.integer(0, 70), Type.integer(0, 0xFFFF_FFFF)])
    one = Type.tuple([code, Type.integer(0, 3), Type.integer(0, 3), k])

    Property.map(Type.list(one), fn list ->
      for {code, jt, jf, k} <- list ++ [{0x16, 0, 0, 0}, {0x06, 0, 0, 0x7FFF_0000}], into: "" do
        <<code::16-native, jt, jf, k::32-native>>
      end
    end)
  end

  defp spec do
    # As many as fit into one program, whatever they are.
    Property.map(Type.tuple([action(), Type.list(rule())]), fn {default, rules} ->
      rules =
        for {name, action, conditions} <- rules, do: {name, action, Enum.take(conditions, 12)}

      [default: default, rules: Enum.take(rules, 40)]
    end)
  end

  defp rule, do: Type.tuple([Type.oneof(@names), action(), Type.list(condition())])

  # SIGSYS on a write is no matter: nothing is run.
  defp action do
    errno = Type.tuple([:errno, Type.oneof([:eperm, :enosys, :enoent])])
    trace = Type.tuple([:trace, Type.oneof([1, 2])])

    Type.union([
      Type.oneof([:allow, :log, :notify, :trap, :kill_thread, :kill_process]),
      errno,
      trace
    ])
  end

  defp condition do
    operator =
      Type.oneof([:eq, :ne, :lt, :le, :gt, :ge, {:masked_eq, 1}, {:masked_eq, 0xFFFF_0001}])

    wide = Type.oneof([operator, {:masked_eq, 0xFF_0000_0003}])

    Type.union([
      Type.tuple([Type.integer(0, 2), wide, Type.oneof(@values), 64]),
      Type.tuple([
        Type.integer(0, 2),
        operator,
        Type.oneof(Enum.filter(@values, &(&1 < 1 <<< 32))),
        32
      ])
    ])
  end

  defp call do
    Type.tuple([Type.oneof(@names), Type.vector(3, Type.oneof(@values))])
  end

  # The rules in order, and the rest is as the documentation says it.
  defp model(spec, name, args) do
    matching =
      for {^name, action, conditions} <- spec[:rules],
          Enum.all?(conditions, &holds?(&1, args)),
          do: action

    # The first of those that are equally restrictive.
    Enum.min_by(matching, &rank/1, fn -> spec[:default] end)
  end

  defp holds?({index, operator, value, width}, args) do
    low = fn number -> number &&& (1 <<< width) - 1 end
    argument = low.(Enum.at(args, index, 0))

    case operator do
      :eq -> argument == value
      :ne -> argument != value
      :lt -> argument < value
      :le -> argument <= value
      :gt -> argument > value
      :ge -> argument >= value
      {:masked_eq, mask} -> (argument &&& mask) == (value &&& mask)
    end
  end

  defp rank({kind, _data}), do: rank(kind)
  defp rank(kind), do: Enum.find_index(@from_the_most_restrictive, &(&1 == kind))
end
