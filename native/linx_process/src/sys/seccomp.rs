//! `seccomp(2)`.

use super::direct::call;
use nix::errno::Errno;

/// The size of `struct sock_filter`.
pub const INSTRUCTION: usize = 8;

/// `seccomp(SECCOMP_SET_MODE_FILTER)` on the calling thread.
///
/// `EINVAL` for a program the kernel's checker refuses, `EACCES` without
/// CAP_SYS_ADMIN or no_new_privs, `ENOMEM` when the filters stack too high.
/// `program` must be whole instructions, at most 65,535 of them.
pub fn install(program: &[u8]) -> Result<(), Errno> {
    let header = libc::sock_fprog {
        len: (program.len() / INSTRUCTION) as libc::c_ushort,
        filter: program.as_ptr() as *mut libc::sock_filter,
    };
    let header = std::ptr::from_ref(&header) as usize;
    let operation = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: the kernel copies `len` instructions out of `program`, byte by
    // byte (alignment does not matter to copy_from_user), and writes nothing.
    unsafe { call(libc::SYS_seccomp, [operation, 0, header]) }.map(drop)
}
