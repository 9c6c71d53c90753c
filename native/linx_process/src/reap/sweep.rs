//! The end of everything that is left below this process.
//!
//! Killing first loses against a workload that forks as fast as it can: every
//! death frees a place that the rest fills again. So the whole tree is stopped
//! until nothing new appears, and killed then.

use super::tree::{self, Known, Root, Search};
use crate::subreaper;
use crate::sys::wait::{self, Children};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// What does not die within this time, however often it is killed, hangs in the kernel.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Fewer rounds of killing than this, however long they took, have only shown that the machine is busy.
const ENOUGH: u32 = 200;
/// One step takes no longer than about this, so that the loop it is part of stays responsive.
const STEP: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(1);
/// The pause once it has turned out that this takes its time.
const LONG_PAUSE: Duration = Duration::from_millis(20);
/// So many looks that find nobody new mean that everybody is stopped.
const QUIET: u32 = 2;
/// After so many rounds of killing the tree is stopped again, and searched for more thoroughly.
const ROUNDS: u32 = 50;

#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left.
    Done,
    /// What is left does not die.
    GaveUp,
    /// Another step is due after this time, or when a child ends.
    Again(Duration),
}

/// A sweep in progress.
pub struct Sweep {
    root: Root,
    started: Instant,
    search: Search,
    stopped: HashSet<libc::pid_t>,
    quiet: u32,
    rounds: u32,
}

impl Sweep {
    /// What is below a subreaper goes on to be swept until that ends; strays until there are none.
    pub fn of(root: Root) -> Self {
        Sweep {
            root,
            started: Instant::now(),
            search: Search::Children,
            stopped: HashSet::new(),
            quiet: 0,
            rounds: 0,
        }
    }

    /// Goes on as far as it gets without waiting. `known` are the children that are no strays.
    pub fn step(&mut self, known: &Known) -> Progress {
        let begun = Instant::now();
        while self.quiet < QUIET {
            if !self.anybody_left(known) {
                return Progress::Done;
            }
            self.stop(known);
            if begun.elapsed() > STEP && self.started.elapsed() < PATIENCE {
                return Progress::Again(Duration::ZERO);
            }
        }
        let tree = self.tree(known);
        // Children first: without their parent they could not be told from strangers.
        let doomed: Vec<_> = self.unspared(&tree).rev().collect();
        tree::signal(&doomed, &tree, self.root, libc::SIGKILL);
        if !self.anybody_left(known) {
            return Progress::Done;
        }
        self.rounds += 1;
        if self.started.elapsed() > PATIENCE && self.rounds >= ENOUGH {
            return Progress::GaveUp;
        }
        if self.rounds % ROUNDS == 0 {
            self.quiet = 0;
            self.stopped.clear();
            self.search = Search::Everything;
        }
        Progress::Again(match self.search {
            Search::Children => PAUSE,
            Search::Everything => LONG_PAUSE,
        })
    }

    fn stop(&mut self, known: &Known) {
        let tree = self.tree(known);
        let mut fresh: Vec<_> = self.unspared(&tree).collect();
        fresh.retain(|pid| self.stopped.insert(*pid));
        self.quiet = if fresh.is_empty() { self.quiet + 1 } else { 0 };
        tree::signal(&fresh, &tree, self.root, libc::SIGSTOP);
    }

    fn tree(&self, known: &Known) -> Vec<libc::pid_t> {
        tree::descendants(self.root, self.search, known)
    }

    /// Those to stop and to kill: everybody but subreapers of ours, which reap
    /// what is killed and then end by themselves. Anybody may take their name,
    /// so they are not spared for long.
    fn unspared<'a>(
        &self,
        tree: &'a [libc::pid_t],
    ) -> impl DoubleEndedIterator<Item = libc::pid_t> + 'a {
        let sparing = self.search == Search::Children;
        tree.iter()
            .copied()
            .filter(move |pid| !(sparing && tree::is_named(*pid, subreaper::NAME)))
    }

    fn anybody_left(&self, known: &Known) -> bool {
        match self.root {
            Root::Below(_) => true,
            Root::Strays => {
                // Nobody else reaps what we have inherited.
                while let Children::Dead(pid) = wait::peek() {
                    if known.contains(pid) {
                        break;
                    }
                    wait::reap_pid(pid);
                }
                if known.is_empty() {
                    return wait::peek() != Children::None;
                }
                let strays = tree::strays(self.search, known);
                strays.iter().for_each(|pid| wait::reap_pid(*pid));
                !tree::strays(self.search, known).is_empty()
            }
        }
    }
}
