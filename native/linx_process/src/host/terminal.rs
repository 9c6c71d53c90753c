//! The PTY of a session, as far as the loop is concerned: when it is written to, read and watched.

use super::poller::Token;
use super::world::World;
use crate::stdio::pty::{Pty, Read};
use crate::sys::tty::WindowSize;
use crate::wire::{Call, Reply, Stage};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

/// Read at most this much before something else has its turn.
const TURN: usize = 128 << 10;
/// What the kernel gives at a time, at most (`N_TTY_BUF_SIZE`).
const READ: usize = 4 << 10;
/// What is there is passed on in pieces as large as this.
pub const PIECE: usize = 16 << 10;
/// Read of a workload that has ended. The terminal's buffers hold less; but
/// others may go on writing to it when they are left alive.
pub const REMAINDER: usize = 1 << 20;

/// What is to be done about a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Nothing: epoll will tell.
    Quiet,
    /// It has not been read empty since it was ready.
    Busy,
    /// It is not listened to until the BEAM has taken what is on its way.
    Muted,
}

pub struct Terminal {
    token: Token,
    pty: Pty,
    /// What may still be read, once the main process has ended.
    remainder: Option<usize>,
    /// It has been read empty since it was last ready.
    quiet: bool,
    /// It has been hung up: nothing will come any more.
    closed: bool,
}

impl Terminal {
    pub fn new(pty: Pty, token: Token) -> Self {
        Terminal {
            token,
            pty,
            remainder: None,
            quiet: true,
            closed: false,
        }
    }

    pub fn write(&mut self, bytes: Vec<u8>, call: Call) {
        self.pty.write(bytes, call);
    }

    /// Whether so much waits to be written that no more should be accepted.
    pub fn is_congested(&self) -> bool {
        self.pty.is_congested()
    }

    /// epoll has said so.
    pub fn ready(&mut self, flags: EpollFlags) {
        if flags != EpollFlags::EPOLLOUT {
            self.quiet = false;
        }
    }

    /// Reads what is left, until [`Terminal::turn`] says that this has been done.
    pub fn drain(&mut self) {
        self.remainder = Some(REMAINDER);
        self.quiet = false;
    }

    /// Forgets what the workload, which has ended, is not going to read.
    pub fn give_up(&mut self, world: &mut World) {
        let ended = Stage::Ended.failed()(Errno::ESRCH);
        self.pty.give_up(|call| world.answer(call, Err(ended)));
    }

    /// Writes what the terminal takes and passes on what it gives, if the output
    /// is wanted. Returns whether it has been drained.
    pub fn turn(&mut self, audible: bool, world: &mut World) -> bool {
        self.pty.flush(|call| world.answer(call, Ok(())));
        if audible && !self.quiet {
            self.pass_on(world);
        }
        let drained = self.remainder == Some(0) || (self.remainder.is_some() && self.quiet);
        if drained {
            self.remainder = None;
        }
        drained
    }

    fn pass_on(&mut self, world: &mut World) {
        let mut piece = [0; PIECE];
        let mut filled = 0;
        let mut budget = self.remainder.unwrap_or(TURN);
        while !self.quiet && budget > 0 && !world.outbox.is_full() {
            match self.pty.read(&mut piece[filled..]) {
                Read::Some(length) => {
                    filled += length;
                    budget = budget.saturating_sub(length);
                    if PIECE - filled < READ {
                        world.pass_on(&piece[..filled]);
                        filled = 0;
                    }
                }
                Read::Empty => self.quiet = true,
                Read::Closed => {
                    self.quiet = true;
                    self.closed = true;
                    self.forget(world);
                }
            }
        }
        if filled > 0 {
            world.pass_on(&piece[..filled]);
        }
        self.remainder = self.remainder.and(Some(budget));
    }

    /// Has the terminal watched for what can be done with it.
    pub fn listen(&self, audible: bool, world: &mut World) -> Listening {
        let full = world.outbox.is_full();
        if !self.closed {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, audible && !full);
            flags.set(EpollFlags::EPOLLOUT, self.pty.wants_to_write());
            // Without room in epoll a terminal is served whenever anything else happens.
            let _ = world.poller.want(self.token, self.pty.master(), flags);
        }
        match (audible, full) {
            (true, true) => Listening::Muted,
            (true, false) if !self.quiet => Listening::Busy,
            _ => Listening::Quiet,
        }
    }

    pub fn forget(&self, world: &mut World) {
        world.poller.forget(self.token, self.pty.master());
    }

    /// `EINVAL` for what is no size.
    pub fn set_window_size(&self, size: Option<WindowSize>) -> Result<(), Errno> {
        self.pty.set_window_size(size.ok_or(Errno::EINVAL)?)
    }

    /// Where the master is.
    pub fn master(&self) -> Result<Reply, Errno> {
        Ok(Reply::PtyMaster {
            os_pid: std::process::id(),
            fd: self.pty.master_number(),
            slave: self.pty.slave_path()?,
        })
    }
}
