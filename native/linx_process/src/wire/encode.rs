//! Events: what the agent tells the BEAM.

use super::address::{self, Id};
use super::decode::Source;
use super::frame;
use super::landlock::Rights;
use super::stage::Failure;
use crate::sys::wait::{Death, Usage};
use eetf::{Atom, Binary, FixInteger, Map, Term, Tuple};
use std::collections::HashMap;

/// The answer to `{:call, Ref, Command}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Error(Failure),
    /// The kernel's version of Landlock, and what it is going to forbid.
    Landlock(u32, Rights),
    /// Where the PTY master is: the agent's pid, its descriptor there, the slave's path.
    PtyMaster {
        os_pid: u32,
        fd: i32,
        slave: String,
    },
}

/// An event, as `docs/wire-protocol.md` specifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The ids of the user namespace that this process is in are to be mapped.
    Unmapped(libc::pid_t),
    Spawned(libc::pid_t),
    Ready(libc::pid_t),
    Running,
    Aborted(libc::pid_t),
    Exited(i32),
    Signaled(i32),
    /// With the death behind it only for a BEAM that asked for causes.
    Error(Failure, Option<Death>),
    Reply(u64, Reply),
    /// This output has ended.
    Eof(Source),
    /// What the workload has used; the terminal event follows.
    Usage(Usage),
    /// The BEAM has hung up this session alone, and nothing is left of it.
    HungUp,
}

impl Event {
    /// Appends the event to `out` as a frame: with the session's number in the channel of a host.
    pub fn append_to(&self, out: &mut Vec<u8>, id: Option<Id>) {
        let mut encoded = Vec::with_capacity(64);
        // Writing to a vector cannot fail, and our atoms and numbers are short.
        let result = self.term().encode(&mut encoded);
        debug_assert!(result.is_ok());
        // Behind the version byte.
        address::append(out, id, |body| body.extend_from_slice(&encoded[1..]));
    }

    fn term(&self) -> Term {
        let status = |kind, value| tuple([atom("status"), atom(kind), int(value)]);
        match self {
            Event::Unmapped(pid) => status("unmapped", *pid),
            Event::Spawned(pid) => status("spawned", *pid),
            Event::Ready(pid) => status("ready", *pid),
            Event::Running => tuple([atom("status"), atom("running")]),
            Event::Eof(source) => tuple([atom("eof"), atom(source.name())]),
            Event::HungUp => tuple([atom("status"), atom("hangup")]),
            Event::Aborted(pid) => status("aborted", *pid),
            Event::Exited(code) => status("exited", *code),
            Event::Signaled(signal) => status("signaled", *signal),
            Event::Error(failure, None) => error(failure, []),
            Event::Error(failure, Some(death)) => error(failure, [cause(*death)]),
            Event::Reply(reference, reply) => {
                tuple([atom("reply"), unsigned(*reference), answer(reply)])
            }
            Event::Usage(usage) => {
                let numbers = usage.0.map(unsigned);
                tuple([atom("usage"), map(Usage::NAMES.into_iter().zip(numbers))])
            }
        }
    }
}

/// Appends `{:pty_out, Bytes}`, `{:stdout, Bytes}` or `{:stderr, Bytes}` as a frame, without a term in between.
pub fn append_output(out: &mut Vec<u8>, id: Option<Id>, source: Source, bytes: &[u8]) {
    append_output_head(out, id, source, bytes.len());
    out.extend_from_slice(bytes);
}

/// The same, but for the bytes: so many have to follow.
pub fn append_output_head(out: &mut Vec<u8>, id: Option<Id>, source: Source, length: usize) {
    let head: &[u8] = match source {
        Source::Pty => b"h\x02w\x07pty_outm",
        Source::Stdout => b"h\x02w\x06stdoutm",
        Source::Stderr => b"h\x02w\x06stderrm",
    };
    let start = out.len();
    address::append(out, id, |body| {
        body.extend_from_slice(head);
        body.extend_from_slice(&(length as u32).to_be_bytes());
    });
    frame::lengthen(&mut out[start..], length);
}

fn answer(reply: &Reply) -> Term {
    match reply {
        Reply::Ok => atom("ok"),
        Reply::Error(failure) => error(failure, []),
        Reply::Landlock(abi, Rights { fs, net, scoped }) => {
            let entries = [
                ("abi", u64::from(*abi)),
                ("fs", *fs),
                ("net", *net),
                ("scoped", *scoped),
            ];
            let entries = entries.map(|(key, number)| (key, unsigned(number)));
            tuple([atom("ok"), map(entries.into_iter())])
        }
        Reply::PtyMaster { os_pid, fd, slave } => {
            let slave = Binary::from(slave.as_bytes().to_vec());
            let entries = [
                ("os_pid", int(*os_pid as i32)),
                ("fd", int(*fd)),
                ("slave", Term::from(slave)),
            ];
            tuple([atom("ok"), map(entries.into_iter())])
        }
    }
}

fn map<'a>(entries: impl Iterator<Item = (&'a str, Term)>) -> Term {
    let entries: HashMap<_, _> = entries.map(|(key, value)| (atom(key), value)).collect();
    Term::from(Map::from(entries))
}

fn cause(death: Death) -> Term {
    match death {
        Death::Exited(code) => tuple([atom("exited"), int(code)]),
        Death::Signaled(signal) => tuple([atom("signaled"), int(signal)]),
    }
}

fn error<const N: usize>(failure: &Failure, more: [Term; N]) -> Term {
    let errno = int(failure.errno as i32);
    let mut elements = vec![atom("error"), errno, atom(&failure.stage.name())];
    elements.extend(more);
    Term::from(Tuple::from(elements))
}

fn tuple<const N: usize>(elements: [Term; N]) -> Term {
    Term::from(Tuple::from(Vec::from(elements)))
}

fn atom(name: &str) -> Term {
    Term::from(Atom::from(name))
}

fn unsigned(value: u64) -> Term {
    match i32::try_from(value) {
        Ok(value) => int(value),
        Err(_) => Term::from(eetf::BigInteger::from(value)),
    }
}

fn int(value: i32) -> Term {
    Term::from(FixInteger::from(value))
}
