//! `waitid(2)`. nix's wrapper cannot tell a death by a real-time signal.

use super::direct::call;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Exited(i32),
    Signaled(i32),
}

/// What a process has used, and the children it has waited for: `getrusage(2)`, in the order of
/// [`NAMES`](Usage::NAMES). Times are in microseconds, `maxrss` is in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage(pub [u64; 9]);

impl Usage {
    /// What it counts, as the fields of `struct rusage` are called.
    pub const NAMES: [&'static str; 9] = [
        "utime", "stime", "maxrss", "minflt", "majflt", "inblock", "oublock", "nvcsw", "nivcsw",
    ];

    fn of(rusage: &libc::rusage) -> Self {
        let microseconds = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
        let numbers = [
            microseconds(rusage.ru_utime),
            microseconds(rusage.ru_stime),
            // In KiB.
            rusage.ru_maxrss << 10,
            rusage.ru_minflt,
            rusage.ru_majflt,
            rusage.ru_inblock,
            rusage.ru_oublock,
            rusage.ru_nvcsw,
            rusage.ru_nivcsw,
        ];
        Usage(numbers.map(|number| number as u64))
    }
}

/// What [`peek`] found among all children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// There is no child at all.
    None,
    /// There are some, all alive.
    Alive,
    /// This one waits to be reaped.
    Dead(libc::pid_t),
}

/// What a child did ([`await_change`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Stopped,
    Ended(Death),
}

/// Children that died before exec kept `exit_signal` 0 and are invisible without it.
const ALL: libc::c_int = libc::__WALL;

/// Reaps the child behind `pidfd` if it has ended. `ECHILD` when it is not, or no longer, our child.
pub fn reap(pidfd: BorrowedFd) -> Result<Option<Death>, Errno> {
    let (info, _) = waitid(
        libc::P_PIDFD,
        pidfd.as_raw_fd(),
        libc::WEXITED | libc::WNOHANG | ALL,
    )?;
    Ok((pid(&info) != 0).then(|| how(&info)))
}

/// Whether our child with this pid has got as far as exec, alive or not, as
/// long as it has not been reaped: without `__WALL` a child whose exit signal
/// is still 0 is not eligible, and exec sets it to SIGCHLD (`de_thread`, fs/exec.c).
pub fn has_execed(pid: libc::pid_t) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    waitid(libc::P_PID, pid, options).is_ok()
}

/// The pid of a child that has been stopped, once for each stop.
pub fn stopped() -> Option<libc::pid_t> {
    let (info, _) = waitid(libc::P_ALL, 0, libc::WSTOPPED | libc::WNOHANG | ALL).ok()?;
    Some(pid(&info)).filter(|pid| *pid != 0)
}

/// Looks for a child that has ended, without reaping it.
pub fn peek() -> Children {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | ALL;
    match waitid(libc::P_ALL, 0, options) {
        Err(_) => Children::None,
        Ok((info, _)) => match pid(&info) {
            0 => Children::Alive,
            dead => Children::Dead(dead),
        },
    }
}

/// Reaps the child with this pid if it has ended.
pub fn reap_pid(pid: libc::pid_t) {
    let _ = waitid(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG | ALL);
}

/// Blocks until the child with this pid has ended and reaps it.
pub fn await_pid(pid: libc::pid_t) {
    let wait = || waitid(libc::P_PID, pid, libc::WEXITED | ALL);
    while matches!(wait(), Err(Errno::EINTR)) {}
}

/// Blocks until any child is stopped or has ended, reaping it then. `ECHILD` when there is none.
pub fn await_change() -> Result<(libc::pid_t, Change), Errno> {
    loop {
        match waitid(libc::P_ALL, 0, libc::WEXITED | libc::WSTOPPED | ALL) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
            Ok((info, _)) if info.si_code == libc::CLD_STOPPED => {
                return Ok((pid(&info), Change::Stopped));
            }
            Ok((info, _)) => return Ok((pid(&info), Change::Ended(how(&info)))),
        }
    }
}

/// Blocks until any child has ended, and leaves it to be reaped. `ECHILD` when there is none.
pub fn await_ended() -> Result<(libc::pid_t, Death, Usage), Errno> {
    loop {
        match waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT | ALL) {
            Err(Errno::EINTR) => continue,
            result => {
                return result.map(|(info, usage)| (pid(&info), how(&info), Usage::of(&usage)))
            }
        }
    }
}

/// Blocks until the child with this pid has ended and reaps it, and whoever else has ended before: an init inherits
/// others.
pub fn await_child(pid: libc::pid_t) -> Result<Death, Errno> {
    loop {
        let (ended, death, _) = await_ended()?;
        reap_pid(ended);
        if ended == pid {
            return Ok(death);
        }
    }
}

/// Blocks until the child has ended and reaps it.
pub fn await_end(pidfd: BorrowedFd) {
    let wait = || waitid(libc::P_PIDFD, pidfd.as_raw_fd(), libc::WEXITED | ALL);
    while matches!(wait(), Err(Errno::EINTR)) {}
}

fn waitid(
    kind: libc::idtype_t,
    id: libc::c_int,
    options: libc::c_int,
) -> Result<(libc::siginfo_t, libc::rusage), Errno> {
    // SAFETY: all zeroes are a valid siginfo and a valid rusage, and waitid writes only into them.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let [info_address, usage_address] = [
            std::ptr::from_mut(&mut info) as usize,
            std::ptr::from_mut(&mut usage) as usize,
        ];
        let (kind, id, options) = (kind as usize, id as usize, options as usize);
        let arguments = [kind, id, info_address, options, usage_address];
        call(libc::SYS_waitid, arguments)?;
        Ok((info, usage))
    }
}

fn pid(info: &libc::siginfo_t) -> libc::pid_t {
    // SAFETY: filled by waitid, or all zero.
    unsafe { info.si_pid() }
}

fn how(info: &libc::siginfo_t) -> Death {
    // SAFETY: filled by waitid.
    let status = unsafe { info.si_status() };
    match info.si_code {
        libc::CLD_EXITED => Death::Exited(status),
        _ => Death::Signaled(status),
    }
}
