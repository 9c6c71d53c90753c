defmodule Linx.Sandbox.Limits do
  @moduledoc false

  # How a sandbox is kept to its limits: by a cgroup of its own, where there can be one, or by limits of
  # each process.

  alias Linx.Cgroup.Own

  @doc """
  The limits of a cgroup of its own, or nil, and those of each process; the error is what cannot be had
  with these options of the session.
  """
  @spec resolve(map, keyword) :: {:ok, {keyword | nil, keyword}} | {:error, {:bad_sandbox, term}}
  def resolve(sandbox, opts) do
    each = [core: 0, nofile: sandbox.files, memlock: 64 * 1024, msgqueue: 0]
    alone = each ++ [nproc: sandbox.pids, data: sandbox.memory]

    case {own?(sandbox, opts), demand(sandbox)} do
      {true, nil} -> {:ok, if(limits = usable(sandbox), do: {limits, each}, else: {nil, alone})}
      # Where there is none, whoever makes it says why.
      {true, _demand} -> {:ok, {usable(sandbox) || hd(candidates(sandbox)), each}}
      {false, nil} -> {:ok, {nil, alone}}
      {false, demand} -> {:error, {:bad_sandbox, demand}}
    end
  end

  @doc "The limits of a cgroup that can be made here for this sandbox; nil if there are none."
  @spec usable(map) :: keyword | nil
  def usable(sandbox), do: Enum.find(candidates(sandbox), &Own.usable?/1)

  # A kernel that does not swap cannot limit it either.
  defp candidates(sandbox) do
    limits =
      for key <- [:memory, :pids, :cpu],
          value = sandbox[key],
          value != :infinity,
          do: {key, value}

    if limits[:memory], do: [[swap: 0] ++ limits, limits], else: [limits]
  end

  defp own?(%{cgroup: false}, _opts), do: false

  defp own?(_sandbox, opts) do
    not Keyword.has_key?(opts, :cgroup) and :leave not in [opts[:orphan], opts[:descendants]]
  end

  # What there is no limit of each process for.
  defp demand(%{cgroup: :require}), do: {:cgroup, :require}
  defp demand(%{cpu: nil}), do: nil
  defp demand(%{cpu: cpu}), do: {:cpu, cpu}
end
