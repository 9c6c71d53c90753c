defmodule Linx.Daemon.LogTest do
  use ExUnit.Case, async: true

  alias Linx.Daemon.Log

  describe "text" do
    test "is left as it is" do
      for text <- ["", "plain", "größer 😀", "tab\tand \e[31mred\e[0m", "50\r100\r"] do
        assert Log.text(text) == text
      end
    end

    test "has bytes that are no UTF-8 written as their numbers, and NULs" do
      assert Log.text("a\0b") == "a\\x00b"
      assert Log.text(<<"ä", 0xFF, "ö", 0xC3>>) == "ä\\xFFö\\xC3"
      # A surrogate, and a slash in more bytes than it needs.
      assert Log.text(<<0xED, 0xA0, 0x80, 0xC0, 0xAF>>) == "\\xED\\xA0\\x80\\xC0\\xAF"
    end

    test "is valid whatever the bytes are" do
      for _n <- 1..200 do
        text = Log.text(:rand.bytes(50))
        assert String.valid?(text)
        refute String.contains?(text, "\0")
      end
    end
  end

  describe "visible text" do
    test "has no control characters but tabs and newlines" do
      assert Log.visible("a\tb\nc größer 😀") == "a\tb\nc größer 😀"
      # The title of a window, a cleared screen, a line written over another, and a C1 control.
      assert Log.visible("\e]0;x\a\e[2Jnew\rold\b") == "\\x1B]0;x\\x07\\x1B[2Jnew\\x0Dold\\x08"
      assert Log.visible("\x7F\u009B31m") == "\\x7F\\x9B31m"
    end
  end

  describe "an entry" do
    test "has the level of its stream" do
      log = %Log{levels: %{stdout: :debug, stderr: :error, pty: false}}
      assert Log.entry(log, :stdout, "line") == {:debug, "line"}
      assert Log.entry(log, :stderr, "line") == {:error, "line"}
      assert Log.entry(log, :pty, "line") == nil
    end

    test "is what the transform makes of it" do
      log = %Log{
        transform: fn
          "drop" -> nil
          "loud" -> {:error, "LOUD"}
          line -> line <> "!"
        end
      }

      assert Log.entry(log, :stdout, "drop") == nil
      assert Log.entry(log, :stdout, "loud") == {:error, "LOUD"}
      assert Log.entry(log, :stdout, "line") == {:info, "line!"}
    end

    test "of a stream that is not logged is not asked for" do
      log = %Log{levels: %{stdout: false}, transform: fn _line -> flunk("asked") end}
      assert Log.entry(log, :stdout, "line") == nil
    end
  end

  test "functions get the line, and its stream if they want it" do
    Log.line(%Log{function: &send(self(), {:one, &1})}, :stdout, "a")
    Log.line(%Log{function: &send(self(), {:two, &1, &2})}, :stderr, "b")
    Log.line(%Log{function: {__MODULE__, :told, [self()]}}, :pty, "c")
    assert_received {:one, "a"}
    assert_received {:two, "b", :stderr}
    assert_received {:mfa, "c"}
  end

  def told(line, pid), do: send(pid, {:mfa, line})
end
