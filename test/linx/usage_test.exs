defmodule Linx.UsageTest do
  use ExUnit.Case, async: true

  alias Linx.Usage

  test "has a field for everything the agent tells" do
    names = [:utime, :stime, :maxrss, :minflt, :majflt, :inblock, :oublock, :nvcsw, :nivcsw]

    assert Usage.new(Map.new(Enum.with_index(names))) == %Usage{
             user_time: 0,
             system_time: 1,
             max_rss: 2,
             minor_faults: 3,
             major_faults: 4,
             blocks_in: 5,
             blocks_out: 6,
             voluntary_switches: 7,
             involuntary_switches: 8
           }
  end
end
