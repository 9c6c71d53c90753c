//! A host without processes. It knows what a host may tell a session at any moment, checks what the
//! session decides, and can bring it to its end. The tests below walk through all that can happen;
//! the fuzzer tries what is too much to walk through.

use super::*;

/// The main process, as the host knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Main {
    Unborn,
    /// Unborn, or on its way, and its ids are to be mapped.
    Unmapped,
    Starting,
    Parked,
    /// Parked, and working on a step.
    Stepping,
    Executing,
    Running,
    Gone,
}

#[derive(Debug, Clone)]
pub struct Model {
    session: Session,
    policy: Policy,
    main: Main,
    /// SIGKILL is on its way to the main process.
    killed: bool,
    /// What the session waits for.
    sweep: bool,
    others: bool,
    timer: bool,
    drain: bool,
    output: bool,
    /// What the main process has used is known, and its end is told next.
    used: bool,
    /// What the workload has started has to be dead before the session ends.
    left: bool,
    /// The main process does not die of SIGKILL.
    stuck: bool,
    /// The BEAM can be heard.
    listening: bool,
    /// Proceed has been said in time.
    released: bool,
    /// The BEAM need not map the ids, or has done so.
    mapped: bool,
    /// The main process does not stop at the checkpoint …
    unstoppable: bool,
    /// … and has told that it has been there.
    passed: bool,
    /// An abort waits for the checkpoint.
    abort: bool,
    /// The session has to end, whatever the workload does.
    doomed: bool,
    /// What the terminal event is has been decided …
    decided: bool,
    /// … and it is none, for there was nobody to tell.
    silent: bool,
    /// All inputs have been such as a host can produce. If not, what follows from the facts above is not checked.
    possible: bool,
    /// Calls that have not been answered.
    unanswered: Vec<u64>,
    said_unmapped: bool,
    said_spawned: bool,
    said_ready: bool,
    said_running: bool,
    proceeded: bool,
    drained: bool,
    said_usage: bool,
    terminal_events: usize,
    finished: bool,
}

impl Model {
    pub fn new(policy: Policy) -> Self {
        Model {
            session: Session::new(policy),
            policy,
            main: Main::Unborn,
            killed: false,
            sweep: false,
            others: false,
            timer: false,
            drain: false,
            output: false,
            used: false,
            left: false,
            stuck: false,
            listening: true,
            released: false,
            mapped: !policy.beam_maps,
            unstoppable: false,
            passed: false,
            abort: false,
            doomed: false,
            decided: false,
            silent: false,
            possible: true,
            unanswered: Vec::new(),
            said_unmapped: false,
            said_spawned: false,
            said_ready: false,
            said_running: false,
            proceeded: false,
            drained: false,
            said_usage: false,
            terminal_events: 0,
            finished: false,
        }
    }

    /// Whether a host could say this now. It may read frames although the session is congested,
    /// since several come at once.
    pub fn is_possible(&self, input: &Input) -> bool {
        match input {
            _ if self.finished => false,
            _ if self.used && self.is_alive() => matches!(input, Input::Gone(..)),
            Input::Used(_) => self.is_alive(),
            Input::Frame(_) | Input::Malformed | Input::TooBig => self.listening,
            Input::Congested => self.listening && self.policy.hosted,
            // The guardian's death is one, too.
            Input::Hangup => true,
            Input::LaunchFailed(..) | Input::Spawned(_) => !self.is_born(),
            Input::Unmapped(_) => self.main == Main::Unborn && !self.mapped,
            Input::Released => {
                let stops = self.unstoppable || !self.mapped;
                self.main == Main::Unborn && !stops && self.session.is_released()
            }
            Input::ChildReady(_) if self.unstoppable => {
                self.main == Main::Executing && !self.passed
            }
            Input::ChildReady(_) => self.main == Main::Starting && self.mapped,
            Input::StepDone(_) | Input::StepRefused(_) => self.main == Main::Stepping,
            Input::Execed => self.main == Main::Executing && self.passed == self.unstoppable,
            Input::Gone(..) => self.is_alive(),
            Input::Deaf => self.main == Main::Running && self.doomed,
            Input::Expired => self.timer,
            // What keeps the main process from being born is told first.
            Input::Swept if self.main == Main::Unmapped => false,
            Input::Swept if self.unstoppable && self.main == Main::Unborn => false,
            Input::Swept => self.sweep || self.others,
            Input::Stuck => self.sweep || (self.killed && self.is_there()),
            Input::Drained => self.drain,
            Input::OutputEnded => self.output,
        }
    }

    pub fn feed(&mut self, input: Input) {
        self.possible &= self.is_possible(&input);
        let over = self.finished;
        if let (false, Input::Frame(Inbound::Command(call, _) | Inbound::Unknown(call))) =
            (over, &input)
        {
            self.unanswered.extend(call);
        }
        if self.possible {
            self.foresee(&input);
            self.move_on(&input);
        }
        let launching = self.session.phase == Phase::Launching;
        if launching && matches!(input, Input::Released) {
            (self.unstoppable, self.proceeded) = (true, true);
        }
        let mut effects = Vec::new();
        self.session.handle(input, &mut effects);
        assert!(!over || effects.is_empty(), "after the end: {effects:?}");
        for effect in effects {
            assert!(!self.finished, "behind Finish: {effect:?}");
            self.carry_out(effect);
        }
        assert_eq!(self.finished, self.session.phase == Phase::Over);
    }

    /// Does all that the session has asked for, until it asks for nothing any more.
    pub fn settle(&mut self) {
        for _ in 0..16 {
            let input = match self {
                _ if self.finished => return,
                _ if (self.killed || self.used) && self.is_alive() => {
                    Input::Gone(Death::Signaled(9), None)
                }
                _ if self.killed && self.main == Main::Unmapped => {
                    Input::LaunchFailed(malformed(), exit_code::CLONE)
                }
                _ if self.sweep && self.unstoppable && self.main == Main::Unborn => {
                    Input::LaunchFailed(malformed(), exit_code::CLONE)
                }
                _ if self.sweep || self.others => Input::Swept,
                _ if self.drain => Input::Drained,
                _ if self.output => Input::OutputEnded,
                _ if self.timer => Input::Expired,
                _ => {
                    assert!(!self.doomed, "waits for nothing: {self:?}");
                    return;
                }
            };
            self.feed(input);
        }
        panic!("goes on for ever: {self:?}");
    }

    /// Lets the session end, as any workload does sooner or later.
    pub fn end(&mut self) {
        self.settle();
        if !self.finished {
            self.feed(match self.main {
                Main::Unborn | Main::Unmapped => Input::LaunchFailed(malformed(), exit_code::CLONE),
                _ => Input::Gone(Death::Exited(0), None),
            });
            self.settle();
        }
        assert!(self.finished);
    }

    fn is_alive(&self) -> bool {
        self.is_born() && self.main != Main::Gone
    }

    fn is_born(&self) -> bool {
        !matches!(self.main, Main::Unborn | Main::Unmapped)
    }

    /// It, or what is to make it, can be killed.
    fn is_there(&self) -> bool {
        self.is_alive() || self.main == Main::Unmapped
    }

    fn is_before_proceed(&self) -> bool {
        let executes = matches!(self.main, Main::Executing | Main::Running | Main::Gone);
        !executes && !self.unstoppable
    }

    /// What has to come of the input.
    fn foresee(&mut self, input: &Input) {
        let waits = matches!(self.main, Main::Unmapped | Main::Parked | Main::Stepping);
        match input {
            Input::Malformed
            | Input::TooBig
            | Input::Congested
            | Input::LaunchFailed(..)
            | Input::StepRefused(_)
            | Input::Gone(..) => self.decide(),
            Input::Frame(Inbound::Unknown(_)) if self.is_before_proceed() => self.decide(),
            Input::Frame(Inbound::Command(_, Command::Abort | Command::Stop(..)))
                if !self.decided && !is_refused(input) =>
            {
                if waits {
                    self.decide();
                } else if self.is_before_proceed() {
                    self.abort = true;
                    self.doomed = true;
                }
            }
            Input::Frame(Inbound::Command(_, Command::Proceed)) if !self.decided => {
                self.released |= self.is_before_proceed();
            }
            Input::ChildReady(_) | Input::Unmapped(_) if self.abort => self.decide(),
            Input::Expired
                if self.is_before_proceed()
                    && matches!(self.main, Main::Unborn | Main::Unmapped | Main::Starting) =>
            {
                self.decide();
            }
            Input::Hangup => {
                let released = self.mapped && (self.released || self.policy.auto_proceed);
                let goes_on = !self.is_before_proceed() || released;
                if !goes_on || self.policy.orphan == Leftover::Kill {
                    self.silent |= !self.decided;
                    self.decide();
                }
            }
            _ => {}
        }
        let runs = matches!(self.main, Main::Executing | Main::Running)
            || (self.unstoppable && self.main == Main::Unborn);
        let stop = matches!(
            input,
            Input::Frame(Inbound::Command(_, Command::Stop(..))) | Input::Expired
        );
        let stop = stop && !is_refused(input);
        self.doomed |= runs && stop;
    }

    fn decide(&mut self) {
        self.decided = true;
        self.doomed = true;
    }

    /// The world after the input.
    fn move_on(&mut self, input: &Input) {
        match input {
            Input::TooBig | Input::Hangup => self.listening = false,
            Input::Spawned(_) if self.unstoppable => {
                self.main = Main::Executing;
                self.killed |= self.sweep;
            }
            Input::Unmapped(_) => self.main = Main::Unmapped,
            Input::LaunchFailed(..) => self.main = Main::Unborn,
            Input::Spawned(_) => self.main = Main::Starting,
            Input::ChildReady(_) if self.unstoppable => self.passed = true,
            Input::ChildReady(_) | Input::StepDone(_) | Input::StepRefused(_) => {
                self.main = Main::Parked;
            }
            Input::Execed => self.main = Main::Running,
            Input::Used(_) => self.used = true,
            Input::Gone(..) => {
                self.left |= self.said_running && self.policy.descendants == Leftover::Kill;
                self.main = Main::Gone;
            }
            Input::Expired => self.timer = false,
            Input::Swept => {
                (self.sweep, self.others) = (false, false);
                self.left &= self.is_alive();
            }
            Input::Stuck => (self.sweep, self.left, self.stuck) = (false, false, true),
            Input::Drained => (self.drain, self.drained) = (false, true),
            Input::OutputEnded => self.output = false,
            Input::Frame(_)
            | Input::Malformed
            | Input::Congested
            | Input::Released
            | Input::Deaf => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Emit(event) => self.hear(event),
            Effect::GoOn => {
                assert!(self.said_unmapped && !self.mapped);
                self.expect_main(&[Main::Unmapped]);
                (self.main, self.mapped) = (Main::Unborn, true);
            }
            Effect::Step(_) => {
                assert!(self.said_ready && !self.proceeded);
                self.expect_main(&[Main::Parked]);
                self.main = Main::Stepping;
            }
            Effect::Proceed => {
                assert!(self.said_ready && !self.proceeded);
                self.expect_main(&[Main::Parked]);
                self.main = Main::Executing;
                self.proceeded = true;
            }
            Effect::Kill => {
                self.expect_main(&[Main::Unmapped, Main::Starting, Main::Parked, Main::Stepping]);
                self.killed = true;
            }
            Effect::Sweep => {
                self.killed |= self.is_there();
                self.left |= self.said_running;
                (self.sweep, self.others) = (true, false);
            }
            Effect::AwaitOthers => {
                self.expect_main(&[Main::Gone]);
                self.others = true;
            }
            Effect::Signal(_, _, call) => {
                assert!(self.said_running);
                self.expect_main(&[Main::Running]);
                self.answered(call);
            }
            Effect::Terminate(_) => self.expect_main(match self.policy.until_eof {
                true => &[Main::Running, Main::Gone],
                false => &[Main::Running],
            }),
            Effect::Timer(_) => self.timer = true,
            Effect::PtyWrite(_, call)
            | Effect::PtyWinsize(_, call)
            | Effect::PtyMaster(call)
            | Effect::StdinWrite(_, call)
            | Effect::StdinClose(call) => {
                if !self.unstoppable {
                    assert!(self.said_ready);
                    self.expect_main(&[Main::Parked, Main::Executing, Main::Running]);
                }
                self.answered(call);
            }
            Effect::Grant(..) => {}
            Effect::AwaitOutput => {
                assert!(self.policy.until_eof);
                self.expect_main(&[Main::Gone]);
                self.output = true;
            }
            Effect::Drain => {
                assert!(self.policy.speaks && self.said_running);
                self.expect_main(&[Main::Gone]);
                self.drain = true;
            }
            Effect::Finish(_) => self.finish(),
        }
    }

    fn hear(&mut self, event: Event) {
        assert_eq!(self.terminal_events, 0, "behind the last one: {event:?}");
        let is_last = matches!(
            event,
            Event::Aborted(_)
                | Event::Exited(_)
                | Event::Signaled(_)
                | Event::Error(..)
                | Event::HungUp
        );
        assert!(is_last || !self.said_usage, "behind the usage: {event:?}");
        let (first_time, in_order) = match event {
            _ if is_last => {
                self.terminal_events += 1;
                return;
            }
            Event::Reply(reference, _) => return self.answered(Some(reference)),
            Event::Usage(_) => (&mut self.said_usage, self.policy.usage),
            Event::Unmapped(_) => (&mut self.said_unmapped, !self.said_spawned),
            Event::Spawned(_) => (&mut self.said_spawned, true),
            Event::Ready(_) => (&mut self.said_ready, self.said_spawned),
            Event::Running => (&mut self.said_running, self.proceeded),
            other => panic!("{other:?}"),
        };
        assert!(
            !std::mem::replace(first_time, true) && in_order,
            "{event:?}"
        );
    }

    fn finish(&mut self) {
        assert_eq!(self.unanswered, [], "never answered");
        if self.possible {
            assert!(self.doomed);
            let heard = !self.silent || self.policy.hosted;
            assert_eq!(self.terminal_events, usize::from(heard), "{self:?}");
            let asked = self.policy.usage && self.used;
            assert_eq!(self.said_usage, asked && heard, "{self:?}");
            assert!(!self.is_there() || self.stuck, "left alive: {self:?}");
            assert!(!self.left, "left behind: {self:?}");
            let audible = self.policy.speaks && self.said_running;
            assert!(
                !audible || self.drained || self.stuck,
                "left unread: {self:?}"
            );
        }
        self.finished = true;
    }

    fn answered(&mut self, call: Call) {
        if let Some(reference) = call {
            let position = self.unanswered.iter().position(|r| *r == reference);
            self.unanswered
                .swap_remove(position.expect("a reply that nobody waits for"));
        }
    }

    fn expect_main(&self, expected: &[Main]) {
        assert!(
            !self.possible || expected.contains(&self.main),
            "not {expected:?}: {self:?}"
        );
    }
}

/// A stop by what is no signal.
fn is_refused(input: &Input) -> bool {
    match input {
        Input::Frame(Inbound::Command(_, Command::Stop(_, signal))) => {
            valid_signal(*signal).is_err()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Confinement;
    use std::collections::HashSet;

    /// More commands than this do not wait in what is explored: the queue is the same behind them.
    const QUEUE: usize = 2;

    fn policies() -> impl Iterator<Item = Policy> {
        let both = [Leftover::Kill, Leftover::Leave];
        let kinds = both
            .into_iter()
            .flat_map(move |orphan| both.map(|descendants| (orphan, descendants)));
        kinds.flat_map(|(orphan, descendants)| {
            [(false, false), (true, false), (false, true), (true, true)].map(|(speaks, hosted)| {
                Policy {
                    orphan,
                    descendants,
                    causes: speaks,
                    speaks,
                    until_eof: speaks && hosted,
                    usage: hosted && !speaks,
                    auto_proceed: hosted,
                    beam_maps: speaks != hosted,
                    hosted,
                }
            })
        })
    }

    /// Whatever a host can say.
    fn inputs() -> Vec<Input> {
        let failure = Stage::Fork.failed()(Errno::EPERM);
        let commands = [
            Command::Proceed,
            Command::Abort,
            Command::Mapped,
            Command::Step(Step::Now(Confinement::CapSetAmbient(0))),
            Command::Signal(34, Reach::Process),
            Command::Stop(1, 15),
            Command::Stop(1, 0),
            Command::PtyMaster,
            Command::CloseStdin,
            Command::Credit(Source::Stdout, 1),
        ];
        let mut inputs: Vec<_> = (1..)
            .zip(commands)
            .map(|(reference, command)| Input::Frame(Inbound::Command(Some(reference), command)))
            .collect();
        inputs.extend([
            Input::Frame(Inbound::Command(None, Command::Proceed)),
            Input::Frame(Inbound::Unknown(Some(0))),
            Input::Malformed,
            Input::TooBig,
            Input::Congested,
            Input::Hangup,
            Input::Released,
            Input::LaunchFailed(failure, exit_code::CLONE),
            Input::Unmapped(4242),
            Input::Spawned(4242),
            Input::ChildReady(1),
            Input::StepDone(Reply::Ok),
            Input::StepRefused(failure),
            Input::Execed,
            Input::Used(Usage([7; 9])),
            Input::Gone(Death::Exited(0), None),
            Input::Gone(Death::Signaled(9), Some(failure)),
            Input::Deaf,
            Input::Expired,
            Input::Swept,
            Input::Stuck,
            Input::Drained,
            Input::OutputEnded,
        ]);
        inputs
    }

    /// Visits every state that can be reached from `start`, and tells how many they are.
    fn explore(start: Model, inputs: &[Input], check: fn(&Model)) -> usize {
        let mut seen = HashSet::from([format!("{start:?}")]);
        let mut open = vec![start];
        while let Some(model) = open.pop() {
            check(&model);
            for input in inputs {
                let session = &model.session;
                let full = session.waiting.len() >= QUEUE || session.signals.len() >= QUEUE;
                let more = matches!(input, Input::Frame(Inbound::Command(..)));
                if (full && more) || (model.possible && !model.is_possible(input)) {
                    continue;
                }
                let mut next = model.clone();
                next.feed(input.clone());
                if seen.insert(format!("{next:?}")) {
                    open.push(next);
                }
            }
        }
        seen.len()
    }

    /// With every check of the model, in every state that a host can bring a session to.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn every_session_ends_with_one_terminal_event_and_every_call_with_one_reply() {
        for policy in policies() {
            let states = explore(Model::new(policy), &inputs(), |model| {
                if !model.finished {
                    model.clone().settle();
                    model.clone().end();
                }
            });
            println!("{policy:?}: {states} states");
            assert!(states > 100, "{states}");
        }
    }

    /// A host that is wrong may hang a session, but not make it say two things.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn not_even_an_impossible_order_of_inputs_gives_two_terminal_events_or_replies() {
        for policy in policies() {
            let start = Model {
                possible: false,
                ..Model::new(policy)
            };
            let states = explore(start, &inputs(), |_| {});
            println!("{policy:?}: {states} states");
            assert!(states > 100, "{states}");
        }
    }
}
