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

/// Bytes that the BEAM wants written, and who wants to know when they have been taken.
struct Write {
    bytes: Vec<u8>,
    taken: usize,
    call: Call,
}

#[derive(Default)]
pub struct Input {
    taken: VecDeque<u8>,
    waiting: VecDeque<Write>,
}

impl Input {
    /// Puts `bytes` behind what is already on its way. [`Input::flush`] tells when they have been taken.
    pub fn write(&mut self, bytes: Vec<u8>, call: Call) {
        self.waiting.push_back(Write {
            bytes,
            taken: 0,
            call,
        });
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
            let rest = &write.bytes[write.taken..];
            let room = TAKEN - self.taken.len();
            let now = &rest[..rest.len().min(room)];
            self.taken.extend(now);
            write.taken += now.len();
            if write.taken < write.bytes.len() {
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
        let waiting: usize = self.waiting.iter().map(|w| w.bytes.len() - w.taken).sum();
        waiting > MAX_BACKLOG
    }

    /// Forgets what has been taken and not been written.
    pub fn drop_taken(&mut self) {
        self.taken.clear();
    }

    /// Forgets what nobody will read any more, calling `lost` for every write not yet taken.
    pub fn give_up(&mut self, mut lost: impl FnMut(Call)) {
        self.taken.clear();
        for write in self.waiting.drain(..) {
            lost(write.call);
        }
    }
}
