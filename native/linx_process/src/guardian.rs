//! Who sweeps when the agent itself is killed.
//!
//! The guardian is the process the BEAM started; the agent is its child. As a
//! subreaper it inherits whatever the agent leaves, and it keeps the BEAM's port
//! open until all of that is gone, so that "the port has closed" means "nothing
//! is left". The agent sits in a session of its own: no `kill -- -pgid` hits
//! both, and no workload can join the guardian's process group. Should the guardian
//! die, `PR_SET_PDEATHSIG` tells the agent, by the one signal that also continues it
//! if it has been stopped, or is about to be.

use crate::host::control::Control;
use crate::reap::sweep::{Progress, Sweep};
use crate::reap::tree::{Known, Root};
use crate::session::exit_code;
use crate::sys::clone;
use crate::sys::exec::exit;
use crate::sys::pidfd;
use crate::sys::wait::{await_change, Change, Death};
use crate::wire::{Failure, Leftover, Stage};
use nix::sys::prctl;
use nix::sys::signal::{kill, Signal};
use nix::unistd::{getpid, getppid, setsid, Pid};
use std::os::fd::AsFd;

/// Splits the process in two and runs `agent` in the child. The parent, the
/// guardian, stops listening to the BEAM and returns the agent's exit code.
///
/// `EAGAIN` or `ENOMEM` at `:guardian` when there can be no second process;
/// `control` is still there then.
pub fn guarded(
    control: &mut Option<Control>,
    descendants: Leftover,
    agent: impl FnOnce(Control, Pid) -> i32,
) -> Result<i32, Failure> {
    prctl::set_child_subreaper(true).map_err(Stage::Subreaper.failed())?;
    let guardian = getpid();
    let child = clone::child(false, || {
        let ready = prctl::set_pdeathsig(Signal::SIGCONT).and_then(|()| setsid());
        match control.take() {
            // A guardian that died before it could be noticed has another pid than our parent.
            Some(control) if ready.is_ok() && getppid() == guardian => {
                let code = agent(control, guardian);
                // Somebody may have stopped it, and the port would stay open.
                let _ = kill(guardian, Signal::SIGCONT);
                exit(code)
            }
            _ => exit(exit_code::INFRASTRUCTURE),
        }
    })
    .map_err(Stage::Guardian.failed())?;
    // Also the one it does not read: a write to a port without a reader would close it before we are done.
    let _port = control.take().map(Control::into_ends);
    watch(child, descendants)
}

fn watch(agent: clone::Child, descendants: Leftover) -> Result<i32, Failure> {
    loop {
        match await_change() {
            Ok((pid, Change::Stopped)) if pid == agent.pid => {
                // A stopped agent would keep everything alive that waits for it.
                let _ = pidfd::send_signal(agent.pidfd.as_fd(), libc::SIGCONT);
            }
            Ok((pid, Change::Ended(death))) if pid == agent.pid => {
                let (code, killed) = match death {
                    Death::Exited(code) => (code, false),
                    Death::Signaled(signal) => (128 + signal, true),
                };
                // An agent that ends by itself has left nothing, unless it gave up.
                if killed || descendants == Leftover::Kill {
                    sweep();
                }
                return Ok(code);
            }
            // Orphans of the agent's, reaped by looking.
            Ok(_) => {}
            Err(errno) => return Err(Stage::Guardian.failed()(errno)),
        }
    }
}

fn sweep() {
    let nobody = Known::default();
    let mut sweep = Sweep::of(Root::Strays);
    while let Progress::Again(pause) = sweep.step(&nobody) {
        std::thread::sleep(pause);
    }
}
