defmodule Linx.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :linx,
      version: @version,
      elixir: "~> 1.14",
      description:
        "Operating-system processes as OTP processes, born in the Linux namespaces they ask for",
      compilers: Mix.compilers() ++ [:linx],
      elixirc_paths: elixirc_paths(Mix.env()),
      deps: [],
      package: [licenses: ["Apache-2.0"]]
    ]
  end

  def application do
    [
      mod: {Linx.Application, []},
      extra_applications: [:crypto, :logger, telemetry: :optional] ++ applications(Mix.env())
    ]
  end

  # PropEr, for the property tests, which bin/setup installs beside Erlang. Without it the others run.
  defp applications(:test), do: [proper: :optional]
  defp applications(_env), do: []

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]
end
