//! `PR_SET_NO_NEW_PRIVS`: no set-user-ID program or file capability grants anything from here on.

use nix::errno::Errno;

/// Sets it, for good; setting it twice is harmless.
pub fn set() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()
}
