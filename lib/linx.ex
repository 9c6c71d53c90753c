defmodule Linx do
  @moduledoc """
  Operating-system processes as OTP processes, on Linux.

  Linx runs programs outside the BEAM and lets Elixir own them: each one has a GenServer that starts
  it, tells how it goes, and takes it along when it ends. A program may be born in Linux namespaces
  of its own, is stopped at a checkpoint before it runs so that the host can prepare the place, and
  leaves nothing behind: not its children, not its daemons, not when the BEAM itself is killed.

      {:ok, session} = Linx.Process.spawn(argv: ["echo", "hello"], namespaces: [:net, :pid])

      receive do
        {:linx_process, :ready, host_pid} -> host_pid
      end

      :ok = Linx.Process.proceed(session)
      {:ok, {:exited, 0}} = Linx.Process.wait(session)

  ## Where to go

    * `Linx.Process` – run a program: spawn it, enter another's namespaces, signal it, wait for it,
      give it a terminal, put it under a supervisor. Start here.
    * `Linx.Process.Error` – what is returned when the kernel refuses something.
    * `Linx.Signal` and `Linx.Errno` – the names of signals and of error numbers.

  ## What it stands on

  `clone`, `setns`, `fork` and `exec` corrupt a virtual machine of many threads, so they never run
  in the BEAM. A small port binary written in Rust, the *agent*, does them, for many sessions at a
  time or for one, see "Agents" in `Linx.Process`. It is built by `mix compile` and found in Linx's
  `priv` directory. The environment variable `LINX_AGENT` names another one, for the agents that are
  started from then on.

  Fresh namespaces other than `:user` need `CAP_SYS_ADMIN`, so run the BEAM as root for them. All
  else works without privileges.
  """
end
