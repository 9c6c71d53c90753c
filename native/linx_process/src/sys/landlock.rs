//! `landlock_create_ruleset(2)`, `landlock_add_rule(2)`, `landlock_restrict_self(2)`.

use super::direct::call;
use super::fds;
use nix::errno::Errno;
use std::os::fd::RawFd;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttributes {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: RawFd,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPort {
    access: u64,
    port: u64,
}

const CREATE_RULESET_VERSION: usize = 1;
const RULE_PATH_BENEATH: usize = 1;
const RULE_NET_PORT: usize = 2;

/// What the kernel knows of Landlock: `ENOSYS` without any, `EOPNOTSUPP` when it was switched off at boot.
pub fn abi() -> Result<u32, Errno> {
    let arguments = [0, 0, CREATE_RULESET_VERSION];
    // SAFETY: no attributes are to be read.
    unsafe { call(libc::SYS_landlock_create_ruleset, arguments) }.map(|abi| abi as u32)
}

/// Rules that are being made, in a descriptor.
pub struct Ruleset(RawFd);

impl Ruleset {
    /// Of no rule yet, which forbids all of these: `EINVAL` for rights that the kernel does not know, `ENOMSG` for
    /// none.
    pub fn new(fs: u64, net: u64, scoped: u64) -> Result<Self, Errno> {
        let attributes = RulesetAttributes { fs, net, scoped };
        let size = size_of_val(&attributes);
        let arguments = [std::ptr::from_ref(&attributes) as usize, size, 0];
        // SAFETY: the kernel copies so many bytes.
        unsafe { call(libc::SYS_landlock_create_ruleset, arguments) }.map(|fd| Ruleset(fd as RawFd))
    }

    /// Allows `access` to the file `parent`, or to all that is beneath that directory: `EINVAL` for rights to the
    /// file that only a directory can give, `EBADFD` for what is in no file system.
    pub fn allow_beneath(&self, parent: RawFd, access: u64) -> Result<(), Errno> {
        let rule = PathBeneath { access, parent };
        self.add(RULE_PATH_BENEATH, std::ptr::from_ref(&rule) as usize)
    }

    /// Allows `access` to this port.
    pub fn allow_port(&self, port: u16, access: u64) -> Result<(), Errno> {
        let port = port.into();
        let rule = NetPort { access, port };
        self.add(RULE_NET_PORT, std::ptr::from_ref(&rule) as usize)
    }

    fn add(&self, kind: usize, rule: usize) -> Result<(), Errno> {
        let arguments = [self.0 as usize, kind, rule, 0];
        // SAFETY: both callers give a rule of this kind, which the kernel copies.
        unsafe { call(libc::SYS_landlock_add_rule, arguments) }.map(drop)
    }

    /// Has the calling thread, and whoever it makes, bound by the rules: `EPERM` without no_new_privs or
    /// CAP_SYS_ADMIN, `E2BIG` behind 16 others.
    pub fn restrict_self(&self) -> Result<(), Errno> {
        // SAFETY: integers only.
        unsafe { call(libc::SYS_landlock_restrict_self, [self.0 as usize, 0]) }.map(drop)
    }
}

impl Drop for Ruleset {
    fn drop(&mut self) {
        fds::close_one(self.0);
    }
}
