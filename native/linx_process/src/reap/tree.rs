//! The processes below this one, as `/proc` shows them.

use crate::sys::pidfd;
use nix::errno::Errno;
use nix::sys::resource::{getrlimit, Resource};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// A tree that goes on growing is not looked at for ever.
const MAX_LOOKS: usize = 32;

/// More descriptors than this are never needed at a time to look into `/proc`.
const FOR_PROC: usize = 4;

/// How to look for children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// `/proc/<pid>/task/<tid>/children`: cheap, but may miss what changes meanwhile (proc(5)).
    Children,
    /// The parent of every process there is.
    Everything,
}

/// Whose tree it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Everything below this process.
    Below(libc::pid_t),
    /// The children of the calling process that it does not know, and everything below them: what it has inherited.
    Strays,
}

/// The children of the calling process that are no strays.
#[derive(Default)]
pub struct Known {
    pub pids: HashSet<libc::pid_t>,
    /// Where the pid of a child appears that one of `pids` makes for us (`CLONE_PARENT`), before that child begins.
    pub expected: HashMap<libc::pid_t, &'static AtomicI32>,
}

impl Known {
    pub fn contains(&self, pid: libc::pid_t) -> bool {
        let mut expected = self.expected.values();
        self.pids.contains(&pid) || expected.any(|cell| cell.load(Ordering::SeqCst) == pid)
    }

    pub fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    /// Whether a child may be there before its pid is: the kernel shows it first, and writes the pid then, before it
    /// begins (`kernel_clone`, kernel/fork.c).
    fn awaits(&self) -> bool {
        let mut expected = self.expected.values();
        expected.any(|cell| cell.load(Ordering::SeqCst) == 0)
    }
}

/// The tree of `root` without its root, parents before their children. `known` are no strays.
pub fn descendants(root: Root, search: Search, known: &Known) -> Vec<libc::pid_t> {
    let children = children_of(search);
    let mut found = match root {
        Root::Below(pid) => children(pid),
        Root::Strays => {
            // Asked first: what is shown behind it with its pid is known.
            let awaits = known.awaits();
            let mut strays = unknown(children(own_pid()), known);
            if awaits {
                // Until it begins it has our name. Who took that has a little longer to live.
                let own = fs::read("/proc/self/comm").unwrap_or_default();
                strays.retain(|pid| {
                    !fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == own)
                });
            }
            strays
        }
    };
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children(*pid));
        next += 1;
    }
    found
}

/// The children of the calling process that it does not know.
pub fn strays(search: Search, known: &Known) -> Vec<libc::pid_t> {
    unknown(children_of(search)(own_pid()), known)
}

fn unknown(mut children: Vec<libc::pid_t>, known: &Known) -> Vec<libc::pid_t> {
    children.retain(|pid| !known.contains(*pid));
    children
}

fn own_pid() -> libc::pid_t {
    nix::unistd::getpid().as_raw()
}

/// The descendants of any process, parents before their children.
fn below(root: libc::pid_t, search: Search) -> Vec<libc::pid_t> {
    descendants(Root::Below(root), search, &Known::default())
}

/// How to find the children of a process. Without `CONFIG_PROC_CHILDREN` in the kernel every search is for
/// everything.
fn children_of(search: Search) -> Box<dyn Fn(libc::pid_t) -> Vec<libc::pid_t>> {
    match search {
        Search::Children if lists_children() => Box::new(listed_children),
        _ => {
            let families = families();
            Box::new(move |pid| families.get(&pid).cloned().unwrap_or_default())
        }
    }
}

/// Stops and kills a process whose parent has died, and all that is below it.
pub fn end(root: libc::pid_t, pidfd: BorrowedFd) {
    let mut stopped = 0;
    loop {
        let _ = pidfd::send_signal(pidfd, libc::SIGSTOP);
        let mut tree = below(root, Search::Everything);
        signal(&tree, &tree, Root::Below(root), libc::SIGSTOP);
        if tree.len() <= stopped {
            let parents_first = tree.clone();
            tree.reverse();
            signal(&tree, &parents_first, Root::Below(root), libc::SIGKILL);
            let _ = pidfd::send_signal(pidfd, libc::SIGKILL);
            return;
        }
        stopped = tree.len();
    }
}

/// Sends `signal` to everybody below `root`, also to those who appear meanwhile.
pub fn signal_all(root: libc::pid_t, signal: libc::c_int) {
    if signal == libc::SIGKILL {
        // So that nobody ends by itself, and leaves others, because of another's end.
        signal_all(root, libc::SIGSTOP);
    }
    let mut signalled = HashSet::new();
    for _ in 0..MAX_LOOKS {
        let tree = below(root, Search::Children);
        let mut fresh = tree.clone();
        fresh.retain(|pid| signalled.insert(*pid));
        if fresh.is_empty() {
            return;
        }
        if signal == libc::SIGKILL {
            // Children first: without their parent they could not be told from strangers.
            fresh.reverse();
        }
        self::signal(&fresh, &tree, Root::Below(root), signal);
    }
}

/// Sends `signal` to `pids`, members of `tree`. Each is pinned first, and must still be
/// a child of the root or of the tree then: its pid may have passed on to a stranger.
///
/// As many as possible are pinned before the first of them is signalled: what a parent leaves that ends of
/// that does not come to an agent that is no subreaper, and would not be known any more.
pub fn signal(pids: &[libc::pid_t], tree: &[libc::pid_t], root: Root, signal: libc::c_int) {
    let root = match root {
        Root::Below(pid) => pid,
        Root::Strays => own_pid(),
    };
    let mut rest = pids;
    while !rest.is_empty() {
        let (pidfds, behind) = pin(rest);
        rest = behind;
        // A child of the root is known by its list, also when `/proc` does not show it to us.
        let children = listed_children(root);
        let is_ours = |pid: libc::pid_t| {
            let of_tree = |parent| parent == root || tree.contains(&parent);
            children.contains(&pid) || parent(pid).is_some_and(of_tree)
        };
        let ours: Vec<_> = pidfds
            .into_iter()
            .filter(|(pid, _)| is_ours(*pid))
            .collect();
        for (_, pidfd) in ours {
            // It may have ended by now, or become another user's: nothing to do about either.
            let _ = pidfd::send_signal(pidfd.as_fd(), signal);
        }
    }
}

/// Pins as many of `pids` as there are descriptors for, but those that `/proc` takes, and returns the rest. Those that
/// have ended are left out.
fn pin(pids: &[libc::pid_t]) -> (Vec<(libc::pid_t, OwnedFd)>, &[libc::pid_t]) {
    let mut pinned: Vec<(usize, OwnedFd)> = Vec::new();
    let mut end = pids.len().min(pinnable());
    for (place, pid) in pids[..end].iter().enumerate() {
        match pidfd::open(*pid) {
            Ok(pidfd) => pinned.push((place, pidfd)),
            Err(Errno::EMFILE | Errno::ENFILE) if pinned.len() > FOR_PROC => {
                let fewer = pinned.len() - FOR_PROC;
                end = pinned[fewer].0;
                pinned.truncate(fewer);
                break;
            }
            Err(_) => {}
        }
    }
    let pinned = pinned.into_iter().map(|(place, fd)| (pids[place], fd));
    (pinned.collect(), &pids[end..])
}

/// How many processes are pinned at a time at most, by a descriptor each.
fn pinnable() -> usize {
    let (soft, _hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    usize::try_from(soft / 2).unwrap_or(usize::MAX).max(1)
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

/// `None` when there is no such process, or none that we are shown.
pub fn parent(pid: libc::pid_t) -> Option<libc::pid_t> {
    stat_field(pid, 4)
}

/// A field of `/proc/<pid>/stat`, numbered as in proc(5), behind the second:
/// the command's name may contain anything.
fn stat_field(pid: libc::pid_t, number: usize) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[behind_name..]).ok()?;
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

/// Whether this is the name that the process has given itself.
pub fn is_named(pid: libc::pid_t, name: &CStr) -> bool {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.strip_suffix(b"\n") == Some(name.to_bytes())
}

/// Whether `pid` would get `signal` at all if it were pid 1 of its namespace: the kernel withholds from an init
/// what it neither handles nor blocks, but for these two, when they come from above.
pub fn gets(pid: libc::pid_t, signal: libc::c_int) -> bool {
    if [libc::SIGKILL, libc::SIGSTOP].contains(&signal) {
        return true;
    }
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
        .any(|mask| mask & (1 << (signal - 1)) != 0)
}

/// Whether somebody traces this process (ptrace(2)), who then hears of its end before its parent does.
pub fn is_traced(pid: libc::pid_t) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|pid| pid.trim() != "0")
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
            let found = descendants(Root::Below(own_pid()), search, &Known::default());
            let position = |pid| found.iter().position(|p| *p == pid);
            assert!(
                position(pid).unwrap() < position(sleep).unwrap(),
                "{search:?}"
            );
        }
        assert_eq!(parent(sleep), Some(pid));
        assert_eq!(only_child(pid), Some(sleep));
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
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        // Its parent is neither of these.
        signal(&[pid], &[pid], Root::Below(1), libc::SIGKILL);
        assert_eq!(child.try_wait().unwrap(), None);
        signal(&[pid], &[], Root::Below(own_pid()), libc::SIGKILL);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_child_that_may_be_expected_is_spared_until_its_pid_is_known() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let script = "printf %s \"$0\" > /proc/$$/comm; echo; read line";
        let mut child = Command::new("/bin/sh")
            .args(["-c", script, own.trim_end()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let told = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]);
        assert_eq!(told.unwrap(), 1);
        let pid = child.id() as i32;
        let cell: &AtomicI32 = Box::leak(Box::default());
        let mut known = Known::default();
        let is_found =
            |known: &Known| descendants(Root::Strays, Search::Children, known).contains(&pid);
        assert!(is_found(&known));
        known.expected.insert(1, cell);
        assert!(!is_found(&known));
        assert!(strays(Search::Children, &known).contains(&pid));
        // It is another one.
        cell.store(pid + 1, Ordering::SeqCst);
        assert!(is_found(&known));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_unknown_children_are_strays() {
        let mut children = [(); 2].map(|()| Command::new("/bin/sleep").arg("60").spawn().unwrap());
        let [known, stray] = [0, 1].map(|n| children[n].id() as i32);
        let pids = HashSet::from([known]);
        let family = Known {
            pids,
            ..Known::default()
        };
        let found = strays(Search::Children, &family);
        assert!(found.contains(&stray) && !found.contains(&known));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
