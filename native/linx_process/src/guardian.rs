//! Who sweeps when the agent itself is killed.
//!
//! The guardian is the process the BEAM started; the agent is its child. As a
//! subreaper it inherits whatever the agent leaves, and it keeps the BEAM's port
//! open until all of that is gone, so that "the port has closed" means "nothing
//! is left". The agent sits in a session of its own: no `kill -- -pgid` hits
//! both. Should the guardian die, `PR_SET_PDEATHSIG` tells the agent.

use crate::host::control::Control;
use crate::reap::sweep::{Progress, Sweep};
use crate::session::exit_code;
use crate::sys::clone;
use crate::sys::exec::exit;
use crate::sys::pidfd;
use crate::sys::wait::{await_change, Change, Death};
use crate::wire::{Failure, Stage};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid, setsid};
use std::os::fd::AsFd;

/// Splits the process in two and runs `agent` in the child. The parent, the
/// guardian, stops listening to the BEAM and returns the agent's exit code.
///
/// `EAGAIN` or `ENOMEM` at `:guardian` when there can be no second process;
/// `control` is still there then.
pub fn guarded(
    control: &mut Option<Control>,
    agent: impl FnOnce(Control) -> i32,
) -> Result<i32, Failure> {
    prctl::set_child_subreaper(true).map_err(Stage::Subreaper.failed())?;
    let guardian = getpid();
    let child = clone::child(0, || {
        let ready = prctl::set_pdeathsig(Signal::SIGTERM).and_then(|()| setsid());
        match control.take() {
            // A guardian that died before it could be noticed has another pid than our parent.
            Some(control) if ready.is_ok() && getppid() == guardian => exit(agent(control)),
            _ => exit(exit_code::INFRASTRUCTURE),
        }
    })
    .map_err(Stage::Guardian.failed())?;
    let _port = control.take().map(Control::into_output);
    watch(child)
}

fn watch(agent: clone::Child) -> Result<i32, Failure> {
    loop {
        match await_change() {
            Ok((pid, Change::Stopped)) if pid == agent.pid => {
                // A stopped agent would keep everything alive that waits for it.
                let _ = pidfd::send_signal(agent.pidfd.as_fd(), libc::SIGCONT);
            }
            Ok((pid, Change::Ended(death))) if pid == agent.pid => {
                return Ok(match death {
                    Death::Exited(code) => code,
                    Death::Signaled(signal) => {
                        sweep();
                        128 + signal
                    }
                });
            }
            // Orphans of the agent's, reaped by looking.
            Ok(_) => {}
            Err(errno) => return Err(Stage::Guardian.failed()(errno)),
        }
    }
}

fn sweep() {
    let mut sweep = Sweep::new();
    while let Progress::Again(pause) = sweep.step(|_| false) {
        std::thread::sleep(pause);
    }
}
