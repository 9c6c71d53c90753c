//! Mounts by descriptor (`open_tree(2)`, `fsopen(2)`, `move_mount(2)`, `mount_setattr(2)`, Linux 5.12): each is what
//! it is to be before it is anywhere. `ENOSYS` where the kernel has less.

use super::direct::call;
use super::fds::{self, Fd};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::RawFd;

const EMPTY_PATH: libc::c_int = libc::AT_EMPTY_PATH;
const RECURSIVE: libc::c_int = libc::AT_RECURSIVE;

// include/uapi/linux/mount.h
const MOVE_FROM_EMPTY_PATH: usize = 0x04;
const MOVE_TO_EMPTY_PATH: usize = 0x40;
const FSOPEN_CLOEXEC: usize = 1;
const FSMOUNT_CLOEXEC: usize = 1;
const SET_FLAG: usize = 0;
const SET_STRING: usize = 1;
const CREATE: usize = 6;

/// A copy of what is mounted at `path`, with all that is mounted below when it is `recursive`, that is nowhere yet.
///
/// `ENOENT`, `EACCES`, `ELOOP`; `EPERM` without CAP_SYS_ADMIN; `EINVAL` for a part of what another user namespace
/// has locked together.
pub fn copy(path: &CStr, recursive: bool) -> Result<Fd, Errno> {
    copy_at(libc::AT_FDCWD, path, 0, recursive)
}

/// The same of what has been opened.
pub fn copy_of(opened: &Fd, recursive: bool) -> Result<Fd, Errno> {
    copy_at(opened.raw(), c"", EMPTY_PATH as u32, recursive)
}

fn copy_at(directory: RawFd, path: &CStr, empty: u32, recursive: bool) -> Result<Fd, Errno> {
    let depth = if recursive { RECURSIVE as u32 } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | depth | empty;
    let arguments = [directory as usize, path.as_ptr() as usize, flags as usize];
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_open_tree, arguments) }.map(fd)
}

/// A file system that is mounted nowhere yet.
///
/// `ENODEV` for one that the kernel does not have, `EINVAL` for an option that it does not have, or a value of more
/// than 255 bytes; `EPERM` where a user namespace may not have it, `EBUSY`, …
pub fn create<'a>(
    kind: &CStr,
    source: &CStr,
    options: impl Iterator<Item = (&'a CStr, Option<&'a CStr>)>,
    attributes: u64,
) -> Result<Fd, Errno> {
    let arguments = [kind.as_ptr() as usize, FSOPEN_CLOEXEC];
    // SAFETY: reads a C string.
    let context = unsafe { call(libc::SYS_fsopen, arguments) }.map(fd)?;
    configure(&context, SET_STRING, Some(c"source"), Some(source))?;
    for (name, value) in options {
        let command = if value.is_some() {
            SET_STRING
        } else {
            SET_FLAG
        };
        configure(&context, command, Some(name), value)?;
    }
    configure(&context, CREATE, None, None)?;
    let arguments = [context.raw() as usize, FSMOUNT_CLOEXEC, attributes as usize];
    // SAFETY: integers only.
    unsafe { call(libc::SYS_fsmount, arguments) }.map(fd)
}

fn configure(
    context: &Fd,
    command: usize,
    name: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<(), Errno> {
    let address = |text: Option<&CStr>| text.map_or(0, |text| text.as_ptr() as usize);
    let arguments = [
        context.raw() as usize,
        command,
        address(name),
        address(value),
        0,
    ];
    // SAFETY: reads C strings, or none where there is no address.
    unsafe { call(libc::SYS_fsconfig, arguments) }.map(drop)
}

/// Mounts what is nowhere on what `target` is, `EINVAL` unless both are directories or neither.
pub fn attach(tree: &Fd, target: RawFd) -> Result<(), Errno> {
    let (tree, empty) = (tree.raw() as usize, c"".as_ptr() as usize);
    let flags = MOVE_FROM_EMPTY_PATH | MOVE_TO_EMPTY_PATH;
    // SAFETY: reads two C strings.
    unsafe {
        call(
            libc::SYS_move_mount,
            [tree, empty, target as usize, empty, flags],
        )
    }
    .map(drop)
}

/// `struct mount_attr`
#[repr(C)]
pub struct Change {
    /// `MOUNT_ATTR_*`
    pub set: u64,
    pub clear: u64,
    /// `MS_PRIVATE`, …
    pub propagation: u64,
    pub user_namespace: u64,
}

/// Changes a mount, with all that are mounted below when it is `recursive`: all of them or none.
///
/// `EINVAL` for what is no mount, `EPERM` for what another user namespace has locked.
pub fn change(mount: RawFd, recursive: bool, change: &Change) -> Result<(), Errno> {
    let depth = if recursive { RECURSIVE } else { 0 };
    let arguments = [
        mount as usize,
        c"".as_ptr() as usize,
        (EMPTY_PATH | depth) as usize,
        std::ptr::from_ref(change) as usize,
        std::mem::size_of::<Change>(),
    ];
    // SAFETY: reads a C string and a change.
    unsafe { call(libc::SYS_mount_setattr, arguments) }.map(drop)
}

/// `umount2(2)` of what is mounted at a name in the working directory: `EINVAL` for what is no mount, or is locked;
/// `EBUSY`.
pub fn unmount(name: &CStr, flags: libc::c_int) -> Result<(), Errno> {
    let flags = (flags | libc::UMOUNT_NOFOLLOW) as usize;
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_umount2, [name.as_ptr() as usize, flags]) }.map(drop)
}

/// `pivot_root(2)`: makes the working directory the root, and mounts the old root on the directory `old` below it.
/// `EINVAL` for what is no mount, and in an initial RAM file system.
pub fn pivot_root(old: &CStr) -> Result<(), Errno> {
    let arguments = [c".".as_ptr() as usize, old.as_ptr() as usize];
    // SAFETY: reads two C strings.
    unsafe { call(libc::SYS_pivot_root, arguments) }.map(drop)
}

/// `chroot(2)` to the working directory: `EPERM` without CAP_SYS_CHROOT.
pub fn change_root() -> Result<(), Errno> {
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_chroot, [c".".as_ptr() as usize]) }.map(drop)
}

/// `fchdir(2)`: `EACCES`, `ENOTDIR`.
pub fn change_directory(directory: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_fchdir, [directory as usize]) }.map(drop)
}

fn fd(number: usize) -> Fd {
    fds::Fd::owning(number as RawFd)
}
