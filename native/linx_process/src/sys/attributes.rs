//! `setpriority(2)`, `sched_setaffinity(2)`, `umask(2)`, of the calling process.

use super::direct::call;
use nix::errno::Errno;

/// `setpriority(PRIO_PROCESS)`: `EACCES` below what the process may have.
pub fn set_nice(nice: i32) -> Result<(), Errno> {
    let arguments = [libc::PRIO_PROCESS as usize, 0, nice as usize];
    // SAFETY: integers only.
    unsafe { call(libc::SYS_setpriority, arguments) }.map(drop)
}

/// `EINVAL` when none of these CPUs is there, and allowed.
pub fn set_cpu_affinity(mask: &[u8]) -> Result<(), Errno> {
    let arguments = [0, mask.len(), mask.as_ptr() as usize];
    // SAFETY: the kernel copies so many bytes.
    unsafe { call(libc::SYS_sched_setaffinity, arguments) }.map(drop)
}

/// Returns what it has been.
pub fn set_umask(mask: libc::mode_t) -> libc::mode_t {
    // SAFETY: integers only; it cannot fail.
    let former = unsafe { call(libc::SYS_umask, [mask as usize]) };
    former.map_or(mask, |former| former as libc::mode_t)
}
