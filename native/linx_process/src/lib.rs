//! `linx_process`: the port binary of Linx. It clones a program into the
//! namespaces it asks for, parks it at a checkpoint, configures it, executes
//! it, relays its signals and its terminal, and leaves nothing behind.
//!
//! `docs/architecture.md` shows how the modules hang together. The two public ones, [`wire`] and
//! [`session`], make no system call, so that fuzzers and models can drive them from outside.

#![deny(unsafe_code)]

mod child;
mod confine;
mod guardian;
mod host;
mod launch;
mod reap;
pub mod session;
#[cfg(test)]
mod spec;
mod stdio;
mod subreaper;
#[allow(unsafe_code)]
mod sys;
mod trace;
pub mod wire;

use host::control::Control;
use nix::errno::Errno;
use nix::unistd::Pid;
use session::exit_code;
use std::io::Write;
use sys::{fds, signals};
use wire::{decode, Failure, Leftover, Request, Stage};

/// The channel to the BEAM, where `Port.open` with `:nouse_stdio` puts it.
const CONTROL_IN: i32 = 3;
const CONTROL_OUT: i32 = 4;

/// Serves one session on descriptors 3 and 4, or with `--host` many, and returns the exit code. With `--trace` it
/// is a program that traces another.
pub fn run() -> i32 {
    let mut arguments = std::env::args_os().skip(1);
    let mode = arguments.next();
    if mode.as_ref().is_some_and(|mode| mode == "--trace") {
        return trace::run(arguments);
    }
    let hosting = mode.is_some_and(|mode| mode == "--host");
    match control() {
        Ok(control) if hosting => host(control),
        Ok(control) => serve(control),
        Err(errno) => {
            // Nobody may be reading that either.
            let _ = writeln!(
                std::io::stderr(),
                "linx_process is started by Linx, with its control channel on descriptors 3 and 4: {}",
                errno.desc()
            );
            exit_code::CHANNEL
        }
    }
}

/// The channel, with nothing else open above the standard descriptors.
fn control() -> Result<Control, Errno> {
    fds::fill_standard()?;
    let input = fds::inherited(CONTROL_IN)?;
    let output = fds::inherited(CONTROL_OUT)?;
    fds::close_all_but(&mut [CONTROL_IN, CONTROL_OUT])?;
    Control::new(input, output)
}

fn serve(mut control: Control) -> i32 {
    signals::reset_dispositions();
    // Without a request there is nothing that a signal should not end.
    let Some(frame) = control.first_frame() else {
        return exit_code::CHANNEL;
    };
    // Also against SIGPIPE, which must not be ignored: children would inherit that.
    if let Err(errno) = signals::block_all() {
        let failure = Stage::SignalMask.failed()(errno);
        return host::refuse(control, failure, exit_code::INFRASTRUCTURE);
    }
    let request = match frame {
        Err(_) => {
            let failure = Stage::RequestTooBig.failed()(Errno::EMSGSIZE);
            return host::refuse(control, failure, exit_code::CHANNEL);
        }
        Ok(frame) => match decode::request(&frame) {
            Ok(request) => request,
            Err(_) => {
                let failure = Stage::MalformedRequest.failed()(Errno::EINVAL);
                return host::refuse(control, failure, exit_code::MALFORMED);
            }
        },
    };
    match request.orphan {
        Leftover::Leave => session(control, request, None),
        Leftover::Kill => guarded(control, request.descendants, |control, guardian| {
            session(control, request, Some(guardian))
        }),
    }
}

fn host(control: Control) -> i32 {
    signals::reset_dispositions();
    if let Err(errno) = signals::block_all() {
        let failure = Stage::SignalMask.failed()(errno);
        return host::refuse(control, failure, exit_code::INFRASTRUCTURE);
    }
    guarded(
        control,
        Leftover::Kill,
        |control, guardian| match inherit_orphans() {
            Ok(()) => host::serve(control, guardian),
            Err(failure) => host::refuse(control, failure, exit_code::INFRASTRUCTURE),
        },
    )
}

fn guarded(
    control: Control,
    descendants: Leftover,
    agent: impl FnOnce(Control, Pid) -> i32,
) -> i32 {
    let mut control = Some(control);
    let result = guardian::guarded(&mut control, descendants, agent);
    match (result, control) {
        (Ok(code), _) => code,
        (Err(failure), Some(control)) => host::refuse(control, failure, exit_code::INFRASTRUCTURE),
        (Err(_), None) => exit_code::INFRASTRUCTURE,
    }
}

fn session(control: Control, request: Request, guardian: Option<Pid>) -> i32 {
    // Where nothing is ever to be killed, orphans go to whoever else inherits them here.
    if request.inherits_orphans() {
        if let Err(failure) = inherit_orphans() {
            return host::refuse(control, failure, exit_code::INFRASTRUCTURE);
        }
    }
    host::run(control, request, guardian)
}

/// What cannot be promised is not begun: without a `/proc` of this PID namespace the processes to be
/// killed cannot be found, or are strangers with the same numbers (`ENOENT` at `:proc`).
fn inherit_orphans() -> Result<(), Failure> {
    let own = std::process::id().to_string();
    match std::fs::read_link("/proc/self") {
        Ok(shown) if shown.as_os_str() == own.as_str() => {}
        _ => return Err(Stage::Proc.failed()(Errno::ENOENT)),
    }
    nix::sys::prctl::set_child_subreaper(true).map_err(Stage::Subreaper.failed())
}
