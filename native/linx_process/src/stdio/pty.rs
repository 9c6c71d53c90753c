//! A PTY: its master, the bytes on their way into it, and the bytes out of it.

use super::input::Input;
use crate::launch::LASTING;
use crate::sys::fds;
use crate::sys::tty::{self, WindowSize};
use crate::wire::{Call, Failure, Stage};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, unlockpt};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub struct Pty {
    master: OwnedFd,
    /// Held open, so that the master never sees the hang-up of a workload that
    /// has closed its terminal, or not opened it yet.
    _slave: OwnedFd,
    input: Input,
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
            input: Input::default(),
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
        self.input.write(bytes, call);
    }

    /// Moves what the terminal takes now, and calls `taken` for each write that
    /// is in our hands whole. A terminal that is gone takes everything.
    pub fn flush(&mut self, mut taken: impl FnMut(Call)) {
        let master = self.master.as_fd();
        while self.input.flush(master, |call, _| taken(call)).is_err() {
            self.input.drop_taken();
        }
    }

    /// Whether there is something to write once the terminal has room.
    pub fn wants_to_write(&self) -> bool {
        self.input.is_pending()
    }

    /// Whether so much waits that no more should be accepted.
    pub fn is_congested(&self) -> bool {
        self.input.is_congested()
    }

    /// Forgets what nobody will read any more, calling `lost` for every write not yet taken.
    pub fn give_up(&mut self, lost: impl FnMut(Call)) {
        self.input.give_up(lost);
    }

    /// The master's number in this process, for `Linx.Process.pty_master/1`.
    pub fn master_number(&self) -> i32 {
        self.master.as_raw_fd()
    }
}
