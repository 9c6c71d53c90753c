//! The maps of a user namespace, as user_namespaces(7) wants them written.

use crate::wire::{Extent, Failure, Maps, Stage};
use nix::errno::Errno;
use nix::fcntl::{open, openat, OFlag};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

/// Writes the maps of the namespace that `pid` is in. The agent does that, being outside.
///
/// `EPERM` for ids that are not the agent's own without CAP_SETUID and CAP_SETGID there, or a gid map while its
/// groups may be changed; `EINVAL` for what is no map.
///
/// `is_reaped` tells whether `pid` may be another's by now; then nothing is written.
pub fn write(
    maps: &Maps,
    pid: libc::pid_t,
    is_reaped: impl FnOnce() -> bool,
) -> Result<(), Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let process = open(format!("/proc/{pid}").as_str(), flags, Mode::empty());
    let process = process.map_err(Stage::UidMap.failed())?;
    if is_reaped() {
        return Ok(());
    }
    let put = |file, text: &[u8]| put(&process, file, text);
    if maps.denies_setgroups {
        put("setgroups", b"deny").map_err(Stage::DenySetGroups.failed())?;
    }
    put("uid_map", &lines(&maps.uid)).map_err(Stage::UidMap.failed())?;
    put("gid_map", &lines(&maps.gid)).map_err(Stage::GidMap.failed())
}

fn lines(map: &[Extent]) -> Vec<u8> {
    let line = |e: &Extent| format!("{} {} {}\n", e.inside, e.outside, e.count);
    map.iter().map(line).collect::<String>().into_bytes()
}

/// What an id is outside.
pub fn outside(map: &[Extent], inside: u32) -> Option<u32> {
    map.iter().find_map(|extent| {
        let offset = inside.checked_sub(extent.inside)?;
        let is_in_it = offset < extent.count;
        is_in_it.then(|| extent.outside.checked_add(offset))?
    })
}

/// In one piece, or the kernel takes a part for the whole.
fn put(process: &OwnedFd, file: &str, text: &[u8]) -> Result<(), Errno> {
    if text.is_empty() {
        return Ok(());
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = openat(process, file, flags, Mode::empty())?;
    nix::unistd::write(file, text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_up_in_all_the_lines() {
        let extent = |inside, outside, count| Extent {
            inside,
            outside,
            count,
        };
        let map = [extent(0, 1000, 1), extent(1, 100_000, 65_535)];
        let looked_up = [0, 1, 65_535, 65_536].map(|id| outside(&map, id));
        assert_eq!(looked_up, [Some(1000), Some(100_000), Some(165_534), None]);
        assert_eq!(lines(&map), b"0 1000 1\n1 100000 65535\n");
    }
}
