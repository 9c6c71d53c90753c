//! What sessions share, as one of them sees it.

use super::control::Outbox;
use super::poller::{Poller, Token};
use crate::child::page::Page;
use crate::launch::Means;
use crate::reap::tree::Known;
use crate::sys::clone::Child;
use crate::wire::{Call, Event, Failure, Id, Reply, Source};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

pub struct World<'a> {
    /// What the BEAM calls this session, where there are others.
    pub address: Option<Id>,
    pub outbox: &'a mut Outbox,
    pub poller: &'a mut Poller,
    pub means: &'a mut Means,
    /// The children of the agent that are some session's; others are strays.
    pub children: &'a mut Known,
    /// Those whose sessions have ended before them.
    pub left: &'a mut HashMap<libc::pid_t, Left>,
}

/// A process that will end by itself, and the page it writes to.
pub struct Left {
    pub child: Child,
    pub page: Option<Page>,
}

impl World<'_> {
    /// Leaves a child to itself: it is reaped when it has ended.
    pub fn leave(&mut self, child: Child, page: Option<Page>) {
        let token = Token::Left(child.pid);
        // If epoll has no room for it, it stays a zombie.
        let _ = self
            .poller
            .want(token, child.pidfd.as_fd(), EpollFlags::EPOLLIN);
        self.left.insert(child.pid, Left { child, page });
    }

    pub fn say(&mut self, event: &Event) {
        self.outbox.push(self.address, event);
    }

    pub fn pass_on(&mut self, source: Source, output: &[u8]) {
        self.outbox.push_output(self.address, source, output);
    }

    /// Moves up to `most` bytes of `pipe` to the BEAM, without looking at them: `EAGAIN` when there are none, or
    /// the channel cannot take them like that now.
    pub fn move_on(
        &mut self,
        source: Source,
        pipe: BorrowedFd,
        most: usize,
    ) -> Result<usize, Errno> {
        self.outbox.move_output(self.address, source, pipe, most)
    }

    /// Tells the BEAM what came of a command, if it wants to know.
    pub fn answer(&mut self, call: Call, result: Result<(), Failure>) {
        self.reply(call, result.map_or_else(Reply::Error, |()| Reply::Ok));
    }

    pub fn reply(&mut self, call: Call, reply: Reply) {
        if let Some(call) = call {
            self.say(&Event::Reply(call, reply));
        }
    }
}
