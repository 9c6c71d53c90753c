defmodule Linx.Landlock.Enforced do
  @moduledoc """
  What `Linx.Landlock.restrict/2` has achieved on the running kernel:

    * `:abi` – the kernel's version of Landlock, 0 when it has none;
    * `:fs` – the rights to files that are forbidden but for the rules, in the kernel's words
      (`:write_file`, `:truncate` …); empty when files were not asked for;
    * `:net` – likewise, of `:bind_tcp` and `:connect_tcp`;
    * `:scope` – likewise, of `:abstract_unix_socket` and `:signal`.
  """

  @fs [
    :execute,
    :write_file,
    :read_file,
    :read_dir,
    :remove_dir,
    :remove_file,
    :make_char,
    :make_dir,
    :make_reg,
    :make_sock,
    :make_fifo,
    :make_block,
    :make_sym,
    :refer,
    :truncate,
    :ioctl_dev
  ]
  @net [:bind_tcp, :connect_tcp]
  @scope [:abstract_unix_socket, :signal]

  @enforce_keys [:abi, :fs, :net, :scope]
  defstruct @enforce_keys

  @type t :: %__MODULE__{abi: non_neg_integer, fs: [atom], net: [atom], scope: [atom]}

  # From the agent's answer, where they are bits.
  @doc false
  @spec new(map) :: t
  def new(%{abi: abi, fs: fs, net: net, scoped: scoped}) do
    %__MODULE__{
      abi: abi,
      fs: names(fs, @fs),
      net: names(net, @net),
      scope: names(scoped, @scope)
    }
  end

  defp names(bits, names) do
    for {name, bit} <- Enum.with_index(names), Bitwise.band(bits, 2 ** bit) != 0, do: name
  end
end
