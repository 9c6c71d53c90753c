//! seccomp filters. A filter is installed as the last thing before exec, so
//! that it need not allow what comes before.

use crate::sys::process;
use crate::sys::seccomp::{self, INSTRUCTION};
use crate::wire::{Failure, Stage};
use nix::errno::Errno;

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

/// Installs `program`, behind `no_new_privs`: without that the kernel takes filters from CAP_SYS_ADMIN only.
pub fn install(program: &[u8]) -> Result<(), Failure> {
    process::set_no_new_privs().map_err(Stage::SeccompNoNewPrivs.failed())?;
    check_length(program)
        .and_then(|()| seccomp::install(program))
        .map_err(Stage::SeccompInstall.failed())
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
