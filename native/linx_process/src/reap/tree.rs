//! The processes below this one, as `/proc` shows them.

use crate::sys::pidfd;
use nix::errno::Errno;
use nix::sys::resource::{getrlimit, Resource};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A tree that goes on growing is not looked at for ever.
const MAX_LOOKS: usize = 32;

/// How to look for children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// `/proc/<pid>/task/<tid>/children`: cheap, but may miss what changes meanwhile (proc(5)).
    Children,
    /// The parent of every process there is.
    Everything,
}

/// The descendants of the calling process, parents before their children.
pub fn descendants(search: Search) -> Vec<libc::pid_t> {
    below(nix::unistd::getpid().as_raw(), search)
}

/// The descendants of any process, parents before their children. Without
/// `CONFIG_PROC_CHILDREN` in the kernel every search is for everything.
fn below(root: libc::pid_t, search: Search) -> Vec<libc::pid_t> {
    let children: Box<dyn Fn(libc::pid_t) -> Vec<libc::pid_t>> = match search {
        Search::Children if lists_children() => Box::new(listed_children),
        _ => {
            let families = families();
            Box::new(move |pid| families.get(&pid).cloned().unwrap_or_default())
        }
    };
    let mut found = children(root);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children(*pid));
        next += 1;
    }
    found
}

/// Stops and kills a process that is not below this one, and all that is below it.
pub fn end(root: libc::pid_t, pidfd: BorrowedFd) {
    let mut stopped = 0;
    loop {
        let _ = pidfd::send_signal(pidfd, libc::SIGSTOP);
        let mut tree = vec![root];
        tree.extend(below(root, Search::Everything));
        signal(&tree[1..], &tree, libc::SIGSTOP);
        if tree.len() <= stopped {
            tree.reverse();
            signal(&tree[..tree.len() - 1], &tree, libc::SIGKILL);
            let _ = pidfd::send_signal(pidfd, libc::SIGKILL);
            return;
        }
        stopped = tree.len();
    }
}

/// Sends `signal` to everybody below this process but `spared`, also to those who appear meanwhile.
pub fn signal_all(spared: Option<libc::pid_t>, signal: libc::c_int) {
    if signal == libc::SIGKILL {
        // So that nobody ends by itself, and leaves others, because of another's end.
        signal_all(spared, libc::SIGSTOP);
    }
    let mut signalled = HashSet::new();
    for _ in 0..MAX_LOOKS {
        let tree = descendants(Search::Children);
        let mut fresh = tree.clone();
        fresh.retain(|pid| Some(*pid) != spared && signalled.insert(*pid));
        if fresh.is_empty() {
            return;
        }
        if signal == libc::SIGKILL {
            // Children first: without their parent they could not be told from strangers.
            fresh.reverse();
        }
        self::signal(&fresh, &tree, signal);
    }
}

/// Sends `signal` to `pids`, members of `tree`. Each is pinned first, and must still be
/// a child of the tree then: its pid may have passed on to a stranger.
///
/// As many as possible are pinned before the first of them is signalled: what a parent leaves that ends of
/// that does not come to an agent that is no subreaper, and would not be known any more.
pub fn signal(pids: &[libc::pid_t], tree: &[libc::pid_t], signal: libc::c_int) {
    // A child of our own keeps its pid until we reap it, also when `/proc` does not show it to us.
    let own = listed_children(nix::unistd::getpid().as_raw());
    let pinned = |pid: &libc::pid_t| {
        if own.contains(pid) {
            pidfd::open(*pid)
        } else {
            pin(*pid, tree)
        }
    };
    for some in pids.chunks(pinnable()) {
        let pidfds: Vec<_> = some.iter().flat_map(pinned).collect();
        for pidfd in pidfds {
            // It may have ended by now, or become another user's: nothing to do about either.
            let _ = pidfd::send_signal(pidfd.as_fd(), signal);
        }
    }
}

/// How many processes can be pinned at a time, by a descriptor each.
fn pinnable() -> usize {
    let (soft, _hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    usize::try_from(soft / 2).unwrap_or(usize::MAX).max(1)
}

fn pin(pid: libc::pid_t, tree: &[libc::pid_t]) -> Result<OwnedFd, Errno> {
    let pidfd = pidfd::open(pid)?;
    let parent = parent(pid).ok_or(Errno::ESRCH)?;
    let ours = parent == nix::unistd::getpid().as_raw() || tree.contains(&parent);
    ours.then_some(pidfd).ok_or(Errno::ESRCH)
}

/// The only child of a process that has one.
pub fn only_child(pid: libc::pid_t) -> Option<libc::pid_t> {
    below(pid, Search::Children).first().copied()
}

/// Whether the kernel has `children` files (`CONFIG_PROC_CHILDREN`).
fn lists_children() -> bool {
    let own = nix::unistd::getpid();
    fs::metadata(format!("/proc/self/task/{own}/children")).is_ok()
}

/// The children of all threads of `pid`. A thread that ends meanwhile gives its children to another.
fn listed_children(pid: libc::pid_t) -> Vec<libc::pid_t> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let mut children = Vec::new();
    for task in tasks.into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    children
}

fn families() -> HashMap<libc::pid_t, Vec<libc::pid_t>> {
    let mut families: HashMap<_, Vec<_>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(parent) = parent(pid) {
            families.entry(parent).or_default().push(pid);
        }
    }
    families
}

fn parent(pid: libc::pid_t) -> Option<libc::pid_t> {
    stat_field(pid, 4)
}

/// Whether the process has executed anything since it was cloned, when it is
/// not our child ([`crate::sys::wait::has_execed`]): exec takes the flag
/// `PF_FORKNOEXEC` from it. `None` when it is gone.
pub fn has_execed(pid: libc::pid_t) -> Option<bool> {
    const PF_FORKNOEXEC: libc::pid_t = 0x40;
    stat_field(pid, 9).map(|flags| flags & PF_FORKNOEXEC == 0)
}

/// A field of `/proc/<pid>/stat`, numbered as in proc(5), behind the second:
/// the command's name may contain anything.
fn stat_field(pid: libc::pid_t, number: usize) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[behind_name..]).ok()?;
    let field: i64 = fields.split_whitespace().nth(number - 3)?.parse().ok()?;
    // The flags are unsigned.
    Some(field as i32)
}

/// Whether this is the name that the process has given itself.
pub fn is_named(pid: libc::pid_t, name: &CStr) -> bool {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.strip_suffix(b"\n") == Some(name.to_bytes())
}

/// Whether `pid` would get SIGTERM at all if it were pid 1 of its namespace:
/// the kernel withholds from an init what it neither handles nor blocks.
pub fn handles_sigterm(pid: libc::pid_t) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("SigCgt:")
                .or(line.strip_prefix("SigBlk:"))
        })
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & (1 << (libc::SIGTERM - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn both_searches_find_grandchildren() {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & read line; kill $!"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = shell.id() as i32;
        while listed_children(pid).is_empty() {
            std::thread::yield_now();
        }
        let sleep = listed_children(pid)[0];
        for search in [Search::Children, Search::Everything] {
            let found = descendants(search);
            let position = |pid| found.iter().position(|p| *p == pid);
            assert!(
                position(pid).unwrap() < position(sleep).unwrap(),
                "{search:?}"
            );
        }
        assert_eq!(parent(sleep), Some(pid));
        assert_eq!(only_child(pid), Some(sleep));
        assert_eq!(has_execed(pid), Some(true));
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    #[test]
    fn children_stay_in_sight_while_threads_come_and_go() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| {}).join().unwrap();
                }
            });
            let own = nix::unistd::getpid().as_raw();
            let missed = (0..2000).filter(|_| !listed_children(own).contains(&pid));
            let missed = missed.count();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_stranger_is_not_signalled() {
        assert_eq!(pin(1, &[]).err(), Some(Errno::ESRCH));
    }
}
