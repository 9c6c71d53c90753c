defmodule Linx.Seccomp.Rules do
  @moduledoc false

  # Rules as people write them into rules as the library takes them. All mistakes are found here.

  import Bitwise

  alias Linx.Seccomp.{Action, Native}

  @comparisons [:eq, :ne, :lt, :le, :gt, :ge]

  @doc """
  The rules for an architecture; one that names no action has `action`.

  `unknown: :skip` leaves out names that are no system call of the architecture.
  """
  @spec resolve(term, Native.arch(), term, keyword) :: {:ok, [Native.rule()]} | {:error, term}
  def resolve(rules, arch, action, opts \\ []) do
    with {:ok, rules} <- listed(rules),
         {:ok, rules} <- all(rules, &parse(&1, action)),
         {:ok, numbers} <- numbers(rules, arch, opts[:unknown]) do
      {:ok,
       for {names, action, conditions} <- rules,
           name <- names,
           number = numbers[name],
           is_integer(number) do
         {number, action, conditions}
       end}
    end
  end

  defp listed(rules) do
    rules = List.wrap(rules)
    if List.improper?(rules), do: {:error, {:bad_rule, rules}}, else: {:ok, rules}
  end

  @doc "The number of a name, or what is wrong with it."
  @spec number(term, Native.arch()) :: {:ok, non_neg_integer} | {:error, term}
  def number(name, arch) do
    with {:ok, name} <- name(name),
         {:ok, numbers} <- numbers([{[name], nil, []}], arch, nil) do
      {:ok, numbers[name]}
    end
  end

  # A name, or several, with an action or the implied one, and conditions or none.
  defp parse({names, action, conditions}, _implied), do: rule(names, action, conditions)

  defp parse({names, conditions}, implied) when is_list(conditions),
    do: rule(names, implied, conditions)

  defp parse({names, action}, _implied), do: rule(names, action, [])
  defp parse(names, implied), do: rule(names, implied, [])

  defp rule(names, action, conditions) when is_list(conditions) do
    names = if is_list(names), do: names, else: [names]

    with {:ok, names} <- all(names, &name/1),
         {:ok, action} <- Action.encode(action),
         {:ok, conditions} <- all(conditions, &condition/1) do
      {:ok, {names, action, conditions}}
    end
  end

  defp rule(names, action, conditions), do: {:error, {:bad_rule, {names, action, conditions}}}

  defp name(name) when is_binary(name), do: {:ok, name}
  defp name(name) when is_atom(name) and name not in [nil, true, false], do: {:ok, name}
  defp name(name), do: {:error, {:bad_rule, name}}

  defp condition({argument, operator, value}), do: condition({argument, operator, value, 64})

  defp condition({argument, operator, value, width} = condition)
       when argument in 0..5 and width in [32, 64] and is_integer(value) do
    case {operator, fits?(value, width)} do
      {operator, true} when operator in @comparisons ->
        {:ok, {argument, operator, width, unsigned(value, width), 0}}

      {{:masked_eq, mask}, true} when is_integer(mask) ->
        if fits?(mask, width),
          do: {:ok, {argument, :masked_eq, width, unsigned(value, width), unsigned(mask, width)}},
          else: {:error, {:bad_condition, condition}}

      _other ->
        {:error, {:bad_condition, condition}}
    end
  end

  defp condition(condition), do: {:error, {:bad_condition, condition}}

  # Below zero as the kernel's registers have it.
  defp fits?(value, width), do: value >= -(1 <<< (width - 1)) and value < 1 <<< width
  defp unsigned(value, width), do: value &&& (1 <<< width) - 1

  # By name, in the form in which it was given.
  defp numbers(rules, arch, unknown) do
    names = rules |> Enum.flat_map(&elem(&1, 0)) |> Enum.uniq()
    {texts, broken} = Enum.split_with(names, &String.valid?(to_string(&1)))
    answers = Native.resolve(arch, Enum.map(texts, &to_string/1))
    answers = Enum.zip(texts, answers) ++ Enum.map(broken, &{&1, :unknown})

    case Enum.reject(answers, &is_integer(elem(&1, 1))) do
      [_ | _] = bad when unknown != :skip -> {:error, {:bad_syscalls, bad}}
      _none_or_skipped -> {:ok, Map.new(answers)}
    end
  end

  defp all(list, fun) do
    Enum.reduce_while(list, {:ok, []}, fn item, {:ok, done} ->
      case fun.(item) do
        {:ok, item} -> {:cont, {:ok, [item | done]}}
        {:error, mistake} -> {:halt, {:error, mistake}}
      end
    end)
    |> case do
      {:ok, done} -> {:ok, Enum.reverse(done)}
      error -> error
    end
  end
end
