defmodule Linx.Process.Environment do
  @moduledoc false

  # The environment of a workload: the option `:env` made into the list of "NAME=value" that exec
  # takes.

  alias Linx.Process.CString

  @doc """
  A list of `"NAME=value"` is the environment. A map, or a list of pairs, is merged over the caller's
  own; there `nil` and `false` remove a name. The error is the first element that is neither.
  """
  @spec resolve(term) :: {:ok, [binary]} | {:error, offending :: term}
  def resolve([]), do: {:ok, []}
  def resolve([pair | _] = list) when is_tuple(pair) and length(list) > 0, do: merge(list)
  def resolve(map) when is_map(map) and not is_struct(map), do: merge(Map.to_list(map))

  def resolve(list) when length(list) > 0 do
    case Enum.find(list, :none, &(not entry?(&1))) do
      :none -> {:ok, list}
      offending -> {:error, offending}
    end
  end

  def resolve(other), do: {:error, other}

  @doc "The pairs `more`, as in an environment, over the variables in `base`."
  @spec over(%{String.t() => String.t()}, [term]) :: {:ok, [binary]} | {:error, offending :: term}
  def over(base, more), do: merge(base, more)

  @doc "The BEAM's environment as it is now."
  @spec own() :: [binary]
  def own, do: entries(own_map())

  @doc "The value of `name` in an environment, `nil` when it has none."
  @spec get([binary], binary) :: binary | nil
  def get(env, name) do
    prefix = name <> "="

    Enum.find_value(env, fn entry ->
      if String.starts_with?(entry, prefix), do: String.replace_prefix(entry, prefix, "")
    end)
  end

  defp merge(base \\ nil, pairs) do
    case Enum.find(pairs, :none, &(not pair?(&1))) do
      :none ->
        {:ok, pairs |> Enum.reduce(base || own_map(), &put/2) |> entries()}

      offending ->
        {:error, offending}
    end
  end

  defp entries(env), do: Enum.map(env, fn {name, value} -> name <> "=" <> value end)

  defp put({name, removed}, env) when removed in [nil, false],
    do: Map.delete(env, to_string(name))

  defp put({name, value}, env), do: Map.put(env, to_string(name), value)

  # `System.get_env/0` takes every environment for UTF-8. With a locale such as C the bytes come as
  # they are, and must go as they came.
  defp own_map do
    native = :file.native_name_encoding()

    Map.new(:os.env(), fn {name, value} ->
      {:unicode.characters_to_binary(name, :unicode, native),
       :unicode.characters_to_binary(value, :unicode, native)}
    end)
  end

  defp pair?({name, value}) when is_atom(name) or is_binary(name) do
    name?(to_string(name)) and (value in [nil, false] or CString.valid?(value))
  end

  defp pair?(_other), do: false

  defp entry?(entry) when is_binary(entry) do
    case :binary.split(entry, "=") do
      [name, _value] -> name?(name) and CString.valid?(entry)
      [_no_value] -> false
    end
  end

  defp entry?(_other), do: false

  defp name?(name),
    do: name != "" and CString.valid?(name) and :binary.match(name, "=") == :nomatch
end
