defmodule Linx.Test.Hostile do
  @moduledoc false

  # Programs that try to get out of a sandbox: see hostile/main.c beside this file.

  alias Linx.Test.CProgram

  @sources Path.wildcard(Path.join(__DIR__, "hostile/*.{c,h}"))
  for source <- @sources, do: @external_resource(source)

  @doc "The path of the program that has them all, static so that it runs where there is no library."
  def path do
    CProgram.path("hostile", @sources, ~w(-static -Wno-unused-result))
  end
end
