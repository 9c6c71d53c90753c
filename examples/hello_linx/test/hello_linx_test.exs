defmodule HelloLinxTest do
  # One application, started afresh for every test.
  use ExUnit.Case, async: false

  alias HelloLinx.Events

  @moduletag :capture_log
  doctest HelloLinx

  setup do
    Application.stop(:hello_linx)
    :ok = Application.start(:hello_linx)
  end

  test "the workload runs" do
    os_pid = first_os_pid()
    assert File.read!("/proc/#{os_pid}/cmdline") == "/bin/sleep\0infinity\0"
  end

  test "a killed workload is gone before its successor is there" do
    first = first_os_pid()
    {_, 0} = System.cmd("/bin/sh", ["-c", "kill -KILL #{first}"])

    assert [
             {:linx_process, :ready, ^first},
             {:linx_process, :running},
             {:linx_process, :signaled, 9},
             {:linx_process, :ready, second},
             {:linx_process, :running}
           ] = Events.await(5)

    assert second != first
    refute alive?(first)
    assert alive?(second)
  end

  test "the workload ends with the application" do
    os_pid = first_os_pid()
    assert alive?(os_pid)
    :ok = Application.stop(:hello_linx)
    refute alive?(os_pid)
  end

  test "a program run in passing tells how it ended" do
    assert HelloLinx.run(["/bin/true"]) == {:ok, {:exited, 0}}
    assert HelloLinx.run(["/bin/sh", "-c", "exit 3"]) == {:ok, {:exited, 3}}
    assert HelloLinx.run(["/bin/sh", "-c", "kill -TERM $$"]) == {:ok, {:signaled, 15}}
  end

  defp first_os_pid do
    [{:linx_process, :ready, os_pid}, {:linx_process, :running}] = Events.await(2)
    os_pid
  end

  defp alive?(os_pid), do: File.dir?("/proc/#{os_pid}")
end
