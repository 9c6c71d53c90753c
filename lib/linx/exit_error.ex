defmodule Linx.ExitError do
  @moduledoc """
  A program that was to succeed and did not.

    * `:argv` – the program and its arguments;
    * `:status` – how it ended, as in `Linx.Result`;
    * `:timed_out?` – whether its `:timeout` was over;
    * `:result` – the whole `Linx.Result` where `Linx.run!/2` raises it, else `nil`.

  The message ends with the end of what the program wrote to its standard error, when that was captured:

      iex> error = %Linx.ExitError{argv: ["grep", "x", "nosuch"], status: {:exited, 2}}
      iex> Exception.message(error)
      "grep x nosuch: exit status 2"
  """

  alias Linx.{Result, Signal}

  # So much of the standard error is shown, in bytes.
  @shown 2_000

  @enforce_keys [:argv, :status]
  defexception [:argv, :status, :result, timed_out?: false]

  @type t :: %__MODULE__{
          argv: [String.t(), ...],
          status: Result.status() | :unknown,
          timed_out?: boolean,
          result: Result.t() | nil
        }

  @impl true
  def message(error) do
    "#{command(error.argv)}: #{late(error.timed_out?)}#{fate(error.status)}#{said(error.result)}"
  end

  defp command(argv), do: argv |> Enum.map_join(" ", &word/1)

  # As one would type it, if that can be.
  defp word(word) do
    if word =~ ~r"\A[\w@%+=:,./-]+\z", do: word, else: inspect(word)
  end

  defp late(true), do: "timed out, "
  defp late(false), do: ""

  defp fate({:exited, code}), do: "exit status #{code}"
  defp fate({:signaled, n}) when n in 1..64, do: "killed by #{name(n)}"
  defp fate({:signaled, n}), do: "killed by signal #{n}"
  defp fate(:unknown), do: "how it ended is not known"

  defp name(n), do: n |> Signal.name() |> Atom.to_string() |> String.upcase()

  defp said(%Result{stderr: stderr}) when stderr != "" do
    from = max(byte_size(stderr) - @shown, 0)
    "\n\n" <> (stderr |> binary_part(from, byte_size(stderr) - from) |> readable())
  end

  defp said(_result), do: ""

  # What is left of a character that has been cut.
  defp readable(<<0b10::2, _::6, rest::binary>>), do: readable(rest)
  defp readable(text), do: if(String.valid?(text), do: text, else: inspect(text))
end
