//! Entering the namespaces of a process that exists.
//!
//! `setns(2)` changes whoever calls it, so a short-lived intermediate joins the
//! namespaces and clones the main process with `CLONE_PARENT`: the agent is its
//! parent either way, and its own namespaces stay as they are.

use crate::child::{self, Plan};
use crate::sys::clone::{self, Child};
use crate::sys::exec::exit;
use crate::sys::pidfd;
use crate::wire::{Failure, Namespace, Stage};
use nix::errno::Errno;
use nix::fcntl::{open, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sched::{setns, CloneFlags};
use nix::sys::stat::{fstat, stat, Mode};
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Clones an intermediate that enters the namespaces of `target` (all of them,
/// or those in `only`) and clones the main process, whose pid it leaves in the page.
///
/// `ENOENT` at the first `open_ns_*` when there is no such process, or nothing but a zombie.
pub fn enter(
    target: libc::pid_t,
    only: Option<&[Namespace]>,
    plan: &Plan,
) -> Result<Child, Failure> {
    let namespaces = open_namespaces(target, only)?;
    clone::child(0, || intermediate(&namespaces, plan)).map_err(Stage::Fork.failed())
}

fn intermediate(namespaces: &[(Namespace, OwnedFd)], plan: &Plan) -> Infallible {
    match join_and_clone(namespaces, plan) {
        Ok(pid) => plan.page.set_pid(pid),
        Err(failure) => plan.page.report(failure),
    }
    exit(0)
}

fn join_and_clone(
    namespaces: &[(Namespace, OwnedFd)],
    plan: &Plan,
) -> Result<libc::pid_t, Failure> {
    for (namespace, fd) in namespaces {
        setns(fd, CloneFlags::empty()).map_err(Stage::SetNs(*namespace).failed())?;
    }
    clone::sibling(|| child::run(plan)).map_err(Stage::Fork.failed())
}

/// The namespaces to enter, open. The pidfd makes sure that all of them are
/// `target`'s: if it is alive after the last was opened, its pid had not been reused.
fn open_namespaces(
    target: libc::pid_t,
    only: Option<&[Namespace]>,
) -> Result<Vec<(Namespace, OwnedFd)>, Failure> {
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
            Err(Errno::ENOENT) if only.is_none() && stat(own(namespace).as_str()).is_err() => {}
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
