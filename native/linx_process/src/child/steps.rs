//! The commands of the checkpoint, carried out by the parked child.

use super::page::Report;
use crate::confine::{capabilities, seccomp};
use crate::sys::{process, region};
use crate::wire::{Failure, Stage, Step};
use nix::errno::Errno;

/// More instructions than this the kernel does not stack, counting four more for each filter
/// (`MAX_INSNS_PER_PATH`, kernel/seccomp.c).
const MOST_INSTRUCTIONS: usize = 1 << 15;
const LENGTH: usize = size_of::<u32>();

/// The filters to install before exec, in the order in which they came: each behind its length.
pub struct Filters {
    room: &'static mut [u8],
    used: usize,
}

impl Filters {
    pub fn none() -> Self {
        Filters {
            room: &mut [],
            used: 0,
        }
    }

    /// Room for all the filters that the kernel would take, and a buffer of `length`. `ENOMEM`.
    pub fn with_buffer(length: usize) -> Result<(&'static mut [u8], Self), Errno> {
        let region = region::map(length + MOST_INSTRUCTIONS * seccomp::INSTRUCTION)?;
        let (buffer, room) = region.split_at_mut(length);
        Ok((buffer, Filters { room, used: 0 }))
    }

    /// `ENOMEM` as from the kernel, for more than it takes.
    fn add(&mut self, program: &[u8]) -> Result<(), Errno> {
        let free = &mut self.room[self.used..];
        let needed = LENGTH + program.len();
        let place = free.get_mut(..needed).ok_or(Errno::ENOMEM)?;
        place[..LENGTH].copy_from_slice(&(program.len() as u32).to_ne_bytes());
        place[LENGTH..].copy_from_slice(program);
        self.used += needed;
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.room[..self.used];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let (program, others) = behind.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
            rest = others;
            Some(program)
        })
    }
}

/// Does `step` to the calling process. A filter is rehearsed and kept in `filters`.
pub fn perform(step: Step<&[u8]>, filters: &mut Filters, report: Report) -> Result<(), Failure> {
    match step {
        Step::CapDropBounding(mask) => {
            capabilities::drop_bounding(mask).map_err(Stage::CapDropBounding.failed())
        }
        Step::CapSetThread {
            effective,
            permitted,
            inheritable,
        } => capabilities::set_thread(effective, permitted, inheritable)
            .map_err(Stage::CapSetThread.failed()),
        Step::CapSetAmbient(mask) => {
            capabilities::set_ambient(mask).map_err(Stage::CapSetAmbient.failed())
        }
        Step::SeccompInstall(program) => {
            // Without it the kernel takes filters from CAP_SYS_ADMIN only.
            process::set_no_new_privs().map_err(Stage::SeccompNoNewPrivs.failed())?;
            seccomp::rehearse(program, report.verdict_cell())
                .and_then(|()| filters.add(program))
                .map_err(Stage::SeccompInstall.failed())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_back_in_order() {
        let (buffer, mut filters) = Filters::with_buffer(16).unwrap();
        assert_eq!(buffer.len(), 16);
        let programs = [vec![1; 8], vec![2; 32_768], vec![3; 16]];
        programs
            .iter()
            .for_each(|program| filters.add(program).unwrap());
        assert!(filters.iter().eq(programs.iter().map(Vec::as_slice)));
        while filters.add(&programs[1]).is_ok() {}
        assert_eq!(filters.add(&programs[1]), Err(Errno::ENOMEM));
        assert!(filters.used > (MOST_INSTRUCTIONS - 2 * 4096) * seccomp::INSTRUCTION);
        assert_eq!(Filters::none().iter().count(), 0);
    }
}
