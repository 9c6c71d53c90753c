//! Pipes, beyond what nix has.

use super::check;
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FIONREAD` on either end of a pipe: how many bytes have been written and not been read.
pub fn unread(pipe: BorrowedFd) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: writes one int.
    check(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut count) }.into())?;
    Ok(count as usize)
}

/// `splice(2)` between a pipe and another, or a socket, without waiting: how much has been moved, 0 at the end of `from`.
/// `EAGAIN` when there is nothing or no room, `EINVAL` when one of them cannot do it.
pub fn splice(from: BorrowedFd, to: BorrowedFd, most: usize) -> Result<usize, Errno> {
    let (no_offset, flags) = (
        std::ptr::null_mut(),
        libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE,
    );
    // SAFETY: no pointers but two that are null.
    let moved = unsafe {
        libc::splice(
            from.as_raw_fd(),
            no_offset,
            to.as_raw_fd(),
            no_offset,
            most,
            flags,
        )
    };
    check(moved as i64).map(|moved| moved as usize)
}

/// `F_SETPIPE_SZ`, unless it holds as much already: `EPERM` for an unprivileged user with many such pipes, `EBADF`
/// for what is no pipe.
pub fn enlarge(pipe: BorrowedFd, size: libc::c_int) -> Result<(), Errno> {
    if fcntl(pipe, FcntlArg::F_GETPIPE_SZ)? < size {
        fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_is_enlarged_and_never_made_smaller() {
        let (_exit, pipe) = nix::unistd::pipe().unwrap();
        for (size, then) in [(1 << 17, 1 << 17), (1 << 12, 1 << 17), (1 << 18, 1 << 18)] {
            assert_eq!(enlarge(pipe.as_fd(), size), Ok(()));
            assert_eq!(fcntl(&pipe, FcntlArg::F_GETPIPE_SZ), Ok(then));
        }
    }
}
