defmodule Linx.Agent.Binary do
  @moduledoc false

  # Where the agent is.

  @doc """
  The path of the agent: `LINX_AGENT` from the environment when it is set and not empty, else the
  one that was built with Linx.
  """
  @spec path() :: Path.t()
  def path do
    case System.get_env("LINX_AGENT", "") do
      "" -> Application.app_dir(:linx, "priv/linx_process")
      path -> path
    end
  end
end
