//! Whole-table operations on file descriptors.

use super::direct::call;
use super::process;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor that is closed when it is dropped, without the C library.
#[derive(Debug)]
pub struct Fd(RawFd);

impl Fd {
    /// One that the kernel has just made.
    pub(super) fn owning(fd: RawFd) -> Self {
        Fd(fd)
    }

    pub fn raw(&self) -> RawFd {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        close_one(self.0);
    }
}

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

/// Gives the calling process a table of descriptors of its own, with those below `end` of the table it has shared
/// (`CLOSE_RANGE_UNSHARE`): what is above is not copied, however much it is.
pub fn unshare_below(end: RawFd) -> Result<(), Errno> {
    match close_range(
        end as libc::c_uint,
        libc::c_uint::MAX,
        libc::CLOSE_RANGE_UNSHARE,
    ) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            // SAFETY: integers only.
            unsafe { call(libc::SYS_unshare, [libc::CLONE_FILES as usize]) }?;
            close_each(end as libc::c_uint, libc::c_uint::MAX)
        }
        other => other,
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
            close(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close(first, libc::c_uint::MAX)
}

/// `close_range(2)`, and one `close` after the other where a seccomp profile of a container engine
/// does not know it.
fn close(first: libc::c_uint, last: libc::c_uint) -> Result<(), Errno> {
    match close_range(first, last, 0) {
        Err(Errno::ENOSYS | Errno::EPERM) => close_each(first, last),
        other => other,
    }
}

fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> Result<(), Errno> {
    let arguments = [first as usize, last as usize, flags as usize];
    // SAFETY: integers only; the caller vouches that nobody uses what is closed.
    unsafe { call(libc::SYS_close_range, arguments) }.map(drop)
}

fn close_each(first: libc::c_uint, last: libc::c_uint) -> Result<(), Errno> {
    let limit = process::open_files()?.soft;
    let last = last.min(libc::c_uint::try_from(limit).unwrap_or(libc::c_uint::MAX));
    for fd in first..=last {
        close_one(fd as RawFd);
    }
    Ok(())
}

/// `openat(2)`, close-on-exec. What has to be made anybody may read and write, as far as the umask allows.
pub fn open(path: &CStr, flags: libc::c_int) -> Result<RawFd, Errno> {
    let flags = flags | libc::O_CLOEXEC;
    let arguments = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        flags as usize,
        0o666,
    ];
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_openat, arguments) }.map(|fd| fd as RawFd)
}

/// `openat(2)` of a new file to write to, close-on-exec, for nobody else yet: `EEXIST`, also for a symbolic link.
pub fn create(path: &CStr) -> Result<RawFd, Errno> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let path = path.as_ptr() as usize;
    let arguments = [libc::AT_FDCWD as usize, path, flags as usize, 0o600];
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_openat, arguments) }.map(|fd| fd as RawFd)
}

/// `openat(2)` of a directory, as a place alone (`O_PATH`).
pub fn open_place(path: &CStr) -> Result<Fd, Errno> {
    open(path, libc::O_PATH | libc::O_DIRECTORY).map(Fd)
}

/// Writes `bytes` to what is there, at once: what `/proc` has takes nothing in pieces.
pub fn overwrite(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let fd = open(path, libc::O_WRONLY)?;
    let written = super::socket::write(fd, bytes);
    close_one(fd);
    written.map(drop)
}

/// `write(2)` until nothing is left: `ENOSPC`, `EDQUOT`, `EFBIG`, …
pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match super::socket::write(fd, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// `fchmod(2)`.
pub fn set_mode(fd: RawFd, mode: libc::mode_t) -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_fchmod, [fd as usize, mode as usize]) }.map(drop)
}

/// `fstat(2)`, also of what is opened as a place alone.
pub fn is_directory(fd: RawFd) -> Result<bool, Errno> {
    // SAFETY: an all-zero stat is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let buffer = std::ptr::from_mut(&mut stat) as usize;
    // SAFETY: the kernel writes one stat.
    unsafe { call(libc::SYS_fstat, [fd as usize, buffer]) }?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// `renameat2(2)`, in place of what is there: `EISDIR`, `ENOENT`, …
pub fn rename(from: &CStr, to: &CStr) -> Result<(), Errno> {
    let here = libc::AT_FDCWD as usize;
    let arguments = [here, from.as_ptr() as usize, here, to.as_ptr() as usize, 0];
    // SAFETY: reads two C strings.
    unsafe { call(libc::SYS_renameat2, arguments) }.map(drop)
}

/// `unlinkat(2)`.
pub fn unlink(path: &CStr) -> Result<(), Errno> {
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0];
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_unlinkat, arguments) }.map(drop)
}

/// `close(2)` of what the caller has opened.
pub fn close_one(fd: RawFd) {
    // SAFETY: it is the caller's.
    let _ = unsafe { call(libc::SYS_close, [fd as usize]) };
}

/// `fchown(2)` to another user; the group stays. `EPERM`, `EINVAL`.
pub fn give(fd: RawFd, uid: libc::uid_t) -> Result<(), Errno> {
    let same_group = libc::gid_t::MAX;
    // SAFETY: integers only.
    unsafe {
        call(
            libc::SYS_fchown,
            [fd as usize, uid as usize, same_group as usize],
        )
    }
    .map(drop)
}

/// `dup3(2)` onto one of the standard descriptors, which thereby survives exec.
pub fn duplicate_onto(fd: RawFd, standard: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only; 0..=2 belong to nobody in the child.
    unsafe { call(libc::SYS_dup3, [fd as usize, standard as usize, 0]) }.map(drop)
}

/// The same descriptor under a number that is no less than `least`, or as it is if none of them is to be had, or
/// if it leaves enough room below `least`.
pub fn raise(fd: OwnedFd, least: RawFd) -> OwnedFd {
    let crowds = (least / 2..least).contains(&fd.as_raw_fd());
    match crowds.then(|| duplicate_from(&fd, least)) {
        Some(Ok(raised)) => raised,
        _ => fd,
    }
}

/// The same open file under another number, no less than `least` if the limit allows: `EMFILE`.
pub fn duplicate(fd: &OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    match duplicate_from(fd, least) {
        Err(Errno::EINVAL) => duplicate_from(fd, 0),
        other => other,
    }
}

/// `F_DUPFD_CLOEXEC`: `EMFILE`, and `EINVAL` when `least` is beyond the limit.
fn duplicate_from(fd: &OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    super::check(copy.into())?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
