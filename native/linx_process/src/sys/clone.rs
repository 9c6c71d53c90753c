//! `clone3(2)`, and `clone(2)` where clone3 answers `ENOSYS` (old kernels, and
//! seccomp profiles of container engines that do not know it).
//!
//! Every child is made with `exit_signal` 0: exec resets it to SIGCHLD before
//! it closes the close-on-exec descriptors, so that `waitid` without `__WALL`
//! tells for certain whether a child got as far as exec ([`super::wait::has_execed`]).

use super::check;
use nix::errno::Errno;
use std::convert::Infallible;
use std::os::fd::{FromRawFd, OwnedFd};

/// A child just made: its pid in this process's PID namespace, and its pidfd.
#[derive(Debug)]
pub struct Child {
    pub pid: libc::pid_t,
    pub pidfd: OwnedFd,
}

/// A copy of this process that runs `body`. `flags` are `CLONE_NEW*`.
///
/// `EPERM` without the privilege a namespace needs, `ENOSPC` over a limit on
/// their nesting or number, `EAGAIN` over `RLIMIT_NPROC` or a pids limit,
/// `ENOSYS` when a time namespace is asked for and there is no clone3
/// (`CLONE_NEWTIME` shares its bit with clone(2)'s exit signal).
pub fn child(flags: u64, body: impl FnOnce() -> Infallible) -> Result<Child, Errno> {
    let mut pidfd: libc::c_int = -1;
    let pid = raw(flags | libc::CLONE_PIDFD as u64, &mut pidfd, body)?;
    // SAFETY: the kernel has just put this descriptor into our table for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// A copy of this process whose parent is *this process's parent* (`CLONE_PARENT`).
/// The pid is the one this process's own PID namespace knows it by, also after
/// `setns` to another one, which only moves children.
///
/// Errors as [`child`].
pub fn sibling(body: impl FnOnce() -> Infallible) -> Result<libc::pid_t, Errno> {
    raw(libc::CLONE_PARENT as u64, &mut -1, body)
}

fn raw(
    flags: u64,
    pidfd: &mut libc::c_int,
    body: impl FnOnce() -> Infallible,
) -> Result<libc::pid_t, Errno> {
    let address = std::ptr::from_mut(pidfd);
    // SAFETY: an all-zero clone_args is valid (no stack, no tls, exit_signal 0).
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.pidfd = address as u64;
    // SAFETY: without CLONE_VM the child gets a copy of everything, stack
    // included. The agent has one thread, so no lock can be held in the copy.
    // `pidfd` outlives the call and is only written by it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &arguments,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    let pid = match check(result) {
        Err(Errno::ENOSYS) if flags & libc::CLONE_NEWTIME as u64 == 0 => {
            // SAFETY: as above. A null stack means "continue on a copy of mine";
            // the remaining arguments are not looked at with these flags.
            check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, address, 0, 0) })
        }
        other => other,
    }?;
    if pid == 0 {
        body();
    }
    Ok(pid as libc::pid_t)
}
