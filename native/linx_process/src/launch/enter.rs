//! Entering the namespaces of a process that exists.
//!
//! `setns(2)` changes whoever calls it, so a short-lived intermediate joins the
//! namespaces and clones the subreaper with `CLONE_PARENT`: the agent is its
//! parent either way, and its own namespaces stay as they are.
//!
//! An orphan goes to the nearest subreaper *of its own PID namespace*, and else to that namespace's init: so where
//! a PID namespace is entered, the subreaper has to be in there, too, if it is to inherit any. If not, only the main
//! process is.

use super::LASTING;
use crate::subreaper::{self, Job};
use crate::sys::clone::{self, Child, Lent};
use crate::sys::exec::exit;
use crate::sys::{fds, pidfd};
use crate::wire::{Failure, Namespace, Stage};
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sched::{setns, CloneFlags};
use nix::sys::prctl;
use nix::sys::stat::{fstat, stat, Mode};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Namespaces to enter, and their types.
pub type Open = Vec<(Namespace, OwnedFd)>;

/// Clones an intermediate that enters `namespaces` and clones the subreaper, whose pid is left in the page.
pub fn enter(namespaces: &Open, mut job: Job) -> Result<(Child, Lent<Job>), Failure> {
    let low = |(_, fd): &(Namespace, OwnedFd)| fd.as_raw_fd() < LASTING;
    let shared_below = job
        .shared_below
        .take()
        .filter(|_| namespaces.iter().all(low));
    let origin = job.origin.take();
    let job = Lent::new(job);
    let report = job.main.report;
    clone::child(shared_below.is_some(), || {
        let separate = shared_below.map_or(Ok(()), fds::unshare_below);
        let made = separate
            .map_err(Stage::Closing.failed())
            .and_then(|()| subreaper::set_out(origin.as_deref()))
            .and_then(|()| join_and_clone(namespaces, &job));
        if let Err(failure) = made {
            report.fail(failure);
        }
        exit(0)
    })
    .map(|child| (child, job))
    .map_err(Stage::Fork.failed())
}

fn join_and_clone(namespaces: &Open, job: &Job) -> Result<(), Failure> {
    for (namespace, fd) in namespaces {
        if job.pid_namespace == Some(fd.as_raw_fd()) {
            continue;
        }
        if *namespace == Namespace::User {
            // The root of that namespace must not get hold of a process that has the agent's memory
            // and descriptors (ptrace(2)). Exec makes it an ordinary one again.
            prctl::set_dumpable(false).map_err(Stage::SetNs(*namespace).failed())?;
        }
        setns(fd, CloneFlags::empty()).map_err(Stage::SetNs(*namespace).failed())?;
    }
    let pid = job.main.report.subreaper_cell();
    let made = clone::sibling(pid, || subreaper::run(job));
    made.map(drop).map_err(Stage::Fork.failed())
}

/// The PID namespace among them.
pub fn pid_namespace(namespaces: &Open) -> Option<RawFd> {
    let mut pid = namespaces
        .iter()
        .filter(|(namespace, _)| *namespace == Namespace::Pid);
    pid.next().map(|(_, fd)| fd.as_raw_fd())
}

/// Opens the namespaces of `target` that are not the agent's own: all of them, or those in `only`.
///
/// The pidfd makes sure that they are `target`'s: if it is alive after the last was opened, its pid had
/// not been reused. `ENOENT` at the first `open_ns_*` when there is no such process, or only a zombie.
pub fn open_namespaces(target: libc::pid_t, only: Option<&[Namespace]>) -> Result<Open, Failure> {
    let wanted: Vec<_> = Namespace::ALL
        .into_iter()
        .filter(|namespace| only.is_none_or(|only| only.contains(namespace)))
        .collect();
    let first = wanted.first().copied().unwrap_or(Namespace::User);
    let missing = || Stage::OpenNs(first).failed()(Errno::ENOENT);

    let pinned = pidfd::open(target).map_err(|errno| match errno {
        Errno::ESRCH | Errno::EINVAL => missing(),
        errno => Stage::OpenNs(first).failed()(errno),
    })?;
    let mut namespaces = Vec::new();
    for namespace in wanted {
        match open_foreign(target, namespace) {
            Ok(fd) => namespaces.extend(fd.map(|fd| (namespace, fd))),
            // A kernel without this type has no file for ourselves either.
            Err(Errno::ENOENT) if stat(own(namespace).as_str()).is_err() => {
                if only.is_some() {
                    return Err(Stage::OpenNs(namespace).failed()(Errno::ENOENT));
                }
            }
            // A process that is ending loses its namespaces before its pidfd says so.
            Err(Errno::ENOENT) => return Err(missing()),
            Err(_) if has_ended(pinned.as_fd()) => return Err(missing()),
            Err(errno) => return Err(Stage::OpenNs(namespace).failed()(errno)),
        }
    }
    if has_ended(pinned.as_fd()) {
        return Err(missing());
    }
    Ok(namespaces)
}

/// A namespace of `target`'s, unless it is the agent's own: joining that again
/// would be refused (`EINVAL` for the user namespace).
fn open_foreign(target: libc::pid_t, namespace: Namespace) -> Result<Option<OwnedFd>, Errno> {
    let path = format!("/proc/{target}/ns/{}", namespace.proc_name());
    let fd = open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let theirs = fstat(&fd)?;
    let same = stat(own(namespace).as_str())
        .is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino));
    Ok((!same).then_some(fd))
}

fn own(namespace: Namespace) -> String {
    format!("/proc/self/ns/{}", namespace.proc_name())
}

/// A pidfd is readable once its process is a zombie, or gone.
fn has_ended(pidfd: BorrowedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) != Ok(0)
}
