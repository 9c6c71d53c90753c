//! What a process has of the machine: its priority, its CPUs, its limits.

use crate::sys::process::{self, Limit};
use crate::sys::{attributes, fds};
use nix::errno::Errno;

pub use attributes::{set_cpu_affinity, set_nice, set_umask};

/// `setrlimit(2)`: `EPERM` above the hard limit, `EINVAL` for a soft limit above the hard one.
pub fn limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    process::set_limit(resource as usize, Limit { soft, hard })
}

/// Writes `/proc/self/oom_score_adj` (proc(5)): `EACCES` below what it has been without CAP_SYS_RESOURCE, `EINVAL`
/// beyond -1000 to 1000.
pub fn set_oom_score_adj(score: i32) -> Result<(), Errno> {
    let mut text = [0; 12];
    fds::overwrite(
        c"/proc/self/oom_score_adj",
        decimal(score.into(), &mut text),
    )
}

/// The digits of `number`, without allocating.
pub fn decimal<const N: usize>(number: i64, text: &mut [u8; N]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = N;
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        text[start] = b'-';
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 7, -1, 1000, -1000, i64::MAX, i64::MIN] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
