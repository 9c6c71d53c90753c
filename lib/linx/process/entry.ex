defmodule Linx.Process.Entry do
  @moduledoc """
  A session as `Linx.list/0` shows it.

    * `:session` – its pid, the handle for `Linx.Process`;
    * `:name` – the name it is registered under, or `nil`;
    * `:argv` – the program and its arguments; the program as it was found on the PATH;
    * `:mode` – `:spawn` or `:enter`;
    * `:agent` – `:host` or `:dedicated`: what it has got, see "Agents" in `Linx.Process`; `nil`
      until it has one;
    * `:stage` and `:host_pid` – as in `Linx.Process.Info`;
    * `:owner` – who gets the events;
    * `:started_at` – when the session started;
    * `:age` – how many milliseconds ago that was.
  """

  @enforce_keys [:session, :argv, :mode, :started_at]
  defstruct [
    :session,
    :name,
    :argv,
    :mode,
    :agent,
    :host_pid,
    :owner,
    :started_at,
    stage: :starting,
    age: 0
  ]

  @type t :: %__MODULE__{
          session: pid,
          name: GenServer.name() | nil,
          argv: [String.t(), ...],
          mode: :spawn | :enter,
          agent: :host | :dedicated | nil,
          stage: Linx.Process.Info.stage(),
          host_pid: pos_integer | nil,
          owner: Linx.Process.owner(),
          started_at: DateTime.t(),
          age: non_neg_integer
        }
end
