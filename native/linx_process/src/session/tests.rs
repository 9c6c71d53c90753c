mod states;

use super::*;
use crate::wire::Confinement;

const PID: libc::pid_t = 4242;

struct Bench {
    session: Session,
}

fn bench(policy: Policy) -> Bench {
    Bench {
        session: Session::new(policy),
    }
}

fn plain() -> Policy {
    Policy {
        orphan: Leftover::Leave,
        descendants: Leftover::Leave,
        causes: false,
        speaks: false,
        until_eof: false,
        usage: false,
        auto_proceed: false,
        beam_maps: false,
        hosted: false,
    }
}

fn killing() -> Policy {
    Policy {
        orphan: Leftover::Kill,
        descendants: Leftover::Kill,
        causes: true,
        ..plain()
    }
}

fn command(command: Command) -> Input {
    Input::Frame(Inbound::Command(None, command))
}

fn call(reference: u64, command: Command) -> Input {
    Input::Frame(Inbound::Command(Some(reference), command))
}

fn ok(reference: u64) -> Effect {
    Effect::Emit(Event::Reply(reference, Reply::Ok))
}

fn refused(reference: u64, failure: Failure) -> Effect {
    Effect::Emit(Event::Reply(reference, Reply::Error(failure)))
}

fn step() -> Step {
    Step::Now(Confinement::CapSetAmbient(0))
}

impl Bench {
    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.session.handle(input, &mut effects);
        effects
    }

    fn is_aborted_at_the_checkpoint(&mut self) {
        self.feed(Input::Spawned(PID));
        assert_eq!(
            self.feed(Input::ChildReady(1)),
            [Effect::Emit(Event::Ready(1)), Effect::Kill]
        );
        assert_eq!(
            self.feed(Input::Gone(Death::Signaled(9), None)),
            [Effect::Emit(Event::Aborted(1)), Effect::Finish(0)]
        );
    }

    fn parked(mut self) -> Self {
        self.feed(Input::Spawned(PID));
        self.feed(Input::ChildReady(1));
        self
    }

    fn executing(mut self) -> Self {
        self = self.parked();
        self.feed(command(Command::Proceed));
        self
    }

    fn running(mut self) -> Self {
        self = self.executing();
        self.feed(Input::Execed);
        self
    }
}

/// The main process is being made, and will not stop at the checkpoint.
fn released(policy: Policy) -> Bench {
    let mut bench = bench(Policy {
        auto_proceed: true,
        ..policy
    });
    assert!(bench.session.is_released());
    assert_eq!(bench.feed(Input::Released), []);
    bench
}

#[test]
fn the_way_of_the_c_agent() {
    let mut bench = bench(plain());
    assert_eq!(
        bench.feed(Input::Spawned(PID)),
        [Effect::Emit(Event::Spawned(PID))]
    );
    assert_eq!(
        bench.feed(Input::ChildReady(1)),
        [Effect::Emit(Event::Ready(1))]
    );
    assert_eq!(bench.feed(command(Command::Proceed)), [Effect::Proceed]);
    assert_eq!(bench.feed(Input::Execed), [Effect::Emit(Event::Running)]);
    assert_eq!(
        bench.feed(Input::Gone(Death::Exited(3), None)),
        [Effect::Emit(Event::Exited(3)), Effect::Finish(0)]
    );
    assert_eq!(bench.feed(Input::Hangup), []);
}

#[test]
fn commands_wait_for_the_checkpoint_in_order() {
    let mut bench = bench(plain());
    assert_eq!(bench.feed(call(1, Command::Step(step()))), []);
    bench.feed(Input::Spawned(PID));
    assert_eq!(bench.feed(call(2, Command::PtyIn(vec![7]))), []);
    assert_eq!(bench.feed(call(3, Command::Proceed)), []);
    assert_eq!(
        bench.feed(Input::ChildReady(1)),
        [Effect::Emit(Event::Ready(1)), Effect::Step(step())]
    );
    assert_eq!(
        bench.feed(Input::StepDone(Reply::Ok)),
        [
            ok(1),
            Effect::PtyWrite(vec![7], Some(2)),
            ok(3),
            Effect::Proceed
        ]
    );
}

#[test]
fn an_early_abort_beats_proceed_and_signals() {
    let mut bench = bench(plain());
    bench.feed(command(Command::Proceed));
    bench.feed(command(Command::Signal(15, Reach::Process)));
    assert_eq!(
        bench.feed(call(1, Command::Abort)),
        [ok(1), Effect::Timer(ABORT_PATIENCE)]
    );
    bench.is_aborted_at_the_checkpoint();
}

#[test]
fn an_abort_does_not_wait_for_a_step() {
    let mut bench = bench(plain()).parked();
    bench.feed(call(1, Command::Step(step())));
    assert_eq!(bench.feed(command(Command::Abort)), [Effect::Kill]);
    assert_eq!(
        bench.feed(Input::Gone(Death::Signaled(9), None)),
        [
            refused(1, ENDED),
            Effect::Emit(Event::Aborted(1)),
            Effect::Finish(0)
        ]
    );
}

#[test]
fn an_abort_after_proceed_comes_too_late() {
    for mut bench in [bench(plain()).executing(), bench(plain()).running()] {
        assert_eq!(bench.feed(call(1, Command::Abort)), [refused(1, RUNNING)]);
        assert_eq!(bench.feed(command(Command::Abort)), []);
        assert_eq!(bench.feed(call(2, Command::Proceed)), [refused(2, RUNNING)]);
    }
}

#[test]
fn early_signals_are_sent_in_order_at_exec() {
    let mut bench = bench(plain()).parked();
    assert_eq!(
        bench.feed(call(1, Command::Signal(15, Reach::Process))),
        [ok(1)]
    );
    bench.feed(command(Command::Proceed));
    bench.feed(command(Command::Signal(9, Reach::Group)));
    assert_eq!(
        bench.feed(Input::Execed),
        [
            Effect::Emit(Event::Running),
            Effect::Signal(15, Reach::Process, None),
            Effect::Signal(9, Reach::Group, None)
        ]
    );
}

#[test]
fn a_signal_that_does_not_exist_is_refused_at_once() {
    let mut bench = bench(plain()).parked();
    let failure = Stage::Signal.failed()(Errno::EINVAL);
    for number in [0, -1, 65] {
        assert_eq!(
            bench.feed(call(1, Command::Signal(number, Reach::Process))),
            [refused(1, failure)]
        );
    }
}

#[test]
fn a_step_that_fails_ends_the_session() {
    let mut bench = bench(plain()).parked();
    let failure = Stage::CapSetAmbient.failed()(Errno::EPERM);
    bench.feed(call(1, Command::Step(step())));
    bench.feed(call(2, Command::Proceed));
    assert_eq!(
        bench.feed(Input::Gone(Death::Exited(127), Some(failure))),
        [
            refused(1, failure),
            refused(2, ENDED),
            Effect::Emit(Event::Error(failure, None)),
            Effect::Finish(1)
        ]
    );
}

#[test]
fn a_death_before_exec_is_an_error_with_its_cause() {
    let killed = || Input::Gone(Death::Signaled(9), None);
    let error = |stage: Stage| {
        let cause = Some(Death::Signaled(9));
        Effect::Emit(Event::Error(stage.failed()(Errno::EIO), cause))
    };
    let mut starting = bench(killing());
    starting.feed(Input::Spawned(PID));
    let ready_frame = [error(Stage::ReadyFrame), Effect::Finish(4)];
    assert_eq!(starting.feed(killed()), ready_frame);
    let mut parked = bench(killing()).parked();
    assert_eq!(
        parked.feed(killed()),
        [error(Stage::Checkpoint), Effect::Finish(1)]
    );
    let mut executing = bench(killing()).executing();
    assert_eq!(
        executing.feed(killed()),
        [error(Stage::Execve), Effect::Finish(0)]
    );
}

#[test]
fn a_later_program_of_a_chain_that_cannot_be_executed_is_an_error() {
    let failure = Stage::Execve.failed()(Errno::ENOENT);
    let mut bench = bench(killing()).running();
    assert_eq!(
        bench.feed(Input::Gone(Death::Exited(127), Some(failure))),
        [Effect::Sweep]
    );
    assert_eq!(
        bench.feed(Input::Swept),
        [Effect::Emit(Event::Error(failure, None)), Effect::Finish(0)]
    );
}

#[test]
fn the_terminal_event_waits_for_the_sweep_and_for_the_pty() {
    let mut bench = bench(Policy {
        speaks: true,
        ..killing()
    })
    .running();
    assert_eq!(
        bench.feed(Input::Gone(Death::Signaled(15), None)),
        [Effect::Sweep]
    );
    assert_eq!(bench.feed(call(1, Command::Abort)), [refused(1, ENDED)]);
    assert_eq!(bench.feed(Input::Swept), [Effect::Drain]);
    assert_eq!(
        bench.feed(Input::Drained),
        [Effect::Emit(Event::Signaled(15)), Effect::Finish(0)]
    );
}

#[test]
fn what_was_used_is_told_directly_before_the_terminal_event() {
    let used = Usage([7; 9]);
    let told = Effect::Emit(Event::Usage(used));
    let asking = || Policy {
        usage: true,
        ..killing()
    };
    let gone = || Input::Gone(Death::Exited(0), None);
    let mut ended = bench(asking()).running();
    assert_eq!(ended.feed(Input::Used(used)), []);
    assert_eq!(ended.feed(gone()), [Effect::Sweep]);
    let exited = Effect::Emit(Event::Exited(0));
    let over = Effect::Finish(0);
    assert_eq!(ended.feed(Input::Swept), [told, exited, over]);

    let mut unasked = bench(killing()).parked();
    unasked.feed(Input::Used(used));
    assert_eq!(unasked.feed(gone()).len(), 2);
    let mut unheard = bench(asking()).parked();
    unheard.feed(Input::Hangup);
    unheard.feed(Input::Used(used));
    assert_eq!(unheard.feed(gone()), [Effect::Finish(1)]);
}

#[test]
fn stop_terminates_and_kills_when_the_grace_is_over() {
    let mut bench = bench(killing()).running();
    assert_eq!(
        bench.feed(call(1, Command::Stop(500, 15))),
        [ok(1), Effect::Terminate(15), Effect::Timer(500)]
    );
    assert_eq!(bench.feed(Input::Expired), [Effect::Sweep]);
    bench.feed(Input::Gone(Death::Signaled(9), None));
    assert_eq!(
        bench.feed(Input::Swept),
        [Effect::Emit(Event::Signaled(9)), Effect::Finish(0)]
    );
}

#[test]
fn a_stop_may_name_its_signal() {
    let mut running = bench(killing()).running();
    assert_eq!(
        running.feed(call(1, Command::Stop(500, 2))),
        [ok(1), Effect::Terminate(2), Effect::Timer(500)]
    );
    let mut executing = bench(killing()).executing();
    executing.feed(command(Command::Stop(500, 15)));
    executing.feed(command(Command::Stop(500, 1)));
    assert_eq!(
        executing.feed(Input::Execed),
        [Effect::Emit(Event::Running), Effect::Terminate(1)]
    );
}

#[test]
fn a_stop_by_what_is_no_signal_changes_nothing() {
    let no_signal = Stage::Signal.failed()(Errno::EINVAL);
    let mut grace = bench(killing()).running();
    grace.feed(command(Command::Stop(500, 15)));
    grace.feed(Input::Gone(Death::Exited(0), None));
    let benches = [
        bench(killing()),
        bench(killing()).parked(),
        bench(killing()).executing(),
        bench(killing()).running(),
        grace,
    ];
    for mut bench in benches {
        for number in [0, -1, 65] {
            let refusal = [refused(1, no_signal)];
            assert_eq!(bench.feed(call(1, Command::Stop(7, number))), refusal);
            assert_eq!(bench.feed(command(Command::Stop(7, number))), []);
        }
    }
}

#[test]
fn what_the_workload_leaves_has_the_rest_of_the_grace() {
    let mut quick = bench(killing()).running();
    quick.feed(command(Command::Stop(500, 15)));
    let gone = || Input::Gone(Death::Signaled(15), None);
    let ended = [Effect::Emit(Event::Signaled(15)), Effect::Finish(0)];
    assert_eq!(quick.feed(gone()), [Effect::AwaitOthers]);
    assert_eq!(quick.feed(Input::Swept), ended);
    let mut slow = bench(killing()).running();
    slow.feed(command(Command::Stop(500, 15)));
    slow.feed(gone());
    assert_eq!(
        slow.feed(call(1, Command::Stop(0, 15))),
        [ok(1), Effect::Timer(0)]
    );
    assert_eq!(slow.feed(Input::Expired), [Effect::Sweep]);
    assert_eq!(
        slow.feed(call(2, Command::Stop(0, 15))),
        [refused(2, ENDED)]
    );
    assert_eq!(slow.feed(Input::Swept), ended);
}

#[test]
fn stop_spares_the_grace_where_sigterm_cannot_work() {
    let mut bench = bench(killing()).running();
    bench.feed(command(Command::Stop(500, 15)));
    assert_eq!(bench.feed(Input::Deaf), [Effect::Sweep]);
}

#[test]
fn stop_while_executing_waits_for_exec_but_not_for_ever() {
    let mut bench = bench(killing()).executing();
    assert_eq!(
        bench.feed(command(Command::Stop(500, 15))),
        [Effect::Timer(500)]
    );
    assert_eq!(
        bench.feed(Input::Execed),
        [Effect::Emit(Event::Running), Effect::Terminate(15)]
    );
    assert_eq!(bench.feed(Input::Expired), [Effect::Sweep]);
}

#[test]
fn stop_at_the_checkpoint_is_an_abort() {
    let mut bench = bench(killing()).parked();
    assert_eq!(bench.feed(command(Command::Stop(500, 15))), [Effect::Kill]);
}

#[test]
fn without_the_beam_a_parked_child_is_discarded() {
    for policy in [plain(), killing()] {
        let mut bench = bench(policy).parked();
        assert_eq!(bench.feed(Input::Hangup), [Effect::Kill]);
        assert_eq!(
            bench.feed(Input::Gone(Death::Signaled(9), None)),
            [Effect::Finish(1)]
        );
    }
}

#[test]
fn without_the_beam_a_workload_is_killed_or_left() {
    let mut kill = bench(killing()).running();
    assert_eq!(kill.feed(Input::Hangup), [Effect::Sweep]);
    kill.feed(Input::Gone(Death::Signaled(9), None));
    assert_eq!(kill.feed(Input::Swept), [Effect::Finish(1)]);
    let mut leave = bench(plain()).running();
    assert_eq!(leave.feed(Input::Hangup), []);
    assert_eq!(
        leave.feed(Input::Gone(Death::Exited(0), None)),
        [Effect::Emit(Event::Exited(0)), Effect::Finish(0)]
    );
}

#[test]
fn a_frame_that_is_no_term_ends_the_session_in_any_phase() {
    let expected = Event::Error(malformed(), None);
    let mut parked = bench(plain()).parked();
    assert_eq!(parked.feed(Input::Malformed), [Effect::Kill]);
    assert_eq!(
        parked.feed(Input::Gone(Death::Signaled(9), None)),
        [Effect::Emit(expected.clone()), Effect::Finish(2)]
    );
    let mut running = bench(plain()).running();
    assert_eq!(running.feed(Input::Malformed), [Effect::Sweep]);
    running.feed(Input::Gone(Death::Signaled(9), None));
    assert_eq!(
        running.feed(Input::Swept),
        [Effect::Emit(expected), Effect::Finish(2)]
    );
}

#[test]
fn an_unknown_command_ends_a_parked_session_and_not_a_running_one() {
    let unknown = |call| Input::Frame(Inbound::Unknown(call));
    assert_eq!(bench(plain()).parked().feed(unknown(None)), [Effect::Kill]);
    assert_eq!(
        bench(plain()).parked().feed(unknown(Some(1))),
        [refused(1, malformed()), Effect::Kill]
    );
    let mut running = bench(plain()).running();
    assert_eq!(running.feed(unknown(None)), []);
    assert_eq!(running.feed(unknown(Some(1))), [refused(1, malformed())]);
}

#[test]
fn a_workload_that_cannot_be_killed_does_not_hold_up_the_session() {
    let stuck = Event::Error(Stage::Sweep.failed()(Errno::ETIMEDOUT), None);
    let mut alive = bench(killing()).running();
    alive.feed(command(Command::Stop(0, 15)));
    alive.feed(Input::Expired);
    assert_eq!(
        alive.feed(Input::Stuck),
        [Effect::Emit(stuck.clone()), Effect::Finish(4)]
    );
    let mut survived = bench(killing()).running();
    survived.feed(Input::Gone(Death::Exited(0), None));
    assert_eq!(
        survived.feed(Input::Stuck),
        [Effect::Emit(stuck), Effect::Finish(4)]
    );
    let mut alone = bench(killing()).running();
    alone.feed(Input::Hangup);
    assert_eq!(alone.feed(Input::Stuck), [Effect::Finish(1)]);
    let mut parked = bench(plain()).parked();
    parked.feed(command(Command::Abort));
    let stuck = Event::Error(Stage::Sweep.failed()(Errno::ETIMEDOUT), None);
    assert_eq!(
        parked.feed(Input::Stuck),
        [Effect::Emit(stuck), Effect::Finish(4)]
    );
}

#[test]
fn a_child_that_never_gets_to_the_checkpoint_is_not_waited_for() {
    let mut launching = bench(killing());
    launching.feed(command(Command::Abort));
    assert_eq!(launching.feed(Input::Expired), [Effect::Sweep]);
    assert_eq!(
        launching.feed(Input::Swept),
        [Effect::Emit(Event::Aborted(0)), Effect::Finish(0)]
    );
    let mut starting = bench(killing());
    starting.feed(Input::Spawned(PID));
    assert_eq!(
        starting.feed(command(Command::Stop(9, 15))),
        [Effect::Timer(9)]
    );
    assert_eq!(starting.feed(Input::Expired), [Effect::Kill]);
    assert_eq!(
        starting.feed(Input::Gone(Death::Signaled(9), None)),
        [Effect::Emit(Event::Aborted(PID)), Effect::Finish(0)]
    );
}

#[test]
fn a_child_whose_birth_is_heard_of_after_its_end_was_decided_is_aborted_under_its_pid() {
    let mut bench = bench(killing());
    bench.feed(command(Command::Abort));
    bench.feed(Input::Expired);
    assert_eq!(
        bench.feed(Input::Spawned(PID)),
        [Effect::Emit(Event::Spawned(PID)), Effect::Kill]
    );
    assert_eq!(
        bench.feed(Input::Gone(Death::Signaled(9), None)),
        [Effect::Emit(Event::Aborted(PID)), Effect::Finish(0)]
    );
}

#[test]
fn a_standard_signal_is_kept_once_and_a_real_time_one_as_often_as_sent() {
    let mut bench = bench(plain()).parked();
    for number in [15, 34, 15, 34] {
        bench.feed(command(Command::Signal(number, Reach::Process)));
    }
    bench.feed(command(Command::Proceed));
    let signal = |number| Effect::Signal(number, Reach::Process, None);
    assert_eq!(
        bench.feed(Input::Execed),
        [
            Effect::Emit(Event::Running),
            signal(15),
            signal(34),
            signal(34)
        ]
    );
}

#[test]
fn signals_that_wait_are_bounded() {
    let mut bench = bench(plain()).parked();
    for _ in 0..MAX_SIGNALS {
        bench.feed(command(Command::Signal(34, Reach::Process)));
    }
    assert_eq!(
        bench.feed(call(1, Command::Signal(34, Reach::Process))),
        [refused(1, Stage::Signal.failed()(Errno::EAGAIN))]
    );
}

#[test]
fn commands_that_wait_are_bounded_in_number_and_in_bytes() {
    let mut many = bench(plain());
    for _ in 0..MAX_WAITING {
        assert!(!many.session.is_congested());
        many.feed(command(Command::PtyMaster));
    }
    assert!(many.session.is_congested());
    let mut large = bench(plain());
    for _ in 0..2 {
        assert!(!large.session.is_congested());
        large.feed(command(Command::PtyIn(vec![0; MAX_WAITING_BYTES / 2])));
    }
    assert!(large.session.is_congested());
}

#[test]
fn a_beam_that_has_said_proceed_may_stop_to_speak() {
    let mut bench = bench(plain());
    bench.feed(command(Command::Proceed));
    assert_eq!(bench.feed(Input::Hangup), []);
    bench.feed(Input::Spawned(PID));
    assert_eq!(
        bench.feed(Input::ChildReady(1)),
        [Effect::Emit(Event::Ready(1)), Effect::Proceed]
    );
}

#[test]
fn a_hang_up_during_launch_kills_what_is_born() {
    let mut bench = bench(killing());
    assert_eq!(bench.feed(Input::Hangup), [Effect::Sweep]);
    assert_eq!(
        bench.feed(Input::Spawned(PID)),
        [Effect::Emit(Event::Spawned(PID)), Effect::Kill]
    );
}

#[test]
fn a_released_workload_says_all_that_one_says_which_stops() {
    let mut bench = released(plain());
    assert_eq!(
        bench.feed(Input::Spawned(PID)),
        [Effect::Emit(Event::Spawned(PID))]
    );
    assert_eq!(
        bench.feed(Input::ChildReady(1)),
        [Effect::Emit(Event::Ready(1))]
    );
    assert_eq!(bench.feed(Input::Execed), [Effect::Emit(Event::Running)]);
    assert_eq!(
        bench.feed(Input::Gone(Death::Exited(3), None)),
        [Effect::Emit(Event::Exited(3)), Effect::Finish(0)]
    );
}

#[test]
fn nobody_runs_who_has_not_been_at_the_checkpoint() {
    let mut bench = released(plain());
    bench.feed(Input::Spawned(PID));
    assert_eq!(bench.feed(Input::Execed), []);
    bench.feed(Input::ChildReady(1));
    assert_eq!(bench.feed(Input::Execed), [Effect::Emit(Event::Running)]);
}

#[test]
fn what_comes_too_late_for_the_checkpoint_is_refused() {
    let mut bench = released(plain());
    for late in [Command::Abort, Command::Proceed, Command::Step(step())] {
        assert_eq!(bench.feed(call(1, late)), [refused(1, RUNNING)]);
    }
    assert_eq!(
        bench.feed(call(2, Command::Signal(15, Reach::Process))),
        [ok(2)]
    );
    bench.feed(Input::Spawned(PID));
    bench.feed(Input::ChildReady(1));
    assert_eq!(
        bench.feed(Input::Execed),
        [
            Effect::Emit(Event::Running),
            Effect::Signal(15, Reach::Process, None)
        ]
    );
}

#[test]
fn whoever_has_something_to_do_at_the_checkpoint_stops_there_and_goes_on() {
    let willing = Policy {
        auto_proceed: true,
        ..plain()
    };
    let mut bench = bench(willing);
    bench.feed(call(1, Command::Step(step())));
    assert!(!bench.session.is_released());
    bench.feed(Input::Spawned(PID));
    assert_eq!(
        bench.feed(Input::ChildReady(1)),
        [Effect::Emit(Event::Ready(1)), Effect::Step(step())]
    );
    assert_eq!(bench.feed(call(2, Command::PtyMaster)), []);
    assert_eq!(
        bench.feed(Input::StepDone(Reply::Ok)),
        [ok(1), Effect::Proceed, Effect::PtyMaster(Some(2))]
    );
}

#[test]
fn an_abort_that_comes_with_the_request_beats_auto_proceed() {
    let willing = Policy {
        auto_proceed: true,
        ..plain()
    };
    for message in [Command::Abort, Command::Stop(9, 15)] {
        let mut bench = bench(willing);
        bench.feed(command(message));
        assert!(!bench.session.is_released());
        bench.is_aborted_at_the_checkpoint();
    }
}

#[test]
fn what_is_decided_before_the_launch_is_not_released() {
    let willing = Policy {
        auto_proceed: true,
        hosted: true,
        ..killing()
    };
    for input in [Input::Hangup, Input::Malformed, Input::Congested] {
        let mut bench = bench(willing);
        bench.feed(input);
        assert!(!bench.session.is_released());
    }
    assert!(!bench(plain()).session.is_released());
}

#[test]
fn a_released_workload_that_dies_before_exec_is_an_error_of_exec() {
    let failure = Stage::Chdir.failed()(Errno::ENOENT);
    let mut said = released(plain());
    said.feed(Input::Spawned(PID));
    assert_eq!(
        said.feed(Input::Gone(Death::Exited(127), Some(failure))),
        [Effect::Emit(Event::Error(failure, None)), Effect::Finish(0)]
    );
    let unsaid = Stage::Execve.failed()(Errno::EIO);
    let mut silent = released(plain());
    silent.feed(Input::Spawned(PID));
    assert_eq!(
        silent.feed(Input::Gone(Death::Signaled(9), None)),
        [Effect::Emit(Event::Error(unsaid, None)), Effect::Finish(0)]
    );
}

#[test]
fn a_session_that_is_hung_up_in_a_host_says_so_when_nothing_is_left() {
    let mut bench = bench(Policy {
        hosted: true,
        ..killing()
    })
    .running();
    assert_eq!(bench.feed(Input::Hangup), [Effect::Sweep]);
    assert_eq!(bench.feed(call(1, Command::Abort)), [refused(1, ENDED)]);
    assert_eq!(bench.feed(Input::Hangup), [Effect::Sweep]);
    assert_eq!(
        bench.feed(Input::Gone(Death::Signaled(9), None)),
        [Effect::Sweep]
    );
    assert_eq!(
        bench.feed(Input::Swept),
        [Effect::Emit(Event::HungUp), Effect::Finish(1)]
    );
}

#[test]
fn a_session_that_goes_on_when_it_is_hung_up_ends_as_it_would_have() {
    let mut bench = bench(Policy {
        hosted: true,
        ..plain()
    })
    .running();
    assert_eq!(bench.feed(Input::Hangup), []);
    assert_eq!(
        bench.feed(Input::Gone(Death::Exited(3), None)),
        [Effect::Emit(Event::Exited(3)), Effect::Finish(0)]
    );
}

#[test]
fn what_was_decided_before_a_hang_up_is_said() {
    let mut bench = bench(Policy {
        hosted: true,
        ..killing()
    })
    .parked();
    bench.feed(command(Command::Abort));
    bench.feed(Input::Hangup);
    assert_eq!(
        bench.feed(Input::Gone(Death::Signaled(9), None)),
        [Effect::Emit(Event::Aborted(1)), Effect::Finish(0)]
    );
}

#[test]
fn a_congested_session_ends_and_answers_all_that_waits() {
    let congested = Event::Error(Stage::Congested.failed()(Errno::ENOBUFS), None);
    let hosted = Policy {
        hosted: true,
        ..plain()
    };
    let mut flooded = bench(hosted);
    flooded.feed(Input::Spawned(PID));
    flooded.feed(call(1, Command::PtyMaster));
    flooded.feed(call(2, Command::Proceed));
    assert_eq!(flooded.feed(Input::Congested), [Effect::Kill]);
    assert_eq!(flooded.feed(call(3, Command::Proceed)), [refused(3, ENDED)]);
    assert_eq!(
        flooded.feed(Input::Gone(Death::Signaled(9), None)),
        [
            refused(1, ENDED),
            refused(2, ENDED),
            Effect::Emit(congested.clone()),
            Effect::Finish(1)
        ]
    );
    let mut running = bench(hosted).running();
    assert_eq!(running.feed(Input::Congested), [Effect::Sweep]);
    running.feed(Input::Gone(Death::Signaled(9), None));
    assert_eq!(
        running.feed(Input::Swept),
        [Effect::Emit(congested), Effect::Finish(1)]
    );
}

fn mapping(policy: Policy) -> Bench {
    let mut bench = bench(Policy {
        beam_maps: true,
        ..policy
    });
    assert_eq!(
        bench.feed(Input::Unmapped(PID)),
        [Effect::Emit(Event::Unmapped(PID))]
    );
    bench
}

#[test]
fn the_beam_maps_the_ids_on_the_way_to_the_checkpoint() {
    let mut bench = mapping(plain());
    assert_eq!(bench.feed(call(1, Command::Proceed)), []);
    assert_eq!(bench.feed(call(2, Command::Mapped)), [ok(2), Effect::GoOn]);
    assert_eq!(
        bench.feed(call(3, Command::Mapped)),
        [refused(3, malformed())]
    );
    assert_eq!(
        bench.feed(Input::Spawned(PID)),
        [Effect::Emit(Event::Spawned(PID))]
    );
    assert_eq!(
        bench.feed(Input::ChildReady(1)),
        [Effect::Emit(Event::Ready(1)), ok(1), Effect::Proceed]
    );
}

#[test]
fn a_child_that_waits_for_its_ids_is_aborted_at_once() {
    for end in [Command::Abort, Command::Stop(60_000, 15)] {
        let mut bench = mapping(plain());
        assert_eq!(bench.feed(call(1, end)), [ok(1), Effect::Kill]);
        assert_eq!(bench.feed(call(2, Command::Mapped)), [refused(2, ENDED)]);
        // An init that ends so has made no main process.
        let unborn = Input::LaunchFailed(Stage::Fork.failed()(Errno::EIO), exit_code::CLONE);
        assert_eq!(
            bench.feed(unborn),
            [Effect::Emit(Event::Aborted(0)), Effect::Finish(0)]
        );
    }
}

#[test]
fn an_abort_before_the_ids_are_asked_for_does_not_wait_for_the_checkpoint() {
    let mut bench = bench(Policy {
        beam_maps: true,
        ..plain()
    });
    bench.feed(command(Command::Abort));
    assert_eq!(bench.feed(Input::Unmapped(PID)), [Effect::Kill]);
}

#[test]
fn without_the_beam_nobody_maps_the_ids() {
    let policy = Policy {
        auto_proceed: true,
        ..plain()
    };
    let mut bench = mapping(policy);
    assert_eq!(bench.feed(Input::Hangup), [Effect::Kill]);
    let mut bench = mapping(policy);
    bench.feed(command(Command::Mapped));
    assert_eq!(bench.feed(Input::Hangup), []);
}
