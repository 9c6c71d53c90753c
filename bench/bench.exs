# Where Linx stands against its peers and against what the kernel allows. See README.md.
#
#     make bench                      everything, and docs/benchmarks.md and docs/benchmarks.svg
#     make bench ROWS="true pty"      some rows only; the documents stay as they are
#     make bench QUICK=1              few samples of each row: does the suite still run?

# Sessions and peers that end in unusual ways would say so.
Logger.configure(level: :critical)

# Protocols have been consolidated with the library. This one is to know a collectable of ours, too.
:code.purge(Collectable)
collectable = Application.app_dir(:elixir, "ebin/Elixir.Collectable")
{:module, Collectable} = :code.load_abs(to_charlist(collectable))

# Compiled in memory, all at once, since they refer to one another.
files = Path.wildcard("#{__DIR__}/**/*.exs") -- [__ENV__.file]
{:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile(files, return_diagnostics: true)

alias Bench.{Machine, Measure, Peers, Plot, Programs, Report, Rows, Settings}

rows = [
  Rows.True,
  Rows.Crowd,
  Rows.Namespaces,
  Rows.Network,
  Rows.Sandbox,
  Rows.Confinement,
  Rows.Heap,
  Rows.Proceed,
  Rows.Signal,
  Rows.Pty,
  Rows.Output,
  Rows.Lines,
  Rows.Input,
  Rows.Echo,
  Rows.Pressure,
  Rows.Memory,
  Rows.Sessions,
  Rows.Terminals
]

settings = Settings.read(Enum.map(rows, & &1.name()))
Programs.check!()
System.at_exit(fn _status -> Programs.clean() end)
Measure.check_clock!()

# Whatever serves all sessions is there from now on.
Peers.Linx.run(["/bin/true"], [])

tables =
  for row <- rows, row.name() in settings.rows do
    for table <- row.run(settings) do
      table = %{table | row: row.name()}
      Report.print(table)
      table
    end
  end
  |> List.flatten()

Report.print_targets(tables)
Report.print_not_run(tables)

if settings.whole? do
  docs = Path.expand("../docs", __DIR__)
  File.write!("#{docs}/benchmarks.md", Report.markdown(tables, Machine.describe()))
  File.write!("#{docs}/benchmarks.svg", Plot.svg(tables))
  IO.puts("\nwritten: docs/benchmarks.md, docs/benchmarks.svg")
end
