//! The process between the agent and a workload that enters another PID namespace.
//!
//! An orphan goes to the nearest subreaper *of its own PID namespace*, and else
//! to that namespace's init (`find_new_reaper`, kernel/exit.c): out of the
//! agent's sight. So in there a subreaper of ours is the workload's parent. It
//! tells the agent how the workload ended, and ends itself when nothing below
//! it is left.

use crate::child::{self, Plan};
use crate::sys::clone::{self, Child};
use crate::sys::exec::exit;
use crate::sys::fds;
use crate::sys::wait::{self, Death};
use crate::wire::{Failure, Stage};
use nix::sys::prctl;
use nix::sys::socket::{send, MsgFlags};
use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// By which a sweep knows it.
pub const NAME: &CStr = c"linx_subreaper";

/// How the main process has ended, as its parent saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obituary {
    pub death: Death,
    pub execed: bool,
}

/// Clones the main process, reports its end on `channel`, and reaps what it leaves.
pub fn run(plan: &Plan, channel: BorrowedFd) -> Infallible {
    match begin(plan) {
        Ok(main) => watch(&main, channel),
        Err(failure) => plan.page.report(failure),
    }
    exit(0)
}

fn begin(plan: &Plan) -> Result<Child, Failure> {
    prctl::set_child_subreaper(true).map_err(Stage::Subreaper.failed())?;
    prctl::set_name(NAME).map_err(Stage::Subreaper.failed())?;
    clone::child(0, || {
        // A sweep spares whoever is called a subreaper.
        let _ = prctl::set_name(c"linx_process");
        child::run(plan)
    })
    .map_err(Stage::Fork.failed())
}

fn watch(main: &Child, channel: BorrowedFd) {
    // The child's end of its own channel must be the child's alone: its closing means exec.
    let _ = fds::close_all_but(&mut [channel.as_raw_fd(), main.pidfd.as_raw_fd()]);
    while let Ok(pid) = wait::await_ended() {
        if pid == main.pid {
            if let Ok(Some(death)) = wait::death(main.pidfd.as_fd()) {
                let execed = wait::has_execed(main.pidfd.as_fd());
                let message = Obituary { death, execed }.encode();
                // Before it is reaped, so that its pid is still its own as long as the agent uses it.
                let _ = send(channel.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
            }
        }
        wait::reap_pid(pid);
    }
}

impl Obituary {
    fn encode(self) -> [u8; 6] {
        let (kind, number) = match self.death {
            Death::Exited(code) => (0, code),
            Death::Signaled(signal) => (1, signal),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        [self.execed.into(), kind, a, b, c, d]
    }

    pub fn decode(message: &[u8]) -> Option<Self> {
        let [execed, kind, number @ ..] = <[u8; 6]>::try_from(message).ok()?;
        let number = i32::from_ne_bytes(number);
        let death = match kind {
            0 => Death::Exited(number),
            _ => Death::Signaled(number),
        };
        Some(Obituary {
            death,
            execed: execed != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obituaries_survive_the_way() {
        for death in [Death::Exited(0), Death::Exited(255), Death::Signaled(64)] {
            for execed in [false, true] {
                let obituary = Obituary { death, execed };
                assert_eq!(Obituary::decode(&obituary.encode()), Some(obituary));
            }
        }
        assert_eq!(Obituary::decode(b""), None);
    }
}
