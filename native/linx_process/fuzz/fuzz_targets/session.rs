//! Any sequence of inputs against the state machine, held against the model of a host.
#![no_main]

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use linx_process::session::model::Model;
use linx_process::session::{Death, Input, Policy, Usage};
use linx_process::wire::frame::{Reader, TooBig};
use linx_process::wire::{
    decode, Command, Confinement, Inbound, Leftover, Reach, Reply, Setup, Source, Stage, Step,
};

fuzz_target!(|input: &[u8]| {
    let _ = run(&mut Unstructured::new(input));
});

fn run(u: &mut Unstructured) -> Result<()> {
    let [kill, sweep, causes, speaks, possible, auto_proceed, hosted, usage] = bits(u.arbitrary()?);
    let [until_eof, beam_maps, ..] = bits(u.arbitrary()?);
    let leftover = |kill| {
        if kill {
            Leftover::Kill
        } else {
            Leftover::Leave
        }
    };
    let mut model = Model::new(Policy {
        orphan: leftover(kill),
        descendants: leftover(sweep),
        causes,
        usage,
        speaks,
        until_eof,
        auto_proceed,
        beam_maps,
        hosted,
    });
    let mut reader = Reader::default();
    let mut inputs = Vec::new();
    while !u.is_empty() {
        if u.ratio(1, 4)? {
            // As the host does: whatever is complete after one read, one after the other.
            let length = u.arbitrary::<u8>()?.into();
            let length = u.len().min(length);
            reader.feed(u.bytes(length)?);
            read(&mut reader, &mut inputs);
        } else {
            inputs.push(input(u)?);
        }
        for input in inputs.drain(..) {
            if !possible || model.is_possible(&input) {
                model.feed(input);
            }
        }
    }
    if possible {
        model.end();
    }
    Ok(())
}

fn read(reader: &mut Reader, inputs: &mut Vec<Input>) {
    while let Some(frame) = reader.next_frame() {
        inputs.push(match frame.map(|frame| decode::command(&frame)) {
            Ok(Ok(inbound)) => Input::Frame(inbound),
            Ok(Err(_)) => Input::Malformed,
            Err(TooBig) => {
                *reader = Reader::default();
                inputs.push(Input::TooBig);
                return;
            }
        });
    }
}

fn bits(byte: u8) -> [bool; 8] {
    std::array::from_fn(|bit| byte >> bit & 1 == 1)
}

fn input(u: &mut Unstructured) -> Result<Input> {
    let failure = Stage::from_code(u.int_in_range(1..=80)?)
        .unwrap_or(Stage::Fork)
        .failed()(nix::errno::Errno::EPERM);
    Ok(match u.int_in_range(0..=20)? {
        0..=7 => {
            let call = u.arbitrary()?;
            Input::Frame(match command(u)? {
                Some(command) => Inbound::Command(call, command),
                None => Inbound::Unknown(call),
            })
        }
        8 => Input::Malformed,
        9 => Input::TooBig,
        10 => Input::Hangup,
        11 => Input::LaunchFailed(failure, u.arbitrary()?),
        // In any order, but no pid is 0.
        12 => Input::Spawned(u.int_in_range(1..=i32::MAX)?),
        13 => Input::ChildReady(u.int_in_range(1..=i32::MAX)?),
        14 => Input::StepDone(Reply::Ok),
        15 => Input::StepRefused(failure),
        16 => Input::Execed,
        17 => {
            let death = if u.arbitrary()? {
                Death::Exited(u.arbitrary()?)
            } else {
                Death::Signaled(u.arbitrary()?)
            };
            Input::Gone(death, u.arbitrary::<bool>()?.then_some(failure))
        }
        18 => Input::Expired,
        19 => Input::Swept,
        _ => match u.int_in_range(0..=7)? {
            0 => Input::Drained,
            1 => Input::OutputEnded,
            2 => Input::Stuck,
            3 => Input::Released,
            4 => Input::Congested,
            5 => Input::Used(Usage(u.arbitrary()?)),
            6 => Input::Unmapped(u.int_in_range(1..=i32::MAX)?),
            _ => Input::Deaf,
        },
    })
}

fn command(u: &mut Unstructured) -> Result<Option<Command>> {
    let reach = |u: &mut Unstructured| {
        u.choose(&[Reach::Process, Reach::Group, Reach::Tree])
            .copied()
    };
    Ok(Some(match u.int_in_range(0..=14)? {
        0 => Command::Proceed,
        1 => Command::Abort,
        2 => Command::Step(Step::Now(Confinement::CapSetAmbient(u.arbitrary()?))),
        3 => Command::Step(match u.int_in_range(0..=3)? {
            0 => Step::Hold(Confinement::Seccomp(u.arbitrary()?)),
            1 => Step::Hold(Confinement::Umask(u.arbitrary()?)),
            2 => Step::Setup(Setup::Hostname(u.arbitrary()?)),
            _ => Step::Setup(Setup::Loopback),
        }),
        4 => Command::Signal(u.int_in_range(-1..=66)?, reach(u)?),
        5 => Command::Stop(u.arbitrary()?, u.int_in_range(-1..=66)?),
        6 => Command::PtyIn(u.arbitrary()?),
        7 => Command::PtyWinsize(None),
        8 => Command::PtyMaster,
        9 => {
            // More signals than are kept.
            Command::Signal(34, reach(u)?)
        }
        10 => Command::Stdin(u.arbitrary()?),
        11 => Command::CloseStdin,
        12 => Command::Credit(Source::Stdout, u.arbitrary()?),
        13 => Command::Mapped,
        _ => return Ok(None),
    }))
}
