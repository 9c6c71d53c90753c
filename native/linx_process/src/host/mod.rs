//! The event loop: one epoll, the channel to the BEAM in and out, a table of
//! sessions. Nothing in it blocks but the wait itself.

pub mod control;
mod poller;
mod slot;
pub mod terminal;

use crate::reap::sweep::reap_unknown;
use crate::session::{exit_code, Input};
use crate::wire::decode::Addressed;
use crate::wire::screen::Malformed;
use crate::wire::{address, decode, Event, Failure, Id, Inbound, Reply, Request, Stage};
use control::{Control, Received};
use nix::errno::Errno;
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

/// What the sessions share, borrowed beside the table of them.
macro_rules! world {
    ($host:expr, $id:expr) => {
        &mut World {
            address: $host.hosted.then_some($id),
            outbox: $host.control.outbox(),
            poller: &mut $host.poller,
        }
    };
}

struct Host<'a> {
    control: &'a mut Control,
    /// Whether sessions are told apart on the channel, and come and go.
    hosted: bool,
    signals: SignalFd,
    poller: Poller,
    slots: BTreeMap<Id, Slot>,
    /// Requests that have been read, and not been begun.
    requests: Vec<(Id, Request)>,
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
        let mask = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGCONT]);
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(Stage::SignalFd.failed())?;
        let mut poller = Poller::new().map_err(Stage::Epoll.failed())?;
        poller
            .want(Token::Signals, signals.as_fd(), EpollFlags::EPOLLIN)
            .map_err(Stage::Epoll.failed())?;
        Ok(Host {
            control,
            hosted,
            signals,
            poller,
            slots: BTreeMap::new(),
            requests: Vec::new(),
            guardian,
            listening: true,
            overrun: false,
            code: exit_code::SUCCESS,
            exit_code: None,
        })
    }

    fn run_only(&mut self, request: Request) -> i32 {
        self.slots.insert(ONLY, Slot::new(ONLY, false, &request));
        self.requests.push((ONLY, request));
        self.run()
    }

    fn run(&mut self) -> i32 {
        self.frames();
        loop {
            self.begin();
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

    /// Starts what has been asked for. Not sooner than all that was read with it has been
    /// understood: an abort may be behind it.
    fn begin(&mut self) {
        for (id, request) in std::mem::take(&mut self.requests) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.start(request, world!(self, id));
            }
        }
    }

    /// Everything that follows from what has just happened, until nothing more does.
    fn settle(&mut self) {
        // The main processes are their sessions' to reap; what else has ended is an orphan.
        let known: Vec<_> = self.slots.values().flat_map(Slot::known).collect();
        if !self.slots.values().any(Slot::expects_child) {
            reap_unknown(|pid| known.contains(&pid));
        }
        for (id, slot) in &mut self.slots {
            slot.turn(&known, world!(self, *id));
        }
        let finished = |_: &Id, slot: &mut Slot| match slot.finished() {
            Some(code) => {
                if !self.hosted {
                    self.exit_code = Some(code);
                }
                false
            }
            None => true,
        };
        self.slots.retain(finished);
        if self.hosted && !self.listening && self.slots.is_empty() {
            // Unless it ends for another reason.
            self.exit_code.get_or_insert(self.code);
        }
        self.control.flush();
    }

    /// Brings what is waited for in step with what is possible. Returns whether there is
    /// something to do at once.
    fn listen(&mut self) -> bool {
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
        let mut busy = false;
        for (id, slot) in &mut self.slots {
            busy |= slot.listen(world!(self, *id));
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
                    slot.ready(part, ready.flags, world!(self, id));
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
            match frame {
                Ok(frame) if self.hosted => self.addressed(&frame),
                Ok(frame) => {
                    let input = decode::command(&frame).map_or(Input::Malformed, Input::Frame);
                    self.feed(ONLY, input);
                }
                Err(_) => {
                    self.overrun = true;
                    return self.lost(Input::TooBig, exit_code::CHANNEL);
                }
            }
            if !self.listening {
                return;
            }
        }
    }

    fn addressed(&mut self, frame: &[u8]) {
        let Some((id, frame)) = address::split(frame) else {
            return self.lost(Input::Malformed, exit_code::MALFORMED);
        };
        let input = match decode::addressed(&frame) {
            Addressed::Request(request) if !self.slots.contains_key(&id) => {
                return self.requested(id, request);
            }
            Addressed::Request(_) => Input::Malformed,
            Addressed::Command(inbound) => inbound.map_or(Input::Malformed, Input::Frame),
            Addressed::Hangup => Input::Hangup,
        };
        if !self.slots.contains_key(&id) {
            return self.too_late(id, &input);
        }
        self.feed(id, input);
        if self.slots.get(&id).is_some_and(Slot::is_congested) {
            self.feed(id, Input::Congested);
        }
    }

    fn requested(&mut self, id: Id, request: Result<Request, Malformed>) {
        match request {
            Ok(request) => {
                self.slots.insert(id, Slot::new(id, true, &request));
                self.requests.push((id, request));
            }
            Err(Malformed) => {
                let failure = Stage::MalformedRequest.failed()(Errno::EINVAL);
                world!(self, id).say(&Event::Error(failure, None));
            }
        }
    }

    /// It has crossed the terminal event on its way here.
    fn too_late(&mut self, id: Id, input: &Input) {
        if let Input::Frame(Inbound::Command(Some(call), _) | Inbound::Unknown(Some(call))) = input
        {
            let ended = Reply::Error(Stage::Ended.failed()(Errno::ESRCH));
            world!(self, id).say(&Event::Reply(*call, ended));
        }
    }

    fn feed(&mut self, id: Id, input: Input) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.feed(input, world!(self, id));
        }
    }

    fn feed_all(&mut self, input: &Input) {
        for (id, slot) in &mut self.slots {
            slot.feed(input.clone(), world!(self, *id));
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
                _ => {}
            }
        }
    }
}
