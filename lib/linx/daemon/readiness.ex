defmodule Linx.Daemon.Readiness do
  @moduledoc false

  # When a program is ready: what the option `:ready` may be, and how it is found out.

  @type t ::
          :running
          | :notify
          | {:line, Regex.t() | String.t() | (String.t() -> as_boolean(term))}
          | {:tcp, :inet.port_number()}
          | {:tcp, host :: String.t() | :inet.ip_address(), :inet.port_number()}
          | {:unix, path :: String.t()}
          | (() -> as_boolean(term))

  # What others do cannot be waited for: it is looked at so often, in ms.
  @interval 50

  # How long a connection may take that neither succeeds nor fails, in ms.
  @connecting 1_000

  # `sun_path` has 108 bytes, the last of which ends the string.
  @max_path 107

  defguardp is_port_number(port) when port in 1..65535

  @doc "Whether this can be waited for."
  @spec valid?(term) :: boolean
  def valid?(ready) when ready in [:running, :notify], do: true
  def valid?({:line, %Regex{}}), do: true
  def valid?({:line, part}) when is_binary(part), do: part != ""
  def valid?({:line, fun}), do: is_function(fun, 1)
  def valid?({:tcp, port}), do: is_port_number(port)
  def valid?({:tcp, host, port}) when is_port_number(port), do: host?(host)
  def valid?({:unix, path}) when is_binary(path), do: byte_size(path) in 1..@max_path
  def valid?(ready), do: is_function(ready, 0)

  defp host?(host) when is_binary(host), do: host != ""
  defp host?(host), do: :inet.is_ip_address(host)

  @doc "The condition on a line of output, if that is what is waited for."
  @spec awaited_line(t) :: (String.t() -> as_boolean(term)) | nil
  def awaited_line({:line, %Regex{} = regex}), do: &Regex.match?(regex, &1)
  def awaited_line({:line, part}) when is_binary(part), do: &String.contains?(&1, part)
  def awaited_line({:line, fun}), do: fun
  def awaited_line(_other), do: nil

  @doc "A look at what is waited for, if that takes looking."
  @spec probe(t) :: (() -> as_boolean(term)) | nil
  def probe({:tcp, port}), do: probe({:tcp, {127, 0, 0, 1}, port})
  def probe({:tcp, host, port}), do: fn -> connects?(address(host), port) end
  def probe({:unix, path}), do: fn -> connects?({:local, path}, 0) end
  def probe(fun) when is_function(fun, 0), do: fun
  def probe(_other), do: nil

  @doc "Returns when the probe succeeds."
  @spec await((() -> as_boolean(term))) :: :ok
  def await(probe) do
    if probe.() do
      :ok
    else
      Process.sleep(@interval)
      await(probe)
    end
  end

  defp address(host) when is_binary(host) do
    case :inet.parse_address(String.to_charlist(host)) do
      {:ok, address} -> address
      {:error, _reason} -> String.to_charlist(host)
    end
  end

  defp address(address), do: address

  defp connects?(address, port) do
    case :gen_tcp.connect(address, port, [active: false], @connecting) do
      {:ok, socket} ->
        :gen_tcp.close(socket)
        true

      {:error, _reason} ->
        false
    end
  end
end
