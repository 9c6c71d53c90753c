//! Memory for a process that must not allocate.

use super::direct::call;
use nix::errno::Errno;

/// `mmap(2)` of private zeroes, for as long as the process lives: `ENOMEM`.
pub fn map(length: usize) -> Result<&'static mut [u8], Errno> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
    let arguments = [0, length, protection, flags, usize::MAX, 0];
    // SAFETY: a fresh anonymous mapping aliases nothing.
    let address = unsafe { call(libc::SYS_mmap, arguments) }?;
    // SAFETY: mapped, zeroed, never unmapped, and known to nobody else.
    Ok(unsafe { std::slice::from_raw_parts_mut(address as *mut u8, length) })
}
