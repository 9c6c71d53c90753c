defmodule Linx.Process.ErrorTest do
  use ExUnit.Case, async: true

  alias Linx.Process.Error

  doctest Linx.Process.Error

  test "is named after its number" do
    assert Error.new(:chdir, 20) == %Error{stage: :chdir, errno: :enotdir, code: 20, signal: nil}
    assert Error.new(:clone, 4_242).errno == :unknown
  end

  test "knows the signal behind it, if there was one" do
    assert Error.new(:checkpoint, 5, {:signaled, 9}).signal == 9
    assert Error.new(:checkpoint, 5, {:exited, 1}).signal == nil
  end

  test "says what happened" do
    for {error, message} <- [
          {Error.new(:setns_net, 1), "setns_net: operation not permitted (EPERM)"},
          {Error.new(:clone, 4_242), "clone: unknown error 4242"},
          {Error.new(:checkpoint, 5, {:signaled, 9}),
           "checkpoint: input/output error (EIO), killed by SIGKILL"},
          {Error.new(:checkpoint, 5, {:signaled, 99}),
           "checkpoint: input/output error (EIO), killed by signal 99"},
          {Error.agent_died(137),
           "agent_died: the agent ended without a word, with exit status 137"}
        ] do
      assert Exception.message(error) == message
    end
  end

  test "can be raised" do
    assert_raise Error, "execve: permission denied (EACCES)", fn ->
      raise Error.new(:execve, 13)
    end
  end
end
