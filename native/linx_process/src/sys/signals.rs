//! Dispositions, the mask, and process attributes that travel as signals.

use super::check;
use super::direct::call;
use nix::errno::Errno;
use std::mem::size_of;

/// The highest signal number Linux has (`_NSIG`).
pub const LAST: libc::c_int = 64;

/// The kernel's `struct sigaction`, with the default disposition when zeroed.
/// The C library's wrapper refuses signals 32 and 33, which are its own.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

/// Gives every signal its default disposition. A port starts with SIGFPE
/// ignored, and what is ignored stays so through clone and exec.
pub fn reset_dispositions() {
    let action = KernelAction::default();
    for signal in 1..=LAST {
        // SAFETY: reads one action; SIGKILL and SIGSTOP answer EINVAL, harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &action,
                0,
                std::mem::size_of::<u64>(),
            )
        };
    }
}

/// Blocks every signal there is. SIGPIPE is thereby harmless without being
/// ignored, which a workload would inherit.
pub fn block_all() -> Result<(), Errno> {
    set_mask(u64::MAX)
}

/// Unblocks every signal.
pub fn unblock_all() -> Result<(), Errno> {
    set_mask(0)
}

/// Ends the process by a signal that it does not handle, if the signal is one that does so: `kill(2)`.
pub fn end_by(signal: libc::c_int) {
    // SAFETY: integers only.
    unsafe { libc::kill(libc::getpid(), signal) };
    // It comes on the way out of this.
    let _ = set_mask(!(1 << (signal - 1)));
}

fn set_mask(mask: u64) -> Result<(), Errno> {
    let address = std::ptr::from_ref(&mask) as usize;
    let arguments = [libc::SIG_SETMASK as usize, address, 0, size_of::<u64>()];
    // SAFETY: reads eight bytes; the kernel never blocks SIGKILL and SIGSTOP.
    unsafe { call(libc::SYS_rt_sigprocmask, arguments) }.map(drop)
}

/// `rt_sigtimedwait(2)` of any signal, without waiting: takes one that is pending.
pub fn take_pending() -> Option<libc::c_int> {
    let set = u64::MAX;
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let arguments = [
        std::ptr::from_ref(&set) as usize,
        0,
        std::ptr::from_ref(&at_once) as usize,
        size_of::<u64>(),
    ];
    // SAFETY: reads eight bytes and one timespec.
    let signal = unsafe { call(libc::SYS_rt_sigtimedwait, arguments) };
    signal.ok().map(|signal| signal as libc::c_int)
}

/// `kill(2)` of a process group: `ESRCH` when there is none, `EPERM` when all
/// of it belongs to other users.
pub fn kill_group(group: libc::pid_t, signal: libc::c_int) -> Result<(), Errno> {
    // Below 2 it would mean "mine", or "everybody".
    if group < 2 {
        return Err(Errno::ESRCH);
    }
    // SAFETY: integers only.
    check(unsafe { libc::kill(-group, signal) }.into()).map(drop)
}
