defmodule Linx.Result do
  @moduledoc """
  How a program that `Linx.run/2` has run did.

    * `:status` – `{:exited, code}` or `{:signaled, number}`; `:unknown` only when the program ran out of
      time and its agent could not tell any more;
    * `:stdout`, `:stderr` – what it wrote, or what `:max_output` has kept of that; `""` for a stream that
      went elsewhere. The output of a terminal is in `:stdout`;
    * `:duration` – the microseconds from the start of its session to its end;
    * `:usage` – what it took of the machine, a `Linx.Usage`, or `nil` when that is not known;
    * `:cgroup_stats` – what was used in a cgroup of its own, a `Linx.Cgroup.Stats`: with it, how often the
      kernel killed for want of memory. `nil` without one, see `Linx.Cgroup`;
    * `:timed_out?` – whether it was stopped because its `:timeout` was over, whatever its status is;
    * `:truncated?` – whether it wrote more than `:max_output`.
  """

  @enforce_keys [:status]
  defstruct status: nil,
            stdout: "",
            stderr: "",
            duration: 0,
            usage: nil,
            cgroup_stats: nil,
            timed_out?: false,
            truncated?: false

  @type status :: {:exited, code :: 0..255} | {:signaled, signal :: pos_integer}

  @type t :: %__MODULE__{
          status: status | :unknown,
          stdout: binary,
          stderr: binary,
          duration: non_neg_integer,
          usage: Linx.Usage.t() | nil,
          cgroup_stats: Linx.Cgroup.Stats.t() | nil,
          timed_out?: boolean,
          truncated?: boolean
        }
end
