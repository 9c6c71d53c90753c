//! Bytes on their way from the BEAM to a workload: no more than so many in our hands, and the BEAM is told
//! when they have been taken.

use crate::wire::Call;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// What is taken from the BEAM before the workload has read it.
pub const TAKEN: usize = 64 << 10;
/// With this much more waiting, the BEAM should not be listened to.
pub const MAX_BACKLOG: usize = 1 << 20;
/// A write that waits counts as so much at least, however few its bytes are.
pub const LEAST: usize = 64;

/// Bytes that the BEAM wants written, and who wants to know when they have been taken.
struct Write {
    bytes: Vec<u8>,
    taken: usize,
    call: Call,
}

impl Write {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// What it adds to the backlog.
    fn weight(&self) -> usize {
        self.rest().len().max(LEAST)
    }
}

#[derive(Default)]
pub struct Input {
    taken: VecDeque<u8>,
    waiting: VecDeque<Write>,
    /// The weight of all that is waiting.
    backlog: usize,
}

impl Input {
    /// Puts `bytes` behind what is already on its way. [`Input::flush`] tells when they have been taken.
    pub fn write(&mut self, bytes: Vec<u8>, call: Call) {
        let write = Write {
            bytes,
            taken: 0,
            call,
        };
        self.backlog += write.weight();
        self.waiting.push_back(write);
    }

    /// Writes what `fd` takes now, and calls `answer` for each write that is in our hands whole. The error is what
    /// keeps it from taking anything any more, and the answer to the writes that have just found it out.
    pub fn flush(
        &mut self,
        fd: BorrowedFd,
        mut answer: impl FnMut(Call, Result<(), Errno>),
    ) -> Result<(), Errno> {
        let mut taken = Vec::new();
        let result = loop {
            self.take(|call| taken.push(call));
            let (bytes, _) = self.taken.as_slices();
            if bytes.is_empty() {
                break Ok(());
            }
            match nix::unistd::write(fd, bytes) {
                Ok(written) => drop(self.taken.drain(..written)),
                Err(Errno::EAGAIN) => break Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => break Err(errno),
            }
        };
        taken.into_iter().for_each(|call| answer(call, result));
        result
    }

    fn take(&mut self, mut taken: impl FnMut(Call)) {
        while let Some(write) = self.waiting.front_mut() {
            let rest = write.rest();
            let room = TAKEN - self.taken.len();
            let now = &rest[..rest.len().min(room)];
            let length = now.len();
            self.taken.extend(now);
            self.backlog -= write.weight();
            write.taken += length;
            if !write.rest().is_empty() {
                self.backlog += write.weight();
                return;
            }
            taken(write.call);
            self.waiting.pop_front();
        }
    }

    /// Whether there is something to write once there is room.
    pub fn is_pending(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Whether so much waits that no more should be accepted.
    pub fn is_congested(&self) -> bool {
        self.backlog > MAX_BACKLOG
    }

    /// Forgets what has been taken and not been written.
    pub fn drop_taken(&mut self) {
        self.taken.clear();
    }

    /// Forgets what nobody will read any more, calling `lost` for every write not yet taken.
    pub fn give_up(&mut self, mut lost: impl FnMut(Call)) {
        self.taken.clear();
        self.backlog = 0;
        for write in self.waiting.drain(..) {
            lost(write.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::os::fd::AsFd;

    #[test]
    fn what_waits_is_counted_as_it_comes_and_goes() {
        let (exit, entry) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let mut input = Input::default();
        let mut taken = Vec::new();
        for call in 0..8 {
            input.write(vec![0; 100_000], Some(call));
        }
        input.write(Vec::new(), Some(8));
        let mut read = 0;
        while read < 800_000 {
            assert_eq!(
                input.flush(entry.as_fd(), |call, _| taken.extend(call)),
                Ok(())
            );
            let weights: usize = input.waiting.iter().map(Write::weight).sum();
            assert_eq!(input.backlog, weights);
            read += nix::unistd::read(&exit, &mut [0; 10_000]).unwrap_or(0);
        }
        assert!(taken.into_iter().eq(0..9));
        assert_eq!(input.backlog, 0);
    }

    #[test]
    fn writes_that_wait_are_not_too_many_either() {
        let mut input = Input::default();
        for _ in 0..MAX_BACKLOG / LEAST {
            input.write(Vec::new(), None);
            assert!(!input.is_congested());
        }
        input.write(Vec::new(), None);
        assert!(input.is_congested());
        input.give_up(|_| ());
        assert!(!input.is_congested());
    }
}
