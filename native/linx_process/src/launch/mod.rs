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
use nix::fcntl::{fcntl, FcntlArg, OFlag};
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
    /// Likewise, but as the child of a subreaper inside, which is heard on this socket.
    BehindSubreaper(Child, OwnedFd),
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
    let (channel, childs_end) = message_channel().map_err(own_means)?;
    let page = Page::new()
        .map_err(Stage::SharedPage.failed())
        .map_err(own_means)?;

    let inherits_orphans = request.inherits_orphans();
    let mut plan = Plan {
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
            let namespaces = enter::open_namespaces(*target, only.as_deref())
                .map_err(|failure| (failure, exit_code::CLONE))?;
            if inherits_orphans && enter::is_pid_namespace_among(&namespaces) {
                let (ours, subreapers) = message_channel().map_err(own_means)?;
                // Its parent is then the subreaper. Should that be killed, the agent has to find
                // what the workload has started, which it can only below a living one.
                plan.dies_with_agent = false;
                enter::enter(&namespaces, &plan, Some(subreapers.as_fd()))
                    .map(|intermediate| Launching::BehindSubreaper(intermediate, ours))
            } else {
                enter::enter(&namespaces, &plan, None).map(Launching::Intermediate)
            }
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

/// A pair of connected sockets that keep messages apart; ours does not block.
fn message_channel() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .and_then(|(ours, theirs)| {
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((ours, theirs))
    })
    .map_err(Stage::SocketPair.failed())
}
