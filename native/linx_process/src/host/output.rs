//! What comes out of a workload on one descriptor, on its way to the BEAM: how much of it may be passed on, and
//! whether there is more.

use super::world::World;
use crate::stdio::{read, Read};
use crate::sys::pipe;
use crate::wire::Source;
use std::os::fd::BorrowedFd;

/// Read at most this much before something else has its turn.
const TURN: usize = 256 << 10;
/// What is there is passed on in pieces as large as this.
pub const PIECE: usize = 16 << 10;
/// From here on it is cheaper to move the pages of a pipe than to copy what is in them.
const MOVED: usize = PIECE;
/// One frame has no more than this.
pub const MOST: usize = 128 << 10;
/// A pipe that was found as full as this, of the 64 KiB that it has at first, so many times …
const FULL: usize = 48 << 10;
const OFTEN: u32 = 4;
/// … is made as large as this: then everybody sleeps less often.
const LARGE: libc::c_int = 256 << 10;

/// What is to be done about an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Nothing: epoll will tell, or the BEAM.
    Quiet,
    /// It has not been read empty since it was ready.
    Busy,
    /// It is not listened to until the BEAM has taken what is on its way.
    Muted,
}

impl Listening {
    /// What is to be done about both.
    pub fn and(self, other: Listening) -> Listening {
        match (self, other) {
            (Listening::Busy, _) | (_, Listening::Busy) => Listening::Busy,
            (Listening::Muted, _) | (_, Listening::Muted) => Listening::Muted,
            _ => Listening::Quiet,
        }
    }
}

pub struct Output {
    source: Source,
    /// What the BEAM has granted and not been sent; `None`: whatever there is.
    credit: Option<u64>,
    /// What may still be read, once the main process has ended.
    remainder: Option<usize>,
    /// It has been read empty since it was last ready.
    quiet: bool,
    /// It is at its end: nothing will come any more.
    ended: bool,
    /// How many times a pipe was found full.
    times_full: u32,
}

impl Output {
    pub fn new(source: Source, credit: Option<u32>) -> Self {
        Output {
            source,
            credit: credit.map(u64::from),
            remainder: None,
            quiet: true,
            ended: false,
            times_full: 0,
        }
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// epoll has said so.
    pub fn stir(&mut self) {
        self.quiet = false;
    }

    pub fn grant(&mut self, more: u32) {
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_add(more.into());
        }
    }

    /// So much may be read, whatever has been granted.
    pub fn allow(&mut self, length: usize) {
        if let Some(credit) = &mut self.credit {
            *credit = (*credit).max(length as u64);
        }
        self.quiet = false;
    }

    /// From now on no more than `remainder` is read, whatever has been granted: nothing waits for a BEAM that
    /// has no use for it.
    pub fn drain(&mut self, remainder: usize) {
        self.remainder = Some(remainder);
        self.quiet = false;
    }

    /// Whether all that was to be drained has been.
    pub fn is_drained(&self) -> bool {
        self.ended || self.remainder.is_some_and(|rest| rest == 0 || self.quiet)
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub fn end(&mut self) {
        self.quiet = true;
        self.ended = true;
    }

    /// How much may be read now.
    fn allowed(&self) -> usize {
        match (self.remainder, self.credit) {
            (Some(rest), _) => rest,
            (None, Some(credit)) => usize::try_from(credit).unwrap_or(usize::MAX),
            (None, None) => usize::MAX,
        }
    }

    /// Whether it should be listened to, as far as it is concerned.
    pub fn is_wanted(&self) -> bool {
        !self.ended && self.allowed() > 0
    }

    fn has_passed_on(&mut self, length: usize) {
        match (&mut self.remainder, &mut self.credit) {
            (Some(rest), _) => *rest -= length,
            (None, Some(credit)) => *credit -= length as u64,
            (None, None) => {}
        }
    }

    /// Passes on what a terminal has, which the kernel gives in pieces of at most `read_at_once`.
    pub fn pass_on(&mut self, fd: BorrowedFd, read_at_once: usize, world: &mut World) {
        let mut piece = [0; PIECE];
        let mut filled: usize = 0;
        let mut budget = TURN;
        while !self.quiet && budget > 0 && !world.outbox.is_full() {
            let most = PIECE.min(filled.saturating_add(self.allowed()));
            if most == filled {
                break;
            }
            match read(fd, &mut piece[filled..most]) {
                Read::Some(length) => {
                    self.has_passed_on(length);
                    filled += length;
                    budget = budget.saturating_sub(length);
                    if PIECE - filled < read_at_once {
                        world.pass_on(self.source, &piece[..filled]);
                        filled = 0;
                    }
                }
                Read::Empty => self.quiet = true,
                Read::Closed => self.end(),
            }
        }
        if filled > 0 {
            world.pass_on(self.source, &piece[..filled]);
        }
    }

    /// Passes on what a pipe has: much of it by moving its pages.
    pub fn pass_on_pipe(&mut self, fd: BorrowedFd, world: &mut World) {
        let mut budget = TURN;
        while !self.quiet && budget > 0 && self.allowed() > 0 && !world.outbox.is_full() {
            let most = self.allowed().min(MOST);
            let unread = pipe::unread(fd).unwrap_or(0);
            if unread >= FULL && self.times_full < OFTEN {
                self.times_full += 1;
                if self.times_full == OFTEN {
                    // EPERM, when this user has many such pipes.
                    let _ = pipe::enlarge(fd, LARGE);
                }
            }
            // Of a packet that the workload has written with O_DIRECT, a read for less loses the rest.
            let cut = unread > most;
            if cut || unread >= MOVED {
                // Else the channel takes no pages, or the workload itself has read it.
                if let Ok(length) = world.move_on(self.source, fd, most) {
                    self.has_passed_on(length);
                    budget = budget.saturating_sub(length);
                    continue;
                }
            }
            let mut piece = [0; PIECE];
            let most = most.min(PIECE);
            match read(fd, &mut piece[..most]) {
                Read::Some(length) => {
                    self.has_passed_on(length);
                    budget = budget.saturating_sub(length);
                    world.pass_on(self.source, &piece[..length]);
                    // A short read has emptied it.
                    self.quiet = length < most && self.remainder.is_none();
                }
                Read::Empty => self.quiet = true,
                Read::Closed => self.end(),
            }
        }
    }

    pub fn listening(&self, audible: bool, full: bool) -> Listening {
        match (audible && self.is_wanted(), full) {
            (true, true) => Listening::Muted,
            (true, false) if !self.quiet => Listening::Busy,
            _ => Listening::Quiet,
        }
    }
}
