//! Whole-table operations on file descriptors.

use nix::errno::Errno;
use nix::sys::resource::{getrlimit, Resource};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that was inherited from whoever started us.
/// `EBADF` when it is not open.
pub fn inherited(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_SETFD takes an integer.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    super::check(result.into())?;
    // SAFETY: it is open, and this is called once for each number, first thing in main.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes sure that 0, 1 and 2 are open (on /dev/null when they were not), so
/// that no descriptor of ours can land on a number the workload inherits.
pub fn fill_standard() -> Result<(), Errno> {
    loop {
        // SAFETY: open takes a valid C string and flags.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        super::check(fd.into())?;
        if fd > 2 {
            // SAFETY: just opened, known to nobody else.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            return Ok(());
        }
        // SAFETY: fcntl takes an integer.
        super::check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into())?;
    }
}

/// Closes every descriptor from 3 up but those in `keep`: `close_range(2)` over the gaps.
///
/// Only for a process whose owners of those descriptors never run again: a
/// child before exec, or the agent before it has opened anything.
pub fn close_all_but(keep: &mut [RawFd]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first: libc::c_uint = 3;
    for &fd in keep.iter() {
        let fd = fd as libc::c_uint;
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, libc::c_uint::MAX)
}

/// `close_range(2)`, and one `close` after the other where a seccomp profile of a container engine
/// does not know it.
fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: integers only; the caller vouches that nobody uses what is closed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match super::check(result) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
            for fd in first..=last.min(limit as libc::c_uint) {
                // SAFETY: as above.
                unsafe { libc::close(fd as RawFd) };
            }
            Ok(())
        }
        other => other.map(drop),
    }
}

/// `dup2(2)` onto one of the standard descriptors, which thereby survives exec.
pub fn duplicate_onto(fd: BorrowedFd, standard: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only; 0..=2 belong to nobody in the child.
    super::check(unsafe { libc::dup2(fd.as_raw_fd(), standard) }.into()).map(drop)
}
