//! The process between the agent and a workload: one for each session.
//!
//! What a workload leaves behind comes to the nearest subreaper above it (`find_new_reaper`,
//! kernel/exit.c): to this one, so that it is known whose it was. It makes the main process, tells how far
//! that has come and how it ended, reaps what is left, and ends itself when nothing below it is left.
//! Its end therefore means the end of everything the session has started.
//!
//! It runs in the agent's memory, beside it, or, where namespaces have been entered, in a copy. So like
//! [`child`] it neither allocates nor uses the C library.

use crate::child::page::{Bell, Report};
use crate::child::{self, Plan};
use crate::sys::block::PrivateStack;
use crate::sys::clone;
use crate::sys::exec::exit;
use crate::sys::wait::{self, Children};
use crate::sys::{fds, process};
use crate::wire::{Failure, Namespace, Stage};
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

/// By which a sweep knows it.
pub const NAME: &CStr = c"linx_subreaper";
/// What the main process has for a name until it executes something: a sweep spares subreapers.
const CHILD_NAME: &CStr = c"linx_process";

/// What a subreaper needs, made ready before clone.
pub struct Job {
    pub main: Plan,
    /// Where the session starts out from.
    pub origin: Option<CString>,
    /// `CLONE_NEW*`
    pub namespaces: u64,
    /// Whether it is to inherit what the workload leaves.
    pub inherits_orphans: bool,
    /// The agent, if that one's death is to be its own.
    pub dies_with: Option<libc::pid_t>,
    /// A PID namespace that the main process is to be in, and the subreaper not.
    pub pid_namespace: Option<RawFd>,
    /// Whether the table of descriptors is the agent's, of which it needs what is below this.
    pub shared_below: Option<RawFd>,
    /// Whether the main process may begin in our memory: it does not park, and we are beside the agent.
    pub in_our_memory: bool,
    /// What the main process runs on if that is not to keep us: it goes on beside us, as a copy.
    pub stack: Option<PrivateStack>,
    pub bell: Bell,
}

/// Makes the main process and reaps it, and all that it leaves.
pub fn run(job: &Job) -> Infallible {
    let watch = Watch {
        report: job.main.report,
        holds_more: needed(job).iter().any(Option::is_some),
        bell: job.bell,
    };
    match begin(job) {
        Ok(main) => watch.over(main),
        Err(failure) => watch.report.fail(failure),
    }
    exit(0)
}

fn begin(job: &Job) -> Result<libc::pid_t, Failure> {
    if let Some(end) = job.shared_below {
        fds::unshare_below(end).map_err(Stage::Closing.failed())?;
    }
    // What is open beside is other sessions', and their ends have to be seen.
    keep_only(job.bell.fd, needed(job)).map_err(Stage::Closing.failed())?;
    process::set_name(NAME).map_err(Stage::Subreaper.failed())?;
    // As the agent, and where the agent is: what comes later may not find it.
    set_out(job.origin.as_deref())?;
    if job.inherits_orphans {
        process::inherit_orphans().map_err(Stage::Subreaper.failed())?;
    }
    if let Some(agent) = job.dies_with {
        process::die_with_parent().map_err(Stage::Subreaper.failed())?;
        if process::parent() != agent {
            exit(0);
        }
    }
    if let Some(namespace) = job.pid_namespace {
        process::enter(namespace).map_err(Stage::SetNs(Namespace::Pid).failed())?;
    }
    let (main, pid) = (&job.main, job.main.report.main_cell());
    match &job.stack {
        Some(stack) => clone::apart(job.namespaces, Some(stack.stack()), pid, begin_main, main),
        None => clone::suspended(job.namespaces, job.in_our_memory, pid, begin_main, main),
    }
    .map_err(Stage::Clone.failed())
}

/// Goes to where the session starts out from.
pub fn set_out(origin: Option<&CStr>) -> Result<(), Failure> {
    origin
        .map_or(Ok(()), process::change_directory)
        .map_err(Stage::Chdir.failed())
}

fn begin_main(plan: &Plan) -> Infallible {
    let _ = process::set_name(CHILD_NAME);
    child::run(plan)
}

/// What is to be open beside the bell.
fn needed(job: &Job) -> [Option<RawFd>; 5] {
    let [stdin, stdout, stderr] = job.main.standard;
    [job.main.channel, job.pid_namespace, stdin, stdout, stderr]
}

fn keep_only(bell: RawFd, more: [Option<RawFd>; 5]) -> Result<(), Errno> {
    // The bell stands for what is not there.
    let mut keep = more.map(|fd| fd.unwrap_or(bell));
    fds::close_all_but(&mut keep)
}

/// What is left of the job once the main process has executed its program, or has ended, or does without us: by
/// then the agent may have taken the rest back.
#[derive(Clone, Copy)]
struct Watch {
    report: Report,
    /// Whether more is open than the bell.
    holds_more: bool,
    bell: Bell,
}

impl Watch {
    fn over(self, main: libc::pid_t) {
        if wait::has_execed(main) {
            self.report.set_execed();
            self.bell.ring();
        }
        if self.holds_more {
            // The ends that were the main process's.
            let _ = keep_only(self.bell.fd, [None; 5]);
        }
        while let Ok((pid, death, usage)) = wait::await_ended() {
            if pid != main {
                wait::reap_pid(pid);
                continue;
            }
            // Before it is reaped, so that its pid is still its own as long as the agent uses it.
            self.report.bury(death, usage);
            wait::reap_pid(pid);
            if wait::peek() == Children::None {
                // Our own end says so.
                return;
            }
            self.report.set_others_left();
            self.bell.ring();
        }
    }
}
