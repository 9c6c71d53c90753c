//! The page a child shares with the agent: the failure that kept it from
//! executing, and the pid it was given when an intermediate made it.

use crate::sys::shared::Shared;
use crate::wire::{Failure, Stage};
use nix::errno::Errno;
use std::sync::atomic::Ordering;

pub struct Page(Shared<3>);

const STAGE: usize = 0;
const ERRNO: usize = 1;
const PID: usize = 2;

impl Page {
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        Shared::new().map(Page)
    }

    /// Stores why the child is about to end: two stores, no system call.
    pub fn report(&self, failure: Failure) {
        self.0[ERRNO].store(failure.errno as i32, Ordering::SeqCst);
        self.0[STAGE].store(failure.stage.code(), Ordering::SeqCst);
    }

    /// What the child has reported.
    pub fn failure(&self) -> Option<Failure> {
        let stage = Stage::from_code(self.0[STAGE].load(Ordering::SeqCst))?;
        let errno = Errno::from_raw(self.0[ERRNO].load(Ordering::SeqCst));
        Some(Failure { errno, stage })
    }

    pub fn set_pid(&self, pid: libc::pid_t) {
        self.0[PID].store(pid, Ordering::SeqCst);
    }

    pub fn pid(&self) -> Option<libc::pid_t> {
        Some(self.0[PID].load(Ordering::SeqCst)).filter(|pid| *pid > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_silent_until_written_to() {
        let page = Page::new().unwrap();
        assert_eq!(page.failure(), None);
        assert_eq!(page.pid(), None);
        page.set_pid(7);
        page.report(Stage::Chdir.failed()(Errno::ENOENT));
        assert_eq!(page.pid(), Some(7));
        assert_eq!(page.failure(), Some(Stage::Chdir.failed()(Errno::ENOENT)));
    }
}
