defmodule Linx.Cgroup.Files do
  @moduledoc false

  # The files that the kernel has in a cgroup's directory, and the shapes of what is in them.

  alias Linx.Cgroup.Error

  @spec read(Path.t()) :: {:ok, String.t()} | {:error, Error.t()}
  def read(path) do
    with {:error, errno} <- File.read(path), do: {:error, Error.new(:read, path, errno)}
  end

  @doc "The content of a file that need not be there, or be readable; nil if so."
  @spec peek(Path.t()) :: String.t() | nil
  def peek(path) do
    case File.read(path) do
      {:ok, content} -> content
      {:error, _errno} -> nil
    end
  end

  @doc "Writes to a file that is there already; elsewhere than in a cgroup it would come into being."
  @spec write(Path.t(), iodata, operation :: atom) :: :ok | {:error, Error.t()}
  def write(path, content, operation \\ :write) do
    with {:ok, _stat} <- File.stat(path),
         :ok <- File.write(path, content) do
      :ok
    else
      {:error, errno} -> {:error, Error.new(operation, path, errno)}
    end
  end

  @doc "Whether it is there for the user of the BEAM to change."
  @spec writable?(Path.t()) :: boolean
  def writable?(path) do
    match?(
      {:ok, %File.Stat{access: access}} when access in [:write, :read_write],
      File.stat(path)
    )
  end

  @doc "A line with words that are names of controllers, and known as such."
  @spec controllers(Path.t()) :: [atom]
  def controllers(path), do: path |> peek() |> words() |> Enum.map(&String.to_atom/1)

  @doc "A number, `:max`, or nil."
  @spec number(String.t() | nil) :: non_neg_integer | :max | nil
  def number(nil), do: nil

  def number(content) do
    case String.trim(content) do
      "max" -> :max
      digits -> String.to_integer(digits)
    end
  end

  @doc "Lines of a key and a number each."
  @spec pairs(String.t() | nil) :: %{optional(String.t()) => non_neg_integer}
  def pairs(content) do
    for line <- lines(content), [key, value] <- [String.split(line)], into: %{} do
      {key, String.to_integer(value)}
    end
  end

  @doc "Lines of a key and fields, `name=value` each."
  @spec fields(String.t() | nil) :: %{
          optional(String.t()) => %{optional(String.t()) => String.t()}
        }
  def fields(content) do
    for line <- lines(content), [key | fields] = String.split(line), into: %{} do
      {key,
       for(
         field <- fields,
         [name, value] <- [String.split(field, "=")],
         into: %{},
         do: {name, value}
       )}
    end
  end

  defp words(nil), do: []
  defp words(content), do: String.split(content)

  defp lines(nil), do: []
  defp lines(content), do: String.split(content, "\n", trim: true)
end
