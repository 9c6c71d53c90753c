//! What a parked child is told to do to itself.
//!
//! To the child these travel as postcard writes them: it reads them where they lie, since it does not allocate.

use super::{Failure, Landlock, Mount, Stage};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// `B` is bytes: a vector in the agent, a slice of the message in the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step<B = Vec<u8>> {
    /// Done at once: the place where the program is going to run.
    Setup(Setup<B>),
    /// Likewise, as the C agent has it.
    Now(Confinement<B>),
    /// Tried at once, and done before the program runs, in the order of the kinds.
    Hold(Confinement<B>),
}

/// What is done to the namespaces that the child is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup<B = Vec<u8>> {
    Hostname(B),
    /// The loopback interface up.
    Loopback,
    /// How far the clocks are ahead of the host's, in nanoseconds.
    TimeOffsets {
        monotonic: i64,
        boottime: i64,
    },
    Mount(Mount<B>),
}

/// What takes something from the process itself, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confinement<B = Vec<u8>> {
    Nice(i32),
    OomScoreAdj(i32),
    /// A bit for each CPU, the first in the lowest of the first byte.
    CpuAffinity(B),
    Umask(u32),
    Limit {
        resource: u32,
        soft: u64,
        hard: u64,
    },
    CapDropBounding(u64),
    Securebits(u32),
    CapSetThread {
        effective: u64,
        permitted: u64,
        inheritable: u64,
    },
    CapSetAmbient(u64),
    NoNewPrivs,
    Landlock(Landlock<B>),
    /// A cBPF program.
    Seccomp(B),
}

/// When something is done: behind what is of a lesser kind, whichever came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Needs the agent's rights.
    Attribute,
    /// Needs CAP_SETPCAP, which the thread sets may take away.
    Bounding,
    Securebits,
    /// Behind the change of credentials, which takes capabilities away.
    ThreadSets,
    Ambient,
    NoNewPrivs,
    /// From here on few files may be opened.
    Landlock,
    Filter,
}

impl Kind {
    pub const BEFORE_CREDENTIALS: [Kind; 3] = [Kind::Attribute, Kind::Bounding, Kind::Securebits];
    pub const AS_THE_USER: [Kind; 2] = [Kind::ThreadSets, Kind::Ambient];
    /// The child can still do what it has to, but for reading and writing files.
    pub const BEFORE_EXEC: [Kind; 2] = [Kind::NoNewPrivs, Kind::Landlock];
    pub const LAST: [Kind; 1] = [Kind::Filter];
}

impl<B> Confinement<B> {
    /// As [`Setup::is_written_to_proc`].
    pub fn is_written_to_proc(&self) -> bool {
        matches!(self, Confinement::OomScoreAdj(_))
    }

    pub fn kind(&self) -> Kind {
        match self {
            Confinement::Nice(_)
            | Confinement::OomScoreAdj(_)
            | Confinement::CpuAffinity(_)
            | Confinement::Umask(_)
            | Confinement::Limit { .. } => Kind::Attribute,
            Confinement::CapDropBounding(_) => Kind::Bounding,
            Confinement::Securebits(_) => Kind::Securebits,
            Confinement::CapSetThread { .. } => Kind::ThreadSets,
            Confinement::CapSetAmbient(_) => Kind::Ambient,
            Confinement::NoNewPrivs => Kind::NoNewPrivs,
            Confinement::Landlock(_) => Kind::Landlock,
            Confinement::Seccomp(_) => Kind::Filter,
        }
    }

    pub fn stage(&self) -> Stage {
        match self {
            Confinement::Nice(_) => Stage::Nice,
            Confinement::OomScoreAdj(_) => Stage::OomScoreAdj,
            Confinement::CpuAffinity(_) => Stage::CpuAffinity,
            Confinement::Umask(_) => Stage::Umask,
            Confinement::Limit { .. } => Stage::Limits,
            Confinement::CapDropBounding(_) => Stage::CapDropBounding,
            Confinement::Securebits(_) => Stage::Securebits,
            Confinement::CapSetThread { .. } => Stage::CapSetThread,
            Confinement::CapSetAmbient(_) => Stage::CapSetAmbient,
            Confinement::NoNewPrivs => Stage::SeccompNoNewPrivs,
            Confinement::Landlock(_) => Stage::LandlockRestrict,
            Confinement::Seccomp(_) => Stage::SeccompInstall,
        }
    }
}

impl<B> Setup<B> {
    /// Whether it is written to a file in `/proc/self`. These are root's once a process has changed its user, so a
    /// child that becomes another in its user namespace does it before.
    pub fn is_written_to_proc(&self) -> bool {
        matches!(self, Setup::TimeOffsets { .. })
    }

    pub fn stage(&self) -> Stage {
        match self {
            Setup::Hostname(_) => Stage::Hostname,
            Setup::Loopback => Stage::Loopback,
            Setup::TimeOffsets { .. } => Stage::TimeOffsets,
            Setup::Mount(mount) => mount.stage(),
        }
    }
}

impl Step {
    /// How much it carries, beyond itself.
    pub fn bytes(&self) -> usize {
        match self {
            Step::Setup(Setup::Hostname(name)) => name.len(),
            Step::Setup(Setup::Mount(mount)) => mount.bytes(),
            Step::Setup(_) => 0,
            Step::Now(confinement) | Step::Hold(confinement) => confinement.bytes(),
        }
    }
}

impl Confinement {
    fn bytes(&self) -> usize {
        match self {
            Confinement::Seccomp(bytes) | Confinement::CpuAffinity(bytes) => bytes.len(),
            Confinement::Landlock(landlock) => landlock.rules.len(),
            _ => 0,
        }
    }
}

impl<B> Step<B> {
    pub fn stage(&self) -> Stage {
        match self {
            Step::Setup(setup) => setup.stage(),
            Step::Now(confinement) | Step::Hold(confinement) => confinement.stage(),
        }
    }

    /// That it failed with this errno.
    pub fn failed(&self, errno: Errno) -> Failure {
        self.stage().failed()(errno)
    }
}
