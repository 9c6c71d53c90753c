//! The pipes of a session, as far as the loop is concerned: when they are written to, read and watched.
//!
//! A pipe whose other end has been closed is always ready, whatever is wanted of it, so one with which nothing is
//! to be done is not watched at all.

use super::output::{Listening, Output};
use super::poller::{Part, Token};
use super::world::World;
use crate::stdio::pipe::Stdin;
use crate::sys::pipe;
use crate::wire::{Call, Event, Id, Source, Stage};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The agent's ends, as a launch makes them.
#[derive(Default)]
pub struct Ends {
    pub stdin: Option<Stdin>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

pub struct Pipes {
    id: Id,
    stdin: Option<Stdin>,
    outputs: Vec<(Output, OwnedFd)>,
}

impl Pipes {
    pub fn new(id: Id, ends: Ends, credit: Option<u32>) -> Self {
        let outputs = [(Source::Stdout, ends.stdout), (Source::Stderr, ends.stderr)];
        let outputs = outputs
            .into_iter()
            .filter_map(|(source, end)| Some((Output::new(source, credit), end?)));
        Pipes {
            id,
            stdin: ends.stdin,
            outputs: outputs.collect(),
        }
    }

    /// `EBADF` without such a pipe, or behind its end; `EPIPE` when nobody could read it.
    pub fn write(&mut self, bytes: Vec<u8>, call: Call) -> Result<(), Errno> {
        let stdin = self.stdin.as_mut().ok_or(Errno::EBADF)?;
        stdin.write(bytes, call)
    }

    /// `EBADF` without such a pipe.
    pub fn close_stdin(&mut self) -> Result<(), Errno> {
        self.stdin.as_mut().ok_or(Errno::EBADF).map(Stdin::close)
    }

    /// Whether so much waits to be written that no more should be accepted.
    pub fn is_congested(&self) -> bool {
        self.stdin.as_ref().is_some_and(Stdin::is_congested)
    }

    /// epoll has said so.
    pub fn ready(&mut self, source: Source) {
        self.with_output(source, Output::stir);
    }

    pub fn grant(&mut self, source: Source, more: u32) {
        self.with_output(source, |output| output.grant(more));
    }

    fn with_output(&mut self, source: Source, body: impl FnOnce(&mut Output)) {
        let mut outputs = self.outputs.iter_mut();
        if let Some((output, _)) = outputs.find(|(output, _)| output.source() == source) {
            body(output);
        }
    }

    /// Reads what is in them at least, and what is written later as far as it has been granted, until [`Pipes::are_ended`].
    pub fn trail(&mut self) {
        for (output, end) in &mut self.outputs {
            // And what is behind that, which may be the end.
            output.allow(pipe::unread(end.as_fd()).unwrap_or(0) + 1);
        }
    }

    /// Reads what is in them, until [`Pipes::is_drained`]. What is written later by those that are left does not count.
    pub fn drain(&mut self) {
        for (output, end) in &mut self.outputs {
            output.drain(pipe::unread(end.as_fd()).unwrap_or(0));
        }
    }

    /// Nobody can write to them any more.
    pub fn are_ended(&self) -> bool {
        self.outputs.iter().all(|(output, _)| output.is_ended())
    }

    pub fn is_drained(&self) -> bool {
        self.outputs.iter().all(|(output, _)| output.is_drained())
    }

    /// Forgets what the workload, which has ended, is not going to read.
    pub fn give_up(&mut self, world: &mut World) {
        let Some(stdin) = &mut self.stdin else { return };
        let ended = Stage::Ended.failed()(Errno::ESRCH);
        if let Some(end) = stdin.give_up(|call| world.answer(call, Err(ended))) {
            self.forget(Part::Stdin, end.as_fd(), world);
        }
    }

    /// Writes what the workload takes and passes on what it gives, if the output is wanted.
    pub fn turn(&mut self, audible: bool, world: &mut World) {
        self.flush(world);
        if !audible {
            return;
        }
        let id = self.id;
        for (output, end) in &mut self.outputs {
            if output.is_ended() {
                continue;
            }
            output.pass_on_pipe(end.as_fd(), world);
            if output.is_drained() {
                output.end();
                world
                    .poller
                    .forget(Token::Session(id, part(output.source())), end.as_fd());
                world.say(&Event::Eof(output.source()));
            }
        }
    }

    fn flush(&mut self, world: &mut World) {
        let Some(stdin) = &mut self.stdin else { return };
        let closed = stdin.flush(|call, result| {
            world.answer(call, result.map_err(Stage::Stdin.failed()));
        });
        if let Some(end) = closed {
            self.forget(Part::Stdin, end.as_fd(), world);
        }
    }

    /// Has the pipes watched for what can be done with them.
    pub fn listen(&self, audible: bool, world: &mut World) -> Listening {
        if let Some((stdin, end)) = self
            .stdin
            .as_ref()
            .and_then(|stdin| Some((stdin, stdin.end()?)))
        {
            let flags = EpollFlags::EPOLLOUT;
            self.watch(Part::Stdin, end, stdin.is_pending(), flags, world);
        }
        let full = world.outbox.is_full();
        let mut listening = Listening::Quiet;
        for (output, end) in &self.outputs {
            if !output.is_ended() {
                let wanted = audible && !full && output.is_wanted();
                let part = part(output.source());
                self.watch(part, end.as_fd(), wanted, EpollFlags::EPOLLIN, world);
            }
            listening = listening.and(output.listening(audible, full));
        }
        listening
    }

    fn watch(
        &self,
        part: Part,
        end: BorrowedFd,
        wanted: bool,
        flags: EpollFlags,
        world: &mut World,
    ) {
        let token = Token::Session(self.id, part);
        if wanted {
            // Without room in epoll a pipe is served whenever anything else happens.
            let _ = world.poller.want(token, end, flags);
        } else {
            world.poller.forget(token, end);
        }
    }

    fn forget(&self, part: Part, end: BorrowedFd, world: &mut World) {
        world.poller.forget(Token::Session(self.id, part), end);
    }

    pub fn forget_all(&self, world: &mut World) {
        if let Some(end) = self.stdin.as_ref().and_then(Stdin::end) {
            self.forget(Part::Stdin, end, world);
        }
        for (output, end) in &self.outputs {
            self.forget(part(output.source()), end.as_fd(), world);
        }
    }
}

fn part(source: Source) -> Part {
    match source {
        Source::Stdout => Part::Stdout,
        Source::Stderr => Part::Stderr,
        Source::Pty => Part::Pty,
    }
}
