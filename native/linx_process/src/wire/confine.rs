//! What a child is to do to its place and to itself, as terms.

use super::decode::Extent;
use super::landlock::landlock;
use super::mount::mount;
use super::screen::Malformed;
use super::step::{Confinement, Setup};
use super::terms::{atom, elements, integer, list, tuple, unsigned, Decoded};
use eetf::Term;

/// Resources that have limits (`RLIM_NLIMITS`).
const RESOURCES: u32 = 16;
/// As many lines as a map may have (`UID_GID_MAP_MAX_EXTENTS`).
const MAP_LINES: usize = 340;

/// A list of what `one` reads.
pub fn all<T>(value: Term, one: fn(&Term) -> Option<T>) -> Decoded<Vec<T>> {
    let all: Option<_> = list(value)?.iter().map(one).collect();
    all.ok_or(Malformed)
}

pub fn setup(term: &Term) -> Option<Setup> {
    if atom(term) == Some("loopback") {
        return Some(Setup::Loopback);
    }
    let (name, arguments) = elements(term)?.split_first()?;
    match (atom(name)?, arguments) {
        ("hostname", [name]) => Some(Setup::Hostname(bytes(name)?)),
        ("time_offsets", [monotonic, boottime]) => Some(Setup::TimeOffsets {
            monotonic: signed(monotonic)?,
            boottime: signed(boottime)?,
        }),
        ("mount", [term]) => Some(Setup::Mount(mount(term)?)),
        _ => None,
    }
}

pub fn confinement(term: &Term) -> Option<Confinement> {
    if atom(term) == Some("no_new_privs") {
        return Some(Confinement::NoNewPrivs);
    }
    let (name, arguments) = elements(term)?.split_first()?;
    match (atom(name)?, arguments) {
        ("nice", [nice]) => Some(Confinement::Nice(integer(nice)?)),
        ("oom_score_adj", [score]) => Some(Confinement::OomScoreAdj(integer(score)?)),
        ("cpu_affinity", [mask]) => Some(Confinement::CpuAffinity(bytes(mask)?)),
        ("umask", [mask]) => Some(Confinement::Umask(small(mask)?)),
        ("rlimit", [resource, soft, hard]) => Some(Confinement::Limit {
            resource: small(resource).filter(|resource| *resource < RESOURCES)?,
            soft: unsigned(soft)?,
            hard: unsigned(hard)?,
        }),
        ("cap_drop_bounding", [mask]) => Some(Confinement::CapDropBounding(unsigned(mask)?)),
        ("securebits", [bits]) => Some(Confinement::Securebits(small(bits)?)),
        ("cap_set_thread", [effective, permitted, inheritable]) => {
            Some(Confinement::CapSetThread {
                effective: unsigned(effective)?,
                permitted: unsigned(permitted)?,
                inheritable: unsigned(inheritable)?,
            })
        }
        ("cap_set_ambient", [mask]) => Some(Confinement::CapSetAmbient(unsigned(mask)?)),
        ("landlock", arguments) => Some(Confinement::Landlock(landlock(arguments)?)),
        ("seccomp", [program]) => Some(Confinement::Seccomp(bytes(program)?)),
        _ => None,
    }
}

pub fn map(value: Term) -> Decoded<Vec<Extent>> {
    let lines = list(value)?;
    if lines.is_empty() || lines.len() > MAP_LINES {
        return Err(Malformed);
    }
    lines.into_iter().map(extent).collect()
}

fn extent(line: Term) -> Decoded<Extent> {
    let numbers: [Term; 3] = tuple(line)?;
    let [inside, outside, count] = numbers.map(|number| small(&number));
    Ok(Extent {
        inside: inside.ok_or(Malformed)?,
        outside: outside.ok_or(Malformed)?,
        count: count.ok_or(Malformed)?,
    })
}

pub fn denies_setgroups(value: &Term) -> Decoded<bool> {
    match atom(value) {
        Some("deny") => Ok(true),
        Some("allow") => Ok(false),
        _ => Err(Malformed),
    }
}

pub fn is_mapped_by_beam(value: &Term) -> Decoded<bool> {
    match atom(value) {
        Some("beam") => Ok(true),
        Some("agent") => Ok(false),
        _ => Err(Malformed),
    }
}

pub fn bytes(term: &Term) -> Option<Vec<u8>> {
    match term {
        Term::Binary(binary) => Some(binary.bytes.clone()),
        _ => None,
    }
}

fn small(term: &Term) -> Option<u32> {
    unsigned(term).and_then(|number| u32::try_from(number).ok())
}

fn signed(term: &Term) -> Option<i64> {
    match term {
        Term::FixInteger(integer) => Some(integer.value.into()),
        Term::BigInteger(integer) => i64::try_from(&integer.value).ok(),
        _ => None,
    }
}
