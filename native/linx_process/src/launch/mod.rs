//! Making the main process of a session: everything is prepared here, in the
//! parent, and then cloned.

mod enter;

use crate::child::page::Page;
use crate::child::{self, Plan};
use crate::session::exit_code;
use crate::stdio::pty::Pty;
use crate::sys::clone::{self, Child};
use crate::sys::exec::Program;
use crate::wire::{Failure, Leftover, Request, Stage, Stdio, Where};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};
use std::os::fd::{AsFd, OwnedFd};

/// A session's process on its way to the checkpoint.
pub struct Launched {
    pub stage: Launching,
    /// The agent's end of the channel, not blocking.
    pub channel: OwnedFd,
    pub page: Page,
    pub pty: Option<Pty>,
}

pub enum Launching {
    /// The main process is there.
    Main(Child),
    /// It will be made by this one, which is joining another process's namespaces.
    Intermediate(Child),
}

/// Why nothing was launched, and the exit code that goes with it.
pub type Refusal = (Failure, i32);

/// Clones the main process of a session, or the intermediate that will.
pub fn launch(request: Request) -> Result<Launched, Refusal> {
    let own_means = |failure| (failure, exit_code::INFRASTRUCTURE);
    let pty = match request.stdio {
        Stdio::Pty => Some(Pty::open().map_err(own_means)?),
        Stdio::Each(_) => None,
    };
    let (channel, childs_end) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(Stage::SocketPair.failed())
    .map_err(own_means)?;
    nix::fcntl::fcntl(
        &channel,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .map_err(Stage::SocketPair.failed())
    .map_err(own_means)?;
    let page = Page::new()
        .map_err(Stage::SharedPage.failed())
        .map_err(own_means)?;

    let plan = Plan {
        program: Program::new(request.argv, request.env),
        stdio: request.stdio,
        pty_slave: pty.as_ref().map(Pty::slave),
        cwd: request.cwd,
        no_new_privs: request.no_new_privs,
        dies_with_agent: request.orphan == Leftover::Kill,
        channel: childs_end.as_fd(),
        page: &page,
    };
    let stage = match &request.place {
        Where::Fresh(namespaces) => {
            let flags = namespaces
                .iter()
                .fold(0, |flags, namespace| flags | namespace.clone_flag() as u64);
            clone::child(flags, || child::run(&plan))
                .map(Launching::Main)
                .map_err(Stage::Clone.failed())
        }
        Where::Of { target, only } => {
            enter::enter(*target, only.as_deref(), &plan).map(Launching::Intermediate)
        }
    }
    .map_err(|failure| (failure, exit_code::CLONE))?;
    drop(plan);
    Ok(Launched {
        stage,
        channel,
        page,
        pty,
    })
}
