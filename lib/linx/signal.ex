defmodule Linx.Signal do
  @moduledoc """
  The signals of Linux by name and by number, as x86_64 and aarch64 count them.

  A signal is given either way wherever Linx takes one: `:sigterm` is 15.

      iex> Linx.Signal.number(:sigterm)
      {:ok, 15}
      iex> Linx.Signal.name(9)
      :sigkill

  The real-time signals are named as `kill -l` of bash names them, relative to the nearer end of
  their range: `:sigrtmin` is 34, `:"sigrtmin+1"` is 35, `:"sigrtmax-1"` is 63, `:sigrtmax` is 64.
  The C library keeps 32 and 33 to itself; here they are `:sig32` and `:sig33`.
  """

  @typedoc "The name of a signal, in lower case: `:sigterm`."
  @type name :: atom

  @typedoc "A signal, by name or by number."
  @type t :: name | 1..64

  @standard [
    sighup: 1,
    sigint: 2,
    sigquit: 3,
    sigill: 4,
    sigtrap: 5,
    sigabrt: 6,
    sigbus: 7,
    sigfpe: 8,
    sigkill: 9,
    sigusr1: 10,
    sigsegv: 11,
    sigusr2: 12,
    sigpipe: 13,
    sigalrm: 14,
    sigterm: 15,
    sigstkflt: 16,
    sigchld: 17,
    sigcont: 18,
    sigstop: 19,
    sigtstp: 20,
    sigttin: 21,
    sigttou: 22,
    sigurg: 23,
    sigxcpu: 24,
    sigxfsz: 25,
    sigvtalrm: 26,
    sigprof: 27,
    sigwinch: 28,
    sigio: 29,
    sigpwr: 30,
    sigsys: 31
  ]

  @real_time [sigrtmin: 34] ++
               for(n <- 1..15, do: {:"sigrtmin+#{n}", 34 + n}) ++
               for(n <- 14..1//-1, do: {:"sigrtmax-#{n}", 64 - n}) ++
               [sigrtmax: 64]

  @all @standard ++ [sig32: 32, sig33: 33] ++ @real_time

  # Second names: of history, and of the real-time signals counted from the farther end.
  @aliases [sigiot: 6, sigcld: 17, sigpoll: 29, sigunused: 31] ++
             for(n <- 16..30, do: {:"sigrtmin+#{n}", 34 + n}) ++
             for(n <- 15..30, do: {:"sigrtmax-#{n}", 64 - n})

  @doc """
  The number of a signal given by name or by number.

  The second names `:sigiot`, `:sigcld`, `:sigpoll` and `:sigunused` are taken too, and a real-time
  signal counted from either end.

      iex> Linx.Signal.number(:sigint)
      {:ok, 2}
      iex> Linx.Signal.number(:"sigrtmax-30")
      {:ok, 34}
      iex> Linx.Signal.number(15)
      {:ok, 15}
      iex> Linx.Signal.number(:sigfoo)
      {:error, {:bad_signal, :sigfoo}}
  """
  @spec number(t | term) :: {:ok, 1..64} | {:error, {:bad_signal, term}}
  def number(n) when n in 1..64, do: {:ok, n}

  for {name, n} <- @all ++ @aliases do
    def number(unquote(name)), do: {:ok, unquote(n)}
  end

  def number(other), do: {:error, {:bad_signal, other}}

  @doc """
  The name of a signal number.

      iex> Linx.Signal.name(15)
      :sigterm
      iex> Linx.Signal.name(49)
      :"sigrtmin+15"
      iex> Linx.Signal.name(50)
      :"sigrtmax-14"
  """
  @spec name(1..64) :: name
  for {name, n} <- @all do
    def name(unquote(n)), do: unquote(name)
  end

  @doc """
  Every signal with its number, in the order of the numbers; each has one name here.

      iex> Linx.Signal.all() |> Enum.take(2)
      [sighup: 1, sigint: 2]
      iex> Linx.Signal.all() |> Keyword.fetch!(:sigkill)
      9
  """
  @spec all() :: [{name, 1..64}]
  def all, do: @all
end
