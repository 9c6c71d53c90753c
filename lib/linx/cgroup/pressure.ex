defmodule Linx.Cgroup.Pressure do
  @moduledoc false

  # Pressure stall information: psi.rst in the kernel's documentation.

  alias Linx.Cgroup.Files

  @resources [:cpu, :memory, :io, :irq]

  @spec read(String.t()) :: %{optional(atom) => map | nil}
  def read(path) do
    Map.new(@resources, &{&1, path |> Path.join("#{&1}.pressure") |> Files.peek() |> parse()})
  end

  defp parse(nil), do: nil

  defp parse(content) do
    fields = Files.fields(content)
    %{some: share(fields["some"]), full: share(fields["full"])}
  end

  defp share(nil), do: nil

  defp share(fields) do
    %{
      avg10: String.to_float(fields["avg10"]),
      avg60: String.to_float(fields["avg60"]),
      avg300: String.to_float(fields["avg300"]),
      total: String.to_integer(fields["total"])
    }
  end
end
