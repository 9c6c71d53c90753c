//! What runs between clone and exec, in the child, as itself.
//!
//! The child has no way to speak but a socket to the agent, and no way to fail
//! but the page it shares with it: a failure takes two stores and an exit,
//! whatever filter is in force by then.
//!
//! It may be in the agent's own memory, beside it, so nothing here allocates or uses the C library: neither
//! would expect two processes in one memory. A copy is not better off, as the agent went on while it was made.

mod chain;
mod files;
pub mod held;
pub mod order;
pub mod page;

use crate::confine::{self, Mounts};
use crate::sys::exec::{exit, Program};
use crate::sys::process::{self, Limit};
use crate::sys::{capabilities, fds, signals, socket, tty};
use crate::wire::step::Kind;
use crate::wire::{Credentials, Directive, Failure, Setup, Stage, Stdio, Step};
pub use files::Staged;
use held::Held;
use nix::errno::Errno;
use order::{Order, Word};
use page::{Bell, Report};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::RawFd;

/// Everything the child needs, made ready before clone.
pub struct Plan {
    pub program: Program,
    /// By which a chain says that its first program has been executed.
    pub bell: Option<Bell>,
    pub stdio: Stdio,
    /// What has been opened for them already: the PTY slave, or ends of pipes.
    pub standard: [Option<RawFd>; 3],
    pub cwd: Option<CString>,
    pub files: Vec<Staged>,
    pub no_new_privs: bool,
    pub credentials: Credentials,
    pub mapping: Mapping,
    /// Whether it is born in a mount namespace of its own.
    pub has_own_mounts: bool,
    pub setup: Vec<Setup>,
    /// What [`held::encode`] has made of the confinements.
    pub confine: Vec<u8>,
    /// Whether the child is to be killed when its parent dies.
    pub dies_with_parent: bool,
    /// `RLIMIT_NOFILE` as the workload is to have it, if the agent has another.
    pub open_files: Option<Limit>,
    /// Its end of the channel; without one it does not park.
    pub channel: Option<RawFd>,
    pub report: Report,
}

/// How the ids of the child's user namespace come to be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// By the host, at the checkpoint, if at all.
    Foreign,
    /// By the agent, which the child has to ask.
    Wanted,
    /// They are mapped.
    Done,
}

/// Exit codes of a child that never executed anything; nobody but a debugger sees them.
const ABANDONED: i32 = 102;
const FAILED: i32 = 127;

/// Parks at the checkpoint, does as it is told, executes the program.
pub fn run(plan: &Plan) -> Infallible {
    match prepare(plan).and_then(|()| checkpoint(plan)) {
        Ok(Some(held)) => go_on(plan, &held),
        // The agent has closed the channel: this session is abandoned.
        Ok(None) => exit(ABANDONED),
        Err(failure) => fail(plan, failure),
    }
}

fn fail(plan: &Plan, failure: Failure) -> Infallible {
    plan.report.fail(failure);
    exit(FAILED)
}

fn prepare(plan: &Plan) -> Result<(), Failure> {
    let [stdin, stdout, stderr] = plan.standard;
    // What is not there stands for one that is.
    let bell = plan.bell.map(|bell| bell.fd);
    let mut keep = [plan.channel, bell, stdin, stdout, stderr].map(|fd| fd.unwrap_or(0));
    fds::close_all_but(&mut keep).map_err(Stage::Closing.failed())?;
    // Its own process group, so that `kill 0` reaches neither agent nor sibling; with a PTY its own session.
    match plan.stdio {
        Stdio::Pty => process::lead_session(),
        Stdio::Each(_) => process::lead_group(),
    }
    .map_err(Stage::ProcessGroup.failed())?;
    if plan.no_new_privs {
        process::set_no_new_privs().map_err(Stage::SeccompNoNewPrivs.failed())?;
    }
    Ok(())
}

/// The checkpoint. Returns what is to be done before exec, or nothing when abandoned.
fn checkpoint(plan: &Plan) -> Result<Option<Held<'_>>, Failure> {
    let pid = process::id();
    let Some(channel) = plan.channel else {
        plan.report.pass(pid);
        return Ok(Some(Held::given(&plan.confine)));
    };
    let at_checkpoint = || Stage::Checkpoint.failed();
    let (buffer, mut held) = Held::with_buffer(&plan.confine).map_err(at_checkpoint())?;
    let mut mounts = Mounts::new(plan.has_own_mounts);
    let mut word = match plan.mapping {
        Mapping::Wanted => Word::Unmapped,
        Mapping::Done | Mapping::Foreign => set_up(plan, &mut mounts, &mut held, pid)?,
    };
    loop {
        match socket::send(channel, &word.encode()) {
            Ok(()) => {}
            // There is no agent to hear it.
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(None),
            Err(errno) => return Err(at_checkpoint()(errno)),
        }
        let length = match socket::receive(channel, buffer, 0) {
            Ok(0) | Err(Errno::ECONNRESET) => return Ok(None),
            Ok(length) => length,
            Err(errno) => return Err(at_checkpoint()(errno)),
        };
        word = match Order::decode(&buffer[..length]) {
            Some(Order::Proceed) => return Ok(Some(held)),
            Some(Order::Mapped) => set_up(plan, &mut mounts, &mut held, pid)?,
            Some(Order::Step(step)) => {
                perform(plan, step, &mut mounts, &mut held)?;
                Word::Done
            }
            None => return Err(at_checkpoint()(Errno::EPROTO)),
        };
    }
}

/// The place of the program, as far as the request says it; then the child is ready.
fn set_up(
    plan: &Plan,
    mounts: &mut Mounts,
    held: &mut Held,
    pid: libc::pid_t,
) -> Result<Word, Failure> {
    let mut set_up = |in_proc: bool| {
        let mut setup = plan.setup.iter();
        setup.try_for_each(|setup| match setup.is_written_to_proc() == in_proc {
            true => confine::set_up(mounts, setup),
            false => Ok(()),
        })
    };
    set_up(true)?;
    if plan.mapping != Mapping::Foreign {
        held.write_to_proc()?;
        become_mapped(plan)?;
    }
    set_up(false)?;
    Ok(Word::Ready(pid))
}

fn perform(
    plan: &Plan,
    step: Step<&[u8]>,
    mounts: &mut Mounts,
    held: &mut Held,
) -> Result<(), Failure> {
    match &step {
        Step::Setup(setup) => confine::set_up(mounts, setup),
        Step::Now(confinement) => confine::confine(confinement),
        Step::Hold(confinement) => {
            held.add(confinement).map_err(|errno| step.failed(errno))?;
            held.rehearse(step.stage(), plan.report, &|| become_user(plan))
        }
    }
}

fn go_on(plan: &Plan, held: &Held) -> Infallible {
    match configure(plan, held).and_then(|()| chain::run(plan, held)) {
        Ok(()) => execute(plan, held, plan.program.last()),
        Err(failure) => fail(plan, failure),
    }
}

/// Executes the program of this number.
fn execute(plan: &Plan, held: &Held, number: usize) -> Infallible {
    match let_go(held) {
        // Nothing may come between the last filter and this: it may deny everything else.
        Ok(()) => fail(plan, Stage::Execve.failed()(plan.program.execute(number))),
        Err(failure) => fail(plan, failure),
    }
}

fn let_go(held: &Held) -> Result<(), Failure> {
    signals::unblock_all().map_err(Stage::SignalMask.failed())?;
    held.carry_out(&Kind::LAST)
}

fn configure(plan: &Plan, held: &Held) -> Result<(), Failure> {
    // As the agent, which may open more; all that follows is done as the workload's user.
    stdio(plan).map_err(Stage::Stdio.failed())?;
    if let Some(limit) = plan.open_files {
        process::limit_open_files(limit).map_err(Stage::Limits.failed())?;
    }
    held.carry_out(&Kind::BEFORE_CREDENTIALS)?;
    own_terminals(plan);
    become_user(plan)?;
    held.carry_out(&Kind::AS_THE_USER)?;
    if let Some(cwd) = &plan.cwd {
        process::change_directory(cwd).map_err(Stage::Chdir.failed())?;
    }
    let mut files = plan.files.iter();
    let written = files.try_for_each(Staged::write);
    written.map_err(Stage::StageFile.failed())?;
    if plan.dies_with_parent {
        // After everything that changes credentials, which clears it.
        process::die_with_parent().map_err(Stage::DeathSignal.failed())?;
        // An agent that died before that is told by the channel. getppid()
        // would not do: it is 0 in a PID namespace, whoever is alive.
        if let Some(channel) = plan.channel {
            let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
            if socket::receive(channel, &mut [0], flags) == Ok(0) {
                exit(ABANDONED);
            }
        }
    }
    held.carry_out(&Kind::BEFORE_EXEC)
}

/// As login(1) does with a terminal: the user could not open its own otherwise (/dev/stderr). If one is not to be had,
/// it is not.
fn own_terminals(plan: &Plan) {
    if let Some(uid) = plan.credentials.uid {
        for fd in plan.standard.iter().flatten() {
            let _ = fds::give(*fd, uid);
        }
    }
}

/// In a user namespace that has just been mapped: the workload's user, with all the rights there that its place
/// takes to set up.
fn become_mapped(plan: &Plan) -> Result<(), Failure> {
    const KEEP_CAPABILITIES: u32 = libc::SECBIT_NO_SETUID_FIXUP as u32;
    let stage = || Stage::SetUid.failed();
    let bits = capabilities::securebits().map_err(stage())?;
    capabilities::set_securebits(bits | KEEP_CAPABILITIES).map_err(stage())?;
    change_credentials(&plan.credentials)?;
    capabilities::set_securebits(bits).map_err(stage())
}

fn become_user(plan: &Plan) -> Result<(), Failure> {
    match plan.mapping {
        Mapping::Foreign => change_credentials(&plan.credentials),
        // It is that user already.
        Mapping::Wanted | Mapping::Done => Ok(()),
    }
}

fn change_credentials(credentials: &Credentials) -> Result<(), Failure> {
    let Credentials { uid, gid, groups } = credentials;
    // The user last: with it goes the right to do any of this.
    if let Some(groups) = groups {
        process::set_groups(groups).map_err(Stage::SetGroups.failed())?;
    }
    if let Some(gid) = gid {
        process::set_gid(*gid).map_err(Stage::SetGid.failed())?;
    }
    if let Some(uid) = uid {
        process::set_uid(*uid).map_err(Stage::SetUid.failed())?;
    }
    Ok(())
}

fn stdio(plan: &Plan) -> Result<(), Errno> {
    if let (Stdio::Pty, Some(slave)) = (&plan.stdio, plan.standard[0]) {
        tty::set_controlling(slave)?;
    }
    for (fd, opened) in (0..).zip(plan.standard) {
        let attached = match (opened, &plan.stdio) {
            (Some(opened), _) => opened,
            (None, Stdio::Pty) => return Err(Errno::ENOTTY),
            (None, Stdio::Each(directives)) => match open(&directives[fd as usize])? {
                Some(opened) => opened,
                None => continue,
            },
        };
        fds::duplicate_onto(attached, fd)?;
    }
    Ok(())
}

/// What a descriptor is to be, unless that is what it is.
fn open(directive: &Directive) -> Result<Option<RawFd>, Errno> {
    match directive {
        Directive::Inherit => Ok(None),
        Directive::DevNull => fds::open(c"/dev/null", libc::O_RDWR).map(Some),
        Directive::ConnectUnix(path) => socket::connect_unix(path).map(Some),
        Directive::File(path, flags) => fds::open(path, flags | libc::O_NOCTTY).map(Some),
        Directive::Stdout => Ok(Some(1)),
        // The agent has made it, or could not.
        Directive::Pipe => Err(Errno::EBADF),
    }
}
