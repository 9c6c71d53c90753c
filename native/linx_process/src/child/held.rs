//! What a child is confined by before it executes the program: given with the request, or told at the checkpoint.

use super::order;
use super::page::Report;
use crate::confine;
use crate::sys::clone::{self, Place};
use crate::sys::exec::exit;
use crate::sys::{process, region, wait};
use crate::wire::step::Kind;
use crate::wire::{Confinement, Failure, Stage};
use nix::errno::Errno;
use std::convert::Infallible;
use std::sync::atomic::AtomicI32;

/// More instructions than this the kernel does not stack, counting four more for each filter
/// (`MAX_INSNS_PER_PATH`, kernel/seccomp.c). Nothing else takes as much.
const MOST_INSTRUCTIONS: usize = 1 << 15;
const ROOM: usize = MOST_INSTRUCTIONS * crate::sys::seccomp::INSTRUCTION;

/// Confinements, one behind another as [`encode`] writes them.
pub struct Held<'a> {
    given: &'a [u8],
    /// What of the given is written to `/proc` has been.
    written_to_proc: bool,
    room: &'static mut [u8],
    used: usize,
}

/// What is given with the request, for the child to read without allocating.
pub fn encode(confinements: &[Confinement]) -> Vec<u8> {
    let encoded = confinements.iter().map(postcard::to_allocvec);
    // Into memory, and of plain data: nothing can fail.
    encoded.flatten().flatten().collect()
}

impl<'a> Held<'a> {
    /// What is given, and nothing more.
    pub fn given(given: &'a [u8]) -> Self {
        Held {
            given,
            written_to_proc: false,
            room: &mut [],
            used: 0,
        }
    }

    /// Room for more, and a buffer for a message. `ENOMEM`.
    pub fn with_buffer(given: &'a [u8]) -> Result<(&'static mut [u8], Self), Errno> {
        let region = region::map(order::MAX + ROOM)?;
        let (buffer, room) = region.split_at_mut(order::MAX);
        let held = Held {
            given,
            written_to_proc: false,
            room,
            used: 0,
        };
        Ok((buffer, held))
    }

    /// `ENOMEM` as from the kernel, for more than it takes.
    pub fn add(&mut self, confinement: &Confinement<&[u8]>) -> Result<(), Errno> {
        let free = &mut self.room[self.used..];
        let written = postcard::to_slice(confinement, free).map_err(|_| Errno::ENOMEM)?;
        self.used += written.len();
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = Confinement<&[u8]>> {
        let is_done = |given: &Confinement<_>| self.written_to_proc && given.is_written_to_proc();
        read(self.given)
            .filter(move |given| !is_done(given))
            .chain(read(&self.room[..self.used]))
    }

    /// Does what of the given is written to `/proc`, out of its turn.
    pub fn write_to_proc(&mut self) -> Result<(), Failure> {
        self.written_to_proc = true;
        read(self.given)
            .filter(Confinement::is_written_to_proc)
            .try_for_each(|confinement| confine::confine(&confinement))
    }

    /// Does what is of these kinds, kind by kind, and within one in the order in which it came.
    pub fn carry_out(&self, kinds: &[Kind]) -> Result<(), Failure> {
        for kind in kinds {
            let of_this_kind = |confinement: &Confinement<_>| confinement.kind() == *kind;
            self.iter()
                .filter(of_this_kind)
                .try_for_each(|confinement| confine::confine(&confinement))?;
        }
        Ok(())
    }

    /// Carries everything out, with `become_user` in its place, in a process that is thrown away. It is a copy:
    /// before Linux 5.16 the core dump of one that a filter kills would take along whoever shares its memory
    /// (kernel commit 0258b5fd7c71).
    ///
    /// The verdict is the kernel's, or that of `clone` when there can be no such process, at `stage`.
    pub fn rehearse(
        &self,
        stage: Stage,
        report: Report,
        become_user: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // One that dies first has not been allowed to say anything else.
        report.judge(Err(stage.failed()(Errno::EPERM)));
        let rehearsal = Rehearsal {
            held: self,
            report,
            become_user,
        };
        let pid = clone::suspended(
            Place::default(),
            false,
            &AtomicI32::new(0),
            Rehearsal::run,
            &rehearsal,
        );
        wait::await_pid(pid.map_err(stage.failed())?);
        report.verdict()
    }
}

fn read(mut rest: &[u8]) -> impl Iterator<Item = Confinement<&[u8]>> {
    std::iter::from_fn(move || {
        let (confinement, others) = postcard::take_from_bytes(rest).ok()?;
        rest = others;
        Some(confinement)
    })
}

struct Rehearsal<'a> {
    held: &'a Held<'a>,
    report: Report,
    become_user: &'a dyn Fn() -> Result<(), Failure>,
}

impl Rehearsal<'_> {
    fn run(&self) -> Infallible {
        // A filter may kill the exit, too: no core dump for that.
        let _ = process::dump_no_core();
        self.report.judge(self.carry_out());
        exit(0)
    }

    fn carry_out(&self) -> Result<(), Failure> {
        self.held.carry_out(&Kind::BEFORE_CREDENTIALS)?;
        (self.become_user)()?;
        self.held.carry_out(&Kind::AS_THE_USER)?;
        self.held.carry_out(&Kind::BEFORE_EXEC)?;
        self.held.carry_out(&Kind::LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_in_order_as_long_as_there_is_room() {
        let given = encode(&[Confinement::Umask(0o77), Confinement::NoNewPrivs]);
        let (buffer, mut held) = Held::with_buffer(&given).unwrap();
        assert_eq!(buffer.len(), order::MAX);
        let programs = [vec![1; 8], vec![2; 32_768], vec![3; 16]];
        for program in &programs {
            held.add(&Confinement::Seccomp(program.as_slice())).unwrap();
        }
        let expected = programs.iter().map(|p| Confinement::Seccomp(p.as_slice()));
        let expected = [Confinement::Umask(0o77), Confinement::NoNewPrivs]
            .into_iter()
            .chain(expected);
        assert!(held.iter().eq(expected));
        let long = Confinement::Seccomp(programs[1].as_slice());
        while held.add(&long).is_ok() {}
        assert_eq!(held.add(&long), Err(Errno::ENOMEM));
        assert!(held.used > ROOM - 2 * 32_768);
        assert_eq!(Held::given(&given).iter().count(), 2);
        assert_eq!(Held::given(&[]).iter().count(), 0);
    }
}
