//! The PTY of a session, as far as the loop is concerned: when it is written to, read and watched.

use super::output::{Listening, Output};
use super::poller::Token;
use super::world::World;
use crate::stdio::pty::Pty;
use crate::sys::tty::WindowSize;
use crate::wire::{Call, Reply, Source, Stage};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

/// What the kernel gives at a time, at most (`N_TTY_BUF_SIZE`).
const READ: usize = 4 << 10;
/// Read of a workload that has ended. The terminal's buffers hold less; but
/// others may go on writing to it when they are left alive.
pub const REMAINDER: usize = 1 << 20;

pub struct Terminal {
    token: Token,
    pty: Pty,
    output: Output,
}

impl Terminal {
    pub fn new(pty: Pty, token: Token, credit: Option<u32>) -> Self {
        Terminal {
            token,
            pty,
            output: Output::new(Source::Pty, credit),
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
            self.output.stir();
        }
    }

    pub fn grant(&mut self, more: u32) {
        self.output.grant(more);
    }

    /// Reads what is left, until [`Terminal::turn`] says that this has been done.
    pub fn drain(&mut self) {
        self.output.drain(REMAINDER);
    }

    /// Forgets what the workload, which has ended, is not going to read.
    pub fn give_up(&mut self, world: &mut World) {
        let ended = Stage::Ended.failed()(Errno::ESRCH);
        self.pty.give_up(|call| world.answer(call, Err(ended)));
    }

    /// Writes what the terminal takes and passes on what it gives, if the output
    /// is wanted.
    pub fn turn(&mut self, audible: bool, world: &mut World) {
        self.pty.flush(|call| world.answer(call, Ok(())));
        if audible && !self.output.is_ended() {
            self.output.pass_on(self.pty.master(), READ, world);
            if self.output.is_ended() {
                self.forget(world);
            }
        }
    }

    /// Whether what was to be drained has been.
    pub fn is_drained(&self) -> bool {
        self.output.is_drained()
    }

    /// Has the terminal watched for what can be done with it.
    pub fn listen(&self, audible: bool, world: &mut World) -> Listening {
        let full = world.outbox.is_full();
        if !self.output.is_ended() {
            let mut flags = EpollFlags::empty();
            let wanted = audible && !full && self.output.is_wanted();
            flags.set(EpollFlags::EPOLLIN, wanted);
            flags.set(EpollFlags::EPOLLOUT, self.pty.wants_to_write());
            // Without room in epoll a terminal is served whenever anything else happens.
            let _ = world.poller.want(self.token, self.pty.master(), flags);
        }
        self.output.listening(audible, full)
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
