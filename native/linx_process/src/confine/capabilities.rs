//! Capability sets, as 64-bit masks (capabilities(7)).

use crate::sys::capabilities;
use nix::errno::Errno;

pub use capabilities::{set_securebits, set_thread};

/// Takes every capability in `mask` out of the bounding set, the first refusal ending it.
pub fn drop_bounding(mask: u64) -> Result<(), Errno> {
    members(mask).try_for_each(capabilities::drop_bounding)
}

/// Makes `mask` the ambient set: the kernel only knows "clear" and "raise one".
pub fn set_ambient(mask: u64) -> Result<(), Errno> {
    capabilities::clear_ambient()?;
    members(mask).try_for_each(capabilities::raise_ambient)
}

fn members(mask: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |bit| mask & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_members_of_a_mask_are_its_bits() {
        let members = |mask| super::members(mask).collect::<Vec<_>>();
        assert_eq!(members(0), []);
        assert_eq!(members(1 | 1 << 21 | 1 << 63), [0, 21, 63]);
    }
}
