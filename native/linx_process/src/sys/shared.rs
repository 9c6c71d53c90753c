//! Memory shared with a child: what it stores is seen here without any system
//! call, also when a seccomp filter has already shut the child up.

use nix::errno::Errno;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::AtomicI32;

/// `N` integers in anonymous shared memory, zero at first, unmapped on drop.
pub struct Shared<const N: usize> {
    address: NonNull<[AtomicI32; N]>,
}

impl<const N: usize> Shared<N> {
    const SIZE: usize = std::mem::size_of::<[AtomicI32; N]>();

    /// `mmap(2)`: `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(address.cast())
            .map(|address| Shared { address })
            .ok_or(Errno::ENOMEM)
    }
}

impl<const N: usize> Deref for Shared<N> {
    type Target = [AtomicI32; N];

    fn deref(&self) -> &[AtomicI32; N] {
        // SAFETY: mapped for as long as `self` lives, page-aligned, zeroed,
        // and atomics are what two processes may write at once.
        unsafe { self.address.as_ref() }
    }
}

impl<const N: usize> Drop for Shared<N> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this size; no reference outlives `self`.
        unsafe { libc::munmap(self.address.as_ptr().cast(), Self::SIZE) };
    }
}
