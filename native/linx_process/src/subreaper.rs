//! The process between the agent and a workload: one for each session.
//!
//! What a workload leaves behind comes to the nearest subreaper above it (`find_new_reaper`,
//! kernel/exit.c): to this one, so that it is known whose it was. It makes the main process, tells how far
//! that has come and how it ended, reaps what is left, and ends itself when nothing below it is left.
//! Its end therefore means the end of everything the session has started.
//!
//! It runs in the agent's memory, beside it, or, where namespaces have been entered, in a copy. So like
//! [`child`] it neither allocates nor uses the C library.

use crate::child::order::Word;
use crate::child::page::{Bell, Report};
use crate::child::{self, Plan};
use crate::sys::block::PrivateStack;
use crate::sys::clone::{self, Place};
use crate::sys::exec::exit;
use crate::sys::wait::{self, Children};
use crate::sys::{fds, process, socket};
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
    /// The same, opened.
    pub start: Option<RawFd>,
    /// `CLONE_NEW*`
    pub namespaces: u64,
    /// The cgroup that the main process is to be born in.
    pub cgroup: Option<RawFd>,
    /// Whether it is pid 1 of its PID namespace.
    pub is_init: bool,
    /// Whether it has to have its ids mapped before anything else.
    pub asks_for_maps: bool,
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
    if let Some(start) = job.start {
        process::change_to(start).map_err(Stage::Chdir.failed())?;
        fds::close_one(start);
    }
    if job.inherits_orphans {
        process::inherit_orphans().map_err(Stage::Subreaper.failed())?;
    }
    if let Some(agent) = job.dies_with {
        process::die_with_parent().map_err(Stage::Subreaper.failed())?;
        // The parent of an init has no number there.
        if !job.is_init && process::parent() != agent {
            exit(0);
        }
    }
    if job.is_init {
        prepare_namespace(job)?;
    }
    if let Some(namespace) = job.pid_namespace {
        process::enter(namespace).map_err(Stage::SetNs(Namespace::Pid).failed())?;
    }
    let place = Place {
        namespaces: job.namespaces,
        cgroup: job.cgroup,
    };
    let begin = if job.is_init {
        begin_beside_init
    } else {
        begin_main
    };
    let (main, pid) = (&job.main, job.main.report.main_cell());
    match &job.stack {
        Some(stack) => clone::apart(place, Some(stack.stack()), pid, begin, main),
        None => clone::suspended(place, job.in_our_memory, pid, begin, main),
    }
    .map_err(Stage::Clone.failed())
}

/// As the first process of a PID namespace, and of the user namespace if that is fresh, too.
fn prepare_namespace(job: &Job) -> Result<(), Failure> {
    if let (true, Some(channel)) = (job.asks_for_maps, job.main.channel) {
        let asked = socket::send(channel, &Word::Unmapped.encode());
        let answer = asked.and_then(|()| socket::receive(channel, &mut [0; 8], 0));
        if !matches!(answer, Ok(length) if length > 0) {
            // The agent has given the session up.
            exit(0);
        }
    }
    // What is going to run beside it may have the same user. Before the maps are written this would be too early:
    // somebody else's files they would be.
    process::set_dumpable(false).map_err(Stage::Subreaper.failed())
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

fn begin_beside_init(plan: &Plan) -> Infallible {
    let _ = process::set_name(CHILD_NAME);
    // As the agent is: the host has to get at its namespaces.
    let _ = process::set_dumpable(true);
    child::run(plan)
}

/// What may have to be open beside the bell.
const MOST_NEEDED: usize = 7;

fn needed(job: &Job) -> [Option<RawFd>; MOST_NEEDED] {
    let main = &job.main;
    let [stdin, stdout, stderr] = main.standard;
    let (place, start) = (job.pid_namespace, job.start);
    [
        main.channel,
        place,
        job.cgroup,
        start,
        stdin,
        stdout,
        stderr,
    ]
}

fn keep_only(bell: RawFd, more: [Option<RawFd>; MOST_NEEDED]) -> Result<(), Errno> {
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
        // Not where the session has started out from, which the main process may have left behind for good.
        let _ = process::change_directory(c"/");
        if self.holds_more {
            // The ends that were the main process's.
            let _ = keep_only(self.bell.fd, [None; MOST_NEEDED]);
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
