//! What runs between clone and exec, in the child, as itself.
//!
//! The child has no way to speak but a socket to the agent, and no way to fail
//! but the page it shares with it: a failure takes two stores and an exit,
//! whatever filter is in force by then.

pub mod order;
pub mod page;
mod steps;

use crate::confine::{no_new_privs, seccomp};
use crate::sys::exec::{exit, Program};
use crate::sys::{fds, signals, tty};
use crate::wire::{Directive, Failure, Stage, Stdio};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{recv, send, MsgFlags};
use order::{Order, Report};
use page::Page;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Everything the child needs, made ready before clone.
pub struct Plan<'a> {
    pub program: Program,
    pub stdio: Stdio,
    /// The PTY slave, when `stdio` is one.
    pub pty_slave: Option<BorrowedFd<'a>>,
    pub cwd: Option<CString>,
    pub no_new_privs: bool,
    /// Whether the workload is to be killed when the agent dies.
    pub dies_with_agent: bool,
    pub channel: BorrowedFd<'a>,
    pub page: &'a Page,
}

/// Exit codes of a child that never executed anything; nobody but a debugger sees them.
const ABANDONED: i32 = 102;
const FAILED: i32 = 127;

/// Parks at the checkpoint, does as it is told, executes the program.
pub fn run(plan: &Plan) -> Infallible {
    match prepare(plan).and_then(|()| parked(plan)) {
        Ok(Some(filters)) => execute(plan, &filters),
        // The agent has closed the channel: this session is abandoned.
        Ok(None) => exit(ABANDONED),
        Err(failure) => fail(plan, failure),
    }
}

fn fail(plan: &Plan, failure: Failure) -> Infallible {
    plan.page.report(failure);
    exit(FAILED)
}

fn prepare(plan: &Plan) -> Result<(), Failure> {
    let mut keep: Vec<_> = [Some(plan.channel), plan.pty_slave]
        .into_iter()
        .flatten()
        .map(|fd| fd.as_raw_fd())
        .collect();
    fds::close_all_but(&mut keep).map_err(Stage::Closing.failed())?;
    // Its own process group, so that `kill 0` reaches neither agent nor sibling; with a PTY its own session.
    match plan.pty_slave {
        Some(_) => nix::unistd::setsid().map(drop),
        None => nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)),
    }
    .map_err(Stage::ProcessGroup.failed())?;
    if plan.no_new_privs {
        no_new_privs::set().map_err(Stage::SeccompNoNewPrivs.failed())?;
    }
    Ok(())
}

/// The checkpoint. Returns the filters to install before exec, or nothing when abandoned.
fn parked(plan: &Plan) -> Result<Option<Vec<Vec<u8>>>, Failure> {
    let mut filters = Vec::new();
    let mut report = Report::Ready(nix::unistd::getpid().as_raw());
    let mut buffer = vec![0; order::MAX];
    loop {
        if !say(plan, report)? {
            return Ok(None);
        }
        match hear(plan, &mut buffer)? {
            None => return Ok(None),
            Some(Order::Proceed) => return Ok(Some(filters)),
            Some(Order::Step(step)) => steps::perform(step, &mut filters)?,
        }
        report = Report::Done;
    }
}

/// Whether there was an agent to hear it.
fn say(plan: &Plan, report: Report) -> Result<bool, Failure> {
    match send(
        plan.channel.as_raw_fd(),
        &report.encode(),
        MsgFlags::MSG_NOSIGNAL,
    ) {
        Ok(_) => Ok(true),
        Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(false),
        Err(errno) => Err(Stage::Checkpoint.failed()(errno)),
    }
}

fn hear(plan: &Plan, buffer: &mut [u8]) -> Result<Option<Order>, Failure> {
    match recv(plan.channel.as_raw_fd(), buffer, MsgFlags::empty()) {
        Ok(0) | Err(Errno::ECONNRESET) => Ok(None),
        Ok(length) => match Order::decode(&buffer[..length]) {
            Some(order) => Ok(Some(order)),
            None => Err(Stage::Checkpoint.failed()(Errno::EPROTO)),
        },
        Err(errno) => Err(Stage::Checkpoint.failed()(errno)),
    }
}

fn execute(plan: &Plan, filters: &[Vec<u8>]) -> Infallible {
    match configure(plan, filters) {
        // Nothing may come between the last filter and this: it may deny everything else.
        Ok(()) => fail(plan, Stage::Execve.failed()(plan.program.execute())),
        Err(failure) => fail(plan, failure),
    }
}

fn configure(plan: &Plan, filters: &[Vec<u8>]) -> Result<(), Failure> {
    stdio(plan).map_err(Stage::Stdio.failed())?;
    if let Some(cwd) = &plan.cwd {
        nix::unistd::chdir(cwd.as_c_str()).map_err(Stage::Chdir.failed())?;
    }
    signals::unblock_all().map_err(Stage::SignalMask.failed())?;
    if plan.dies_with_agent {
        // After everything that changes credentials, which clears it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(Stage::DeathSignal.failed())?;
        // An agent that died before that is told by the channel. getppid()
        // would not do: it is 0 in a PID namespace, whoever is alive.
        let mut byte = [0];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        if recv(plan.channel.as_raw_fd(), &mut byte, flags) == Ok(0) {
            exit(ABANDONED);
        }
    }
    filters
        .iter()
        .try_for_each(|filter| seccomp::install(filter))
        .map_err(Stage::SeccompInstall.failed())
}

fn stdio(plan: &Plan) -> Result<(), Errno> {
    match (&plan.stdio, plan.pty_slave) {
        (Stdio::Pty, Some(slave)) => {
            tty::set_controlling(slave)?;
            (0..3).try_for_each(|fd| fds::duplicate_onto(slave, fd))
        }
        (Stdio::Pty, None) => Err(Errno::ENOTTY),
        (Stdio::Each(directives), _) => (0..)
            .zip(directives)
            .try_for_each(|(fd, directive)| attach(fd, directive)),
    }
}

fn attach(fd: i32, directive: &Directive) -> Result<(), Errno> {
    use nix::fcntl::{open, OFlag};
    use nix::sys::socket::{connect, socket, AddressFamily, SockFlag, SockType, UnixAddr};
    use std::os::fd::AsFd;

    let opened = match directive {
        Directive::Inherit => return Ok(()),
        Directive::DevNull => open(
            c"/dev/null",
            OFlag::O_RDWR | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )?,
        Directive::ConnectUnix(path) => {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            connect(socket.as_raw_fd(), &UnixAddr::new(path.as_c_str())?)?;
            socket
        }
    };
    fds::duplicate_onto(opened.as_fd(), fd)
}
