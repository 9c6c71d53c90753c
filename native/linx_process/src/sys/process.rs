//! What a process does to itself on the way to exec, each a system call without the C library ([`super::direct`]).

use super::direct::call;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::RawFd;

/// `getpid(2)`, in the caller's own PID namespace.
pub fn id() -> libc::pid_t {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { call(libc::SYS_getpid, []) }.map_or(0, |pid| pid as libc::pid_t)
}

/// `getppid(2)`: 0 when the parent is in another PID namespace.
pub fn parent() -> libc::pid_t {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { call(libc::SYS_getppid, []) }.map_or(0, |pid| pid as libc::pid_t)
}

/// `setsid(2)`: `EPERM` for the leader of a process group.
pub fn lead_session() -> Result<(), Errno> {
    // SAFETY: takes nothing.
    unsafe { call(libc::SYS_setsid, []) }.map(drop)
}

/// `setpgid(2)` of the caller, to a group of its own.
pub fn lead_group() -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_setpgid, [0, 0]) }.map(drop)
}

/// `setns(2)`: a PID namespace is entered by the children made from now on. `EPERM`, `EINVAL`.
pub fn enter(namespace: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_setns, [namespace as usize, 0]) }.map(drop)
}

/// `chdir(2)`: `ENOENT`, `EACCES`, `ENOTDIR`, …
pub fn change_directory(path: &CStr) -> Result<(), Errno> {
    // SAFETY: reads a C string.
    unsafe { call(libc::SYS_chdir, [path.as_ptr() as usize]) }.map(drop)
}

/// `fchdir(2)`.
pub fn change_to(directory: RawFd) -> Result<(), Errno> {
    // SAFETY: an integer.
    unsafe { call(libc::SYS_fchdir, [directory as usize]) }.map(drop)
}

/// `setgroups(2)`: `EPERM` without `CAP_SETGID`, or where the user namespace denies it. Whoever has no groups may
/// have none all the same.
pub fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    let arguments = [groups.len(), groups.as_ptr() as usize];
    // SAFETY: reads so many groups.
    let result = unsafe { call(libc::SYS_setgroups, arguments) }.map(drop);
    if result == Err(Errno::EPERM) && groups.is_empty() {
        // SAFETY: asks for no more than their number.
        let number = unsafe { call(libc::SYS_getgroups, [0, 0]) };
        return if number == Ok(0) { Ok(()) } else { result };
    }
    result
}

/// `setresgid(2)`, all three: `EPERM`, `EINVAL` for one that the user namespace does not map.
pub fn set_gid(gid: libc::gid_t) -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_setresgid, [gid as usize; 3]) }.map(drop)
}

/// `setresuid(2)`, all three: `EPERM`, `EINVAL` for one that the user namespace does not map, `EAGAIN`.
pub fn set_uid(uid: libc::uid_t) -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_setresuid, [uid as usize; 3]) }.map(drop)
}

/// `prctl(PR_SET_NAME)`.
pub fn set_name(name: &CStr) -> Result<(), Errno> {
    prctl(libc::PR_SET_NAME, name.as_ptr() as usize)
}

/// `prctl(PR_SET_CHILD_SUBREAPER)`.
pub fn inherit_orphans() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// `prctl(PR_SET_PDEATHSIG, SIGKILL)`: to be killed when the parent dies. Changing credentials clears it.
pub fn die_with_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize)
}

/// `prctl(PR_SET_NO_NEW_PRIVS)`; setting it twice is harmless.
pub fn set_no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

fn prctl(option: libc::c_int, argument: usize) -> Result<(), Errno> {
    // SAFETY: of these options one reads a C string, the others take an integer.
    unsafe { call(libc::SYS_prctl, [option as usize, argument, 0, 0, 0]) }.map(drop)
}

/// `prctl(PR_SET_DUMPABLE)`: without it nobody without privileges may trace the process, nor look into it in `/proc`.
/// Exec sets it.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// A limit of the process, `RLIMIT_*`: soft, then hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// `RLIMIT_NOFILE`, by `prlimit64(2)`.
pub fn open_files() -> Result<Limit, Errno> {
    let mut limit = Limit { soft: 0, hard: 0 };
    prlimit(
        libc::RLIMIT_NOFILE as usize,
        0,
        std::ptr::from_mut(&mut limit) as usize,
    )?;
    Ok(limit)
}

/// Sets `RLIMIT_NOFILE`: `EPERM` above the hard limit.
pub fn limit_open_files(limit: Limit) -> Result<(), Errno> {
    set_limit(libc::RLIMIT_NOFILE as usize, limit)
}

/// Runs `body` with as many descriptors as the hard limit allows: where sessions have taken all that the soft
/// limit does, something has to be left by which they can be ended.
pub fn with_every_descriptor<T>(body: impl FnOnce() -> T) -> T {
    let limit = open_files().ok().filter(|limit| limit.soft < limit.hard);
    if let Some(limit) = limit {
        let _ = limit_open_files(Limit {
            soft: limit.hard,
            ..limit
        });
    }
    let result = body();
    if let Some(limit) = limit {
        let _ = limit_open_files(limit);
    }
    result
}

/// Sets `RLIMIT_CORE` to zero.
pub fn dump_no_core() -> Result<(), Errno> {
    set_limit(libc::RLIMIT_CORE as usize, Limit { soft: 0, hard: 0 })
}

/// `prlimit64(2)`: `EPERM` above the hard limit, `EINVAL`.
pub fn set_limit(resource: usize, limit: Limit) -> Result<(), Errno> {
    prlimit(resource, std::ptr::from_ref(&limit) as usize, 0)
}

fn prlimit(resource: usize, new: usize, old: usize) -> Result<(), Errno> {
    // SAFETY: reads one limit, or writes one, or neither where there is none.
    unsafe { call(libc::SYS_prlimit64, [0, resource, new, old]) }.map(drop)
}
