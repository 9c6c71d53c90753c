//! Bytes ↔ frames ↔ terms ↔ requests, commands and events: the only place
//! that knows `{:packet, 4}` and the External Term Format.

pub mod address;
mod confine;
pub mod decode;
pub mod encode;
pub mod frame;
pub mod landlock;
pub mod mount;
pub mod screen;
pub mod stage;
mod stdio;
pub mod step;
mod terms;

pub use address::Id;
pub use decode::{
    Call, Command, Credentials, Extent, Inbound, Leftover, Maps, OutputEnd, Reach, Request, Source,
    StagedFile, Where,
};
pub use encode::{Event, Reply};
pub use landlock::Landlock;
pub use mount::Mount;
pub use stage::{Failure, Namespace, Stage};
pub use stdio::{Directive, Stdio};
pub use step::{Confinement, Setup, Step};
