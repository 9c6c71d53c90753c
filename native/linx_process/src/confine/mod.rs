//! What a parked child does to itself, one kind of confinement a file.

pub mod capabilities;
pub mod no_new_privs;
pub mod seccomp;
