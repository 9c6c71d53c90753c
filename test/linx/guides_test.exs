defmodule Linx.GuidesTest do
  # What the guides in docs show, section by section: a test for each. They name
  # their sessions as a reader would, so no two of them run at a time.
  use ExUnit.Case, async: false

  alias Linx.Test.Guide

  # Programs that a failed example leaves are linked to it, and their ends are nobody's concern.
  @moduletag :capture_log

  # Whose calls are shown beside those of Linx. They are not here to be run.
  @others ~w(MuonTrap Exile ExCmd erlexec Rambo)

  for name <- ["commands.md", "coming-from.md", "confinement.md"] do
    path = Path.expand("../../docs/#{name}", __DIR__)
    @external_resource path

    describe name do
      for section <- Guide.sections(path, @others) do
        if section.root?, do: @tag(:root)

        test section.title do
          Guide.run(unquote(Macro.escape(section)), unquote(path))
        end
      end
    end
  end
end
