//! The event loop: one epoll, the channel to the BEAM in and out, a table of
//! sessions. Nothing in it blocks but the wait itself.

pub mod control;
mod family;
pub mod output;
pub mod pipes;
mod poller;
mod slot;
pub mod terminal;
mod world;

use crate::launch::{may_lend_memory, Means};
use crate::reap::tree::{self, Known, Search};
use crate::session::{exit_code, Input};
use crate::sys::block::Blocks;
use crate::sys::process::{self, Limit};
use crate::sys::{pidfd, wait};
use crate::wire::decode::Addressed;
use crate::wire::{address, decode, Event, Failure, Id, Inbound, Reply, Request, Stage};
use control::{Control, Received};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::{kill, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getppid, pipe2, Pid};
use output::Listening;
use poller::{Poller, Ready, Token};
use slot::Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use world::{Left, World};

/// When many sessions have something to do at the same time, so many have their turn before it is looked what else
/// has happened: a sweep may take a while, and what it waits for is an event.
const AT_ONCE: usize = 32;

/// So many descriptors no session takes, or a quarter of all where there are few.
const RESERVE: u64 = 32;

/// The one session of an agent that has only one.
const ONLY: Id = 0;

/// Runs the session that `request` asks for to its end and returns the agent's exit code.
pub fn run(mut control: Control, request: Request, guardian: Option<Pid>) -> i32 {
    let (code, overrun) = match Host::new(&mut control, false, guardian) {
        Ok(mut host) => (host.run_only(request), host.overrun),
        Err(failure) => return refuse(control, failure, exit_code::INFRASTRUCTURE),
    };
    control.close(overrun);
    code
}

/// Runs the sessions that the BEAM asks for until it hangs up, and returns the agent's exit code.
pub fn serve(mut control: Control, guardian: Pid) -> i32 {
    let (code, overrun) = match Host::new(&mut control, true, Some(guardian)) {
        Ok(mut host) => (host.run(), host.overrun),
        Err(failure) => return refuse(control, failure, exit_code::INFRASTRUCTURE),
    };
    control.close(overrun);
    code
}

/// Tells the BEAM why there will be no session, and returns the exit code.
pub fn refuse(mut control: Control, failure: Failure, code: i32) -> i32 {
    control.outbox().push(None, &Event::Error(failure, None));
    control.close(failure.stage == Stage::RequestTooBig);
    code
}

/// What the sessions share, as the one with this number sees it, borrowed beside the table of them.
macro_rules! world {
    ($host:expr, $id:expr) => {
        &mut World {
            address: $host.hosted.then_some($id),
            outbox: $host.control.outbox(),
            poller: &mut $host.poller,
            means: &mut $host.means,
            children: &mut $host.children,
            left: &mut $host.left,
        }
    };
}

struct Host<'a> {
    control: &'a mut Control,
    /// Whether sessions are told apart on the channel, and come and go.
    hosted: bool,
    signals: SignalFd,
    bell: OwnedFd,
    poller: Poller,
    means: Means,
    slots: BTreeMap<Id, Slot>,
    /// Requests that have been read, and not been begun.
    requests: Vec<(Id, Request)>,
    /// Sessions to which something has happened, and that have not had their turn.
    stirred: Vec<Id>,
    /// With whom a round begins.
    first: Id,
    /// Sessions with output that the BEAM does not take yet.
    muted: BTreeSet<Id>,
    /// When which session has something to do although nothing happens.
    due: BTreeSet<(Instant, Id)>,
    deadlines: HashMap<Id, Instant>,
    children: Known,
    left: HashMap<libc::pid_t, Left>,
    /// The parent, as long as it lives.
    guardian: Option<Pid>,
    listening: bool,
    /// A frame that is too long is being announced on the channel.
    overrun: bool,
    /// How a host ends once its sessions have.
    code: i32,
    exit_code: Option<i32>,
}

impl<'a> Host<'a> {
    fn new(control: &'a mut Control, hosted: bool, guardian: Option<Pid>) -> Result<Self, Failure> {
        let (bell, rope) = pipe2(OFlag::O_CLOEXEC).map_err(Stage::Pipe.failed())?;
        fcntl(bell.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(Stage::Pipe.failed())?;
        let mask = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGCONT]);
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(Stage::SignalFd.failed())?;
        let mut poller = Poller::new().map_err(Stage::Epoll.failed())?;
        for (token, fd) in [
            (Token::Signals, signals.as_fd()),
            (Token::Bell, bell.as_fd()),
        ] {
            poller
                .want(token, fd, EpollFlags::EPOLLIN)
                .map_err(Stage::Epoll.failed())?;
        }
        Ok(Host {
            control,
            hosted,
            signals,
            bell,
            poller,
            means: Means {
                blocks: Blocks::default(),
                bell: rope,
                lends_memory: may_lend_memory(),
                open_files: if hosted { raise_open_files() } else { None },
            },
            slots: BTreeMap::new(),
            requests: Vec::new(),
            stirred: Vec::new(),
            first: 0,
            muted: BTreeSet::new(),
            due: BTreeSet::new(),
            deadlines: HashMap::new(),
            children: Known::default(),
            left: HashMap::new(),
            guardian,
            listening: true,
            overrun: false,
            code: exit_code::SUCCESS,
            exit_code: None,
        })
    }

    fn run_only(&mut self, request: Request) -> i32 {
        self.requested(ONLY, request);
        let code = self.run();
        // What has no use any more shall not outlive us.
        for left in self.left.values() {
            let _ = pidfd::send_signal(left.child.pidfd.as_fd(), libc::SIGKILL);
            wait::await_end(left.child.pidfd.as_fd());
        }
        code
    }

    fn run(&mut self) -> i32 {
        self.frames();
        loop {
            self.begin();
            let busy = self.settle();
            if let Some(code) = self.exit_code {
                return code;
            }
            let deadline = if busy {
                Some(Instant::now())
            } else {
                self.due.first().map(|(due, _)| *due)
            };
            for ready in self.poller.wait(deadline) {
                self.dispatch(ready);
            }
            self.stir_due();
        }
    }

    /// Everything that follows from what has just happened. Returns whether there is more to do at once.
    fn settle(&mut self) -> bool {
        let mut stirred = std::mem::take(&mut self.stirred);
        stirred.sort_unstable();
        stirred.dedup();
        let first = stirred.partition_point(|id| *id < self.first);
        stirred.rotate_left(first);
        let mut late = None;
        for id in &stirred {
            if late.is_none() && self.control.outbox().is_full() {
                late = Some(*id);
            }
            self.turn(*id);
        }
        // Who finds no room for its output is the first to have some.
        self.first = late.unwrap_or(self.first);
        if self.hosted && !self.listening && self.slots.is_empty() {
            self.exit_code.get_or_insert(self.code);
        }
        self.control.outbox().flush();
        // Asked after the last flush: what waits for the BEAM to read must not miss that it has.
        self.listen();
        if !self.control.outbox().is_full() {
            stirred.extend(std::mem::take(&mut self.muted));
        }
        for id in stirred {
            self.listen_to(id);
        }
        !self.stirred.is_empty()
    }

    fn turn(&mut self, id: Id) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.turn(world!(self, id));
        let (deadline, finished) = (slot.deadline(), slot.finished());
        self.set_deadline(id, deadline.filter(|_| finished.is_none()));
        if let Some(code) = finished {
            self.slots.remove(&id);
            if !self.hosted {
                self.exit_code = Some(code);
            }
            if let Some(guardian) = self.guardian {
                // Somebody may have stopped it, and it could not do the same for us.
                let _ = kill(guardian, Signal::SIGCONT);
            }
        }
    }

    fn set_deadline(&mut self, id: Id, deadline: Option<Instant>) {
        let before = match deadline {
            Some(deadline) => self.deadlines.insert(id, deadline),
            None => self.deadlines.remove(&id),
        };
        if before != deadline {
            if let Some(before) = before {
                self.due.remove(&(before, id));
            }
            self.due.extend(deadline.map(|deadline| (deadline, id)));
        }
    }

    fn stir_due(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let now = Instant::now();
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        self.stirred.extend(due.take(AT_ONCE).map(|(_, id)| *id));
    }

    /// Has the session's terminal, or its pipes, watched for what can be done with them now.
    fn listen_to(&mut self, id: Id) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        match slot.listen(world!(self, id)) {
            Listening::Quiet => {}
            Listening::Busy => self.stirred.push(id),
            Listening::Muted => drop(self.muted.insert(id)),
        }
    }

    /// Brings what is waited for on the channel in step with what is possible.
    fn listen(&mut self) {
        let congested = self.control.outbox().is_overfull()
            || (!self.hosted && self.slots.values().any(Slot::is_congested));
        if self.listening {
            let flags = if congested {
                EpollFlags::empty()
            } else {
                EpollFlags::EPOLLIN
            };
            let wanted = self
                .poller
                .want(Token::ControlIn, self.control.input().as_fd(), flags);
            if wanted.is_err() {
                self.hangup();
            }
        }
        let (broken, empty) = (
            self.control.outbox().is_broken(),
            self.control.outbox().is_empty(),
        );
        let output = self.control.output().as_fd();
        if broken {
            self.poller.forget(Token::ControlOut, output);
        } else {
            let flags = if empty {
                EpollFlags::empty()
            } else {
                EpollFlags::EPOLLOUT
            };
            // A file is always ready: what could not be written to it never will be.
            if self.poller.want(Token::ControlOut, output, flags).is_err() && !empty {
                self.control.outbox().give_up();
            }
        }
    }

    fn dispatch(&mut self, ready: Ready) {
        match ready.token {
            Token::ControlIn => self.receive(ready.flags.contains(EpollFlags::EPOLLHUP)),
            Token::ControlOut if ready.flags.contains(EpollFlags::EPOLLERR) => {
                self.control.outbox().give_up();
            }
            // `settle` flushes.
            Token::ControlOut => {}
            Token::Signals => self.signalled(),
            Token::Bell => self.rung(),
            Token::Left(pid) => self.reap_left(pid),
            Token::Session(id, part) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.ready(part, ready.flags, world!(self, id));
                    self.stirred.push(id);
                }
            }
        }
    }

    /// Subreapers have something to show.
    fn rung(&mut self) {
        let mut numbers = [0; 4096];
        while let Ok(length) = nix::unistd::read(&self.bell, &mut numbers) {
            for number in numbers[..length].chunks_exact(size_of::<Id>()) {
                let id = number.try_into().map_or(ONLY, Id::from_ne_bytes);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.look(world!(self, id));
                    self.stirred.push(id);
                }
            }
            if length < numbers.len() {
                return;
            }
        }
    }

    fn reap_left(&mut self, pid: libc::pid_t) {
        if let Some(Left { child, page }) = self.left.remove(&pid) {
            self.poller.forget(Token::Left(pid), child.pidfd.as_fd());
            wait::await_end(child.pidfd.as_fd());
            self.children.pids.remove(&pid);
            if let Some(page) = page {
                self.means.blocks.give_back(page.into_block());
            }
        }
    }

    /// Reads what the BEAM has sent: once, or to the end when it has hung up.
    fn receive(&mut self, hung_up: bool) {
        loop {
            match self.control.receive() {
                Received::Something => self.frames(),
                Received::Nothing => return,
                Received::Hangup => return self.hangup(),
            }
            if !hung_up || !self.listening {
                return;
            }
        }
    }

    fn frames(&mut self) {
        while self.listening {
            match self.control.next_frame() {
                None => return,
                Some(Ok(frame)) if self.hosted => self.addressed(&frame),
                Some(Ok(frame)) => {
                    let input = decode::command(&frame).map_or(Input::Malformed, Input::Frame);
                    self.feed(ONLY, input);
                }
                Some(Err(_)) => {
                    self.overrun = true;
                    self.lost(Input::TooBig, exit_code::CHANNEL);
                }
            }
        }
    }

    fn addressed(&mut self, frame: &[u8]) {
        let Some((id, frame)) = address::split(frame) else {
            return self.lost(Input::Malformed, exit_code::MALFORMED);
        };
        let known = self.has_session(id);
        let input = match decode::addressed(&frame) {
            Addressed::Request(Ok(request)) if !known => return self.requested(id, *request),
            Addressed::Request(_) => Input::Malformed,
            Addressed::Command(inbound) => inbound.map_or(Input::Malformed, Input::Frame),
            Addressed::Hangup => Input::Hangup,
        };
        if !known {
            return self.too_late(id, &input);
        }
        self.feed(id, input);
        if self.slots.get(&id).is_some_and(Slot::is_congested) {
            self.feed(id, Input::Congested);
        }
    }

    /// One that has ended may be in the table until it has had its turn.
    fn has_session(&self, id: Id) -> bool {
        let slot = self.slots.get(&id);
        slot.is_some_and(|slot| slot.finished().is_none())
    }

    fn requested(&mut self, id: Id, request: Request) {
        let slot = Slot::new(id, self.hosted, &request);
        if self.slots.insert(id, slot).is_some() {
            // The one before has ended before it was begun.
            self.requests.retain(|(other, _)| *other != id);
        }
        self.requests.push((id, request));
        // One that stops at the checkpoint can be begun at once. Another not before all that has been read
        // with it: an abort may be behind it.
        if !self.requests[0].1.auto_proceed {
            self.begin();
        }
    }

    fn begin(&mut self) {
        for (id, request) in std::mem::take(&mut self.requests) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.start(request, world!(self, id));
                self.stirred.push(id);
            }
        }
    }

    /// It has crossed the terminal event on its way here, or was to be a request.
    fn too_late(&mut self, id: Id, input: &Input) {
        if let Input::Malformed = input {
            let failure = Stage::MalformedRequest.failed()(Errno::EINVAL);
            world!(self, id).say(&Event::Error(failure, None));
        }
        if let Input::Frame(Inbound::Command(Some(call), _) | Inbound::Unknown(Some(call))) = input
        {
            let ended = Reply::Error(Stage::Ended.failed()(Errno::ESRCH));
            world!(self, id).say(&Event::Reply(*call, ended));
        }
    }

    fn feed(&mut self, id: Id, input: Input) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.feed(input, world!(self, id));
            self.stirred.push(id);
        }
    }

    fn feed_all(&mut self, input: &Input) {
        let ids: Vec<_> = self.slots.keys().copied().collect();
        for id in ids {
            self.feed(id, input.clone());
        }
    }

    /// What was read makes no sense, and nothing behind it will.
    fn lost(&mut self, input: Input, code: i32) {
        self.stop_listening();
        if !self.hosted {
            return self.feed(ONLY, input);
        }
        let failure = match input {
            Input::TooBig => Stage::CommandTooBig.failed()(Errno::EMSGSIZE),
            _ => Stage::MalformedRequest.failed()(Errno::EINVAL),
        };
        self.control
            .outbox()
            .push(None, &Event::Error(failure, None));
        self.code = code;
        self.feed_all(&Input::Hangup);
    }

    fn hangup(&mut self) {
        self.stop_listening();
        if self.guardian.is_some() {
            // The BEAM is gone. Otherwise it may have stopped to speak and still be listening.
            self.control.outbox().give_up();
        }
        self.feed_all(&Input::Hangup);
    }

    fn stop_listening(&mut self) {
        self.listening = false;
        self.poller
            .forget(Token::ControlIn, self.control.input().as_fd());
    }

    fn signalled(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let orphaned = self.guardian.is_some_and(|pid| pid != getppid());
            match Signal::try_from(signal.ssi_signo as i32) {
                Ok(Signal::SIGCONT) if orphaned => self.hangup(),
                Ok(Signal::SIGTERM) if self.guardian.is_some() => self.hangup(),
                Ok(Signal::SIGTERM) => {
                    // Nobody asked for more than what SIGTERM does to any process.
                    self.exit_code.get_or_insert(128 + libc::SIGTERM);
                    self.control.outbox().give_up();
                }
                Ok(Signal::SIGCHLD) => self.look_after_children(),
                _ => {}
            }
        }
    }

    /// A child of ours ends without a signal, and is watched; what is heard of is what somebody else has done.
    fn look_after_children(&mut self) {
        while let Some(pid) = wait::stopped() {
            // Its session would not hear of the workload's end.
            if self.children.contains(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
            }
        }
        for pid in tree::strays(Search::Children, &self.children) {
            wait::reap_pid(pid);
        }
    }
}

/// Sessions take descriptors, all but those with which they are ended ([`process::with_every_descriptor`]).
/// What the limit was is restored for the workloads.
fn raise_open_files() -> Option<Limit> {
    let limit = process::open_files().ok()?;
    let raised = Limit {
        soft: limit.hard - RESERVE.min(limit.hard / 4),
        ..limit
    };
    process::limit_open_files(raised).ok().map(|()| limit)
}
