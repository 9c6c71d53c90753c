//! Sources and sinks of bytes, with bounded buffers.

pub mod input;
pub mod pipe;
pub mod pty;

use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// The outcome of [`read`].
pub enum Read {
    /// There may be more.
    Some(usize),
    /// Everything has been read, for now.
    Empty,
    /// There will never be more.
    Closed,
}

/// Reads what a workload has written, without waiting.
pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> Read {
    loop {
        return match nix::unistd::read(fd, buffer) {
            Ok(0) => Read::Closed,
            Ok(length) => Read::Some(length),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Read::Empty,
            // EIO: somebody privileged has called vhangup(2) on a terminal.
            Err(_) => Read::Closed,
        };
    }
}
