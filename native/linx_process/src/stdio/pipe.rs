//! Pipes between the agent and a workload.

use super::input::Input;
use crate::launch::LASTING;
use crate::sys::fds;
use crate::wire::{Call, Failure, Stage};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::unistd::pipe2;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe out of which we read: our end, which lasts and does not block, and the workload's.
pub fn output() -> Result<(OwnedFd, OwnedFd), Failure> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(Stage::Pipe.failed())?;
    Ok((lasting(read)?, write))
}

/// A pipe into which we write.
pub fn input() -> Result<(Stdin, OwnedFd), Failure> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(Stage::Pipe.failed())?;
    let stdin = Stdin {
        state: State::Open(lasting(write)?),
        input: Input::default(),
        closing: false,
    };
    Ok((stdin, read))
}

fn lasting(fd: OwnedFd) -> Result<OwnedFd, Failure> {
    let fd = fds::raise(fd, LASTING);
    // Of our end alone: each end of a pipe is a file of its own.
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(Stage::Pipe.failed())?;
    Ok(fd)
}

/// The standard input of a workload.
pub struct Stdin {
    state: State,
    input: Input,
    /// To be closed behind what is on its way.
    closing: bool,
}

enum State {
    Open(OwnedFd),
    /// The BEAM has closed it.
    Closed,
    /// Nobody can read it any more.
    Broken,
}

impl Stdin {
    /// `EBADF` when it has been closed, `EPIPE` when nobody could read it.
    pub fn write(&mut self, bytes: Vec<u8>, call: Call) -> Result<(), Errno> {
        match self.state {
            State::Closed => Err(Errno::EBADF),
            State::Open(_) if self.closing => Err(Errno::EBADF),
            State::Broken => Err(Errno::EPIPE),
            State::Open(_) => {
                self.input.write(bytes, call);
                Ok(())
            }
        }
    }

    /// Closes it behind what has been written.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Our end, as long as there is something to be done with it.
    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Open(end) => Some(end.as_fd()),
            State::Closed | State::Broken => None,
        }
    }

    /// Moves what the pipe takes now, and calls `answer` for each write that has been taken, or never will be
    /// (`EPIPE`). Returns the end that is to be closed.
    pub fn flush(&mut self, mut answer: impl FnMut(Call, Result<(), Errno>)) -> Option<OwnedFd> {
        let State::Open(end) = &self.state else {
            return None;
        };
        // Of a pipe the only error is that nobody reads it.
        let broken = self.input.flush(end.as_fd(), &mut answer).is_err();
        let next = match broken {
            true => State::Broken,
            false if self.closing && !self.input.is_pending() => State::Closed,
            false => return None,
        };
        self.input.give_up(|call| answer(call, Err(Errno::EPIPE)));
        match std::mem::replace(&mut self.state, next) {
            State::Open(end) => Some(end),
            State::Closed | State::Broken => None,
        }
    }

    pub fn is_pending(&self) -> bool {
        self.input.is_pending()
    }

    pub fn is_congested(&self) -> bool {
        self.input.is_congested()
    }

    /// The workload has ended: calls `lost` for every write not yet taken, and returns the end that is to be closed.
    pub fn give_up(&mut self, lost: impl FnMut(Call)) -> Option<OwnedFd> {
        self.input.give_up(lost);
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Open(end) => Some(end),
            State::Closed | State::Broken => None,
        }
    }
}
