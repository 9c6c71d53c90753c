defmodule Linx.Seccomp.Filter do
  @moduledoc """
  A seccomp filter: what a program may ask of the kernel.

    * `:programs` – programs in classic BPF, in the form in which `seccomp(2)` takes them, to be
      installed in this order. The kernel runs all of them, and does what the most restrictive says.
    * `:arch` – the architecture whose system calls they know.

  `Linx.Seccomp` makes and explains them.
  """

  @enforce_keys [:programs, :arch]
  defstruct [:programs, :arch]

  @type t :: %__MODULE__{programs: [binary], arch: :x86_64 | :aarch64}
end
