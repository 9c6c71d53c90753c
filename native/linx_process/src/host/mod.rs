//! The event loop: one epoll, the channel to the BEAM in and out, a table of
//! sessions. Nothing in it blocks but the wait itself.

pub mod control;
mod poller;
mod slot;
pub mod terminal;

use crate::reap::sweep::reap_unknown;
use crate::session::{exit_code, Input};
use crate::wire::{decode, Event, Failure, Request, Stage};
use control::{Control, Received};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getppid, Pid};
use poller::{Poller, Ready, Token};
use slot::{Slot, World};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Instant;

/// The one session of an agent that has only one.
const ONLY: u32 = 0;

/// Runs the session that `request` asks for to its end and returns the agent's exit code.
pub fn run(mut control: Control, request: Request, guardian: Option<Pid>) -> i32 {
    let (code, overrun) = match Host::new(&mut control, guardian) {
        Ok(mut host) => (host.run(request), host.overrun),
        Err(failure) => return refuse(control, failure, exit_code::INFRASTRUCTURE),
    };
    control.close(overrun);
    code
}

/// Tells the BEAM why there will be no session, and returns the exit code.
pub fn refuse(mut control: Control, failure: Failure, code: i32) -> i32 {
    control.outbox().push(&Event::Error(failure, None));
    control.close(failure.stage == Stage::RequestTooBig);
    code
}

/// What the sessions share, borrowed beside the table of them.
fn world<'a>(control: &'a mut Control, poller: &'a mut Poller) -> World<'a> {
    World {
        outbox: control.outbox(),
        poller,
    }
}

struct Host<'a> {
    control: &'a mut Control,
    signals: SignalFd,
    poller: Poller,
    slots: BTreeMap<u32, Slot>,
    /// The parent, as long as it lives.
    guardian: Option<Pid>,
    listening: bool,
    /// A frame that is too long is being announced on the channel.
    overrun: bool,
    exit_code: Option<i32>,
}

impl<'a> Host<'a> {
    fn new(control: &'a mut Control, guardian: Option<Pid>) -> Result<Self, Failure> {
        let mask = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGCONT]);
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(Stage::SignalFd.failed())?;
        let mut poller = Poller::new().map_err(Stage::Epoll.failed())?;
        poller
            .want(Token::Signals, signals.as_fd(), EpollFlags::EPOLLIN)
            .map_err(Stage::Epoll.failed())?;
        Ok(Host {
            control,
            signals,
            poller,
            slots: BTreeMap::new(),
            guardian,
            listening: true,
            overrun: false,
            exit_code: None,
        })
    }

    fn run(&mut self, request: Request) -> i32 {
        let mut slot = Slot::new(ONLY, &request);
        slot.start(request, &mut world(self.control, &mut self.poller));
        self.slots.insert(ONLY, slot);
        self.frames();
        loop {
            self.settle();
            if let Some(code) = self.exit_code {
                return code;
            }
            // Asked after the last flush: what waits for the BEAM to read must not miss that it has.
            let deadline = if self.listen() {
                Some(Instant::now())
            } else {
                self.slots.values().filter_map(Slot::deadline).min()
            };
            for ready in self.poller.wait(deadline) {
                self.dispatch(ready);
            }
        }
    }

    /// Everything that follows from what has just happened, until nothing more does.
    fn settle(&mut self) {
        let mut world = world(self.control, &mut self.poller);
        // The main processes are their sessions' to reap; what else has ended is an orphan.
        let known: Vec<_> = self.slots.values().flat_map(Slot::known).collect();
        if !self.slots.values().any(Slot::expects_child) {
            reap_unknown(|pid| known.contains(&pid));
        }
        for slot in self.slots.values_mut() {
            slot.turn(&known, &mut world);
        }
        let finished = |_: &u32, slot: &mut Slot| match slot.finished() {
            Some(code) => {
                self.exit_code = Some(code);
                false
            }
            None => true,
        };
        self.slots.retain(finished);
        self.control.flush();
    }

    /// Brings what is waited for in step with what is possible. Returns whether there is
    /// something to do at once.
    fn listen(&mut self) -> bool {
        let congested =
            self.control.outbox().is_overfull() || self.slots.values().any(Slot::is_congested);
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
        let mut world = world(self.control, &mut self.poller);
        let mut busy = false;
        for slot in self.slots.values_mut() {
            busy |= slot.listen(&mut world);
        }
        busy
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
            Token::Session(id, part) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    let mut world = world(self.control, &mut self.poller);
                    slot.ready(part, ready.flags, &mut world);
                }
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
        while let Some(frame) = self.control.next_frame() {
            let input = match frame.map(|frame| decode::command(&frame)) {
                Ok(Ok(inbound)) => Input::Frame(inbound),
                Ok(Err(_)) => Input::Malformed,
                Err(_) => {
                    self.overrun = true;
                    self.stop_listening();
                    self.feed(Input::TooBig);
                    return;
                }
            };
            self.feed(input);
        }
    }

    fn feed(&mut self, input: Input) {
        if let Some(slot) = self.slots.get_mut(&ONLY) {
            slot.feed(input, &mut world(self.control, &mut self.poller));
        }
    }

    fn hangup(&mut self) {
        self.stop_listening();
        if self.guardian.is_some() {
            // The BEAM is gone. Otherwise it may have stopped to speak and still be listening.
            self.control.outbox().give_up();
        }
        self.feed(Input::Hangup);
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
                _ => {}
            }
        }
    }
}
