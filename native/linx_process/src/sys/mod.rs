//! The only unsafe code: thin typed wrappers around the system calls that nix
//! does not have, or has in a form that allocates, retries or loses detail.
//!
//! Errors are `nix::errno::Errno`, handles are `OwnedFd`/`BorrowedFd`, never a
//! bare integer.

pub mod attributes;
pub mod beneath;
pub mod block;
pub mod capabilities;
pub mod clone;
pub mod direct;
pub mod exec;
pub mod fds;
pub mod landlock;
pub mod mount;
pub mod pidfd;
pub mod pipe;
pub mod place;
pub mod process;
pub mod ptrace;
pub mod region;
pub mod seccomp;
pub mod signals;
pub mod socket;
pub mod tty;
pub mod wait;

use nix::errno::Errno;

/// Turns the `-1 and errno` convention into a `Result`.
fn check(value: libc::c_long) -> Result<libc::c_long, Errno> {
    if value < 0 {
        Err(Errno::last())
    } else {
        Ok(value)
    }
}
