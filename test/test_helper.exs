# What this user may do decides which tests can run, not who it is: a root without CAP_SYS_ADMIN may
# make no namespaces either.
{why, status} = System.cmd("unshare", ["--net", "true"], stderr_to_stdout: true)

# On a busy machine a message may take its time.
ExUnit.start(assert_receive_timeout: 10_000)

if status != 0 do
  IO.puts("Not run: the tests tagged :root, which make namespaces (#{String.trim(why)})")
  ExUnit.configure(exclude: [:root])
end
