defmodule Linx.Process.Info do
  @moduledoc """
  What a session knows of itself and its workload: the answer of `Linx.Process.info/1`.

    * `:mode` – `:spawn` or `:enter`: how the workload came to its namespaces;
    * `:stage` – how far it is:
      * `:starting` – nothing has been born yet;
      * `:spawned` – the child is there, on its way to the checkpoint;
      * `:ready` – it is parked at the checkpoint, or has been released and is about to run;
      * `:running` – the program runs;
      * `:terminated` – the session has ended, `:result` tells how;
    * `:host_pid` – the workload's pid as the host sees it, `nil` before `:spawned`;
    * `:child_pid` – its pid as it sees itself, 1 in a fresh `:pid` namespace, `nil` before `:ready`;
    * `:argv` – the program, as it was found on the PATH, and its arguments;
    * `:pty?` – whether the workload has a terminal (`stdio: :pty`);
    * `:started_at` – when the session began, and `:duration`, for how many microseconds it went on,
      `nil` until it has ended;
    * `:timed_out?` – whether its `:timeout` was over before it ended;
    * `:usage` – what the workload has used, a `Linx.Usage`; `nil` until it has ended, and when
      there was no process, or the agent could not tell;
    * `:cgroup` – the directory of the cgroup in which the workload is born, `nil` without the option
      `:cgroup`. One of the session's own is gone when that has ended;
    * `:cgroup_stats` – what was used in a cgroup of its own, a `Linx.Cgroup.Stats`; `nil` until it has ended,
      and without one;
    * `:result` – `nil` until the session has ended, then what `Linx.Process.wait/1` returns.

  The pids stay after the end, when the kernel may have given them to others: they are for the record
  then, not for use.
  """

  @enforce_keys [:mode]
  defstruct mode: nil,
            stage: :starting,
            argv: [],
            host_pid: nil,
            child_pid: nil,
            pty?: false,
            started_at: nil,
            duration: nil,
            timed_out?: false,
            usage: nil,
            cgroup: nil,
            cgroup_stats: nil,
            result: nil

  @type stage :: :starting | :spawned | :ready | :running | :terminated

  @type t :: %__MODULE__{
          mode: :spawn | :enter,
          stage: stage,
          argv: [String.t()],
          host_pid: pos_integer | nil,
          child_pid: pos_integer | nil,
          pty?: boolean,
          started_at: DateTime.t() | nil,
          duration: non_neg_integer | nil,
          timed_out?: boolean,
          usage: Linx.Usage.t() | nil,
          cgroup: String.t() | nil,
          cgroup_stats: Linx.Cgroup.Stats.t() | nil,
          result: Linx.Process.result() | nil
        }
end
