//! What a main process and its subreaper leave in memory for the agent to see: how far they have come, and the
//! failure that kept them from coming further. Storing it takes no system call that a filter could deny.

use crate::sys::block::{Block, Cells, Stack};
use crate::sys::socket;
use crate::sys::wait::{Death, Usage};
use crate::wire::{Failure, Id, Stage};
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// The page of a session, and the stack beside it.
pub struct Page(Block);

/// A page as those see it who write to it.
#[derive(Clone, Copy)]
pub struct Report(&'static Cells);

/// Where those say that there is something to see, and by what number.
#[derive(Clone, Copy)]
pub struct Bell {
    pub fd: RawFd,
    pub id: Id,
}

impl Bell {
    pub fn ring(self) {
        let _ = socket::write(self.fd, &self.id.to_ne_bytes());
    }
}

const STAGE: usize = 0;
const ERRNO: usize = 1;
const SUBREAPER: usize = 2;
const MAIN: usize = 3;
const READY: usize = 4;
const EXECED: usize = 5;
const GONE: usize = 6;
const NUMBER: usize = 7;
const OTHERS: usize = 8;
const VERDICT: usize = 9;
/// The first of those for what was used, two for each number: the low half, then the high one.
const USAGE: usize = 10;
const CHAINED: usize = 28;
const ENDED_BY: usize = 29;
/// Where a verdict is about, if it is not a good one.
const VERDICT_STAGE: usize = 30;

/// In `GONE`: how it ended, with what in `NUMBER`.
const EXITED: i32 = 1;
const SIGNALED: i32 = 2;

impl Page {
    pub fn new(block: Block) -> Self {
        Page(block)
    }

    pub fn report(&self) -> Report {
        Report(self.0.cells())
    }

    pub fn stack(&self) -> Stack {
        self.0.stack()
    }

    /// For the next session, once nobody writes to it any more.
    pub fn into_block(self) -> Block {
        self.0
    }
}

impl Report {
    /// Stores why the process is about to end.
    pub fn fail(self, failure: Failure) {
        self.set(ERRNO, failure.errno as i32);
        self.set(STAGE, failure.stage.code());
    }

    pub fn failure(self) -> Option<Failure> {
        let stage = Stage::from_code(self.get(STAGE))?;
        let errno = Errno::from_raw(self.get(ERRNO));
        Some(Failure { errno, stage })
    }

    /// Where the kernel puts the pid of the subreaper that an intermediate makes.
    pub fn subreaper_cell(self) -> &'static AtomicI32 {
        &self.0[SUBREAPER]
    }

    pub fn subreaper(self) -> Option<libc::pid_t> {
        Some(self.get(SUBREAPER)).filter(|pid| *pid > 0)
    }

    /// Where the kernel puts the pid of the main process, as its parent sees it.
    pub fn main_cell(self) -> &'static AtomicI32 {
        &self.0[MAIN]
    }

    pub fn main(self) -> Option<libc::pid_t> {
        Some(self.get(MAIN)).filter(|pid| *pid > 0)
    }

    /// The main process passes the checkpoint, under this pid of its own namespace.
    pub fn pass(self, pid: libc::pid_t) {
        self.set(READY, pid);
    }

    pub fn passed(self) -> Option<libc::pid_t> {
        Some(self.get(READY)).filter(|pid| *pid > 0)
    }

    pub fn set_execed(self) {
        self.set(EXECED, 1);
    }

    pub fn has_execed(self) -> bool {
        self.get(EXECED) != 0
    }

    /// Whether the main process has others run before it executes a program itself.
    pub fn set_chained(self, chained: bool) {
        self.set(CHAINED, chained.into());
    }

    pub fn is_chained(self) -> bool {
        self.get(CHAINED) != 0
    }

    /// The main process is about to end because of this signal, which it cannot end by itself.
    pub fn end_by(self, signal: i32) {
        self.set(ENDED_BY, signal);
    }

    /// The main process has ended, and is about to be reaped.
    pub fn bury(self, death: Death, usage: Usage) {
        for (cell, number) in (USAGE..).step_by(2).zip(usage.0) {
            self.set(cell, number as i32);
            self.set(cell + 1, (number >> 32) as i32);
        }
        let (how, number) = match death {
            Death::Exited(code) => (EXITED, code),
            Death::Signaled(signal) => (SIGNALED, signal),
        };
        self.set(NUMBER, number);
        self.set(GONE, how);
    }

    pub fn death(self) -> Option<Death> {
        match self.get(GONE) {
            EXITED if self.get(ENDED_BY) > 0 => Some(Death::Signaled(self.get(ENDED_BY))),
            EXITED => Some(Death::Exited(self.get(NUMBER))),
            SIGNALED => Some(Death::Signaled(self.get(NUMBER))),
            _ => None,
        }
    }

    /// What a main process that has been buried had used.
    pub fn usage(self) -> Usage {
        let half = |cell| u64::from(self.get(cell) as u32);
        Usage(std::array::from_fn(|n| {
            let cell = USAGE + 2 * n;
            half(cell) | half(cell + 1) << 32
        }))
    }

    /// A rehearsal leaves what came of it.
    pub fn judge(self, verdict: Result<(), Failure>) {
        let (errno, stage) = verdict.map_or_else(|f| (f.errno as i32, f.stage.code()), |()| (0, 0));
        self.set(VERDICT_STAGE, stage);
        self.set(VERDICT, errno);
    }

    /// What came of the last rehearsal.
    pub fn verdict(self) -> Result<(), Failure> {
        match Stage::from_code(self.get(VERDICT_STAGE)) {
            Some(stage) => Err(stage.failed()(Errno::from_raw(self.get(VERDICT)))),
            None => Ok(()),
        }
    }

    /// The main process has left others.
    pub fn set_others_left(self) {
        self.set(OTHERS, 1);
    }

    pub fn are_others_left(self) -> bool {
        self.get(OTHERS) != 0
    }

    fn get(self, cell: usize) -> i32 {
        self.0[cell].load(Ordering::SeqCst)
    }

    fn set(self, cell: usize, value: i32) {
        self.0[cell].store(value, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::block::Blocks;

    #[test]
    fn a_page_is_silent_until_written_to() {
        let page = Page::new(Blocks::default().take().unwrap());
        let report = page.report();
        assert_eq!(report.failure(), None);
        assert_eq!(
            (report.subreaper(), report.main(), report.passed()),
            (None, None, None)
        );
        assert_eq!((report.has_execed(), report.death()), (false, None));

        report.fail(Stage::Chdir.failed()(Errno::ENOENT));
        report.subreaper_cell().store(7, Ordering::SeqCst);
        report.main_cell().store(8, Ordering::SeqCst);
        report.pass(1);
        report.set_execed();
        assert_eq!(report.failure(), Some(Stage::Chdir.failed()(Errno::ENOENT)));
        assert_eq!(
            (report.subreaper(), report.main(), report.passed()),
            (Some(7), Some(8), Some(1))
        );
        let usage = Usage(std::array::from_fn(|n| (n as u64) << 31 | 0x8000_0000));
        for death in [Death::Exited(0), Death::Exited(255), Death::Signaled(64)] {
            report.bury(death, usage);
            assert_eq!(report.usage(), usage);
            assert_eq!((report.has_execed(), report.death()), (true, Some(death)));
        }
        assert_eq!(report.verdict(), Ok(()));
        let refused = Err(Stage::SeccompInstall.failed()(Errno::EINVAL));
        report.judge(refused);
        assert_eq!(report.verdict(), refused);
        report.judge(Ok(()));
        assert_eq!(report.verdict(), Ok(()));
        report.end_by(2);
        report.bury(Death::Exited(130), usage);
        assert_eq!(report.death(), Some(Death::Signaled(2)));
    }
}
