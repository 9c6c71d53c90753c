defmodule Linx.Errno do
  @moduledoc """
  The error numbers of Linux by name, and what they mean.

  Linx reports a kernel's refusal with its number, as the kernel gave it. This module names that
  number. The table is the one of `asm-generic`, which x86_64 and aarch64 share.

      iex> Linx.Errno.name(2)
      :enoent
      iex> Linx.Errno.message(:enoent)
      "no such file or directory"
  """

  @typedoc "The name of an error number, in lower case as in Erlang: `:enoent` for `ENOENT`."
  @type t :: atom

  @table [
    {1, :eperm, "operation not permitted"},
    {2, :enoent, "no such file or directory"},
    {3, :esrch, "no such process"},
    {4, :eintr, "interrupted system call"},
    {5, :eio, "input/output error"},
    {6, :enxio, "no such device or address"},
    {7, :e2big, "argument list too long"},
    {8, :enoexec, "exec format error"},
    {9, :ebadf, "bad file descriptor"},
    {10, :echild, "no child processes"},
    {11, :eagain, "resource temporarily unavailable"},
    {12, :enomem, "cannot allocate memory"},
    {13, :eacces, "permission denied"},
    {14, :efault, "bad address"},
    {15, :enotblk, "block device required"},
    {16, :ebusy, "device or resource busy"},
    {17, :eexist, "file exists"},
    {18, :exdev, "invalid cross-device link"},
    {19, :enodev, "no such device"},
    {20, :enotdir, "not a directory"},
    {21, :eisdir, "is a directory"},
    {22, :einval, "invalid argument"},
    {23, :enfile, "too many open files in system"},
    {24, :emfile, "too many open files"},
    {25, :enotty, "inappropriate ioctl for device"},
    {26, :etxtbsy, "text file busy"},
    {27, :efbig, "file too large"},
    {28, :enospc, "no space left on device"},
    {29, :espipe, "illegal seek"},
    {30, :erofs, "read-only file system"},
    {31, :emlink, "too many links"},
    {32, :epipe, "broken pipe"},
    {33, :edom, "numerical argument out of domain"},
    {34, :erange, "numerical result out of range"},
    {35, :edeadlk, "resource deadlock avoided"},
    {36, :enametoolong, "file name too long"},
    {37, :enolck, "no locks available"},
    {38, :enosys, "function not implemented"},
    {39, :enotempty, "directory not empty"},
    {40, :eloop, "too many levels of symbolic links"},
    {42, :enomsg, "no message of desired type"},
    {43, :eidrm, "identifier removed"},
    {44, :echrng, "channel number out of range"},
    {45, :el2nsync, "level 2 not synchronized"},
    {46, :el3hlt, "level 3 halted"},
    {47, :el3rst, "level 3 reset"},
    {48, :elnrng, "link number out of range"},
    {49, :eunatch, "protocol driver not attached"},
    {50, :enocsi, "no CSI structure available"},
    {51, :el2hlt, "level 2 halted"},
    {52, :ebade, "invalid exchange"},
    {53, :ebadr, "invalid request descriptor"},
    {54, :exfull, "exchange full"},
    {55, :enoano, "no anode"},
    {56, :ebadrqc, "invalid request code"},
    {57, :ebadslt, "invalid slot"},
    {59, :ebfont, "bad font file format"},
    {60, :enostr, "device not a stream"},
    {61, :enodata, "no data available"},
    {62, :etime, "timer expired"},
    {63, :enosr, "out of streams resources"},
    {64, :enonet, "machine is not on the network"},
    {65, :enopkg, "package not installed"},
    {66, :eremote, "object is remote"},
    {67, :enolink, "link has been severed"},
    {68, :eadv, "advertise error"},
    {69, :esrmnt, "srmount error"},
    {70, :ecomm, "communication error on send"},
    {71, :eproto, "protocol error"},
    {72, :emultihop, "multihop attempted"},
    {73, :edotdot, "RFS specific error"},
    {74, :ebadmsg, "bad message"},
    {75, :eoverflow, "value too large for defined data type"},
    {76, :enotuniq, "name not unique on network"},
    {77, :ebadfd, "file descriptor in bad state"},
    {78, :eremchg, "remote address changed"},
    {79, :elibacc, "can not access a needed shared library"},
    {80, :elibbad, "accessing a corrupted shared library"},
    {81, :elibscn, ".lib section in a.out corrupted"},
    {82, :elibmax, "attempting to link in too many shared libraries"},
    {83, :elibexec, "cannot exec a shared library directly"},
    {84, :eilseq, "invalid or incomplete multibyte or wide character"},
    {85, :erestart, "interrupted system call should be restarted"},
    {86, :estrpipe, "streams pipe error"},
    {87, :eusers, "too many users"},
    {88, :enotsock, "socket operation on non-socket"},
    {89, :edestaddrreq, "destination address required"},
    {90, :emsgsize, "message too long"},
    {91, :eprototype, "protocol wrong type for socket"},
    {92, :enoprotoopt, "protocol not available"},
    {93, :eprotonosupport, "protocol not supported"},
    {94, :esocktnosupport, "socket type not supported"},
    {95, :eopnotsupp, "operation not supported"},
    {96, :epfnosupport, "protocol family not supported"},
    {97, :eafnosupport, "address family not supported by protocol"},
    {98, :eaddrinuse, "address already in use"},
    {99, :eaddrnotavail, "cannot assign requested address"},
    {100, :enetdown, "network is down"},
    {101, :enetunreach, "network is unreachable"},
    {102, :enetreset, "network dropped connection on reset"},
    {103, :econnaborted, "software caused connection abort"},
    {104, :econnreset, "connection reset by peer"},
    {105, :enobufs, "no buffer space available"},
    {106, :eisconn, "transport endpoint is already connected"},
    {107, :enotconn, "transport endpoint is not connected"},
    {108, :eshutdown, "cannot send after transport endpoint shutdown"},
    {109, :etoomanyrefs, "too many references: cannot splice"},
    {110, :etimedout, "connection timed out"},
    {111, :econnrefused, "connection refused"},
    {112, :ehostdown, "host is down"},
    {113, :ehostunreach, "no route to host"},
    {114, :ealready, "operation already in progress"},
    {115, :einprogress, "operation now in progress"},
    {116, :estale, "stale file handle"},
    {117, :euclean, "structure needs cleaning"},
    {118, :enotnam, "not a XENIX named type file"},
    {119, :enavail, "no XENIX semaphores available"},
    {120, :eisnam, "is a named type file"},
    {121, :eremoteio, "remote I/O error"},
    {122, :edquot, "disk quota exceeded"},
    {123, :enomedium, "no medium found"},
    {124, :emediumtype, "wrong medium type"},
    {125, :ecanceled, "operation canceled"},
    {126, :enokey, "required key not available"},
    {127, :ekeyexpired, "key has expired"},
    {128, :ekeyrevoked, "key has been revoked"},
    {129, :ekeyrejected, "key was rejected by service"},
    {130, :eownerdead, "owner died"},
    {131, :enotrecoverable, "state not recoverable"},
    {132, :erfkill, "operation not possible due to RF-kill"},
    {133, :ehwpoison, "memory page has hardware error"}
  ]

  # Second names that C has for numbers of the table.
  @aliases [ewouldblock: 11, edeadlock: 35, enotsup: 95]

  @doc """
  The name of an error number, `:unknown` when Linux gives it none.

  A number with two names has one here: 11 is `:eagain`, 35 is `:edeadlk`, 95 is `:eopnotsupp`.

      iex> Linx.Errno.name(13)
      :eacces
      iex> Linx.Errno.name(41)
      :unknown
  """
  @spec name(integer) :: t
  for {number, name, _message} <- @table do
    def name(unquote(number)), do: unquote(name)
  end

  def name(number) when is_integer(number), do: :unknown

  @doc """
  The number of a name, aliases such as `:ewouldblock` included.

      iex> Linx.Errno.number(:enoent)
      {:ok, 2}
      iex> Linx.Errno.number(:ewouldblock)
      {:ok, 11}
      iex> Linx.Errno.number(:enosuch)
      :error
  """
  @spec number(t) :: {:ok, pos_integer} | :error
  for {number, name, _message} <- @table do
    def number(unquote(name)), do: {:ok, unquote(number)}
  end

  for {name, number} <- @aliases do
    def number(unquote(name)), do: {:ok, unquote(number)}
  end

  def number(name) when is_atom(name), do: :error

  @doc """
  What an error number or name means, in the words of `strerror(3)`, ready to stand in a sentence.

      iex> Linx.Errno.message(28)
      "no space left on device"
      iex> Linx.Errno.message(:ewouldblock)
      "resource temporarily unavailable"
      iex> Linx.Errno.message(41)
      "unknown error 41"
  """
  @spec message(integer | t) :: String.t()
  for {number, _name, message} <- @table do
    def message(unquote(number)), do: unquote(message)
  end

  def message(number) when is_integer(number), do: "unknown error #{number}"

  def message(name) when is_atom(name) do
    case number(name) do
      {:ok, number} -> message(number)
      :error -> "unknown error #{name}"
    end
  end
end
