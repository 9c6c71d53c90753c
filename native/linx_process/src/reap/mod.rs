//! Nothing is left behind: the tree of processes below this one, and its end.

pub mod sweep;
pub mod tree;
