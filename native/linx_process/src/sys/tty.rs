//! Terminal ioctls.

use super::check;
use super::direct::call;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A terminal's size: character cells and, where known, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
    pub x_pixels: u16,
    pub y_pixels: u16,
}

/// `TIOCSWINSZ`: sets the size; the foreground process group gets SIGWINCH if it changed.
pub fn set_window_size(tty: BorrowedFd, size: WindowSize) -> Result<(), Errno> {
    let winsize = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.x_pixels,
        ws_ypixel: size.y_pixels,
    };
    // SAFETY: reads one winsize.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &winsize) }.into()).map(drop)
}

/// `TIOCSCTTY`: makes `tty` the controlling terminal of the calling session
/// leader. `EPERM` when it is one already, or another session has it.
pub fn set_controlling(tty: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_ioctl, [tty as usize, libc::TIOCSCTTY as usize, 0]) }.map(drop)
}

/// `TIOCGPTPEER`: opens the slave of a PTY master without going through
/// a path, which another mount namespace or devpts might resolve differently.
pub fn open_slave(master: BorrowedFd) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: integers only.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// `TIOCGPTN`: the path of a PTY master's slave, where devpts is mounted as usual.
pub fn slave_path(master: BorrowedFd) -> Result<String, Errno> {
    let mut number: libc::c_uint = 0;
    // SAFETY: writes one integer.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &mut number) }.into())?;
    Ok(format!("/dev/pts/{number}"))
}
