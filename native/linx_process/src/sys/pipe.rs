//! What nix has no safe wrapper for.

use super::check;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FIONREAD` on either end of a pipe: how many bytes have been written and not been read.
pub fn unread(pipe: BorrowedFd) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: writes one int.
    check(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut count) }.into())?;
    Ok(count as usize)
}
