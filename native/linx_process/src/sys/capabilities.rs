//! `capset(2)` and the capability operations of `prctl(2)`, each of the calling thread.

use super::direct::call;
use nix::errno::Errno;

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words a set.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `capset(2)`: replaces the effective, permitted and inheritable sets.
///
/// `EPERM` when a set would grow beyond what is permitted.
pub fn set_thread(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let word = |shift: u32| Word {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let words = [word(0), word(32)];
    let arguments = [
        std::ptr::from_ref(&header) as usize,
        words.as_ptr() as usize,
    ];
    // SAFETY: capset reads one header and, for version 3, two data words; both live here.
    unsafe { call(libc::SYS_capset, arguments) }.map(drop)
}

/// `prctl(PR_CAPBSET_DROP)`: `EPERM` without CAP_SETPCAP, `EINVAL` for a capability the kernel does not know.
pub fn drop_bounding(capability: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, [capability as usize, 0])
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)`.
pub fn clear_ambient() -> Result<(), Errno> {
    prctl(
        libc::PR_CAP_AMBIENT,
        [libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0],
    )
}

/// `prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE)`: `EPERM` unless the
/// capability is both permitted and inheritable.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as usize;
    prctl(libc::PR_CAP_AMBIENT, [raise, capability as usize])
}

/// `prctl(PR_SET_SECUREBITS)`: `EPERM` without CAP_SETPCAP, or for a bit that is locked.
pub fn set_securebits(bits: u32) -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, [bits as usize, 0])
}

/// `prctl(PR_GET_SECUREBITS)`.
pub fn securebits() -> Result<u32, Errno> {
    // SAFETY: no other argument.
    let bits = unsafe { call(libc::SYS_prctl, [libc::PR_GET_SECUREBITS as usize]) };
    bits.map(|bits| bits as u32)
}

fn prctl(option: libc::c_int, [second, third]: [usize; 2]) -> Result<(), Errno> {
    // SAFETY: these options take integers only.
    unsafe { call(libc::SYS_prctl, [option as usize, second, third, 0, 0]) }.map(drop)
}
