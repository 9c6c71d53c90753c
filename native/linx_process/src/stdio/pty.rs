//! A PTY: its master, the bytes on their way into it, and the bytes out of it.

use crate::launch::LASTING;
use crate::sys::fds;
use crate::sys::tty::{self, WindowSize};
use crate::wire::{Call, Failure, Stage};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, unlockpt};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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

pub struct Pty {
    master: OwnedFd,
    /// Held open, so that the master never sees the hang-up of a workload that
    /// has closed its terminal, or not opened it yet.
    _slave: OwnedFd,
    taken: VecDeque<u8>,
    waiting: VecDeque<Write>,
}

/// The outcome of [`Pty::read`].
pub enum Read {
    /// There may be more.
    Some(usize),
    /// Everything has been read, for now.
    Empty,
    /// The terminal has been hung up: there will never be more.
    Closed,
}

impl Pty {
    /// A PTY, and its slave once more for the workload: `posix_openpt(3)` and what goes with it. `ENOSPC` when the system has no PTY left
    /// (`kernel.pty.max`), `EMFILE`.
    pub fn open() -> Result<(Self, OwnedFd), Failure> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags).map_err(Stage::PosixOpenPt.failed())?;
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .map_err(Stage::PtSetup.failed())?;
        let workloads = tty::open_slave(master.as_fd()).map_err(Stage::PtsOpen.failed())?;
        let slave = fds::duplicate(&workloads, LASTING).map_err(Stage::PtsOpen.failed())?;
        let master = fds::raise(master.into(), LASTING);
        let pty = Pty {
            master,
            _slave: slave,
            taken: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        Ok((pty, workloads))
    }

    pub fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// The slave's path, in the agent's mount namespace.
    pub fn slave_path(&self) -> Result<String, Errno> {
        tty::slave_path(self.master.as_fd())
    }

    pub fn set_window_size(&self, size: WindowSize) -> Result<(), Errno> {
        tty::set_window_size(self.master(), size)
    }

    /// Puts `bytes` behind what is already on its way in. [`Pty::flush`] tells when they have been taken.
    pub fn write(&mut self, bytes: Vec<u8>, call: Call) {
        self.waiting.push_back(Write {
            bytes,
            taken: 0,
            call,
        });
    }

    /// Moves what the terminal takes now, and calls `taken` for each write that
    /// is in our hands whole. A terminal that is gone takes everything.
    pub fn flush(&mut self, mut taken: impl FnMut(Call)) {
        loop {
            self.take(&mut taken);
            let (bytes, _) = self.taken.as_slices();
            if bytes.is_empty() {
                return;
            }
            match nix::unistd::write(&self.master, bytes) {
                Ok(written) => drop(self.taken.drain(..written)),
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => self.taken.clear(),
            }
        }
    }

    fn take(&mut self, taken: &mut impl FnMut(Call)) {
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

    /// Whether there is something to write once the terminal has room.
    pub fn wants_to_write(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Whether so much waits that no more should be accepted.
    pub fn is_congested(&self) -> bool {
        let waiting: usize = self.waiting.iter().map(|w| w.bytes.len() - w.taken).sum();
        waiting > MAX_BACKLOG
    }

    /// Forgets what nobody will read any more, calling `lost` for every write not yet taken.
    pub fn give_up(&mut self, mut lost: impl FnMut(Call)) {
        self.taken.clear();
        for write in self.waiting.drain(..) {
            lost(write.call);
        }
    }

    /// Reads what the workload has written, without waiting.
    pub fn read(&self, buffer: &mut [u8]) -> Read {
        loop {
            return match nix::unistd::read(self.master.as_fd(), buffer) {
                Ok(0) => Read::Closed,
                Ok(length) => Read::Some(length),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Read::Empty,
                // EIO: somebody privileged has called vhangup(2) on it.
                Err(_) => Read::Closed,
            };
        }
    }

    /// The master's number in this process, for `Linx.Process.pty_master/1`.
    pub fn master_number(&self) -> i32 {
        self.master.as_raw_fd()
    }
}
