//! Sources and sinks of bytes, with bounded buffers.

pub mod pty;
