//! What a session is: its phases and the transitions between them.
//!
//! No system call is made here. The host feeds [`Input`]s and carries out
//! [`Effect`]s, so every order of events can be tried without root, and
//! without a process.
//!
//! ```text
//!            Spawned       ChildReady          Proceed           Execed
//! Launching ────────▶ Starting ────────▶ Parked ───────▶ Executing ───────▶ Running
//!     │                  │                 │                 │                 │
//!     │ LaunchFailed     └───── Gone ──────┴─────────────────┴─────────────────┤ Gone
//!     ▼                                                                        ▼
//!    Over ◀──────────────────────── Draining ◀──────────────────────────── Clearing
//! ```
//!
//! Where the BEAM maps the ids, Launching is interrupted: `Unmapped` leads to Mapping, and the command `Mapped` back.
//!
//! A main process that does not stop at the checkpoint takes a session straight from Launching to Executing
//! (`Released`); `Spawned` and `ChildReady` are told all the same.
//!
//! Whatever happens, a session emits exactly one terminal event, as the last
//! thing before [`Effect::Finish`].

#[cfg(any(test, fuzzing))]
pub mod model;
#[cfg(test)]
mod tests;

pub use crate::sys::tty::WindowSize;
pub use crate::sys::wait::{Death, Usage};

use crate::wire::{
    Call, Command, Event, Failure, Inbound, Leftover, Reach, Reply, Source, Stage, Step,
};
use nix::errno::Errno;
use std::collections::VecDeque;

/// What the request decides about the session's life.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub orphan: Leftover,
    pub descendants: Leftover,
    pub causes: bool,
    /// Whether what it says, or is told, goes through the agent.
    pub speaks: bool,
    /// Whether the session goes on after the main process until its output is at its end.
    pub until_eof: bool,
    /// The BEAM is told what the main process has used.
    pub usage: bool,
    /// The checkpoint is left without a word from the BEAM.
    pub auto_proceed: bool,
    /// It is the BEAM that maps the ids of the user namespace.
    pub beam_maps: bool,
    /// The session is one of many on its channel.
    pub hosted: bool,
}

/// Exit codes of the agent (`docs/wire-protocol.md`, "Exit codes").
pub mod exit_code {
    pub const SUCCESS: i32 = 0;
    /// The channel to the BEAM failed, or a step at the checkpoint did.
    pub const CHANNEL: i32 = 1;
    pub const MALFORMED: i32 = 2;
    /// No child could be made, or no namespace entered.
    pub const CLONE: i32 = 3;
    /// The agent's own means failed.
    pub const INFRASTRUCTURE: i32 = 4;
}

#[derive(Debug, Clone)]
pub enum Input {
    Frame(Inbound),
    /// A frame that is no term.
    Malformed,
    /// A frame longer than the limit: nothing behind it can be read.
    TooBig,
    /// More than may wait, on a channel that others need.
    Congested,
    /// The BEAM is gone.
    Hangup,
    LaunchFailed(Failure, i32),
    /// The main process is being made, and will not stop at the checkpoint.
    Released,
    /// There is a user namespace, that of this process, whose ids the BEAM is to map.
    Unmapped(libc::pid_t),
    /// The main process exists, under this pid of the host's.
    Spawned(libc::pid_t),
    /// It is parked, under this pid of its own namespace.
    ChildReady(libc::pid_t),
    /// With what there is to say about it.
    StepDone(Reply),
    /// The step cannot even be told to the child.
    StepRefused(Failure),
    /// It executes the program.
    Execed,
    /// It has used this much; `Gone` follows.
    Used(Usage),
    /// It has ended and been reaped; before exec it may have said why.
    Gone(Death, Option<Failure>),
    /// It is pid 1 of its namespace and does not handle the signal, which the kernel then withholds.
    Deaf,
    /// The timer has run out.
    Expired,
    /// Nothing of the session is left.
    Swept,
    /// What is left does not die.
    Stuck,
    /// What was written to the PTY and the pipes has been read.
    Drained,
    /// Nobody can write to the pipes any more.
    OutputEnded,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    Emit(Event),
    /// Whoever waits for it may go on to the checkpoint.
    GoOn,
    /// Tell the parked child.
    Step(Step),
    Proceed,
    /// SIGKILL to the main process, which has not executed anything, or to what waits for its ids; `Gone` follows, or
    /// `LaunchFailed`, or `Stuck`.
    Kill,
    /// Kill the main process and all it has started; `Swept` follows.
    Sweep,
    /// The main process has ended: `Swept` follows when nothing else is left.
    AwaitOthers,
    Signal(i32, Reach, Call),
    /// This signal to everybody; `Deaf` follows when that cannot work.
    Terminate(i32),
    /// `Expired` follows after this many milliseconds, or sooner if that was asked for before.
    Timer(u64),
    PtyWrite(Vec<u8>, Call),
    PtyWinsize(Option<WindowSize>, Call),
    PtyMaster(Call),
    StdinWrite(Vec<u8>, Call),
    StdinClose(Call),
    /// So many more bytes of this output may be passed on.
    Grant(Source, u32),
    /// `OutputEnded` follows when the output is at its end.
    AwaitOutput,
    /// Read what is left in the PTY and the pipes; `Drained` follows.
    Drain,
    /// The session is over; the agent's exit code.
    Finish(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Launching,
    Mapping,
    Starting,
    Parked,
    Executing,
    Running,
    Clearing,
    Draining,
    Over,
}

/// How the session is going to end, once everything is cleaned up.
#[derive(Debug, Clone)]
struct Ending {
    /// `None` when there is nobody to tell.
    event: Option<Event>,
    code: i32,
}

/// How long an abort waits for the checkpoint, in milliseconds.
pub(crate) const ABORT_PATIENCE: u64 = 5_000;
/// Beyond it are the real-time signals, which queue (signal(7)).
const LAST_STANDARD_SIGNAL: i32 = 31;
/// No more signals than this wait for exec.
pub(crate) const MAX_SIGNALS: usize = 1024;
/// More commands than this are not taken while they have to wait.
pub(crate) const MAX_WAITING: usize = 64;
/// Nor are more bytes in them.
pub(crate) const MAX_WAITING_BYTES: usize = 1 << 20;

const ENDED: Failure = Failure {
    errno: Errno::ESRCH,
    stage: Stage::Ended,
};
const RUNNING: Failure = Failure {
    errno: Errno::EBUSY,
    stage: Stage::Running,
};

#[derive(Debug, Clone)]
pub struct Session {
    policy: Policy,
    phase: Phase,
    /// Decided before the main process is gone: by an abort, a hang-up or a broken frame.
    ending: Option<Ending>,
    /// What the BEAM is told directly before that.
    usage: Option<Usage>,
    /// Whether all that the session started is being killed.
    sweeping: bool,
    /// Whether the main process has ended and the output has not.
    trailing: bool,
    /// Whether the checkpoint, where nothing is to be done, is still to be passed.
    passing: bool,
    /// Whether the BEAM still has to map the ids.
    unmapped: bool,
    /// As the child sees it; as the host does, as long as only that is known.
    child_pid: libc::pid_t,
    /// Commands that wait for the checkpoint, or for the step before them.
    waiting: VecDeque<(Call, Command)>,
    /// The step the child is working on.
    step: Option<Call>,
    /// Signals that wait for exec.
    signals: Vec<(i32, Reach)>,
    /// An abort that waits for the checkpoint.
    abort: bool,
    /// The signal by which the workload is to end; before exec it waits.
    stopping: Option<i32>,
}

impl Session {
    pub fn new(policy: Policy) -> Self {
        Session {
            policy,
            phase: Phase::Launching,
            ending: None,
            usage: None,
            sweeping: false,
            trailing: false,
            passing: false,
            unmapped: policy.beam_maps,
            child_pid: 0,
            waiting: VecDeque::new(),
            step: None,
            signals: Vec::new(),
            abort: false,
            stopping: None,
        }
    }

    /// Whether no more commands should be read for now.
    pub fn is_congested(&self) -> bool {
        let bytes: usize = self.waiting.iter().map(|(_, c)| c.bytes()).sum();
        self.waiting.len() >= MAX_WAITING || bytes >= MAX_WAITING_BYTES
    }

    /// Whether what the main process leaves is killed, unless something else is decided.
    pub fn sweeps_at_the_end(&self) -> bool {
        self.policy.descendants == Leftover::Kill
    }

    /// Whether the main process need not stop at the checkpoint: nothing is to be done there.
    pub fn is_released(&self) -> bool {
        let undecided = self.ending.is_none() && !self.abort;
        self.policy.auto_proceed && undecided && self.waiting.is_empty()
    }

    /// Whether the output may be passed on: from `:running` on.
    pub fn is_audible(&self) -> bool {
        matches!(
            self.phase,
            Phase::Running | Phase::Clearing | Phase::Draining
        )
    }

    pub fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        let out = effects;
        match (input, self.phase) {
            (_, Phase::Over) => {}
            (Input::Frame(Inbound::Command(call, command)), _) => self.command(call, command, out),
            (Input::Frame(Inbound::Unknown(call)), Phase::Executing | Phase::Running) => {
                refuse(call, malformed(), out);
            }
            (Input::Frame(Inbound::Unknown(call)), Phase::Clearing | Phase::Draining) => {
                refuse(call, ENDED, out);
            }
            (Input::Frame(Inbound::Unknown(call)), _) => {
                refuse(call, malformed(), out);
                self.fail(malformed(), exit_code::MALFORMED, out);
            }
            (Input::Malformed, _) => self.fail(malformed(), exit_code::MALFORMED, out),
            (Input::TooBig, _) => self.fail(
                Stage::CommandTooBig.failed()(Errno::EMSGSIZE),
                exit_code::CHANNEL,
                out,
            ),
            (Input::Congested, _) => self.fail(
                Stage::Congested.failed()(Errno::ENOBUFS),
                exit_code::CHANNEL,
                out,
            ),
            (Input::Hangup, _) => self.hangup(out),

            (Input::LaunchFailed(failure, code), _) => {
                self.decide(Some(Event::Error(failure, None)), code);
                self.finish(out);
            }
            (Input::Released, Phase::Launching) => {
                self.phase = Phase::Executing;
                self.passing = true;
            }
            (Input::Spawned(pid), Phase::Executing) if self.child_pid == 0 => {
                self.is_born(pid);
                out.push(Effect::Emit(Event::Spawned(pid)));
            }
            (Input::ChildReady(pid), Phase::Executing) if self.passing && self.child_pid != 0 => {
                self.passing = false;
                self.child_pid = pid;
                if self.ending.is_none() {
                    out.push(Effect::Emit(Event::Ready(pid)));
                }
            }
            (Input::Unmapped(pid), Phase::Launching) if self.unmapped => {
                self.phase = Phase::Mapping;
                if self.ending.is_some() {
                    out.push(Effect::Kill);
                } else if self.abort {
                    self.discard(out);
                } else {
                    out.push(Effect::Emit(Event::Unmapped(pid)));
                }
            }
            (Input::Spawned(pid), Phase::Launching | Phase::Mapping) => {
                self.phase = Phase::Starting;
                self.is_born(pid);
                out.push(Effect::Emit(Event::Spawned(pid)));
                if self.ending.is_some() {
                    out.push(Effect::Kill);
                }
            }
            (Input::ChildReady(pid), Phase::Starting) => {
                self.phase = Phase::Parked;
                self.child_pid = pid;
                if self.ending.is_none() {
                    out.push(Effect::Emit(Event::Ready(pid)));
                    if self.abort {
                        self.discard(out);
                    }
                    if self.policy.auto_proceed {
                        self.waiting.push_back((None, Command::Proceed));
                    }
                    self.advance(out);
                }
            }
            (Input::StepDone(answer), Phase::Parked) => {
                if let Some(call) = self.step.take() {
                    reply(call, answer, out);
                }
                self.advance(out);
            }
            (Input::StepRefused(failure), Phase::Parked) => {
                if let Some(call) = self.step.take() {
                    refuse(call, failure, out);
                }
                self.fail(failure, exit_code::CHANNEL, out);
            }
            (Input::Execed, Phase::Executing) if !self.passing => {
                self.phase = Phase::Running;
                out.push(Effect::Emit(Event::Running));
                for (signal, reach) in std::mem::take(&mut self.signals) {
                    out.push(Effect::Signal(signal, reach, None));
                }
                out.extend(self.stopping.map(Effect::Terminate));
            }
            (Input::Used(usage), _) => self.usage = Some(usage).filter(|_| self.policy.usage),
            (Input::Gone(death, failure), _) => self.gone(death, failure, out),
            (Input::Expired, Phase::Launching | Phase::Mapping | Phase::Starting) => {
                self.discard(out);
            }
            (Input::Deaf, Phase::Running)
            | (Input::Expired, Phase::Executing | Phase::Running | Phase::Clearing) => {
                self.sweep(out);
            }
            // Those who go on writing may be nobody's that we know of.
            (Input::Swept, Phase::Clearing)
                if self.trailing
                    && !self.sweeping
                    && self.policy.descendants == Leftover::Leave => {}
            (Input::Swept, Phase::Clearing) => self.drain(out),
            (Input::Swept, Phase::Launching | Phase::Mapping) if self.sweeping => self.finish(out),
            (Input::Stuck, _) if self.sweeping || self.ending.is_some() => self.give_up(out),
            (Input::OutputEnded, Phase::Clearing) if self.trailing && !self.sweeping => {
                self.trailing = false;
                if self.stopping.is_none() || self.policy.descendants == Leftover::Leave {
                    self.clear(out);
                }
            }
            (Input::Drained, Phase::Draining) => self.finish(out),
            _ => {}
        }
    }

    fn command(&mut self, call: Call, command: Command, out: &mut Vec<Effect>) {
        if let Command::Credit(source, more) = command {
            reply(call, Reply::Ok, out);
            return out.push(Effect::Grant(source, more));
        }
        let ended = matches!(self.phase, Phase::Clearing | Phase::Draining | Phase::Over);
        // What the workload has left may be stopped less patiently.
        let grace = self.phase == Phase::Clearing && !self.sweeping;
        let shortens = grace && matches!(command, Command::Stop(..));
        if (ended || self.ending.is_some()) && !shortens {
            return refuse(call, ENDED, out);
        }
        if let Command::Stop(_, signal) = command {
            if let Err(failure) = valid_signal(signal) {
                return refuse(call, failure, out);
            }
        }
        match (command, self.phase) {
            (Command::Abort, Phase::Executing | Phase::Running) => refuse(call, RUNNING, out),
            (Command::Stop(grace, signal), Phase::Clearing) => {
                reply(call, Reply::Ok, out);
                if self.stopping.replace(signal).is_none() {
                    // What goes on writing has been left alone so far.
                    out.push(Effect::Terminate(signal));
                }
                out.push(Effect::Timer(grace));
                if self.trailing && self.policy.descendants == Leftover::Kill {
                    out.push(Effect::AwaitOthers);
                }
            }
            (Command::Stop(grace, signal), Phase::Executing | Phase::Running) => {
                reply(call, Reply::Ok, out);
                self.stopping = Some(signal);
                if self.phase == Phase::Running {
                    out.push(Effect::Terminate(signal));
                }
                out.push(Effect::Timer(grace));
            }
            (Command::Mapped, Phase::Mapping) => {
                self.phase = Phase::Launching;
                self.unmapped = false;
                reply(call, Reply::Ok, out);
                out.push(Effect::GoOn);
            }
            (Command::Mapped, _) => refuse(call, malformed(), out),
            (Command::Abort | Command::Stop(..), Phase::Mapping | Phase::Parked) => {
                reply(call, Reply::Ok, out);
                self.discard(out);
            }
            (command @ (Command::Abort | Command::Stop(..)), _) => {
                reply(call, Reply::Ok, out);
                self.abort = true;
                // A child that somebody has stopped never gets to the checkpoint.
                out.push(Effect::Timer(match command {
                    Command::Stop(grace, _) => grace,
                    _ => ABORT_PATIENCE,
                }));
            }
            (Command::Signal(signal, reach), Phase::Running) => {
                out.push(Effect::Signal(signal, reach, call));
            }
            (Command::Signal(signal, reach), _) => match self.keep_signal(signal, reach) {
                Ok(()) => reply(call, Reply::Ok, out),
                Err(failure) => refuse(call, failure, out),
            },
            (command, Phase::Launching | Phase::Mapping | Phase::Starting | Phase::Parked) => {
                self.waiting.push_back((call, command));
                if self.phase == Phase::Parked {
                    self.advance(out);
                }
            }
            (Command::Proceed | Command::Step(_), _) => refuse(call, RUNNING, out),
            (command, _) => perform(call, command, out),
        }
    }

    /// Signals wait for exec as they would in the kernel: a real-time signal as often as it was
    /// sent, the others once.
    fn keep_signal(&mut self, signal: i32, reach: Reach) -> Result<(), Failure> {
        valid_signal(signal)?;
        let pending = self.signals.contains(&(signal, reach));
        if pending && signal <= LAST_STANDARD_SIGNAL {
            return Ok(());
        }
        if self.signals.len() >= MAX_SIGNALS {
            return Err(Stage::Signal.failed()(Errno::EAGAIN));
        }
        self.signals.push((signal, reach));
        Ok(())
    }

    /// At the checkpoint: carries out what waits, as far as the next step that takes time.
    fn advance(&mut self, out: &mut Vec<Effect>) {
        while self.step.is_none() && self.ending.is_none() {
            let Some((call, command)) = self.waiting.pop_front() else {
                return;
            };
            match command {
                Command::Proceed if self.phase == Phase::Parked => {
                    self.phase = Phase::Executing;
                    reply(call, Reply::Ok, out);
                    out.push(Effect::Proceed);
                }
                Command::Step(step) if self.phase == Phase::Parked => {
                    self.step = Some(call);
                    out.push(Effect::Step(step));
                }
                Command::Proceed | Command::Step(_) => refuse(call, RUNNING, out),
                command => perform(call, command, out),
            }
        }
    }

    /// The child, at the checkpoint or on its way there, is never going to run.
    fn discard(&mut self, out: &mut Vec<Effect>) {
        self.decide(Some(Event::Aborted(self.child_pid)), exit_code::SUCCESS);
        self.end_main(out);
    }

    /// What does not die of SIGKILL hangs in the kernel. Say so, rather than wait with it or
    /// claim that it is gone.
    fn give_up(&mut self, out: &mut Vec<Effect>) {
        let told = self.ending.take();
        if told.is_none_or(|ending| ending.event.is_some()) {
            let stuck = Stage::Sweep.failed()(Errno::ETIMEDOUT);
            self.decide(Some(Event::Error(stuck, None)), exit_code::INFRASTRUCTURE);
        }
        self.decide(None, exit_code::CHANNEL);
        self.finish(out);
    }

    /// Something that no session survives.
    fn fail(&mut self, failure: Failure, code: i32, out: &mut Vec<Effect>) {
        self.decide(Some(Event::Error(failure, None)), code);
        self.end_main(out);
    }

    fn hangup(&mut self, out: &mut Vec<Effect>) {
        let executed = !matches!(
            self.phase,
            Phase::Launching | Phase::Mapping | Phase::Starting | Phase::Parked
        );
        let told = |(_, command): &(Call, Command)| matches!(command, Command::Proceed);
        let released = self.policy.auto_proceed || self.waiting.iter().any(told);
        // Nobody else would map its ids.
        let released = released && !self.unmapped;
        if (executed || released) && self.policy.orphan == Leftover::Leave {
            return;
        }
        self.decide(None, exit_code::CHANNEL);
        self.end_main(out);
    }

    fn is_born(&mut self, pid: libc::pid_t) {
        self.child_pid = pid;
        // This may have been decided before.
        if let Some(Event::Aborted(unborn)) = self
            .ending
            .as_mut()
            .and_then(|ending| ending.event.as_mut())
        {
            *unborn = pid;
        }
    }

    fn end_main(&mut self, out: &mut Vec<Effect>) {
        match self.phase {
            // Its birth is on its way; `Spawned` finds the ending, if the sweep does not come first.
            Phase::Launching => self.sweep(out),
            Phase::Mapping | Phase::Starting | Phase::Parked => out.push(Effect::Kill),
            Phase::Executing | Phase::Running => self.sweep(out),
            Phase::Clearing => self.sweep(out),
            Phase::Draining | Phase::Over => {}
        }
    }

    fn sweep(&mut self, out: &mut Vec<Effect>) {
        self.sweeping = true;
        out.push(Effect::Sweep);
    }

    /// The first decision stands.
    fn decide(&mut self, event: Option<Event>, code: i32) {
        self.ending.get_or_insert(Ending { event, code });
    }

    fn gone(&mut self, death: Death, failure: Option<Failure>, out: &mut Vec<Effect>) {
        let before_exec = |stage: Stage, code: i32| match failure {
            Some(failure) => (Event::Error(failure, None), code),
            None => {
                let cause = self.policy.causes.then_some(death);
                (Event::Error(stage.failed()(Errno::EIO), cause), code)
            }
        };
        let (event, code) = match self.phase {
            Phase::Launching | Phase::Mapping | Phase::Starting => {
                before_exec(Stage::ReadyFrame, exit_code::INFRASTRUCTURE)
            }
            Phase::Parked => before_exec(Stage::Checkpoint, exit_code::CHANNEL),
            Phase::Executing => before_exec(Stage::Execve, exit_code::SUCCESS),
            Phase::Running => {
                let event = match (failure, death) {
                    // One of a chain, but the first, could not be executed.
                    (Some(failure), _) => Event::Error(failure, None),
                    (None, Death::Exited(code)) => Event::Exited(code),
                    (None, Death::Signaled(signal)) => Event::Signaled(signal),
                };
                (event, exit_code::SUCCESS)
            }
            Phase::Clearing | Phase::Draining | Phase::Over => return,
        };
        if let Some(call) = self.step.take() {
            refuse(call, failure.unwrap_or(ENDED), out);
        }
        let heard = self.phase == Phase::Running;
        self.decide(Some(event), code);
        self.phase = Phase::Clearing;
        if !heard {
            // A child that has not executed anything wrote nothing and started nothing.
            self.finish(out);
        } else if self.sweeping {
            self.sweep(out);
        } else if self.policy.until_eof && self.stopping.is_none() {
            self.trailing = true;
            out.push(Effect::AwaitOutput);
        } else {
            self.clear(out);
        }
    }

    /// The main process has ended, and what it has left is in the way.
    fn clear(&mut self, out: &mut Vec<Effect>) {
        if self.policy.descendants == Leftover::Leave {
            self.drain(out);
        } else if self.stopping.is_some() {
            // They have got the signal, too, and have what is left of the grace.
            out.push(Effect::AwaitOthers);
        } else {
            self.sweep(out);
        }
    }

    fn drain(&mut self, out: &mut Vec<Effect>) {
        if self.policy.speaks {
            self.phase = Phase::Draining;
            out.push(Effect::Drain);
        } else {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        let waiting = std::mem::take(&mut self.waiting);
        let waiting = waiting.into_iter().map(|(call, _)| call);
        for call in self.step.take().into_iter().chain(waiting) {
            refuse(call, ENDED, out);
        }
        if let Some(Ending { event, code }) = self.ending.take() {
            // The number has to be free again, also when nobody is told how it went.
            let event = event.or(self.policy.hosted.then_some(Event::HungUp));
            if let Some(event) = event {
                out.extend(
                    self.usage
                        .take()
                        .map(|usage| Effect::Emit(Event::Usage(usage))),
                );
                out.push(Effect::Emit(event));
            }
            out.push(Effect::Finish(code));
        }
    }
}

/// Commands that the agent carries out itself, parked or running.
fn perform(call: Call, command: Command, out: &mut Vec<Effect>) {
    out.push(match command {
        Command::PtyIn(bytes) => Effect::PtyWrite(bytes, call),
        Command::PtyWinsize(size) => Effect::PtyWinsize(size, call),
        Command::PtyMaster => Effect::PtyMaster(call),
        Command::Stdin(bytes) => Effect::StdinWrite(bytes, call),
        Command::CloseStdin => Effect::StdinClose(call),
        Command::Signal(signal, reach) => Effect::Signal(signal, reach, call),
        // Handled by the callers, each in its way.
        Command::Proceed
        | Command::Abort
        | Command::Mapped
        | Command::Step(_)
        | Command::Stop(..)
        | Command::Credit(..) => return,
    });
}

fn refuse(call: Call, failure: Failure, out: &mut Vec<Effect>) {
    reply(call, Reply::Error(failure), out);
}

fn reply(call: Call, reply: Reply, out: &mut Vec<Effect>) {
    out.extend(call.map(|reference| Effect::Emit(Event::Reply(reference, reply))));
}

fn malformed() -> Failure {
    Stage::MalformedRequest.failed()(Errno::EINVAL)
}

/// Signals are 1 to 64.
pub fn valid_signal(signal: i32) -> Result<(), Failure> {
    if (1..=crate::sys::signals::LAST).contains(&signal) {
        Ok(())
    } else {
        Err(Stage::Signal.failed()(Errno::EINVAL))
    }
}
