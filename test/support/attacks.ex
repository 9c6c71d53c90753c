defmodule Linx.Test.Attacks do
  @moduledoc false

  # What hostile/main.c can try, as a table: theme by theme what somebody is after, how the program is
  # called, and what is to be known about it. A word in capitals is something of the fixture.
  #
  # Options:
  #
  #   * `root: true` – without confinement only root succeeds. As another user it is only tried confined;
  #   * `open: [...]` – options of the run without confinement;
  #   * `sandbox: [...]` – options of the sandbox, with words of the fixture for paths;
  #   * `pty: true` – it needs a terminal;
  #   * `traces: true` – without confinement only root succeeds where Yama restricts who may trace whom;
  #   * `absent: text` – what it says, or one of what it may say, where the machine has no such thing for
  #     anybody, so that it cannot be tried;
  #   * `needs: path` – it cannot be tried where there is no such file;
  #   * `controller: name` – only this controller of cgroup v2 stops it;
  #   * `dies: [signal]` – the death by such a signal counts as stopped.

  # Where a machine is itself confined, not everything is root's.
  @denied "Permission denied"
  @not_permitted "Operation not permitted"
  @enosys "Function not implemented"
  # That of /proc/sys/user/max_user_namespaces.
  @limit "No space left on device"
  @no_family "Address family not supported by protocol"
  @no_protocol "Protocol not supported"

  @table [
    {"Other processes",
     [
       {"trace another session", ~w(trace SIBLING), traces: true},
       {"trace the agent", ~w(trace AGENT), traces: true},
       {"trace its parent", ~w(trace parent), traces: true},
       {"read the memory of another session", ~w(read_memory SIBLING), traces: true},
       {"read the memory of the agent", ~w(read_memory AGENT), traces: true},
       {"read the memory of its parent", ~w(read_memory parent), traces: true},
       {"open /proc/PID/mem of another session", ~w(memory_file SIBLING), traces: true},
       {"open /proc/PID/mem of its parent", ~w(memory_file parent), traces: true},
       {"forge frames: open the agent's channel", ~w(open_descriptor AGENT 4)},
       {"look at the descriptors of its parent", ~w(list_descriptors parent)},
       {"steal a descriptor of the agent", ~w(steal_descriptor AGENT 4), traces: true},
       {"steal a descriptor of its parent", ~w(steal_descriptor parent 1), traces: true},
       {"read the environment of another session", ~w(read_environ SIBLING SECRET)},
       {"read the environment of the BEAM in its own", ~w(own_environ SECRET)},
       {"signal another session", ~w(signal SIBLING)},
       {"signal the process group of another session", ~w(signal -SIBLING)},
       {"signal the agent", ~w(signal AGENT)},
       {"signal the BEAM", ~w(signal BEAM)},
       {"signal everybody", ~w(signal -1)},
       {"find a process of the host in /proc", ~w(find MARK1 MARK2)},
       {"change the nice value of another session", ~w(renice SIBLING)},
       {"read the limits of another session", ~w(read_limit SIBLING)},
       {"write to the agent's program (CVE-2019-5736)", ~w(overwrite_program AGENT)},
       {"write to its parent's program", ~w(overwrite_program parent)}
     ]},
    {"Files",
     [
       {"read a file of the caller", ~w(read FILE)},
       {"read /etc/shadow", ~w(read /etc/shadow), root: true},
       {"read a file of the caller from its own directory (CVE-2024-21626)",
        ~w(working_directory FILE)},
       {"read it through the root of pid 1", ~w(through 1 root FILE),
        root: true, absent: @denied},
       {"read it through the root of its parent", ~w(through parent root FILE)},
       {"read it through the directory of the BEAM", ~w(through BEAM cwd UP/FILE)},
       {"read it through a symbolic link in a shared directory", ~w(follow_link SHARED FILE),
        sandbox: [write: ["SHARED"]]},
       {"see what is in /var/lib", ~w(list /var/lib)},
       {"see what is in /sys", ~w(list /sys/kernel)},
       {"create a file in /etc", ~w(create /etc), root: true},
       {"create a file in /usr/bin", ~w(create /usr/bin), root: true},
       {"create a file in /", ~w(create /), root: true},
       {"create a file in the caller's directory", ~w(create PRIVATE)},
       {"create a file beside the programs that it was given", ~w(create BIN)},
       {"append to a program that it was given", ~w(append FILE_CAPABILITY)},
       {"append to a file of the caller", ~w(append FILE)},
       {"rename a file of the caller", ~w(take_away FILE)},
       {"watch a directory of the caller", ~w(watch PRIVATE)},
       {"watch a whole mount", ~w(watch_mount), root: true},
       {"escape from a chroot", ~w(chroot_escape FILE), root: true},
       {"open a file by its handle", ~w(open_by_handle),
        root: true, absent: "Operation not supported"},
       {"make a device file in a shared directory", ~w(make_device SHARED),
        sandbox: [write: ["SHARED"]], root: true},
       {"read the disk", ~w(read DISK), root: true, needs: :disk, absent: @not_permitted},
       {"leave a set-uid file in a shared directory", ~w(make_set_uid SHARED),
        sandbox: [write: ["SHARED"]]},
       {"give a file in a shared directory to somebody", ~w(give_away SHARED),
        sandbox: [write: ["SHARED"]], root: true},
       {"make a file in a shared directory immutable", ~w(make_immutable SHARED),
        sandbox: [write: ["SHARED"]], root: true, absent: "Inappropriate ioctl for device"},
       {"set a trusted attribute in a shared directory", ~w(trusted_attribute SHARED),
        sandbox: [write: ["SHARED"]], root: true},
       {"become root by a set-uid program", ~w(set_uid_program SET_UID),
        open: [user: "nobody"], root: true},
       {"get a capability from a file", ~w(file_capability FILE_CAPABILITY),
        open: [user: "nobody"], root: true}
     ]},
    {"Namespaces, mounts, users",
     [
       {"make a user namespace", ~w(user_namespace), absent: @limit},
       {"make a user namespace by clone", ~w(user_namespace_by_clone), absent: @limit},
       {"make a user namespace by clone3", ~w(user_namespace_by_clone3), absent: @limit},
       {"make a mount namespace", ~w(mount_namespace), root: true},
       {"make a PID namespace", ~w(pid_namespace), root: true},
       {"join the mount namespace of the BEAM", ~w(join BEAM mnt), root: true},
       {"join the network namespace of another session", ~w(join SIBLING net), root: true},
       {"join namespaces by a pidfd", ~w(join_by_pidfd SIBLING), root: true},
       {"join the mount namespace of its parent", ~w(join parent mnt), root: true},
       {"map root of the host", ~w(rewrite_maps), root: true},
       {"mount over /proc", ~w(mount_over_proc), root: true},
       {"mount another /proc", ~w(mount_proc), root: true},
       {"bind a directory", ~w(bind), root: true},
       {"remount /usr so that it can be written", ~w(remount_writable), root: true},
       {"the same by mount_setattr", ~w(change_mounts), root: true},
       {"unmount what is above something", ~w(unmount_proc), root: true},
       {"move the root", ~w(move_root), root: true},
       {"copy the mounts", ~w(copy_mounts), root: true},
       {"make a file system", ~w(new_file_system), root: true},
       {"become another user", ~w(switch_user), root: true},
       {"leave its groups", ~w(leave_groups), root: true},
       {"gain an ambient capability", ~w(ambient_capability), root: true}
     ]},
    {"The kernel",
     [
       {"write to core_pattern", ~w(overwrite /proc/sys/kernel/core_pattern), root: true},
       {"write to another sysctl", ~w(overwrite /proc/sys/vm/overcommit_ratio), root: true},
       {"write to a file of a cgroup", ~w(overwrite CGROUP), root: true, needs: :cgroup},
       {"leave its cgroup", ~w(leave_cgroup CGROUP_PROCS), root: true, needs: :cgroup},
       {"write to a file in /sys",
        ~w(overwrite /sys/kernel/mm/transparent_hugepage/khugepaged/defrag),
        root: true, needs: "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag"},
       {"have a program started by the kernel: uevent_helper",
        ~w(append /sys/kernel/uevent_helper), root: true, needs: "/sys/kernel/uevent_helper"},
       {"have a program started by the kernel: binfmt_misc",
        ~w(append /proc/sys/fs/binfmt_misc/register),
        root: true, needs: "/proc/sys/fs/binfmt_misc/register"},
       {"write to the kernel's trace", ~w(append /sys/kernel/tracing/trace_marker),
        root: true, needs: "/sys/kernel/tracing/trace_marker"},
       {"read the kernel's timers", ~w(read /proc/timer_list),
        root: true, needs: "/proc/timer_list"},
       {"open sysrq-trigger", ~w(append /proc/sysrq-trigger),
        root: true, needs: "/proc/sysrq-trigger"},
       {"read /proc/kcore", ~w(read /proc/kcore), root: true, needs: "/proc/kcore"},
       {"read /dev/mem", ~w(read /dev/mem), root: true, needs: "/dev/mem"},
       {"write to the kernel's log", ~w(append /dev/kmsg), root: true, needs: "/dev/kmsg"},
       {"read the kernel's log", ~w(read_log), root: true},
       {"use /dev/fuse", ~w(append /dev/fuse), root: true, needs: "/dev/fuse"},
       {"use /dev/kvm", ~w(append /dev/kvm), root: true, needs: "/dev/kvm"},
       {"use bpf", ~w(bpf), root: true, absent: @enosys},
       {"use perf events", ~w(perf), root: true, absent: @enosys},
       {"use userfaultfd", ~w(userfaultfd), root: true, absent: @enosys},
       {"use io_uring", ~w(io_uring), root: true, absent: [@enosys, @not_permitted]},
       {"put a key into the keyring of the session", ~w(add_key), absent: @enosys},
       {"read the keyring of the session", ~w(read_keyring), absent: @enosys},
       {"make a keyring", ~w(join_keyring), absent: @enosys},
       {"reboot", ~w(reboot), root: true},
       {"add swap", ~w(swap), root: true, absent: @enosys},
       {"switch on accounting", ~w(account), root: true, absent: @enosys},
       {"set the clock", ~w(set_clock), root: true},
       {"set the hostname", ~w(set_hostname), root: true},
       {"load a module", ~w(load_module), root: true, absent: @enosys},
       {"load another kernel", ~w(load_kernel), root: true, absent: @enosys},
       {"make data executable, and addresses known", ~w(weaken_memory)},
       {"have real-time scheduling", ~w(fifo_scheduling), root: true, absent: @not_permitted},
       {"have a negative nice value", ~w(negative_nice), root: true},
       {"have real-time I/O", ~w(real_time_io), root: true},
       {"have segments of its own", ~w(own_segments), absent: @enosys},
       {"use the I/O ports", ~w(io_ports), root: true, absent: @enosys},
       {"call the kernel as i386", ~w(i386_call), absent: @enosys, dies: [:sigsys, :sigsegv]},
       {"call the kernel as x32", ~w(x32_call), absent: @enosys, dies: [:sigsys]}
     ]},
    {"Terminals",
     [
       {"push input into its terminal", ~w(push_input), pty: true, root: true},
       {"the same with high bits in the request", ~w(push_input_high), pty: true, root: true},
       {"paste into a console", ~w(console_selection /dev/tty1), root: true, needs: "/dev/tty1"},
       {"write to the terminal of another session", ~w(write_terminal TERMINAL)}
     ]},
    {"The network",
     [
       {"connect to a port of the host", ~w(connect_loopback PORT)},
       {"find a way to the outside", ~w(route_outside), absent: "Network is unreachable"},
       {"connect to a socket of the host in a directory", ~w(socket_file SOCKET)},
       {"connect to an abstract socket of the host", ~w(abstract_socket ABSTRACT)},
       {"have a raw socket", ~w(raw_socket), root: true},
       {"sniff packets", ~w(sniff), root: true, absent: @no_family},
       {"change an interface", ~w(change_interface), root: true},
       {"change the packet filter", ~w(packet_filter), root: true, absent: @no_protocol},
       {"talk to the hypervisor", ~w(hypervisor), absent: @no_family},
       {"use the kernel's cryptography", ~w(kernel_crypto), absent: @no_family}
     ]},
    {"More than its share",
     [
       {"have 200 children with 64 allowed", ~w(fork_bomb 200), sandbox: [pids: 64]},
       {"have 256 MiB of memory with 64 allowed", ~w(memory_bomb 256),
        sandbox: [memory: 64 * 1024 * 1024], dies: [:sigkill]},
       {"have them in four processes", ~w(memory_of_many 4 50),
        sandbox: [memory: 64 * 1024 * 1024], dies: [:sigkill], controller: "memory"},
       {"have them in a file without a name", ~w(hidden_memory 256),
        sandbox: [memory: 64 * 1024 * 1024], dies: [:sigkill, :sigxfsz], controller: "memory"},
       {"lock 64 MiB of memory", ~w(lock_memory 64), root: true},
       {"have its core dumped", ~w(dump_core), absent: @not_permitted},
       {"fill /tmp with 64 MiB, 16 allowed", ~w(fill /tmp 64), sandbox: [tmp: 16 * 1024 * 1024]},
       {"fill /dev/shm with 64 MiB, 16 allowed", ~w(fill /dev/shm 64),
        sandbox: [tmp: 16 * 1024 * 1024]},
       {"have 15,000 descriptors", ~w(descriptors 15000), absent: "Too many open files"},
       {"attach shared memory of the host", ~w(shared_memory KEY)},
       {"open a message queue of the host", ~w(message_queue KEY)}
     ]}
  ]

  @doc "`{theme, [{what it tries, arguments, options}]}`"
  def table do
    for {theme, attacks} <- @table, do: {theme, Enum.map(attacks, &complete/1)}
  end

  defp complete({what, arguments}), do: {what, arguments, []}
  defp complete({what, arguments, options}), do: {what, arguments, options}
end
