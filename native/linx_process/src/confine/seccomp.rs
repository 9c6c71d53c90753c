//! seccomp filters. A filter is installed as the last thing before exec, so
//! that it need not allow what comes before; whether the kernel takes it is
//! found out when it is handed over, in a process that is thrown away.

use crate::sys::exec::exit;
use crate::sys::{clone, process, seccomp, wait};
use nix::errno::Errno;
use std::convert::Infallible;
use std::sync::atomic::{AtomicI32, Ordering};

pub use seccomp::{install, INSTRUCTION};

/// The longest program the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;
/// The longest program `struct sock_fprog` can announce.
pub const MAX_ANNOUNCED: usize = u16::MAX as usize;

/// What can be told from the length alone: `EINVAL` for no whole number of
/// instructions, none, or more than the kernel takes; `E2BIG` for more than it can be told of.
pub fn check_length(program: &[u8]) -> Result<(), Errno> {
    let instructions = program.len() / INSTRUCTION;
    if program.len() % INSTRUCTION != 0 || instructions == 0 {
        Err(Errno::EINVAL)
    } else if instructions > MAX_ANNOUNCED {
        Err(Errno::E2BIG)
    } else if instructions > MAX_INSTRUCTIONS {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// Installs `program` in a process that is thrown away, and that leaves what came of it in `verdict`, memory
/// shared with it. It is a copy: before Linux 5.16 the core dump of one that the filter kills
/// would take along whoever shares its memory (kernel commit 0258b5fd7c71).
///
/// Errors as [`install`], and as `clone` when there can be no such process.
pub fn rehearse(program: &[u8], verdict: &'static AtomicI32) -> Result<(), Errno> {
    // One that dies first has not been allowed to say anything else.
    verdict.store(Errno::EPERM as i32, Ordering::SeqCst);
    let rehearsal = Rehearsal { program, verdict };
    let pid = clone::suspended(0, false, &AtomicI32::new(0), Rehearsal::run, &rehearsal)?;
    wait::await_pid(pid);
    match verdict.load(Ordering::SeqCst) {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

struct Rehearsal<'a> {
    program: &'a [u8],
    verdict: &'static AtomicI32,
}

impl Rehearsal<'_> {
    fn run(&self) -> Infallible {
        // The filter may kill the exit, too: no core dump for that.
        let _ = process::dump_no_core();
        let errno = install(self.program).map_or_else(|errno| errno as i32, |()| 0);
        self.verdict.store(errno, Ordering::SeqCst);
        exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::check_length;
    use nix::errno::Errno;

    #[test]
    fn lengths_are_whole_instructions_within_the_kernels_limits() {
        let check = |length| check_length(&vec![0; length]);
        assert_eq!(check(0), Err(Errno::EINVAL));
        assert_eq!(check(7), Err(Errno::EINVAL));
        assert_eq!(check(8), Ok(()));
        assert_eq!(check(4096 * 8), Ok(()));
        assert_eq!(check(4097 * 8), Err(Errno::EINVAL));
        assert_eq!(check(65536 * 8), Err(Errno::E2BIG));
    }
}
