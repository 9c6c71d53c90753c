//! The names of the steps that can fail, as they stand in `{:error, Errno, Stage}`.

use nix::errno::Errno;

/// What went wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub errno: Errno,
    pub stage: Stage,
}

/// The namespace types, named as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Namespace {
    User,
    Mount,
    Uts,
    Ipc,
    Cgroup,
    Net,
    Time,
    Pid,
}

impl Namespace {
    /// In the order in which they are entered: user first, because it grants
    /// the capabilities the others need; pid last.
    pub const ALL: [Namespace; 8] = [
        Namespace::User,
        Namespace::Mount,
        Namespace::Uts,
        Namespace::Ipc,
        Namespace::Cgroup,
        Namespace::Net,
        Namespace::Time,
        Namespace::Pid,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|n| n.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Namespace::User => "user",
            Namespace::Mount => "mount",
            Namespace::Uts => "uts",
            Namespace::Ipc => "ipc",
            Namespace::Cgroup => "cgroup",
            Namespace::Net => "net",
            Namespace::Time => "time",
            Namespace::Pid => "pid",
        }
    }

    /// Its file in `/proc/<pid>/ns/`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Namespace::Mount => "mnt",
            other => other.name(),
        }
    }

    /// Its `CLONE_NEW*` flag.
    pub fn clone_flag(self) -> libc::c_int {
        match self {
            Namespace::User => libc::CLONE_NEWUSER,
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Cgroup => libc::CLONE_NEWCGROUP,
            Namespace::Net => libc::CLONE_NEWNET,
            Namespace::Time => libc::CLONE_NEWTIME,
            Namespace::Pid => libc::CLONE_NEWPID,
        }
    }
}

/// Where something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    // The channel to the BEAM.
    MalformedRequest,
    RequestTooBig,
    CommandTooBig,
    Congested,
    // The agent's own means.
    SignalMask,
    SignalFd,
    Epoll,
    Proc,
    Guardian,
    Subreaper,
    // Making the child.
    Pipe,
    SocketPair,
    SharedPage,
    PosixOpenPt,
    PtSetup,
    PtsOpen,
    Clone,
    Fork,
    OpenNs(Namespace),
    SetNs(Namespace),
    // The child, before it is ready.
    Closing,
    ProcessGroup,
    UidMap,
    GidMap,
    DenySetGroups,
    Cgroup,
    ReadyFrame,
    // The child, parked.
    Checkpoint,
    Hostname,
    Loopback,
    TimeOffsets,
    MountBind,
    MountFileSystem,
    MountTarget,
    MountAttributes,
    MountPropagation,
    MountUnmount,
    MountMake,
    PivotRoot,
    Nice,
    OomScoreAdj,
    CpuAffinity,
    Umask,
    Securebits,
    CapDropBounding,
    CapSetThread,
    CapSetAmbient,
    SeccompNoNewPrivs,
    LandlockAbi,
    LandlockRuleset,
    LandlockPath,
    LandlockRule,
    LandlockRestrict,
    SeccompInstall,
    // The child, between proceed and exec.
    Stdio,
    SetGroups,
    SetGid,
    SetUid,
    Chdir,
    StageFile,
    Limits,
    DeathSignal,
    Execve,
    // A running workload.
    Running,
    Ended,
    Signal,
    Sweep,
    PtyIn,
    PtyWinsize,
    PtyMaster,
    Stdin,
}

impl Stage {
    /// For `map_err`: this stage failed with that errno.
    pub fn failed(self) -> impl FnOnce(Errno) -> Failure {
        move |errno| Failure { errno, stage: self }
    }

    /// The stages without a namespace, in the order of their codes.
    const PLAIN: [Stage; 69] = [
        Stage::MalformedRequest,
        Stage::RequestTooBig,
        Stage::CommandTooBig,
        Stage::Congested,
        Stage::SignalMask,
        Stage::SignalFd,
        Stage::Epoll,
        Stage::Proc,
        Stage::Guardian,
        Stage::Subreaper,
        Stage::Pipe,
        Stage::SocketPair,
        Stage::SharedPage,
        Stage::PosixOpenPt,
        Stage::PtSetup,
        Stage::PtsOpen,
        Stage::Clone,
        Stage::Fork,
        Stage::Closing,
        Stage::ProcessGroup,
        Stage::UidMap,
        Stage::GidMap,
        Stage::DenySetGroups,
        Stage::Cgroup,
        Stage::ReadyFrame,
        Stage::Checkpoint,
        Stage::Hostname,
        Stage::Loopback,
        Stage::TimeOffsets,
        Stage::MountBind,
        Stage::MountFileSystem,
        Stage::MountTarget,
        Stage::MountAttributes,
        Stage::MountPropagation,
        Stage::MountUnmount,
        Stage::MountMake,
        Stage::PivotRoot,
        Stage::Nice,
        Stage::OomScoreAdj,
        Stage::CpuAffinity,
        Stage::Umask,
        Stage::Securebits,
        Stage::CapDropBounding,
        Stage::CapSetThread,
        Stage::CapSetAmbient,
        Stage::SeccompNoNewPrivs,
        Stage::LandlockAbi,
        Stage::LandlockRuleset,
        Stage::LandlockPath,
        Stage::LandlockRule,
        Stage::LandlockRestrict,
        Stage::SeccompInstall,
        Stage::Stdio,
        Stage::SetGroups,
        Stage::SetGid,
        Stage::SetUid,
        Stage::Chdir,
        Stage::StageFile,
        Stage::Limits,
        Stage::DeathSignal,
        Stage::Execve,
        Stage::Running,
        Stage::Ended,
        Stage::Signal,
        Stage::Sweep,
        Stage::PtyIn,
        Stage::PtyWinsize,
        Stage::PtyMaster,
        Stage::Stdin,
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Stage> {
        let entering = Namespace::ALL.into_iter();
        let namespaced = entering.flat_map(|n| [Stage::OpenNs(n), Stage::SetNs(n)]);
        Self::PLAIN.into_iter().chain(namespaced)
    }

    /// A number for the page a child shares with the agent; 0 means "none".
    pub fn code(self) -> i32 {
        let position = |stage| Self::PLAIN.iter().position(|s| *s == stage);
        match self {
            Stage::OpenNs(namespace) => 0x100 + namespace as i32,
            Stage::SetNs(namespace) => 0x200 + namespace as i32,
            plain => position(plain).map_or(0, |index| index as i32 + 1),
        }
    }

    /// The inverse of [`Stage::code`].
    pub fn from_code(code: i32) -> Option<Self> {
        let namespace = Namespace::ALL.get((code & 0xff) as usize).copied();
        match code >> 8 {
            0 => Self::PLAIN.get((code as usize).checked_sub(1)?).copied(),
            1 => namespace.map(Stage::OpenNs),
            2 => namespace.map(Stage::SetNs),
            _ => None,
        }
    }

    /// Its atom.
    pub fn name(self) -> String {
        let name = match self {
            Stage::OpenNs(namespace) => return format!("open_ns_{}", namespace.name()),
            Stage::SetNs(namespace) => return format!("setns_{}", namespace.name()),
            Stage::MalformedRequest => "malformed_request",
            Stage::RequestTooBig => "request_too_big",
            Stage::CommandTooBig => "command_too_big",
            Stage::Congested => "congested",
            Stage::SignalMask => "sigprocmask",
            Stage::SignalFd => "signalfd",
            Stage::Epoll => "epoll",
            Stage::Proc => "proc",
            Stage::Guardian => "guardian",
            Stage::Subreaper => "subreaper",
            Stage::Pipe => "pipe2",
            Stage::SocketPair => "socketpair",
            Stage::SharedPage => "mmap",
            Stage::PosixOpenPt => "posix_openpt",
            Stage::PtSetup => "ptsetup",
            Stage::PtsOpen => "pts_open",
            Stage::Clone => "clone",
            Stage::Fork => "fork",
            Stage::Closing => "close_range",
            Stage::ProcessGroup => "process_group",
            Stage::UidMap => "uid_map",
            Stage::GidMap => "gid_map",
            Stage::DenySetGroups => "setgroups_deny",
            Stage::Cgroup => "cgroup",
            Stage::ReadyFrame => "ready_frame",
            Stage::Checkpoint => "checkpoint",
            Stage::Hostname => "hostname",
            Stage::Loopback => "loopback",
            Stage::TimeOffsets => "time_offsets",
            Stage::MountBind => "mount_bind",
            Stage::MountFileSystem => "mount_file_system",
            Stage::MountTarget => "mount_target",
            Stage::MountAttributes => "mount_attributes",
            Stage::MountPropagation => "mount_propagation",
            Stage::MountUnmount => "mount_unmount",
            Stage::MountMake => "mount_make",
            Stage::PivotRoot => "pivot_root",
            Stage::Nice => "nice",
            Stage::OomScoreAdj => "oom_score_adj",
            Stage::CpuAffinity => "cpu_affinity",
            Stage::Umask => "umask",
            Stage::Securebits => "securebits",
            Stage::CapDropBounding => "cap_drop_bounding",
            Stage::CapSetThread => "cap_set_thread",
            Stage::CapSetAmbient => "cap_set_ambient",
            Stage::SeccompNoNewPrivs => "seccomp_no_new_privs",
            Stage::LandlockAbi => "landlock_abi",
            Stage::LandlockRuleset => "landlock_ruleset",
            Stage::LandlockPath => "landlock_path",
            Stage::LandlockRule => "landlock_rule",
            Stage::LandlockRestrict => "landlock_restrict",
            Stage::SeccompInstall => "seccomp_install",
            Stage::Stdio => "stdio",
            Stage::SetGroups => "setgroups",
            Stage::SetGid => "setgid",
            Stage::SetUid => "setuid",
            Stage::Chdir => "chdir",
            Stage::StageFile => "stage_file",
            Stage::Limits => "setrlimit",
            Stage::DeathSignal => "death_signal",
            Stage::Execve => "execve",
            Stage::Running => "running",
            Stage::Ended => "ended",
            Stage::Signal => "signal",
            Stage::Sweep => "sweep",
            Stage::PtyIn => "pty_in",
            Stage::PtyWinsize => "pty_winsize",
            Stage::PtyMaster => "pty_master",
            Stage::Stdin => "stdin",
        };
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_survives_the_way_through_its_code() {
        for stage in Stage::all() {
            assert_ne!(stage.code(), 0, "{stage:?} has no code");
            assert_eq!(Stage::from_code(stage.code()), Some(stage));
        }
        assert_eq!(Stage::from_code(0), None);
        assert_eq!(Stage::from_code(0x300), None);
        assert_eq!(Stage::from_code(i32::MIN), None);
    }

    #[test]
    fn no_two_stages_share_an_atom() {
        let names: std::collections::HashSet<_> = Stage::all().map(Stage::name).collect();
        assert_eq!(names.len(), Stage::all().count());
    }
}
