//! Making the processes of a session: everything is prepared here, in the
//! parent, and then cloned.

mod enter;
pub mod maps;

use crate::child::page::{Bell, Page};
use crate::child::{held, Mapping, Plan, Staged};
use crate::host::pipes::Ends;
use crate::session::exit_code;
use crate::stdio::pipe;
use crate::stdio::pty::Pty;
use crate::subreaper::{self, Job};
use crate::sys::block::{Blocks, PrivateStack};
use crate::sys::clone::{self, Child, Lent, Place};
use crate::sys::exec::Program;
use crate::sys::fds;
use crate::sys::process::Limit;
use crate::wire::{
    Credentials, Directive, Failure, Id, Leftover, Maps, Namespace, Request, Stage, Stdio, Where,
};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// The descriptors that last, one or more for each session, are at or above this number; below it are those that
/// a new process needs. So no process has to copy, or close, thousands of them.
pub const LASTING: RawFd = 64;

/// What the agent has for all its sessions.
pub struct Means {
    pub blocks: Blocks,
    /// Where subreapers say that there is something to see.
    pub bell: OwnedFd,
    /// `RLIMIT_NOFILE` as it was given to the agent, if it has changed its own.
    pub open_files: Option<Limit>,
    /// Whether a main process may begin in our memory.
    pub lends_memory: bool,
}

/// Before Linux 5.16 the core dump of one process killed all that shared its memory (kernel commit 0258b5fd7c71), and a
/// main process can be made to dump core between its last steps and exec.
pub fn may_lend_memory() -> bool {
    let release = nix::sys::utsname::uname();
    let release = release
        .as_ref()
        .map_or("", |names| names.release().to_str().unwrap_or(""));
    is_at_least(release, [5, 16])
}

fn is_at_least(release: &str, wanted: [u32; 2]) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    [next(), next()] >= wanted
}

/// A session's process on its way to the checkpoint.
pub struct Launched {
    pub stage: Launching,
    /// What the new processes look at until the main process has executed its program.
    pub job: Lent<Job>,
    pub page: Page,
    /// The agent's end of the channel, not blocking, when the main process is to park.
    pub channel: Option<OwnedFd>,
    /// The other ends, to be closed once the new processes have them.
    pub passed: Vec<OwnedFd>,
    pub pty: Option<Pty>,
    pub pipes: Ends,
    /// What the main process waits for, if its ids are to be mapped.
    pub maps: Option<Maps>,
    /// Whether the subreaper is in another PID namespace, in which the main process has another number.
    pub elsewhere: bool,
}

pub enum Launching {
    /// The subreaper is there, and makes the main process.
    Subreaper(Child),
    /// The subreaper will be made by this one, which is joining another process's namespaces.
    Intermediate(Child),
}

/// Why nothing was launched, and the exit code that goes with it.
pub type Refusal = (Failure, i32);

/// Clones the subreaper of a session, or the intermediate that will. With `parks` the main process stops at the
/// checkpoint.
pub fn launch(
    request: Request,
    id: Id,
    parks: bool,
    means: &mut Means,
) -> Result<Launched, Refusal> {
    let own_means = |failure| (failure, exit_code::INFRASTRUCTURE);
    let block = means
        .blocks
        .take()
        .map_err(Stage::SharedPage.failed())
        .map_err(own_means)?;
    let page = Page::new(block);
    let maps = request.maps.clone();
    let result = launch_with(request, id, parks, means, &page);
    match result {
        Ok((stage, job, ends, elsewhere)) => Ok(Launched {
            stage,
            job,
            page,
            channel: ends.channel,
            passed: ends.passed,
            pty: ends.pty,
            pipes: ends.pipes,
            maps,
            elsewhere,
        }),
        Err(refusal) => {
            means.blocks.give_back(page.into_block());
            Err(refusal)
        }
    }
}

/// The descriptors of a new session.
#[derive(Default)]
struct Descriptors {
    channel: Option<OwnedFd>,
    passed: Vec<OwnedFd>,
    pty: Option<Pty>,
    pipes: Ends,
}

fn launch_with(
    request: Request,
    id: Id,
    parks: bool,
    means: &Means,
    page: &Page,
) -> Result<(Launching, Lent<Job>, Descriptors, bool), Refusal> {
    let own_means = |failure| (failure, exit_code::INFRASTRUCTURE);
    let mut ends = Descriptors::default();
    let mut pass = |fd: OwnedFd| {
        let number = fd.as_raw_fd();
        ends.passed.push(fd);
        number
    };
    let mut standard = [None; 3];
    match &request.stdio {
        Stdio::Pty => {
            let (pty, slave) = Pty::open().map_err(own_means)?;
            if let Some(size) = request.winsize {
                let set = pty.set_window_size(size);
                set.map_err(Stage::PtSetup.failed()).map_err(own_means)?;
            }
            ends.pty = Some(pty);
            standard = [Some(pass(slave)); 3];
        }
        Stdio::Each([stdin, stdout, stderr]) => {
            if *stdin == Directive::Pipe {
                let (ours, theirs) = pipe::input().map_err(own_means)?;
                ends.pipes.stdin = Some(ours);
                standard[0] = Some(pass(theirs));
            }
            if *stdout == Directive::Pipe {
                let (ours, theirs) = pipe::output().map_err(own_means)?;
                ends.pipes.stdout = Some(ours);
                standard[1] = Some(pass(theirs));
            }
            if *stderr == Directive::Pipe {
                let (ours, theirs) = pipe::output().map_err(own_means)?;
                ends.pipes.stderr = Some(ours);
                standard[2] = Some(pass(theirs));
            }
        }
    }
    if let (Some(maps), Some(uid)) = (&request.maps, request.credentials.uid) {
        // In there it is not for the workload to make them its own.
        if let Some(owner) = maps::outside(&maps.uid, uid) {
            for fd in standard.iter().flatten() {
                let _ = fds::give(*fd, owner);
            }
        }
    }
    let entering = matches!(request.place, Where::Of { .. });
    let channel = if parks || entering {
        let (ours, childs) = message_channel().map_err(own_means)?;
        ends.channel = Some(ours);
        Some(pass(childs))
    } else {
        None
    };
    let cgroup = request
        .cgroup
        .as_deref()
        .map(open_directory)
        .transpose()
        .map_err(Stage::Cgroup.failed())
        .map_err(|failure| (failure, exit_code::CLONE))?
        .map(&mut pass);
    // By a path an init could not find it: what is in the way may be the agent's alone.
    let origin = request.origin.as_deref().filter(|_| request.init);
    let start = origin
        .map(open_directory)
        .transpose()
        .map_err(Stage::Chdir.failed())
        .map_err(|failure| (failure, exit_code::CLONE))?
        .map(&mut pass);
    let inherits_orphans = request.inherits_orphans() || request.init;
    let few = ends.passed.iter().all(|fd| fd.as_raw_fd() < LASTING);
    let chained = !request.chain.is_empty();
    let argvs = std::iter::once(request.argv).chain(request.chain);
    let bell = Bell {
        fd: means.bell.as_raw_fd(),
        id,
    };
    let mut job = Job {
        main: Plan {
            program: Program::new(argvs.collect(), request.arg0, request.env),
            bell: chained.then_some(bell),
            stdio: request.stdio,
            standard,
            cwd: request.cwd,
            files: request.files.into_iter().map(Staged::new).collect(),
            no_new_privs: request.no_new_privs,
            credentials: request.credentials,
            mapping: match request.maps {
                Some(_) => Mapping::Wanted,
                None => Mapping::Foreign,
            },
            has_own_mounts: request.place.is_fresh(Namespace::Mount),
            setup: request.setup,
            confine: held::encode(&request.confine),
            dies_with_parent: request.orphan == Leftover::Kill,
            open_files: means.open_files,
            channel,
            report: page.report(),
        },
        origin: request.origin.filter(|_| start.is_none()),
        start,
        namespaces: 0,
        cgroup,
        inherits_orphans,
        dies_with: Some(nix::unistd::getpid().as_raw()),
        pid_namespace: None,
        shared_below: few.then_some(LASTING),
        in_our_memory: false,
        is_init: false,
        asks_for_maps: false,
        stack: chained.then(PrivateStack::new),
        bell,
    };
    let (stage, job, elsewhere) = match &request.place {
        Where::Fresh(namespaces) => {
            let fresh = namespaces
                .iter()
                .fold(0, |flags, namespace| flags | namespace.clone_flag() as u64);
            if request.init {
                // Its death is the namespace's end. Whether the agent has died before it could ask for that, it
                // cannot know: the parent of an init has no number there. A main process that is not released by then
                // sees the channel closed, and ends, and so does its init.
                if request.orphan == Leftover::Leave {
                    job.dies_with = None;
                }
                let (job, made) = init(job, fresh, few);
                return made
                    .map(|child| (Launching::Subreaper(child), job, ends, true))
                    .map_err(Stage::Clone.failed())
                    .map_err(|failure| (failure, exit_code::CLONE));
            }
            job.namespaces = fresh;
            // The kernel gives a time namespace to a memory of its own only, where clone(2) has to do.
            let timed = namespaces.contains(&Namespace::Time);
            // Nor shall a process of another user have the agent's, or one that a filter may kill.
            let ours =
                job.main.credentials == Credentials::default() && job.main.confine.is_empty();
            job.in_our_memory =
                channel.is_none() && !timed && ours && !chained && means.lends_memory;
            let job = Lent::new(job);
            clone::beside(page.stack(), few, subreaper::run, &job)
                .map(|child| (Launching::Subreaper(child), job, false))
                .map_err(Stage::Clone.failed())
        }
        Where::Of { target, only } => {
            let namespaces = enter::open_namespaces(*target, only.as_deref())
                .map_err(|failure| (failure, exit_code::CLONE))?;
            let elsewhere = inherits_orphans && enter::pid_namespace(&namespaces).is_some();
            if elsewhere {
                // Should the subreaper be killed, the agent has to find what the workload has started,
                // which it can only below a living one.
                job.main.dies_with_parent = false;
                job.dies_with = None;
            } else {
                job.pid_namespace = enter::pid_namespace(&namespaces);
            }
            let entering = enter::enter(&namespaces, job);
            ends.passed.extend(namespaces.into_iter().map(|(_, fd)| fd));
            entering.map(|(child, job)| (Launching::Intermediate(child), job, elsewhere))
        }
    }
    .map_err(|failure| (failure, exit_code::CLONE))?;
    Ok((stage, job, ends, elsewhere))
}

fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// A subreaper that is pid 1 of a fresh PID namespace, and in all the others of `namespaces`. It has a memory of its
/// own, which nobody there may look into.
fn init(mut job: Job, namespaces: u64, few: bool) -> (Lent<Job>, Result<Child, Errno>) {
    let cgroup = job.cgroup.take();
    let place = Place { namespaces, cgroup };
    job.is_init = true;
    if job.main.mapping == Mapping::Wanted {
        job.main.mapping = Mapping::Done;
        job.asks_for_maps = true;
    }
    let job = Lent::new(job);
    let made = clone::child_in(place, few, || subreaper::run(&job));
    (job, made)
}

/// A pair of connected sockets that keep messages apart; ours lasts, and does not block.
fn message_channel() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .and_then(|(ours, theirs)| {
        let ours = fds::raise(ours, LASTING);
        fcntl(ours.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((ours, theirs))
    })
    .map_err(Stage::SocketPair.failed())
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn releases_are_numbers_in_front() {
        for release in ["5.16", "5.16.0-rc1", "6.1.0-18-amd64", "10.0", "6"] {
            assert!(is_at_least(release, [5, 16]), "{release}");
        }
        for release in ["", "5", "5.15.0-91-generic", "4.19.0", "generic"] {
            assert!(!is_at_least(release, [5, 16]), "{release}");
        }
    }
}
