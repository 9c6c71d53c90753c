//! A session with the processes and descriptors it consists of: carries out
//! what its state machine decides, and tells it what came of that.

use super::control::Outbox;
use super::poller::{Part, Poller, Token};
use super::terminal::Terminal;
use crate::child::order::{Order, Report};
use crate::child::page::Page;
use crate::confine::seccomp;
use crate::launch::{launch, Launched, Launching};
use crate::reap::sweep::{Progress, Sweep, PATIENCE};
use crate::reap::tree;
use crate::session::{exit_code, valid_signal, Effect, Input, Policy, Session};
use crate::subreaper::Obituary;
use crate::sys::clone::Child;
use crate::sys::wait::{self, Children, Death};
use crate::sys::{pidfd, signals};
use crate::wire::{Call, Event, Failure, Id, Reach, Reply, Request, Stage, Stdio, Step};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{recv, send, MsgFlags};
use nix::unistd::{getpgid, getpgrp, Pid};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often it is tried to reap a process that somebody else traces.
const TRACED: Duration = Duration::from_millis(50);

/// What all sessions share, as one of them sees it.
pub struct World<'a> {
    /// What the BEAM calls this session, where there are others.
    pub address: Option<Id>,
    pub outbox: &'a mut Outbox,
    pub poller: &'a mut Poller,
}

impl World<'_> {
    pub fn say(&mut self, event: &Event) {
        self.outbox.push(self.address, event);
    }

    pub fn pass_on(&mut self, output: &[u8]) {
        self.outbox.push_pty_out(self.address, output);
    }
}

pub struct Slot {
    id: Id,
    session: Session,
    main: Option<Child>,
    intermediate: Option<Child>,
    /// The main process's parent, when that is not the agent, and where it reports.
    subreaper: Option<Child>,
    obituary: Option<OwnedFd>,
    channel: Option<OwnedFd>,
    page: Option<Page>,
    terminal: Option<Terminal>,
    /// The main process's pid in its own PID namespace.
    child_pid: libc::pid_t,
    timer: Option<Instant>,
    sweep: Option<(Sweep, Instant)>,
    /// When a main process that has been killed should be dead.
    doomed: Option<Instant>,
    /// When to look again whether a dead main process can be reaped.
    traced: Option<Instant>,
    /// Whether the session goes on when no child is left.
    awaits_others: bool,
    exit_code: Option<i32>,
}

impl Slot {
    pub fn new(id: Id, hosted: bool, request: &Request) -> Self {
        let policy = Policy {
            orphan: request.orphan,
            descendants: request.descendants,
            causes: request.causes,
            pty: request.stdio == Stdio::Pty,
            auto_proceed: request.auto_proceed,
            hosted,
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
            terminal: None,
            child_pid: 0,
            timer: None,
            sweep: None,
            doomed: None,
            traced: None,
            awaits_others: false,
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
        self.terminal = pty.map(|pty| Terminal::new(pty, self.token(Part::Pty)));
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
        let terminal = self.terminal.as_ref();
        self.session.is_congested() || terminal.is_some_and(Terminal::is_congested)
    }

    /// When [`Slot::turn`] has something to do although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let sweep = self.sweep.as_ref().map(|(_, due)| *due);
        [self.timer, self.doomed, self.traced, sweep]
            .into_iter()
            .flatten()
            .min()
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
                if let Some(terminal) = &mut self.terminal {
                    terminal.ready(flags);
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
        if self.doomed.is_some_and(|due| due <= now) {
            self.doomed = None;
            self.stuck(world);
        }
        if self.traced.is_some_and(|due| due <= now) {
            self.main_ended(world);
        }
        if let Some((sweep, due)) = &mut self.sweep {
            match sweep.step(|pid| known.contains(&pid)) {
                Progress::Again(pause) => *due = now + pause,
                Progress::Done => {
                    self.sweep = None;
                    self.feed(Input::Swept, world);
                }
                Progress::GaveUp => {
                    self.sweep = None;
                    self.stuck(world);
                }
            }
        } else if self.awaits_others && wait::peek() == Children::None {
            self.awaits_others = false;
            self.feed(Input::Swept, world);
        }
        let audible = self.session.is_audible();
        let terminal = self.terminal.as_mut();
        if terminal.is_some_and(|terminal| terminal.turn(audible, world)) {
            self.feed(Input::Drained, world);
        }
    }

    /// Has the terminal watched, now that it is known what the BEAM takes. Returns whether it
    /// has more to say than was passed on so far, and may.
    pub fn listen(&mut self, world: &mut World) -> bool {
        let audible = self.session.is_audible();
        let terminal = self.terminal.as_mut();
        terminal.is_some_and(|terminal| terminal.listen(audible, world))
    }

    fn carry_out(&mut self, effect: Effect, world: &mut World) -> Option<Input> {
        match effect {
            Effect::Emit(event) => world.say(&event),
            Effect::Step(step) => return self.tell_step(step),
            Effect::Proceed => self.tell(&Order::Proceed),
            Effect::Kill => {
                let _ = self.signal_main(libc::SIGKILL);
                self.doomed = self.doomed.or_else(|| Instant::now().checked_add(PATIENCE));
            }
            Effect::AwaitOthers => self.awaits_others = true,
            Effect::Sweep => {
                self.awaits_others = false;
                self.begin_sweep();
            }
            Effect::Signal(signal, reach, call) => {
                let result = valid_signal(signal).and_then(|()| {
                    let result = self.signal(signal, reach);
                    result.map_err(|errno| match errno {
                        // Its parent may have reaped it before we hear of its end.
                        Errno::ESRCH => Stage::Ended.failed()(errno),
                        errno => Stage::Signal.failed()(errno),
                    })
                });
                answer(call, result, world);
            }
            Effect::Terminate => return self.terminate(),
            Effect::Timer(milliseconds) => {
                // The least patient wins. What is too far away never comes.
                let due = Instant::now().checked_add(Duration::from_millis(milliseconds));
                self.timer = self.timer.into_iter().chain(due).min();
            }
            Effect::PtyWrite(bytes, call) => match &mut self.terminal {
                Some(terminal) => terminal.write(bytes, call),
                None => answer(call, Err(Stage::PtyIn.failed()(Errno::ENOTTY)), world),
            },
            Effect::PtyWinsize(size, call) => {
                let result = self
                    .terminal()
                    .and_then(|terminal| terminal.set_window_size(size))
                    .map_err(Stage::PtyWinsize.failed());
                answer(call, result, world);
            }
            Effect::PtyMaster(call) => {
                let result = self.terminal().and_then(Terminal::master);
                let result = result.map_err(Stage::PtyMaster.failed());
                reply(call, result.unwrap_or_else(Reply::Error), world);
            }
            Effect::Drain => match &mut self.terminal {
                Some(terminal) => terminal.drain(),
                None => return Some(Input::Drained),
            },
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
        let Some(child) = self.intermediate.take_if(|child| is_reaped(child)) else {
            return;
        };
        self.forget(Part::Intermediate, &child.pidfd, world);
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
        self.forget(Part::Obituary, obituary, world);
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
        if let Some(child) = self.subreaper.take_if(|child| is_reaped(child)) {
            self.forget(Part::Subreaper, &child.pidfd, world);
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
        self.forget(Part::Main, &main.pidfd, world);
        match wait::reap(main.pidfd.as_fd()) {
            Ok(Some(death)) => {
                self.traced = None;
                self.gone(death, world);
            }
            // It is dead, and whoever traces it has yet to take notice (ptrace(2)).
            Ok(None) | Err(_) => {
                self.traced = Instant::now().checked_add(TRACED);
                if self.session.sweeps_at_the_end() {
                    // That may be a process of its own.
                    self.begin_sweep();
                }
            }
        }
    }

    fn begin_sweep(&mut self) {
        self.sweep
            .get_or_insert_with(|| (Sweep::new(), Instant::now()));
    }

    fn gone(&mut self, death: Death, world: &mut World) {
        self.main = None;
        self.forget_writes(world);
        let failure = self.page.as_ref().and_then(Page::failure);
        self.feed(Input::Gone(death, failure), world);
    }

    fn stuck(&mut self, world: &mut World) {
        self.forget_writes(world);
        self.feed(Input::Stuck, world);
    }

    /// Answers what was to be written to the PTY and will not be.
    fn forget_writes(&mut self, world: &mut World) {
        if let Some(terminal) = &mut self.terminal {
            terminal.give_up(world);
        }
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
                    self.forget(Part::Channel, channel, world);
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
            (Reach::Group, Some(main)) => {
                let group = getpgid(Some(Pid::from_raw(main.pid)))?;
                // It may have joined the agent's, which is nobody's to signal.
                if group == getpgrp() {
                    return Err(Errno::EPERM);
                }
                signals::kill_group(group.as_raw(), signal)
            }
            (Reach::Tree, Some(_)) => {
                // The subreaper is not one of the workload's, and has to see the end of the others.
                tree::signal_all(self.subreaper.as_ref().map(|child| child.pid), signal);
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

    fn terminal(&self) -> Result<&Terminal, Errno> {
        self.terminal.as_ref().ok_or(Errno::ENOTTY)
    }

    // The descriptors.

    fn token(&self, part: Part) -> Token {
        Token::Session(self.id, part)
    }

    fn watch(&self, part: Part, fd: &OwnedFd, world: &mut World) -> Result<(), Errno> {
        world
            .poller
            .want(self.token(part), fd.as_fd(), EpollFlags::EPOLLIN)
    }

    fn forget(&self, part: Part, fd: &OwnedFd, world: &mut World) {
        world.poller.forget(self.token(part), fd.as_fd());
    }

    fn close(&mut self, code: i32, world: &mut World) {
        if let Some(channel) = self.channel.take() {
            self.forget(Part::Channel, &channel, world);
        }
        if let Some(terminal) = self.terminal.take() {
            terminal.forget(world);
        }
        if let Some(subreaper) = self.subreaper.take() {
            // With it goes what holds the leftovers, where they may stay.
            self.forget(Part::Subreaper, &subreaper.pidfd, world);
            let _ = pidfd::send_signal(subreaper.pidfd.as_fd(), libc::SIGKILL);
            wait::await_end(subreaper.pidfd.as_fd());
        }
        self.timer = None;
        self.doomed = None;
        self.sweep = None;
        self.exit_code = Some(code);
    }
}

/// Reaps the child if it has ended, and tells whether that has been done.
fn is_reaped(child: &Child) -> bool {
    matches!(wait::reap(child.pidfd.as_fd()), Ok(Some(_)) | Err(_))
}

/// Tells the BEAM what came of a command, if it wants to know.
pub fn answer(call: Call, result: Result<(), Failure>, world: &mut World) {
    reply(
        call,
        result.map_or_else(Reply::Error, |()| Reply::Ok),
        world,
    );
}

fn reply(call: Call, reply: Reply, world: &mut World) {
    if let Some(call) = call {
        world.say(&Event::Reply(call, reply));
    }
}
