# What this user may do decides which tests can run, not who it is: a root without CAP_SYS_ADMIN may
# make no namespaces either.
{why, status} = System.cmd("unshare", ["--net", "true"], stderr_to_stdout: true)

# Whether sessions share agents, unless a test says which it is about: LINX_TEST_AGENT=dedicated makes
# each have its own.
agent = System.get_env("LINX_TEST_AGENT", "host")
true = agent in ["host", "dedicated"]
Application.put_env(:linx, :agent, String.to_atom(agent))

# Where version 1 has them, version 2 of cgroups does not.
controllers =
  case Linx.Cgroup.root() do
    {:ok, root} -> Linx.Cgroup.Tree.available(root)
    {:error, :not_mounted} -> []
  end

# On a busy machine a message may take its time.
ExUnit.start(assert_receive_timeout: 10_000)

missing =
  [
    {status != 0, :root, "which make namespaces (#{String.trim(why)})"},
    {not Linx.Test.Property.available?(), :property,
     "for want of PropEr, which bin/setup installs"},
    {System.find_executable("cargo") == nil, :cargo, "for want of cargo"},
    {[:memory, :pids] -- controllers != [], :controllers,
     "for want of cgroup v2 with memory and pids; it has #{inspect(controllers)}"}
  ]
  |> Enum.filter(&elem(&1, 0))

for {_missing, tag, why} <- missing,
    do: IO.puts("Not run: the tests tagged #{inspect(tag)}, #{why}")

ExUnit.configure(exclude: Enum.map(missing, &elem(&1, 1)))
