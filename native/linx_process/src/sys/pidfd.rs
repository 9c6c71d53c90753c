//! `pidfd_open(2)` and `pidfd_send_signal(2)`: the only way a process is named here.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `pidfd_open(2)`: `ESRCH` when there is no such process, `EINVAL` when
/// `pid` is a thread other than its group's leader.
pub fn open(pid: libc::pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// `pidfd_send_signal(2)`: `ESRCH` once the process has been reaped, `EPERM`
/// when it has changed to another user.
pub fn send_signal(pidfd: BorrowedFd, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: a null siginfo means what kill(2) would send.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}
