defmodule HelloLinx.MixProject do
  use Mix.Project

  def project do
    [
      app: :hello_linx,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [{:linx, path: "../.."}]
    ]
  end

  def application do
    [extra_applications: [:logger], mod: {HelloLinx.Application, []}]
  end
end
