//! System calls without the C library.
//!
//! Whoever shares the agent's memory while the agent runs ([`super::clone::beside`]) must not call into the C
//! library: its `errno` is one variable for both of them. What such a process calls comes through here.

use nix::errno::Errno;

/// The kernel's highest error number (`MAX_ERRNO`, include/linux/err.h).
const LAST_ERRNO: isize = 4095;

/// Makes a system call with up to six arguments.
///
/// # Safety
///
/// The arguments must be what this system call takes.
pub unsafe fn call<const N: usize>(
    number: libc::c_long,
    arguments: [usize; N],
) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the caller's promise; the kernel looks at no more arguments than the call has.
    let result = unsafe { syscalls::raw::syscall6(number as usize, a, b, c, d, e, f) };
    checked(result as isize)
}

/// The kernel's answer: an error number when it is negative and small.
pub fn checked(result: isize) -> Result<usize, Errno> {
    if (-LAST_ERRNO..0).contains(&result) {
        Err(Errno::from_raw(-result as i32))
    } else {
        Ok(result as usize)
    }
}
