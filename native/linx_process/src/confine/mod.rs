//! What a child does to itself and to its place, one kind a file.

pub mod attributes;
pub mod capabilities;
pub mod landlock;
pub mod mount;
pub mod place;
pub mod seccomp;

use crate::sys::process;
use crate::wire::{Confinement, Failure, Setup};
pub use mount::Mounts;

/// Takes from the calling process.
pub fn confine<B: AsRef<[u8]>>(confinement: &Confinement<B>) -> Result<(), Failure> {
    match confinement {
        Confinement::Nice(nice) => attributes::set_nice(*nice),
        Confinement::OomScoreAdj(score) => attributes::set_oom_score_adj(*score),
        Confinement::CpuAffinity(mask) => attributes::set_cpu_affinity(mask.as_ref()),
        Confinement::Umask(mask) => {
            attributes::set_umask(*mask);
            Ok(())
        }
        Confinement::Limit {
            resource,
            soft,
            hard,
        } => attributes::limit(*resource, *soft, *hard),
        Confinement::CapDropBounding(mask) => capabilities::drop_bounding(*mask),
        Confinement::Securebits(bits) => capabilities::set_securebits(*bits),
        Confinement::CapSetThread {
            effective,
            permitted,
            inheritable,
        } => capabilities::set_thread(*effective, *permitted, *inheritable),
        Confinement::CapSetAmbient(mask) => capabilities::set_ambient(*mask),
        Confinement::NoNewPrivs => process::set_no_new_privs(),
        Confinement::Landlock(wanted) => return landlock::restrict(wanted),
        Confinement::Seccomp(program) => return seccomp::install(program.as_ref()),
    }
    .map_err(confinement.stage().failed())
}

/// Changes the namespaces that the calling process is in.
pub fn set_up<B: AsRef<[u8]>>(mounts: &mut Mounts, setup: &Setup<B>) -> Result<(), Failure> {
    match setup {
        Setup::Hostname(name) => place::set_hostname(name.as_ref()),
        Setup::Loopback => place::raise_loopback(),
        Setup::TimeOffsets {
            monotonic,
            boottime,
        } => place::set_time_offsets(*monotonic, *boottime),
        Setup::Mount(mount) => return mounts.perform(mount),
    }
    .map_err(setup.stage().failed())
}
