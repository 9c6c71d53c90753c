//! `ptrace(2)` of children, threads and real-time signals included, for which nix has no names.

use super::check;
use super::direct::call;
use super::wait::Death;
use nix::errno::Errno;
use std::mem::{size_of, MaybeUninit};

/// What a traced thread has stopped for, or how a child has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It enters a system call, or leaves one.
    Syscall,
    /// It has executed a program.
    Exec,
    /// It is stopped as by SIGSTOP, together with its process.
    Group,
    /// A signal is about to be delivered.
    Signal(libc::c_int),
    /// Something else, such as its own beginning.
    Other,
    Ended(Death),
}

/// A system call: its architecture (`AUDIT_ARCH_*`) and its number.
pub type Call = (u32, u64);

/// `execve` of this machine.
pub const EXECVE: Call = (NATIVE, libc::SYS_execve as u64);

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// Traces a child, and whatever it will start; all of them die with the tracer. `EPERM` where
/// somebody else traces it, or a security module forbids that.
pub fn seize(pid: libc::pid_t) -> Result<(), Errno> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SEIZE, pid, options)
}

/// Lets it go on to its next system call, and gives it this signal, or none (0). `ESRCH` when it has
/// been killed meanwhile.
pub fn resume(pid: libc::pid_t, signal: libc::c_int) -> Result<(), Errno> {
    request(libc::PTRACE_SYSCALL, pid, signal)
}

/// Leaves it stopped, until somebody continues it.
pub fn listen(pid: libc::pid_t) -> Result<(), Errno> {
    request(libc::PTRACE_LISTEN, pid, 0)
}

fn request(request: libc::c_uint, pid: libc::pid_t, data: libc::c_int) -> Result<(), Errno> {
    let arguments = [request as usize, pid as usize, 0, data as usize];
    // SAFETY: none of these requests reads or writes memory of ours.
    unsafe { call(libc::SYS_ptrace, arguments) }.map(drop)
}

/// The system call that it enters: nothing if it leaves one. `PTRACE_GET_SYSCALL_INFO`, Linux 5.3.
pub fn entered(pid: libc::pid_t) -> Result<Option<Call>, Errno> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let arguments = [
        libc::PTRACE_GET_SYSCALL_INFO as usize,
        pid as usize,
        size_of::<libc::ptrace_syscall_info>(),
        info.as_mut_ptr() as usize,
    ];
    // SAFETY: the kernel writes at most as many bytes as it is told.
    unsafe { call(libc::SYS_ptrace, arguments) }?;
    // SAFETY: all bytes are initialized, and every pattern is a value of it.
    let info = unsafe { info.assume_init() };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: for an entry it is this member.
    Ok(Some((info.arch, unsafe { info.u.entry }.nr)))
}

/// Waits for any child or traced thread (`__WALL`). `ECHILD` when there is none.
pub fn wait() -> Result<(libc::pid_t, Stop), Errno> {
    let mut status = 0;
    let pid = loop {
        // SAFETY: writes one integer.
        match check(unsafe { libc::waitpid(-1, &mut status, libc::__WALL) }.into()) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    Ok((pid as libc::pid_t, stop(status)))
}

fn stop(status: libc::c_int) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Ended(Death::Exited(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Ended(Death::Signaled(libc::WTERMSIG(status)));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Stop::Group,
        _ => Stop::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{stop, Death, Stop};

    #[test]
    fn stops_are_told_apart() {
        let stopped = |signal: i32, event: i32| stop(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stopped(libc::SIGTRAP | 0x80, 0), Stop::Syscall);
        assert_eq!(stopped(libc::SIGTRAP, 0), Stop::Signal(libc::SIGTRAP));
        assert_eq!(stopped(64, 0), Stop::Signal(64));
        assert_eq!(stopped(libc::SIGTRAP, libc::PTRACE_EVENT_EXEC), Stop::Exec);
        assert_eq!(
            stopped(libc::SIGTRAP, libc::PTRACE_EVENT_CLONE),
            Stop::Other
        );
        assert_eq!(stopped(libc::SIGTRAP, libc::PTRACE_EVENT_STOP), Stop::Other);
        assert_eq!(stopped(libc::SIGTSTP, libc::PTRACE_EVENT_STOP), Stop::Group);
        assert_eq!(stop(7 << 8), Stop::Ended(Death::Exited(7)));
        assert_eq!(stop(64 | 0x80), Stop::Ended(Death::Signaled(64)));
    }
}
