defmodule Linx.Seccomp.Profile do
  @moduledoc false

  # The rules of Linx.Seccomp.default/1: what a sandboxed program has no business with, because it
  # widens the sandbox, reaches out of it, or is a part of the kernel with many holes and few users.

  import Bitwise

  @denied [
    # The file system as a whole, and ways around paths.
    ~w(mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount),
    ~w(fspick mount_setattr open_by_handle_at quotactl quotactl_fd swapon swapoff nfsservctl sysfs),
    # Other namespaces.
    ~w(setns unshare),
    # Other processes.
    ~w(ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp move_pages),
    ~w(migrate_pages),
    # Keyrings, which no namespace keeps apart.
    ~w(keyctl add_key request_key),
    # The kernel's own programs, events and queues.
    ~w(bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register),
    ~w(fanotify_init lookup_dcookie),
    # The machine.
    ~w(init_module finit_module delete_module create_module query_module get_kernel_syms),
    ~w(kexec_load kexec_file_load reboot acct syslog vhangup iopl ioperm sethostname setdomainname),
    ~w(settimeofday clock_settime clock_adjtime adjtimex),
    # What nothing has used for a long time.
    ~w(uselib modify_ldt _sysctl)
  ]

  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
  @clone_new [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 1 <<< 28, 1 <<< 29, 1 <<< 30]

  # TIOCSTI, TIOCLINUX: to type into the terminal one was given.
  @ioctls [0x5412, 0x541C]

  # PER_LINUX, PER_LINUX32, both with UNAME26, and the question which it is.
  @personalities [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF]

  # S_ISUID, S_ISGID.
  @set_id [0o4000, 0o2000]

  # System calls that give a file a mode, the argument that is the mode, and when it is: with O_CREAT, or O_TMPFILE.
  @creat 0o100
  @tmpfile 0o20000000
  @modes [{"chmod", 1, []}, {"fchmod", 1, []}, {"fchmodat", 2, []}, {"creat", 1, []}] ++
           [{"mknod", 1, []}, {"mknodat", 2, []}] ++
           for(
             {name, flags} <- [{"open", 1}, {"openat", 2}],
             flag <- [@creat, @tmpfile],
             do: {name, flags + 1, [{flags, {:masked_eq, flag}, flag, 32}]}
           )

  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK.
  @families [1, 2, 10, 16]

  @doc "The rules, but for the system calls in `allowed`, and with more families of sockets."
  @spec rules([String.t()], [non_neg_integer]) :: [tuple]
  def rules(allowed, families) do
    families = @families ++ families

    # The kernel looks at the low 32 bits of all these arguments, so a filter must not be put off by
    # the high ones.
    conditional =
      for(flag <- @clone_new, do: {"clone", {:errno, :eperm}, [bit(flag)]}) ++
        for(request <- @ioctls, do: {"ioctl", {:errno, :eperm}, [{1, :eq, request, 32}]}) ++
        [{"personality", {:errno, :eperm}, none_of(@personalities)}] ++
        for name <- ["socket", "socketpair"] do
          {name, {:errno, :eafnosupport}, none_of(families)}
        end

    denied = for name <- Enum.concat(@denied), do: {name, {:errno, :eperm}, []}

    # Their arguments are in memory, where no filter can look; who is told that there is none takes the older one.
    opaque = for name <- ~w(clone3 openat2 fchmodat2), do: {name, {:errno, :enosys}, []}
    rules = opaque ++ denied ++ conditional ++ set_id()
    Enum.reject(rules, &(elem(&1, 0) in allowed))
  end

  @doc "All names in the rules."
  @spec names() :: [String.t()]
  def names, do: [] |> rules([]) |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

  # A set-user-ID program in a directory that is shared with the host would lend whoever finds it there
  # the user that the sandbox has outside.
  defp set_id do
    for bit <- @set_id, {name, mode, flags} <- @modes do
      {name, {:errno, :eperm}, [has(mode, bit) | flags]}
    end
  end

  defp has(argument, bits), do: {argument, {:masked_eq, bits}, bits, 32}
  defp bit(flag), do: has(0, flag)
  defp none_of(values), do: for(value <- values, do: {0, :ne, value, 32})
end
