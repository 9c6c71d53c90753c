defmodule Linx.ErrnoTest do
  use ExUnit.Case, async: true
  doctest Linx.Errno

  alias Linx.Errno

  # linux-libc-dev, which every C toolchain brings: without it nothing links, cargo's output included.
  @headers ~w(/usr/include/asm-generic/errno-base.h /usr/include/asm-generic/errno.h)

  # The numbers this library knows; a newer kernel's header may have more.
  @known 1..133

  # Every `#define EFOO 1` and `#define EFOO EBAR` of the headers, as [{:efoo, 1 | :ebar}].
  defp defines do
    for header <- @headers,
        [_, name, value] <- Regex.scan(~r/^#define\s+(E\w+)\s+(\w+)/m, File.read!(header)) do
      {atom(name), if(value =~ ~r/^\d+$/, do: String.to_integer(value), else: atom(value))}
    end
  end

  defp atom(name), do: name |> String.downcase() |> String.to_atom()

  test "the table is the kernel's" do
    kernel = for {name, number} <- defines(), number in @known, into: %{}, do: {number, name}
    assert map_size(kernel) == 131

    for number <- @known do
      assert Errno.name(number) == Map.get(kernel, number, :unknown)
    end

    for {number, name} <- kernel do
      assert Errno.number(name) == {:ok, number}
    end
  end

  test "an alias has the number of the name it stands for" do
    for name <- [:ewouldblock, :edeadlock] do
      assert Errno.number(name) == Errno.number(Keyword.fetch!(defines(), name))
    end

    # The C library's own, absent from the kernel's header.
    assert Errno.number(:enotsup) == Errno.number(:eopnotsupp)
  end

  test "the messages are those of strerror" do
    script = ~S[for (1..133) { $! = $_; print "$!\n" }]
    {output, 0} = System.cmd("perl", ["-e", script], env: [{"LC_ALL", "C"}])
    messages = String.split(output, "\n", trim: true)
    assert length(messages) == Enum.count(@known)

    for {number, strerror} <- Enum.zip(@known, messages) do
      assert String.downcase(Errno.message(number)) == String.downcase(strerror)
    end
  end

  test "a name and its number mean the same" do
    for number <- @known, (name = Errno.name(number)) != :unknown do
      assert Errno.message(name) == Errno.message(number)
    end
  end

  test "what Linux does not have is unknown" do
    for number <- [-1, 0, 41, 58, 134, 4096] do
      assert Errno.name(number) == :unknown
      assert Errno.message(number) == "unknown error #{number}"
    end

    assert Errno.number(:unknown) == :error
    assert Errno.message(:enosuch) == "unknown error enosuch"
  end
end
