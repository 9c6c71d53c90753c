//! What a parked child does to itself, one kind of confinement a file.

pub mod capabilities;
pub mod seccomp;
