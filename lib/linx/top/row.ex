defmodule Linx.Top.Row do
  @moduledoc """
  One session in `Linx.Top`, with what all the processes of its workload use together.

    * `:session` – the pid of the session, the handle for `Linx.Process`;
    * `:name` – the name it is registered under, or `nil`;
    * `:argv` – the program and its arguments;
    * `:host_pid` – the pid of the program as the host sees it;
    * `:stage` – as in `Linx.Process.Info`;
    * `:state` – the state of the program as the kernel has it, a letter: `"R"` runs, `"S"` sleeps,
      `"D"` waits for a disk or the like, `"T"` is stopped, `"Z"` has ended, see proc_pid_stat(5);
    * `:age` – how long the session has existed, in milliseconds;
    * `:cpu_time` – the processor time used since the start, in microseconds;
    * `:cpu_percent` – the processor time used for each 100 of time that went by: 100.0 is one
      processor all the time. The kernel counts in steps of 10 ms, so it says little of what is
      younger than a second;
    * `:memory` – the resident memory, in bytes. What processes share counts for each of them;
    * `:processes` – how many processes there are.
  """

  @enforce_keys [:session, :argv, :host_pid]
  defstruct [
    :session,
    :name,
    :argv,
    :host_pid,
    :stage,
    :state,
    age: 0,
    cpu_time: 0,
    cpu_percent: 0.0,
    memory: 0,
    processes: 1
  ]

  @type t :: %__MODULE__{
          session: pid,
          name: GenServer.name() | nil,
          argv: [String.t(), ...],
          host_pid: pos_integer,
          stage: Linx.Process.Info.stage(),
          state: String.t(),
          age: non_neg_integer,
          cpu_time: non_neg_integer,
          cpu_percent: float,
          memory: non_neg_integer,
          processes: pos_integer
        }
end
