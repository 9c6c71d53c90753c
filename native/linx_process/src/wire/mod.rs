//! Bytes ↔ frames ↔ terms ↔ requests, commands and events: the only place
//! that knows `{:packet, 4}` and the External Term Format.

pub mod address;
pub mod decode;
pub mod encode;
pub mod frame;
pub mod screen;
pub mod stage;

pub use address::Id;
pub use decode::{
    Call, Command, Credentials, Directive, Inbound, Leftover, OutputEnd, Reach, Request, Source,
    StagedFile, Stdio, Step, Where,
};
pub use encode::{Event, Reply};
pub use stage::{Failure, Namespace, Stage};
