//! What sessions share, as one of them sees it.

use super::control::Outbox;
use super::poller::{Poller, Token};
use crate::child::page::Page;
use crate::launch::Means;
use crate::reap::tree::Known;
use crate::sys::clone::Child;
use crate::wire::{Call, Event, Failure, Id, Reply};
use nix::sys::epoll::EpollFlags;
use std::collections::HashMap;
use std::os::fd::AsFd;

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

    pub fn pass_on(&mut self, output: &[u8]) {
        self.outbox.push_pty_out(self.address, output);
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
