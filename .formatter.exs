[
  inputs: [
    "{mix,.formatter}.exs",
    "bench/**/*.exs",
    "{lib,test}/**/*.{ex,exs}",
    "examples/*.exs",
    "examples/*/{mix,.formatter}.exs",
    "examples/*/{lib,test}/**/*.{ex,exs}"
  ]
]
