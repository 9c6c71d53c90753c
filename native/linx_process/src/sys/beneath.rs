//! Paths that never lead out of a root, whatever symbolic links there are on the way, and whoever changes them
//! meanwhile (`openat2(2)`, Linux 5.6).

use super::direct::call;
use super::fds::Fd;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::RawFd;

/// `struct open_how`
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

// include/uapi/linux/openat2.h
const NO_MAGICLINKS: u64 = 0x02;
const NO_SYMLINKS: u64 = 0x04;
const BENEATH: u64 = 0x08;
const IN_ROOT: u64 = 0x10;

/// The kernel gives up on `..` when anything has been renamed or mounted meanwhile.
const ATTEMPTS: usize = 1000;

/// Opens `path` as if `root` were the root, close-on-exec: `ENOENT`, `ENOTDIR`, `ELOOP`, also for a link of `/proc`'s
/// that is no path, `EAGAIN` where things do not come to rest.
pub fn open(root: RawFd, path: &CStr, flags: libc::c_int) -> Result<Fd, Errno> {
    open_how(root, path, flags, IN_ROOT | NO_MAGICLINKS)
}

/// What has that name in a directory, as a place alone, close-on-exec: `ENOENT`, `ELOOP` for a symbolic link.
pub fn open_entry(directory: RawFd, name: &CStr) -> Result<Fd, Errno> {
    open_how(directory, name, libc::O_PATH, BENEATH | NO_SYMLINKS)
}

/// What is at `path`, as a place alone, close-on-exec: `ENOENT`, `ELOOP` when there is a symbolic link on the way.
pub fn open_directly(path: &CStr) -> Result<Fd, Errno> {
    open_how(libc::AT_FDCWD, path, libc::O_PATH, NO_SYMLINKS)
}

fn open_how(root: RawFd, path: &CStr, flags: libc::c_int, resolve: u64) -> Result<Fd, Errno> {
    let how = How {
        flags: (flags | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve,
    };
    let arguments = [
        root as usize,
        path.as_ptr() as usize,
        std::ptr::from_ref(&how) as usize,
        std::mem::size_of::<How>(),
    ];
    let mut result = Err(Errno::EAGAIN);
    for _ in 0..ATTEMPTS {
        // SAFETY: reads a C string and a how.
        result = unsafe { call(libc::SYS_openat2, arguments) };
        if result != Err(Errno::EAGAIN) {
            break;
        }
    }
    result.map(|fd| Fd::owning(fd as RawFd))
}

/// `mkdirat(2)` of a name in a directory: `EEXIST`, `EROFS`, …
pub fn make_directory(directory: RawFd, name: &CStr, mode: libc::mode_t) -> Result<(), Errno> {
    let arguments = [directory as usize, name.as_ptr() as usize, mode as usize];
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_mkdirat, arguments) }.map(drop)
}

/// A new file of that name in a directory, to write to: `EEXIST`, also for a symbolic link; `EROFS`, …
pub fn make_file(directory: RawFd, name: &CStr, mode: libc::mode_t) -> Result<Fd, Errno> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let arguments = [
        directory as usize,
        name.as_ptr() as usize,
        flags as usize,
        mode as usize,
    ];
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_openat, arguments) }.map(|fd| Fd::owning(fd as RawFd))
}

/// `symlinkat(2)`: `EEXIST`, `EROFS`, …
pub fn make_symlink(content: &CStr, directory: RawFd, name: &CStr) -> Result<(), Errno> {
    let arguments = [
        content.as_ptr() as usize,
        directory as usize,
        name.as_ptr() as usize,
    ];
    // SAFETY: reads two C strings.
    unsafe { call(libc::SYS_symlinkat, arguments) }.map(drop)
}
