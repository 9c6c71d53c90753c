//! A session with the processes and descriptors it consists of: carries out
//! what its state machine decides, and tells it what came of that.

use super::control::Outbox;
use super::poller::{Part, Poller, Token};
use crate::child::order::{Order, Report};
use crate::child::page::Page;
use crate::confine::seccomp;
use crate::launch::{launch, Launched, Launching};
use crate::reap::sweep::{Progress, Sweep};
use crate::reap::tree::{self, Search};
use crate::session::{exit_code, valid_signal, Effect, Input, Policy, Session};
use crate::stdio::pty::{Pty, Read};
use crate::subreaper::Obituary;
use crate::sys::clone::Child;
use crate::sys::tty::WindowSize;
use crate::sys::wait::{self, Children, Death};
use crate::sys::{pidfd, signals};
use crate::wire::{Call, Event, Failure, Reach, Reply, Request, Stage, Stdio, Step};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{recv, send, MsgFlags};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Read from a PTY at most this much before something else has its turn.
const TURN: usize = 128 << 10;
/// One read from a PTY; the kernel gives some 4 KiB at a time.
const READ: usize = 16 << 10;
/// Read from the PTY of a workload that has ended. Its buffers hold less; but
/// others may go on writing to it when they are left alive.
const REMAINDER: usize = 1 << 20;

/// What all sessions share.
pub struct World<'a> {
    pub outbox: &'a mut Outbox,
    pub poller: &'a mut Poller,
}

pub struct Slot {
    id: u32,
    session: Session,
    main: Option<Child>,
    intermediate: Option<Child>,
    /// The main process's parent, when that is not the agent, and where it reports.
    subreaper: Option<Child>,
    obituary: Option<OwnedFd>,
    channel: Option<OwnedFd>,
    page: Option<Page>,
    pty: Option<Pty>,
    /// The main process's pid in its own PID namespace.
    child_pid: libc::pid_t,
    timer: Option<Instant>,
    sweep: Option<(Sweep, Instant)>,
    /// Whether the session goes on when no child is left.
    awaits_others: bool,
    /// What may still be read from the PTY, once the main process has ended.
    remainder: Option<usize>,
    /// The PTY has been read empty, or hung up, since it was last ready.
    quiet: bool,
    pty_closed: bool,
    exit_code: Option<i32>,
}

impl Slot {
    pub fn new(id: u32, request: &Request) -> Self {
        let policy = Policy {
            orphan: request.orphan,
            descendants: request.descendants,
            causes: request.causes,
            pty: request.stdio == Stdio::Pty,
        };
        Slot {
            id,
            session: Session::new(policy),
            main: None,
            intermediate: None,
            subreaper: None,
            obituary: None,
            channel: None,
            page: None,
            pty: None,
            child_pid: 0,
            timer: None,
            sweep: None,
            awaits_others: false,
            remainder: None,
            quiet: true,
            pty_closed: false,
            exit_code: None,
        }
    }

    /// Launches the main process, or what will.
    pub fn start(&mut self, request: Request, world: &mut World) {
        let Launched {
            stage,
            channel,
            page,
            pty,
        } = match launch(request) {
            Ok(launched) => launched,
            Err((failure, code)) => return self.feed(Input::LaunchFailed(failure, code), world),
        };
        self.page = Some(page);
        self.pty = pty;
        self.channel = Some(channel);
        match stage {
            Launching::Main(child) => self.spawned(child, world),
            Launching::Intermediate(child) => self.cloned_intermediate(child, world),
            Launching::BehindSubreaper(child, obituary) => {
                self.obituary = Some(obituary);
                self.cloned_intermediate(child, world);
            }
        }
    }

    /// Whether a child may turn up of which only another process knows yet.
    pub fn expects_child(&self) -> bool {
        self.intermediate.is_some()
    }

    /// Children that are not orphans.
    pub fn known(&self) -> impl Iterator<Item = libc::pid_t> + '_ {
        let children = [&self.main, &self.intermediate, &self.subreaper];
        children.into_iter().flatten().map(|child| child.pid)
    }

    pub fn finished(&self) -> Option<i32> {
        self.exit_code
    }

    /// Whether the BEAM should not send more for now.
    pub fn is_congested(&self) -> bool {
        self.session.is_congested() || self.pty.as_ref().is_some_and(Pty::is_congested)
    }

    /// When [`Slot::turn`] has something to do although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let sweep = self.sweep.as_ref().map(|(_, due)| *due);
        [self.timer, sweep].into_iter().flatten().min()
    }

    /// Tells the state machine, and carries out what it decides.
    pub fn feed(&mut self, input: Input, world: &mut World) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.session.handle(input, &mut effects);
            for effect in effects {
                inputs.extend(self.carry_out(effect, world));
            }
        }
    }

    /// One of the session's descriptors is ready.
    pub fn ready(&mut self, part: Part, flags: EpollFlags, world: &mut World) {
        match part {
            Part::Main => self.main_ended(world),
            Part::Intermediate => self.intermediate_ended(world),
            Part::Subreaper => self.subreaper_ended(world),
            Part::Obituary => self.read_obituary(world),
            Part::Channel => self.hear(world),
            Part::Pty => {
                if flags
                    .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
                {
                    self.quiet = false;
                }
            }
        }
    }

    /// What is due: bytes to and from the PTY, the sweep, the timer.
    pub fn turn(&mut self, known: &[libc::pid_t], world: &mut World) {
        let now = Instant::now();
        if self.timer.is_some_and(|timer| timer <= now) {
            self.timer = None;
            self.feed(Input::Expired, world);
        }
        if let Some((sweep, due)) = &mut self.sweep {
            match sweep.step(|pid| known.contains(&pid)) {
                Progress::Again(pause) => *due = now + pause,
                Progress::Done => {
                    self.sweep = None;
                    self.feed(Input::Swept, world);
                }
            }
        } else if self.awaits_others && wait::peek() == Children::None {
            self.awaits_others = false;
            self.feed(Input::Swept, world);
        }
        self.write_pty(world);
        self.read_pty(world);
        self.watch_pty(world);
    }

    fn carry_out(&mut self, effect: Effect, world: &mut World) -> Option<Input> {
        match effect {
            Effect::Emit(event) => world.outbox.push(&event),
            Effect::Step(step) => return self.tell_step(step),
            Effect::Proceed => self.tell(&Order::Proceed),
            Effect::Kill => drop(self.signal_main(libc::SIGKILL)),
            Effect::AwaitOthers => self.awaits_others = true,
            Effect::Sweep => {
                self.awaits_others = false;
                self.sweep
                    .get_or_insert_with(|| (Sweep::new(), Instant::now()));
            }
            Effect::Signal(signal, reach, call) => {
                let result = valid_signal(signal).and_then(|()| {
                    let result = self.signal(signal, reach);
                    result.map_err(Stage::Signal.failed())
                });
                answer(call, result, world);
            }
            Effect::Terminate => return self.terminate(),
            Effect::Timer(milliseconds) => {
                // The least patient wins. What is too far away never comes.
                let due = Instant::now().checked_add(Duration::from_millis(milliseconds));
                self.timer = self.timer.into_iter().chain(due).min();
            }
            Effect::PtyWrite(bytes, call) => match &mut self.pty {
                Some(pty) => pty.write(bytes, call),
                None => answer(call, Err(Stage::PtyIn.failed()(Errno::ENOTTY)), world),
            },
            Effect::PtyWinsize(size, call) => {
                let result = self.set_window_size(size);
                answer(call, result.map_err(Stage::PtyWinsize.failed()), world);
            }
            Effect::PtyMaster(call) => {
                if let Some(call) = call {
                    world.outbox.push(&Event::Reply(call, self.pty_master()));
                }
            }
            Effect::Drain => {
                self.remainder = Some(REMAINDER);
                self.quiet = false;
            }
            Effect::Finish(code) => self.close(code, world),
        }
        None
    }

    // The main process and what leads to it.

    /// From here on the child is listened to, and not before: what it reports
    /// means nothing as long as its pid is not known.
    fn spawned(&mut self, child: Child, world: &mut World) {
        let watched = self.watch(Part::Main, &child.pidfd, world).and_then(|()| {
            let channel = self.channel.as_ref().ok_or(Errno::ECHILD)?;
            self.watch(Part::Channel, channel, world)
        });
        match watched {
            Ok(()) => {
                let pid = child.pid;
                self.main = Some(child);
                self.feed(Input::Spawned(pid), world);
            }
            Err(errno) => self.unwatchable(child, errno, world),
        }
    }

    fn cloned_intermediate(&mut self, child: Child, world: &mut World) {
        match self.watch(Part::Intermediate, &child.pidfd, world) {
            Ok(()) => self.intermediate = Some(child),
            Err(errno) => self.unwatchable(child, errno, world),
        }
    }

    fn intermediate_ended(&mut self, world: &mut World) {
        let Some(child) = self.intermediate.take_if(|child| has_ended(child)) else {
            return;
        };
        let token = Token::Session(self.id, Part::Intermediate);
        world.poller.forget(token, child.pidfd.as_fd());
        let Some(pid) = self.page.as_ref().and_then(Page::pid) else {
            return self.not_born(world);
        };
        match pidfd::open(pid) {
            Ok(pidfd) if self.obituary.is_some() => {
                self.cloned_subreaper(Child { pid, pidfd }, world);
            }
            Ok(pidfd) => self.spawned(Child { pid, pidfd }, world),
            // Its end of the channel closes with ours, and it ends.
            Err(errno) => self.launch_failed(Stage::Fork, errno, world),
        }
    }

    /// There is no main process, and whoever was to make it may have said why.
    fn not_born(&mut self, world: &mut World) {
        let failure = self.page.as_ref().and_then(Page::failure);
        let failure = failure.unwrap_or(Stage::Fork.failed()(Errno::EIO));
        self.feed(Input::LaunchFailed(failure, exit_code::CLONE), world);
    }

    fn cloned_subreaper(&mut self, child: Child, world: &mut World) {
        let watched = [
            (Part::Subreaper, Some(&child.pidfd)),
            (Part::Obituary, self.obituary.as_ref()),
            (Part::Channel, self.channel.as_ref()),
        ]
        .into_iter()
        .try_for_each(|(part, fd)| self.watch(part, fd.ok_or(Errno::EBADF)?, world));
        match watched {
            Ok(()) => self.subreaper = Some(child),
            Err(errno) => self.unwatchable(child, errno, world),
        }
    }

    /// The main process has made itself heard: it is the only child the subreaper has by now.
    fn find_main(&mut self, world: &mut World) {
        let Some(pid) = self
            .subreaper
            .as_ref()
            .and_then(|parent| tree::only_child(parent.pid))
        else {
            // It has died, which the subreaper reports.
            return;
        };
        match pidfd::open(pid) {
            Ok(pidfd) => {
                self.main = Some(Child { pid, pidfd });
                self.feed(Input::Spawned(pid), world);
            }
            Err(Errno::ESRCH) => {}
            Err(errno) => self.launch_failed(Stage::Fork, errno, world),
        }
    }

    fn read_obituary(&mut self, world: &mut World) {
        let Some(obituary) = &self.obituary else {
            return;
        };
        let mut buffer = [0; 16];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recv(obituary.as_raw_fd(), &mut buffer, flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(_) => None,
            Ok(length) => Obituary::decode(&buffer[..length]),
        };
        // There is one message, or none.
        let token = Token::Session(self.id, Part::Obituary);
        world.poller.forget(token, obituary.as_fd());
        self.obituary = None;
        self.hear(world);
        match message {
            Some(Obituary { death, execed }) => {
                if execed {
                    self.feed(Input::Execed, world);
                }
                self.gone(death, world);
            }
            None => match self.main.take() {
                Some(main) => {
                    // The subreaper has been killed, alone or with its PID namespace. The workload
                    // is not below us any more, and only as long as it lives what it has
                    // started can be found; so it dies of SIGKILL now if it has not before.
                    tree::end(main.pid, main.pidfd.as_fd());
                    self.gone(Death::Signaled(libc::SIGKILL), world);
                }
                None => self.not_born(world),
            },
        }
    }

    fn subreaper_ended(&mut self, world: &mut World) {
        self.read_obituary(world);
        if let Some(child) = self.subreaper.take_if(|child| has_ended(child)) {
            let token = Token::Session(self.id, Part::Subreaper);
            world.poller.forget(token, child.pidfd.as_fd());
        }
    }

    /// A child that epoll does not take (`ENOSPC`, `ENOMEM`) cannot be waited for: there will be no session.
    fn unwatchable(&mut self, child: Child, errno: Errno, world: &mut World) {
        let _ = pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        wait::await_end(child.pidfd.as_fd());
        self.launch_failed(Stage::Epoll, errno, world);
    }

    fn launch_failed(&mut self, stage: Stage, errno: Errno, world: &mut World) {
        let failure = stage.failed()(errno);
        self.feed(
            Input::LaunchFailed(failure, exit_code::INFRASTRUCTURE),
            world,
        );
    }

    fn main_ended(&mut self, world: &mut World) {
        // What it said before comes first, and only an unreaped child tells whether it got to exec.
        self.hear(world);
        let Some(main) = &self.main else { return };
        let Ok(Some(death)) = wait::reap(main.pidfd.as_fd()) else {
            return;
        };
        let token = Token::Session(self.id, Part::Main);
        world.poller.forget(token, main.pidfd.as_fd());
        self.gone(death, world);
    }

    fn gone(&mut self, death: Death, world: &mut World) {
        self.main = None;
        if let Some(pty) = &mut self.pty {
            let ended = Stage::Ended.failed()(Errno::ESRCH);
            pty.give_up(|call| answer(call, Err(ended), world));
        }
        let failure = self.page.as_ref().and_then(Page::failure);
        self.feed(Input::Gone(death, failure), world);
    }

    /// Reads the child's reports. The end of the channel is exec, or the child's death.
    fn hear(&mut self, world: &mut World) {
        while let Some(channel) = &self.channel {
            let mut buffer = [0; 16];
            match recv(channel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Ok(length) if length > 0 => match Report::decode(&buffer[..length]) {
                    Some(Report::Ready(pid)) => {
                        self.find_main(world);
                        self.child_pid = pid;
                        self.feed(Input::ChildReady(pid), world);
                    }
                    Some(Report::Done) => self.feed(Input::StepDone, world),
                    None => {}
                },
                Ok(_) | Err(_) => {
                    let token = Token::Session(self.id, Part::Channel);
                    world.poller.forget(token, channel.as_fd());
                    self.channel = None;
                    if self.has_execed() {
                        self.feed(Input::Execed, world);
                    }
                }
            }
        }
    }

    fn has_execed(&self) -> bool {
        match (&self.main, &self.subreaper) {
            (Some(main), None) => wait::has_execed(main.pidfd.as_fd()),
            // Only a parent can wait for it. If it is gone already, the obituary tells.
            (Some(main), Some(_)) => tree::has_execed(main.pid) == Some(true),
            (None, _) => false,
        }
    }

    fn tell_step(&mut self, step: Step) -> Option<Input> {
        if let Step::SeccompInstall(program) = &step {
            if let Err(errno) = seccomp::check_length(program) {
                return Some(Input::StepRefused(Stage::SeccompInstall.failed()(errno)));
            }
        }
        self.tell(&Order::Step(step));
        None
    }

    /// A child that is not there any more will not miss it; its death is on the way here.
    fn tell(&mut self, order: &Order) {
        if let Some(channel) = &self.channel {
            let _ = send(channel.as_raw_fd(), &order.encode(), MsgFlags::MSG_NOSIGNAL);
        }
    }

    // Signals.

    fn signal(&self, signal: libc::c_int, reach: Reach) -> Result<(), Errno> {
        match (reach, &self.main) {
            (_, None) => Err(Errno::ESRCH),
            (Reach::Process, Some(_)) => self.signal_main(signal),
            (Reach::Group, Some(main)) => signals::kill_group(main.pid, signal),
            (Reach::Tree, Some(_)) => {
                let tree = tree::descendants(Search::Children);
                tree::signal(&tree, &tree, signal);
                Ok(())
            }
        }
    }

    fn signal_main(&self, signal: libc::c_int) -> Result<(), Errno> {
        let main = self.main.as_ref().ok_or(Errno::ESRCH)?;
        pidfd::send_signal(main.pidfd.as_fd(), signal)
    }

    fn terminate(&mut self) -> Option<Input> {
        let main = self.main.as_ref()?;
        if self.child_pid == 1 && !tree::handles_sigterm(main.pid) {
            return Some(Input::Deaf);
        }
        // A stopped process gets no signal but this one and SIGKILL.
        for signal in [libc::SIGTERM, libc::SIGCONT] {
            let _ = self.signal(signal, Reach::Tree);
        }
        None
    }

    // The PTY.

    fn write_pty(&mut self, world: &mut World) {
        if let Some(pty) = &mut self.pty {
            pty.flush(|call| answer(call, Ok(()), world));
        }
    }

    fn read_pty(&mut self, world: &mut World) {
        if self.session.is_audible() && !self.quiet {
            self.pass_on_output(world);
        }
        if self.remainder == Some(0) || (self.remainder.is_some() && self.quiet) {
            self.remainder = None;
            self.feed(Input::Drained, world);
        }
    }

    fn pass_on_output(&mut self, world: &mut World) {
        let Some(pty) = &self.pty else {
            self.quiet = true;
            return;
        };
        let mut buffer = [0; READ];
        let mut budget = self.remainder.unwrap_or(TURN);
        while !self.quiet && budget > 0 && !world.outbox.is_full() {
            match pty.read(&mut buffer) {
                Read::Some(length) => {
                    world.outbox.push_pty_out(&buffer[..length]);
                    budget = budget.saturating_sub(length);
                }
                Read::Empty => self.quiet = true,
                Read::Closed => {
                    let token = Token::Session(self.id, Part::Pty);
                    world.poller.forget(token, pty.master());
                    self.quiet = true;
                    self.pty_closed = true;
                }
            }
        }
        self.remainder = self.remainder.and(Some(budget));
    }

    fn watch_pty(&mut self, world: &mut World) {
        let Some(pty) = self.pty.as_ref().filter(|_| !self.pty_closed) else {
            return;
        };
        let mut flags = EpollFlags::empty();
        flags.set(
            EpollFlags::EPOLLIN,
            self.session.is_audible() && !world.outbox.is_full(),
        );
        flags.set(EpollFlags::EPOLLOUT, pty.wants_to_write());
        let token = Token::Session(self.id, Part::Pty);
        // Without room in epoll a PTY is served whenever anything else happens.
        let _ = world.poller.want(token, pty.master(), flags);
    }

    fn set_window_size(&self, size: Option<WindowSize>) -> Result<(), Errno> {
        let pty = self.pty.as_ref().ok_or(Errno::ENOTTY)?;
        pty.set_window_size(size.ok_or(Errno::EINVAL)?)
    }

    fn pty_master(&self) -> Reply {
        let found = self.pty.as_ref().ok_or(Errno::ENOTTY).and_then(|pty| {
            Ok(Reply::PtyMaster {
                os_pid: std::process::id(),
                fd: pty.master_number(),
                slave: pty.slave_path()?,
            })
        });
        found.unwrap_or_else(|errno| Reply::Error(Stage::PtyMaster.failed()(errno)))
    }

    // The descriptors.

    fn watch(&self, part: Part, fd: &OwnedFd, world: &mut World) -> Result<(), Errno> {
        let token = Token::Session(self.id, part);
        world.poller.want(token, fd.as_fd(), EpollFlags::EPOLLIN)
    }

    fn close(&mut self, code: i32, world: &mut World) {
        let id = self.id;
        if let Some(channel) = self.channel.take() {
            let token = Token::Session(id, Part::Channel);
            world.poller.forget(token, channel.as_fd());
        }
        if let Some(pty) = self.pty.take() {
            world
                .poller
                .forget(Token::Session(id, Part::Pty), pty.master());
        }
        if let Some(subreaper) = self.subreaper.take() {
            // With it goes what holds the leftovers, where they may stay.
            let token = Token::Session(id, Part::Subreaper);
            world.poller.forget(token, subreaper.pidfd.as_fd());
            let _ = pidfd::send_signal(subreaper.pidfd.as_fd(), libc::SIGKILL);
            wait::await_end(subreaper.pidfd.as_fd());
        }
        self.timer = None;
        self.sweep = None;
        self.exit_code = Some(code);
    }
}

fn has_ended(child: &Child) -> bool {
    matches!(wait::reap(child.pidfd.as_fd()), Ok(Some(_)) | Err(_))
}

fn answer(call: Call, result: Result<(), Failure>, world: &mut World) {
    if let Some(call) = call {
        let reply = result.map_or_else(Reply::Error, |()| Reply::Ok);
        world.outbox.push(&Event::Reply(call, reply));
    }
}

/// The answer to a command for a session that is over.
pub fn ended(call: u64) -> Event {
    Event::Reply(call, Reply::Error(Stage::Ended.failed()(Errno::ESRCH)))
}
