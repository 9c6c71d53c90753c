//! A session with the processes and descriptors it consists of: carries out
//! what its state machine decides, and tells it what came of that.

use super::family::{End, Family};
use super::output::Listening;
use super::pipes::Pipes;
use super::poller::{Part, Token};
use super::terminal::Terminal;
use super::world::World;
use crate::child::order::{self, Order};
use crate::confine::{landlock, seccomp};
use crate::launch::launch;
use crate::reap::sweep::{Progress, Sweep, PATIENCE};
use crate::reap::tree::Root;
use crate::session::{exit_code, valid_signal, Effect, Input, Policy, Session};
use crate::sys::process::with_every_descriptor;
use crate::wire::{
    Confinement, Directive, Failure, Id, OutputEnd, Reach, Reply, Request, Source, Stage, Stdio,
    Step, Where,
};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A main process that has run for so long is watched itself, not only by its subreaper. Most have ended by then.
const BRIEFLY: Duration = Duration::from_millis(50);
/// How long the end of a main process may stay unknown to its parent before it is asked whether somebody traces it.
const TRACED: Duration = Duration::from_millis(50);

/// Whether a workload with these says anything, or is told anything, by way of us.
fn speaks(stdio: &Stdio) -> bool {
    match stdio {
        Stdio::Pty => true,
        Stdio::Each(directives) => directives.contains(&Directive::Pipe),
    }
}

pub struct Slot {
    id: Id,
    session: Session,
    family: Option<Family>,
    terminal: Option<Terminal>,
    pipes: Option<Pipes>,
    /// What has been granted before there was anything to grant it to.
    granted: [u32; 3],
    /// The session is told when the output is at its end.
    awaits_output: bool,
    /// It is told when what is left of the output has been passed on.
    drains: bool,
    timer: Option<Instant>,
    sweep: Option<(Sweep, Instant)>,
    /// What is told the session once the agent has no strays.
    behind_strays: Vec<Input>,
    /// Everything is to be swept as soon as there is a subreaper.
    sweeps_later: bool,
    /// When a main process that has been killed should be dead.
    doomed: Option<Instant>,
    /// When to have the main process watched.
    brief: Option<Instant>,
    /// When to look again whether the subreaper knows that the main process has ended.
    traced: Option<Instant>,
    exit_code: Option<i32>,
}

impl Slot {
    pub fn new(id: Id, hosted: bool, request: &Request) -> Self {
        let policy = Policy {
            orphan: request.orphan,
            descendants: request.descendants,
            causes: request.causes,
            speaks: speaks(&request.stdio),
            until_eof: request.output == OutputEnd::Eof,
            usage: request.usage,
            auto_proceed: request.auto_proceed,
            beam_maps: request.maps.as_ref().is_some_and(|maps| maps.by_beam),
            hosted,
        };
        Slot {
            id,
            session: Session::new(policy),
            family: None,
            terminal: None,
            pipes: None,
            granted: [0; 3],
            awaits_output: false,
            drains: false,
            timer: None,
            sweep: None,
            behind_strays: Vec::new(),
            sweeps_later: false,
            doomed: None,
            brief: None,
            traced: None,
            exit_code: None,
        }
    }

    /// Launches the main process, or what will.
    pub fn start(&mut self, request: Request, world: &mut World) {
        if self.exit_code.is_some() {
            // It has ended before it has begun.
            return;
        }
        let (credit, stdio_speaks) = (request.credit, speaks(&request.stdio));
        let released = self.session.is_released()
            && matches!(request.place, Where::Fresh(_))
            && !request.stops();
        let mut launched = match launch(request, self.id, !released, world.means) {
            Ok(launched) => launched,
            Err((failure, code)) => return self.feed(Input::LaunchFailed(failure, code), world),
        };
        let token = Token::Session(self.id, Part::Pty);
        let pty = launched.pty.take();
        self.terminal = pty.map(|pty| Terminal::new(pty, token, credit));
        if self.terminal.is_none() && stdio_speaks {
            let ends = std::mem::take(&mut launched.pipes);
            self.pipes = Some(Pipes::new(self.id, ends, credit));
        }
        for source in [Source::Stdout, Source::Stderr, Source::Pty] {
            let more = std::mem::take(&mut self.granted[source as usize]);
            if more > 0 {
                self.carry_out(Effect::Grant(source, more), world);
            }
        }
        match Family::new(self.id, launched, world) {
            Ok(family) => self.family = Some(family),
            Err(failure) => {
                let failed = Input::LaunchFailed(failure, exit_code::INFRASTRUCTURE);
                return self.feed(failed, world);
            }
        }
        if released {
            self.feed(Input::Released, world);
        }
    }

    pub fn finished(&self) -> Option<i32> {
        self.exit_code
    }

    /// Whether the BEAM should not send more for now.
    pub fn is_congested(&self) -> bool {
        let terminal = self.terminal.as_ref();
        self.session.is_congested()
            || terminal.is_some_and(Terminal::is_congested)
            || self.pipes.as_ref().is_some_and(Pipes::is_congested)
    }

    /// When [`Slot::turn`] has something to do although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let sweep = self.sweep.as_ref().map(|(_, due)| *due);
        [self.timer, self.doomed, self.brief, self.traced, sweep]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells the state machine, and carries out what it decides.
    pub fn feed(&mut self, input: Input, world: &mut World) {
        self.feed_all(vec![input], world);
    }

    fn feed_all(&mut self, inputs: Vec<Input>, world: &mut World) {
        let mut inputs = VecDeque::from(inputs);
        let mut effects = Vec::new();
        while let Some(input) = inputs.pop_front() {
            match input {
                Input::Execed => self.brief = Instant::now().checked_add(BRIEFLY),
                Input::Gone(..) => self.forget_writes(world),
                _ => {}
            }
            self.session.handle(input, &mut effects);
            for effect in effects.drain(..) {
                inputs.extend(self.carry_out(effect, world));
            }
        }
    }

    /// One of the session's descriptors is ready.
    pub fn ready(&mut self, part: Part, flags: EpollFlags, world: &mut World) {
        match (part, &mut self.terminal, &mut self.pipes) {
            (Part::Pty, Some(terminal), _) => return terminal.ready(flags),
            (Part::Stdout, _, Some(pipes)) => return pipes.ready(Source::Stdout),
            (Part::Stderr, _, Some(pipes)) => return pipes.ready(Source::Stderr),
            // They have their turn.
            (Part::Pty | Part::Stdin | Part::Stdout | Part::Stderr, ..) => return,
            _ => {}
        }
        let Some(family) = &mut self.family else {
            return;
        };
        let mut inputs = Vec::new();
        let end = match part {
            Part::Intermediate => family.intermediate_ended(world),
            Part::Subreaper => family.subreaper_ended(&mut inputs, world),
            Part::Main => {
                if family.main_ended(&mut inputs, world) {
                    self.traced = Instant::now().checked_add(TRACED);
                }
                None
            }
            Part::Channel | Part::Pty | Part::Stdin | Part::Stdout | Part::Stderr => {
                family.look(&mut inputs, world);
                None
            }
        };
        self.feed_all(inputs, world);
        if let Some(end) = end {
            self.ended(end, world);
        }
        if self.sweeps_later {
            self.begin_sweep();
        }
    }

    /// The subreaper has said that there is something to see.
    pub fn look(&mut self, world: &mut World) {
        if let Some(family) = &mut self.family {
            let mut inputs = Vec::new();
            family.look(&mut inputs, world);
            self.feed_all(inputs, world);
        }
    }

    /// The subreaper, or what was to make it, has ended.
    fn ended(&mut self, end: End, world: &mut World) {
        self.sweep = None;
        match end {
            End::Done => self.feed(Input::Swept, world),
            End::Unborn(failure, code) => self.feed(Input::LaunchFailed(failure, code), world),
            End::Killed => {
                let mut inputs = Vec::new();
                if let Some(family) = &mut self.family {
                    with_every_descriptor(|| family.end_orphaned(&mut inputs, world));
                }
                inputs.push(match inputs.is_empty() {
                    true => {
                        let failure = Stage::Fork.failed()(Errno::EIO);
                        Input::LaunchFailed(failure, exit_code::CLONE)
                    }
                    false => Input::Swept,
                });
                self.behind_strays = inputs;
                self.sweep = Some((Sweep::of(Root::Strays), Instant::now()));
            }
        }
    }

    /// What is due: bytes to and from the PTY, the sweep, the timers.
    pub fn turn(&mut self, world: &mut World) {
        let now = Instant::now();
        if self.timer.is_some_and(|timer| timer <= now) {
            self.timer = None;
            self.feed(Input::Expired, world);
        }
        if self.doomed.is_some_and(|due| due <= now) {
            self.doomed = None;
            self.stuck(world);
        }
        if self.brief.is_some_and(|due| due <= now) {
            self.brief = None;
            if let Some(family) = self.family.as_mut().filter(|family| family.is_running()) {
                family.watch_main(world);
            }
        }
        if self.traced.is_some_and(|due| due <= now) {
            self.traced = None;
            self.look(world);
            let family = self.family.as_ref().filter(|family| family.is_running());
            if let Some(traced) = family.map(Family::is_traced) {
                if !traced {
                    // Its parent has not been running since.
                    self.traced = now.checked_add(TRACED);
                } else if self.session.sweeps_at_the_end() {
                    // Whoever traces it may be a process of its own.
                    self.begin_sweep();
                }
            }
        }
        if self.sweep.as_ref().is_some_and(|(_, due)| *due <= now) {
            self.go_on_sweeping(now, world);
        }
        self.pass_on(world);
    }

    fn pass_on(&mut self, world: &mut World) {
        let audible = self.session.is_audible();
        if let Some(terminal) = &mut self.terminal {
            terminal.turn(audible, world);
        }
        if let Some(pipes) = &mut self.pipes {
            pipes.turn(audible, world);
        }
        if self.awaits_output && self.is_output_ended() {
            self.awaits_output = false;
            self.feed(Input::OutputEnded, world);
        }
        if self.drains && self.is_drained() {
            self.drains = false;
            self.feed(Input::Drained, world);
        }
    }

    fn is_output_ended(&self) -> bool {
        // A terminal has no end: others may open it.
        self.pipes.as_ref().is_none_or(Pipes::are_ended)
    }

    fn is_drained(&self) -> bool {
        self.terminal.as_ref().is_none_or(Terminal::is_drained)
            && self.pipes.as_ref().is_none_or(Pipes::is_drained)
    }

    fn go_on_sweeping(&mut self, now: Instant, world: &mut World) {
        let Some((sweep, due)) = &mut self.sweep else {
            return;
        };
        let progress = with_every_descriptor(|| sweep.step(world.children));
        if let Progress::Again(pause) = progress {
            *due = now + pause;
            return;
        }
        self.sweep = None;
        let inputs = std::mem::take(&mut self.behind_strays);
        self.feed_all(inputs, world);
        if progress == Progress::GaveUp {
            self.stuck(world);
        }
    }

    /// Has the terminal and the pipes watched, now that it is known what the BEAM takes.
    pub fn listen(&mut self, world: &mut World) -> Listening {
        let audible = self.session.is_audible();
        match (&self.terminal, &self.pipes) {
            (Some(terminal), _) => terminal.listen(audible, world),
            (None, Some(pipes)) => pipes.listen(audible, world),
            (None, None) => Listening::Quiet,
        }
    }

    fn carry_out(&mut self, effect: Effect, world: &mut World) -> Option<Input> {
        match effect {
            Effect::Emit(event) => world.say(&event),
            Effect::Step(step) => return self.tell_step(step),
            Effect::GoOn => self.tell(&Order::Mapped),
            Effect::Proceed => self.tell(&Order::Proceed),
            Effect::Kill => {
                if let Some(family) = &self.family {
                    family.kill_main();
                }
                self.doomed = self.doomed.or_else(|| Instant::now().checked_add(PATIENCE));
            }
            Effect::AwaitOthers => return self.nothing_left(),
            Effect::Sweep => {
                self.begin_sweep();
                return self.nothing_left();
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
                world.answer(call, result);
            }
            Effect::Terminate(signal) => {
                let family = self.family.as_mut()?;
                return (!family.terminate(signal)).then_some(Input::Deaf);
            }
            Effect::Timer(milliseconds) => {
                // The least patient wins. What is too far away never comes.
                let due = Instant::now().checked_add(Duration::from_millis(milliseconds));
                self.timer = self.timer.into_iter().chain(due).min();
            }
            Effect::PtyWrite(bytes, call) => match &mut self.terminal {
                Some(terminal) => terminal.write(bytes, call),
                None => world.answer(call, Err(Stage::PtyIn.failed()(Errno::ENOTTY))),
            },
            Effect::PtyWinsize(size, call) => {
                let result = self
                    .terminal()
                    .and_then(|terminal| terminal.set_window_size(size))
                    .map_err(Stage::PtyWinsize.failed());
                world.answer(call, result);
            }
            Effect::PtyMaster(call) => {
                let result = self.terminal().and_then(Terminal::master);
                let result = result.map_err(Stage::PtyMaster.failed());
                world.reply(call, result.unwrap_or_else(Reply::Error));
            }
            Effect::StdinWrite(bytes, call) => {
                let pipes = self.pipes.as_mut().ok_or(Errno::EBADF);
                if let Err(errno) = pipes.and_then(|pipes| pipes.write(bytes, call)) {
                    world.answer(call, Err(Stage::Stdin.failed()(errno)));
                }
            }
            Effect::StdinClose(call) => {
                let pipes = self.pipes.as_mut().ok_or(Errno::EBADF);
                let result = pipes.and_then(Pipes::close_stdin);
                world.answer(call, result.map_err(Stage::Stdin.failed()));
            }
            Effect::Grant(source, more) => match (source, &mut self.terminal, &mut self.pipes) {
                (Source::Pty, Some(terminal), _) => terminal.grant(more),
                (_, _, Some(pipes)) => pipes.grant(source, more),
                // They are to come, if there are to be any.
                (_, None, None) => {
                    let early = &mut self.granted[source as usize];
                    *early = early.saturating_add(more);
                }
                _ => {}
            },
            Effect::AwaitOutput => {
                self.awaits_output = true;
                if let Some(pipes) = &mut self.pipes {
                    pipes.trail();
                }
            }
            Effect::Drain => {
                self.drains = true;
                if let Some(terminal) = &mut self.terminal {
                    terminal.drain();
                }
                if let Some(pipes) = &mut self.pipes {
                    pipes.drain();
                }
            }
            Effect::Finish(code) => self.close(code, world),
        }
        None
    }

    /// Nothing is left to be waited for, or to be swept, when the subreaper has ended.
    fn nothing_left(&self) -> Option<Input> {
        let processes = |family: &Family| family.root().is_some() || family.is_expected();
        let some = self.family.as_ref().is_some_and(processes) || self.sweep.is_some();
        (!some).then_some(Input::Swept)
    }

    fn begin_sweep(&mut self) {
        let Some(family) = &self.family else { return };
        match family.root() {
            Some(root) => {
                self.sweeps_later = false;
                self.sweep
                    .get_or_insert_with(|| (Sweep::of(Root::Below(root)), Instant::now()));
            }
            None if family.is_expected() => {
                family.kill_main();
                self.sweeps_later = true;
            }
            None => {}
        }
    }

    fn stuck(&mut self, world: &mut World) {
        self.forget_writes(world);
        self.feed(Input::Stuck, world);
    }

    /// Answers what was to be written to the workload and will not be.
    fn forget_writes(&mut self, world: &mut World) {
        if let Some(pipes) = &mut self.pipes {
            pipes.give_up(world);
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.give_up(world);
        }
    }

    fn tell(&self, order: &Order) {
        if let Some(family) = &self.family {
            family.tell(order);
        }
    }

    fn tell_step(&mut self, step: Step) -> Option<Input> {
        match answer(&step) {
            Ok(answer) => {
                if let Some(family) = &mut self.family {
                    family.tell_step(step, answer);
                }
                None
            }
            Err(failure) => Some(Input::StepRefused(failure)),
        }
    }

    fn signal(&mut self, signal: libc::c_int, reach: Reach) -> Result<(), Errno> {
        let family = self.family.as_mut().ok_or(Errno::ESRCH)?;
        family.signal(signal, reach)
    }

    fn terminal(&self) -> Result<&Terminal, Errno> {
        self.terminal.as_ref().ok_or(Errno::ENOTTY)
    }

    fn close(&mut self, code: i32, world: &mut World) {
        if let Some(terminal) = self.terminal.take() {
            terminal.forget(world);
        }
        if let Some(pipes) = self.pipes.take() {
            pipes.forget_all(world);
        }
        if let Some(family) = self.family.take() {
            family.close(world);
        }
        self.timer = None;
        self.doomed = None;
        self.brief = None;
        self.traced = None;
        self.sweep = None;
        self.exit_code = Some(code);
    }
}

/// What is to be answered to a step once it is done, if the child is to be told of it at all.
fn answer(step: &Step) -> Result<Reply, Failure> {
    let refused = |errno| step.failed(errno);
    if let Step::Hold(Confinement::Seccomp(program)) = step {
        seccomp::check_length(program).map_err(refused)?;
    }
    if step.bytes() > order::MAX / 2 {
        return Err(refused(Errno::E2BIG));
    }
    if let Step::Hold(Confinement::Landlock(wanted)) = step {
        let enforced = landlock::enforced(wanted).map_err(Stage::LandlockAbi.failed());
        return enforced.map(|(abi, rights)| Reply::Landlock(abi, rights));
    }
    Ok(Reply::Ok)
}
