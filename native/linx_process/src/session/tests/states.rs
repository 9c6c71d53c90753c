//! The tables of `docs/wire-protocol.md`, "States": a row for what comes, a column for each state.

use super::*;

#[test]
fn the_tables_of_the_document_are_those_of_the_code() {
    for (heading, states) in [
        (
            "Until exec",
            &["launching", "starting", "parked", "stepping", "executing"][..],
        ),
        (
            "From exec on",
            &["running", "grace", "sweep", "draining", "ending", "over"],
        ),
    ] {
        let rows: Vec<_> = MESSAGES
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
}

const MESSAGES: [&str; 12] = [
    ":proceed",
    ":abort",
    "{:stop, ms}",
    "a step",
    "{:signal, …}",
    "{:pty_…}",
    "a term that is no command",
    "a frame that is no term",
    "a frame over the limit",
    "end of file, orphan: :leave",
    "… with a :proceed waiting",
    "end of file, orphan: :kill",
];

fn cell(message: &str, state: &str) -> String {
    let released = message.starts_with('…');
    if released && !["launching", "starting", "stepping"].contains(&state) {
        return "·".to_string();
    }
    let inputs = match message {
        ":proceed" => vec![call(9, Command::Proceed)],
        ":abort" => vec![call(9, Command::Abort)],
        "{:stop, ms}" => vec![call(9, Command::Stop(7))],
        "a step" => vec![call(9, Command::Step(step()))],
        "{:signal, …}" => vec![call(9, Command::Signal(15, Reach::Process))],
        "{:pty_…}" => vec![
            call(9, Command::PtyIn(vec![])),
            call(9, Command::PtyWinsize(None)),
            call(9, Command::PtyMaster),
        ],
        "a term that is no command" => vec![Input::Frame(Inbound::Unknown(Some(9)))],
        "a frame that is no term" => vec![Input::Malformed],
        "a frame over the limit" => vec![Input::TooBig],
        _ => vec![Input::Hangup],
    };
    let orphan = match message {
        "end of file, orphan: :kill" => Leftover::Kill,
        _ => Leftover::Leave,
    };
    let mut cells: Vec<_> = inputs
        .into_iter()
        .map(|input| {
            let mut bench = in_state(state, orphan);
            if released {
                bench.feed(command(Command::Proceed));
            }
            outcome(&mut bench, input)
        })
        .collect();
    cells.dedup();
    cells.join(" or ")
}

fn in_state(state: &str, orphan: Leftover) -> Bench {
    let leaving = bench(Policy { orphan, ..plain() });
    let killing = bench(Policy {
        orphan,
        ..killing()
    });
    let gone = || Input::Gone(Death::Exited(0), None);
    match state {
        "launching" => leaving,
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
        "grace" => {
            let mut bench = killing.running();
            bench.feed(command(Command::Stop(500)));
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
                orphan,
                pty: true,
                ..plain()
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
    words.extend(effects.iter().map(|effect| match effect {
        Effect::Emit(Event::Reply(9, Reply::Ok)) => "ok",
        Effect::Emit(Event::Reply(9, Reply::Error(failure))) if *failure == ENDED => "ended",
        Effect::Emit(Event::Reply(9, Reply::Error(failure))) if *failure == RUNNING => "running",
        Effect::Emit(Event::Reply(9, Reply::Error(failure))) if *failure == malformed() => {
            "malformed"
        }
        Effect::Step(_) => "step",
        Effect::Proceed => "exec",
        Effect::Kill => "kill",
        Effect::Sweep => "sweep",
        Effect::Terminate => "SIGTERM",
        Effect::Timer(_) => "timer",
        Effect::Signal(15, Reach::Process, Some(9))
        | Effect::PtyWrite(_, Some(9))
        | Effect::PtyWinsize(None, Some(9))
        | Effect::PtyMaster(Some(9)) => "done",
        other => panic!("{other:?}"),
    }));
    let mut cell = words.join(", ");
    if let Some(ending) = bench.session.ending.as_ref().filter(|_| undecided) {
        let event = match &ending.event {
            Some(Event::Aborted(_)) => "aborted".to_string(),
            Some(Event::Error(failure, None)) => failure.stage.name(),
            None => "no event".to_string(),
            other => panic!("{other:?}"),
        };
        cell = format!("{cell} ⇒ {event}, {}", ending.code);
    }
    if cell.is_empty() {
        cell.push('–');
    }
    cell.trim_start().to_string()
}
