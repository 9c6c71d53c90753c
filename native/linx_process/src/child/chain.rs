//! A chain: programs that run one after another, each if the one before has exited with 0.
//!
//! The main process becomes the last of them; the others are its children. So all are in its namespaces, its
//! directory and its process group, and have its descriptors and its user. Filters are installed in each alone,
//! for the main process has to go on behind them.

use super::held::Held;
use super::{execute, Plan, ABANDONED};
use crate::sys::clone::{self, Place};
use crate::sys::exec::exit;
use crate::sys::wait::{self, Death};
use crate::sys::{fds, process, signals, socket};
use crate::wire::{Failure, Stage};
use std::convert::Infallible;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicI32;

/// Behind one of these no program is begun any more, whatever the one before has made of it.
const ENDING: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// Runs all programs but the last, if there are others, and returns when that is to be executed. A chain that has
/// ended before ends the process.
pub fn run(plan: &Plan, held: &Held) -> Result<(), Failure> {
    let last = plan.program.last();
    if last == 0 {
        return Ok(());
    }
    // None of them shall get hold of a process that has the agent's memory (ptrace(2)). Exec makes it an ordinary
    // one again.
    process::set_dumpable(false).map_err(Stage::Fork.failed())?;
    plan.report.set_chained(true);
    for number in 0..last {
        match run_one(plan, held, number)? {
            Death::Exited(0) => {}
            Death::Exited(code) => {
                exit(code);
            }
            Death::Signaled(signal) => {
                end(plan, signal);
            }
        }
    }
    plan.report.set_chained(false);
    heed_signals(plan);
    Ok(())
}

/// Nobody but us knows how the one before has ended, so we end likewise. An init, among others, cannot.
fn end(plan: &Plan, signal: libc::c_int) -> Infallible {
    plan.report.end_by(signal);
    exit(128 + signal)
}

/// Signals to the process group come to us, too, and wait, as all are blocked. What they were for has had them.
fn heed_signals(plan: &Plan) {
    let mut ending = None;
    while let Some(signal) = signals::take_pending() {
        ending = ending.or(Some(signal).filter(|signal| ENDING.contains(signal)));
    }
    if let Some(signal) = ending {
        end(plan, signal);
    }
}

struct Member<'a> {
    plan: &'a Plan,
    held: &'a Held<'a>,
    number: usize,
    /// Its end of a socket pair, and ours.
    gate: RawFd,
    ours: RawFd,
}

fn run_one(plan: &Plan, held: &Held, number: usize) -> Result<Death, Failure> {
    let (ours, gate) = socket::pair().map_err(Stage::SocketPair.failed())?;
    let member = Member {
        plan,
        held,
        number,
        gate,
        ours,
    };
    let pid = clone::apart(Place::default(), None, &AtomicI32::new(0), begin, &member);
    fds::close_one(gate);
    let pid = pid.map_err(Stage::Fork.failed())?;
    // It waits, so what has come by now was meant for the one before, or for the chain, and what comes later comes
    // to it, too. If it is not to go on, it ends when we do.
    heed_signals(plan);
    let _ = socket::send(ours, &[0]);
    // It says nothing: this is over when it has executed its program, or ended.
    let _ = socket::receive(ours, &mut [0], 0);
    fds::close_one(ours);
    if number == 0 && wait::has_execed(pid) {
        plan.report.set_execed();
        if let Some(bell) = plan.bell {
            bell.ring();
        }
    }
    wait::await_child(pid).map_err(Stage::Fork.failed())
}

fn begin(member: &Member) -> Infallible {
    fds::close_one(member.ours);
    // Whoever kills the main process has ended the chain.
    let bound = process::die_with_parent();
    if bound.is_err() || socket::receive(member.gate, &mut [0], 0) != Ok(1) {
        exit(ABANDONED);
    }
    execute(member.plan, member.held, member.number)
}
