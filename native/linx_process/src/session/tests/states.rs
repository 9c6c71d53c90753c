//! The tables of `docs/wire-protocol.md`, "States": a row for what comes, a column for each state.

use super::*;

const UNTIL_EXEC: [&str; 6] = [
    "launching",
    "mapping",
    "starting",
    "parked",
    "stepping",
    "executing",
];
const FROM_EXEC_ON: [&str; 7] = [
    "running", "trailing", "grace", "sweep", "draining", "ending", "over",
];

#[test]
fn the_tables_of_the_document_are_those_of_the_code() {
    compare("Until exec", &MESSAGES, &UNTIL_EXEC);
    compare("From exec on", &MESSAGES, &FROM_EXEC_ON);
    let all = [&UNTIL_EXEC[..], &FROM_EXEC_ON].concat();
    compare("In a host", &HOSTED_MESSAGES, &all);
}

#[test]
fn a_workload_that_does_not_stop_at_the_checkpoint_executes_from_the_beginning() {
    for message in MESSAGES {
        for state in ["released", "released and spawned"] {
            let expected = cell(message, "executing");
            assert_eq!(cell(message, state), expected, "{message}, {state}");
        }
    }
}

fn compare(heading: &str, messages: &[&str], states: &[&str]) {
    let rows: Vec<_> = messages
        .iter()
        .map(|name| {
            let cells = states.iter().map(|state| cell(name, state));
            [name.to_string()].into_iter().chain(cells).collect()
        })
        .collect();
    let documented: Vec<Vec<_>> = crate::spec::table(heading)
        .iter()
        .map(|row| row.iter().map(|cell| cell.replace('`', "")).collect())
        .collect();
    let readable = |rows: &[Vec<String>]| {
        let lines: Vec<_> = rows.iter().map(|row| row.join(" | ")).collect();
        lines.join("\n")
    };
    assert!(
        rows == documented,
        "the code says\n{}\nand the document\n{}",
        readable(&rows),
        readable(&documented)
    );
}

const MESSAGES: [&str; 14] = [
    ":proceed",
    ":mapped",
    ":abort",
    "{:stop, …}",
    "a step",
    "{:signal, …}",
    "{:pty_…}, {:stdin, …}, :close_stdin",
    "{:credit, …}",
    "a term that is no command",
    "a frame that is no term",
    "a frame over the limit",
    "end of file, orphan: :leave",
    "… with a :proceed waiting, or auto_proceed",
    "end of file, orphan: :kill",
];

/// What comes to a session of a host beside them.
const HOSTED_MESSAGES: [&str; 4] = [
    ":hangup, orphan: :leave",
    "… and a :proceed waits, or auto_proceed",
    ":hangup, orphan: :kill",
    "more than may wait",
];

fn cell(message: &str, state: &str) -> String {
    let hosted = HOSTED_MESSAGES.contains(&message) && !MESSAGES.contains(&message);
    if message.starts_with('…') {
        if !["launching", "mapping", "starting", "stepping"].contains(&state) {
            return "·".to_string();
        }
        let policy = Policy { hosted, ..plain() };
        let mut told = in_state(state, policy);
        told.feed(command(Command::Proceed));
        let mut untold = in_state(
            state,
            Policy {
                auto_proceed: true,
                ..policy
            },
        );
        let [told, untold] = [&mut told, &mut untold].map(|bench| outcome(bench, Input::Hangup));
        assert_eq!(told, untold, "{state}");
        return told;
    }
    let inputs = match message {
        ":proceed" => vec![call(9, Command::Proceed)],
        ":mapped" => vec![call(9, Command::Mapped)],
        ":abort" => vec![call(9, Command::Abort)],
        "{:stop, …}" => vec![call(9, Command::Stop(7, 15))],
        "a step" => vec![call(9, Command::Step(step()))],
        "{:signal, …}" => vec![call(9, Command::Signal(15, Reach::Process))],
        "{:credit, …}" => vec![call(9, Command::Credit(Source::Stdout, 1))],
        "{:pty_…}, {:stdin, …}, :close_stdin" => vec![
            call(9, Command::PtyIn(vec![])),
            call(9, Command::PtyWinsize(None)),
            call(9, Command::PtyMaster),
            call(9, Command::Stdin(vec![])),
            call(9, Command::CloseStdin),
        ],
        "a term that is no command" => vec![Input::Frame(Inbound::Unknown(Some(9)))],
        "a frame that is no term" => vec![Input::Malformed],
        "a frame over the limit" => vec![Input::TooBig],
        "more than may wait" => vec![Input::Congested],
        _ => vec![Input::Hangup],
    };
    let orphan = match message.ends_with("orphan: :kill") {
        true => Leftover::Kill,
        false => Leftover::Leave,
    };
    let policy = Policy {
        orphan,
        hosted,
        ..plain()
    };
    let mut cells: Vec<_> = inputs
        .into_iter()
        .map(|input| outcome(&mut in_state(state, policy), input))
        .collect();
    cells.dedup();
    cells.join(" or ")
}

/// A session of this policy, but for what the state itself demands.
fn in_state(state: &str, policy: Policy) -> Bench {
    let leaving = bench(policy);
    let killing = bench(Policy {
        descendants: Leftover::Kill,
        ..policy
    });
    let gone = || Input::Gone(Death::Exited(0), None);
    match state {
        "launching" => leaving,
        "mapping" => {
            let mut bench = bench(Policy {
                beam_maps: true,
                ..policy
            });
            bench.feed(Input::Unmapped(PID));
            bench
        }
        "starting" => {
            let mut bench = leaving;
            bench.feed(Input::Spawned(PID));
            bench
        }
        "parked" => leaving.parked(),
        "stepping" => {
            let mut bench = leaving.parked();
            bench.feed(command(Command::Step(step())));
            bench
        }
        "executing" => leaving.executing(),
        "running" => leaving.running(),
        "trailing" => {
            let mut bench = bench(Policy {
                speaks: true,
                until_eof: true,
                descendants: Leftover::Kill,
                ..policy
            })
            .running();
            assert_eq!(bench.feed(gone()), [Effect::AwaitOutput]);
            bench
        }
        "grace" => {
            let mut bench = killing.running();
            bench.feed(command(Command::Stop(500, 15)));
            assert_eq!(bench.feed(gone()), [Effect::AwaitOthers]);
            bench
        }
        "sweep" => {
            let mut bench = killing.running();
            assert_eq!(bench.feed(gone()), [Effect::Sweep]);
            bench
        }
        "draining" => {
            let pty = Policy {
                speaks: true,
                ..policy
            };
            let mut bench = bench(pty).running();
            assert_eq!(bench.feed(gone()), [Effect::Drain]);
            bench
        }
        "ending" => {
            let mut bench = leaving.parked();
            bench.feed(command(Command::Abort));
            bench
        }
        "over" => {
            let mut bench = leaving.running();
            bench.feed(gone());
            assert_eq!(bench.session.phase, Phase::Over);
            bench
        }
        "released" => released(policy),
        "released and spawned" => {
            let mut bench = released(policy);
            bench.feed(Input::Spawned(PID));
            bench
        }
        state => panic!("{state}"),
    }
}

/// What comes of an input, in the words of the document.
fn outcome(bench: &mut Bench, input: Input) -> String {
    let (waiting, signals) = (bench.session.waiting.len(), bench.session.signals.len());
    let undecided = bench.session.ending.is_none();
    let effects = bench.feed(input);
    let mut words = Vec::new();
    if bench.session.waiting.len() > waiting {
        words.push("waits");
    }
    if bench.session.signals.len() > signals {
        words.push("kept");
    }
    // What is answered, or not heard of.
    let quiet = |effect: &&Effect| !matches!(effect, Effect::AwaitOthers | Effect::Grant(..));
    words.extend(effects.iter().filter(quiet).map(|effect| match effect {
        Effect::Emit(Event::Reply(9, Reply::Ok)) => "ok",
        Effect::Emit(Event::Reply(9, Reply::Error(failure))) if *failure == ENDED => "ended",
        Effect::Emit(Event::Reply(9, Reply::Error(failure))) if *failure == RUNNING => "running",
        Effect::Emit(Event::Reply(9, Reply::Error(failure))) if *failure == malformed() => {
            "malformed"
        }
        Effect::GoOn => "go on",
        Effect::Step(_) => "step",
        Effect::Proceed => "exec",
        Effect::Kill => "kill",
        Effect::Sweep => "sweep",
        Effect::Terminate(15) => "SIGTERM",
        Effect::Timer(_) => "timer",
        Effect::Signal(15, Reach::Process, Some(9))
        | Effect::PtyWrite(_, Some(9))
        | Effect::PtyWinsize(None, Some(9))
        | Effect::PtyMaster(Some(9))
        | Effect::StdinWrite(_, Some(9))
        | Effect::StdinClose(Some(9)) => "done",
        other => panic!("{other:?}"),
    }));
    let mut cell = words.join(", ");
    if let Some(ending) = bench.session.ending.as_ref().filter(|_| undecided) {
        let event = match &ending.event {
            Some(Event::Aborted(_)) => "aborted".to_string(),
            Some(Event::Error(failure, None)) => failure.stage.name(),
            None if bench.session.policy.hosted => "hangup".to_string(),
            None => "no event".to_string(),
            other => panic!("{other:?}"),
        };
        cell = match bench.session.policy.hosted {
            true => format!("{cell} ⇒ {event}"),
            false => format!("{cell} ⇒ {event}, {}", ending.code),
        };
    }
    if cell.is_empty() {
        cell.push('–');
    }
    cell.trim_start().to_string()
}
