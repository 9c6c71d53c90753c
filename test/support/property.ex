defmodule Linx.Test.Property do
  @moduledoc false

  # Properties, tried with PropEr: what has to hold for every value of a type, not for an example.
  #
  # PropEr is an Erlang application that bin/setup installs. Its types are made with the functions of
  # `:proper_types`; its macros are for Erlang.

  # Where there is no PropEr, all other tests still run; see test/test_helper.exs.
  @compile {:no_warn_undefined, [:proper, :proper_types]}

  alias :proper_types, as: Type

  @doc "Whether there is PropEr."
  def available?, do: Code.ensure_loaded?(:proper)

  @doc """
  Passes `cases` random values of a type to `fun`, whose assertions have to hold for all of them.

  `LINX_PROPERTY_CASES` in the environment is a factor for the number of cases. The failure is that
  of the smallest value that PropEr finds once one has failed.
  """
  def for_all(type, cases, fun) do
    Process.delete(__MODULE__)
    property = :proper.forall(type, &holds?(fun, &1))

    case :proper.quickcheck(property, [:quiet, :long_result, numtests: cases * factor()]) do
      true -> :ok
      {:error, reason} -> ExUnit.Assertions.flunk("PropEr: #{inspect(reason)}")
      _counterexample -> fail(Process.delete(__MODULE__))
    end
  end

  @doc "Values of `type`, each made into another one by `fun`."
  def map(type, fun), do: Type.bind(type, &Type.exactly(fun.(&1)), false)

  defp factor, do: String.to_integer(System.get_env("LINX_PROPERTY_CASES", "1"))

  # PropEr wants to know whether, and not why, and meets exceptions with a function that Erlang no
  # longer has. The last failure is that of the smallest value.
  defp holds?(fun, value) do
    fun.(value)
    true
  catch
    kind, reason ->
      Process.put(__MODULE__, {value, kind, reason, __STACKTRACE__})
      false
  end

  defp fail({value, kind, reason, stacktrace}) do
    shown = inspect(value, limit: :infinity, printable_limit: :infinity, pretty: true)
    why = Exception.format_banner(kind, reason, stacktrace)
    message = "This does not hold for\n\n#{shown}\n\n#{why}"
    reraise(ExUnit.AssertionError, [message: message], stacktrace)
  end
end
