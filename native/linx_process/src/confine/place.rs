//! What a fresh namespace lacks: a name, a way to itself, a time of its own.

use super::attributes::decimal;
use crate::sys::{fds, place};
use nix::errno::Errno;

pub use place::{raise_loopback, set_hostname};

const NANOSECONDS: i64 = 1_000_000_000;

/// Moves to a time namespace with clocks that are so many nanoseconds ahead. The namespace has to be
/// unshared: one that clone3 has made takes no offsets any more (`timens_offsets_write`,
/// kernel/time/namespace.c).
///
/// `EPERM`, `EINVAL` without support, `ERANGE` for a clock that would be negative or too late.
pub fn set_time_offsets(monotonic: i64, boottime: i64) -> Result<(), Errno> {
    place::unshare_time()?;
    set_offset(b"monotonic ", monotonic)?;
    set_offset(b"boottime ", boottime)?;
    place::enter_time()
}

/// The nanoseconds may not be negative.
fn set_offset(clock: &[u8], offset: i64) -> Result<(), Errno> {
    let mut line = [0; 64];
    let mut length = 0;
    let mut append = |text: &[u8]| {
        line[length..length + text.len()].copy_from_slice(text);
        length += text.len();
    };
    append(clock);
    append(decimal(offset.div_euclid(NANOSECONDS), &mut [0; 20]));
    append(b" ");
    append(decimal(offset.rem_euclid(NANOSECONDS), &mut [0; 20]));
    append(b"\n");
    fds::overwrite(c"/proc/self/timens_offsets", &line[..length])
}
