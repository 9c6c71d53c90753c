//! Landlock: what the process, and whoever it makes, may still do to files, ports and other processes.

use crate::sys::landlock::{self, Ruleset};
use crate::sys::{fds, process};
use crate::wire::landlock::{to_files, Landlock, Rights, Rule};
use crate::wire::{Failure, Stage};
use nix::errno::Errno;
use std::ffi::CStr;

/// What the running kernel makes of it: its version, and what is going to be forbidden.
pub fn enforced<B>(wanted: &Landlock<B>) -> Result<(u32, Rights), Errno> {
    let abi = match landlock::abi() {
        Ok(abi) => abi,
        Err(_) if wanted.least_abi == 0 => 0,
        Err(errno) => return Err(errno),
    };
    if abi < wanted.least_abi {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok((abi, wanted.handled.known_to(abi)))
}

/// Binds the calling process, behind `no_new_privs`: without that the kernel takes rules from CAP_SYS_ADMIN only.
pub fn restrict<B: AsRef<[u8]>>(wanted: &Landlock<B>) -> Result<(), Failure> {
    let (_, handled) = enforced(wanted).map_err(Stage::LandlockAbi.failed())?;
    if handled == Rights::default() {
        return Ok(());
    }
    process::set_no_new_privs().map_err(Stage::SeccompNoNewPrivs.failed())?;
    let ruleset = Ruleset::new(handled.fs, handled.net, handled.scoped)
        .map_err(Stage::LandlockRuleset.failed())?;
    for rule in wanted.rules() {
        allow(&ruleset, handled, &rule)?;
    }
    ruleset
        .restrict_self()
        .map_err(Stage::LandlockRestrict.failed())
}

/// As much of the rule as is about something that is forbidden otherwise: the kernel wants no more, and no less.
fn allow(ruleset: &Ruleset, handled: Rights, rule: &Rule) -> Result<(), Failure> {
    match *rule {
        Rule::Path {
            path,
            access,
            optional,
        } => {
            let access = access & handled.fs;
            if access == 0 {
                return Ok(());
            }
            match open(path) {
                Err(Errno::ENOENT | Errno::ENOTDIR) if optional => Ok(()),
                Err(errno) => Err(Stage::LandlockPath.failed()(errno)),
                Ok(fd) => {
                    let allowed = allow_beneath(ruleset, fd, access);
                    fds::close_one(fd);
                    allowed.map_err(Stage::LandlockRule.failed())
                }
            }
        }
        Rule::Port { port, access } => match access & handled.net {
            0 => Ok(()),
            access => ruleset
                .allow_port(port, access)
                .map_err(Stage::LandlockRule.failed()),
        },
    }
}

fn open(path: &[u8]) -> Result<i32, Errno> {
    let path = CStr::from_bytes_with_nul(path).map_err(|_| Errno::EINVAL)?;
    fds::open(path, libc::O_PATH)
}

fn allow_beneath(ruleset: &Ruleset, fd: i32, access: u64) -> Result<(), Errno> {
    let access = if fds::is_directory(fd)? {
        access
    } else {
        access & to_files()
    };
    if access == 0 {
        return Ok(());
    }
    ruleset.allow_beneath(fd, access)
}
