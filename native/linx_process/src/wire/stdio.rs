//! Where the standard descriptors of a workload lead.

use super::screen::Malformed;
use super::terms::{atom, elements, list, string, tuple, Decoded};
use eetf::Term;
use std::ffi::CString;

#[derive(Debug, PartialEq, Eq)]
pub enum Stdio {
    /// One PTY slave on 0, 1 and 2.
    Pty,
    Each([Directive; 3]),
}

/// What becomes of one standard descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    Inherit,
    DevNull,
    /// A stream socket connected to this path.
    ConnectUnix(CString),
    /// A pipe to the agent, or from it.
    Pipe,
    /// What this path names, opened with these flags of open(2).
    File(CString, libc::c_int),
    /// The same as the standard output; of the standard error alone.
    Stdout,
}

pub fn stdio(value: Term) -> Decoded<Stdio> {
    match atom(&value) {
        Some("pty") => return Ok(Stdio::Pty),
        Some(_) => {
            let directive = directive(value)?;
            return Ok(Stdio::Each([
                directive.clone(),
                directive.clone(),
                directive,
            ]));
        }
        None => {}
    }
    let mut each = [const { Directive::Inherit }; 3];
    for entry in list(value)? {
        let [fd, value] = tuple(entry)?;
        let fd = match atom(&fd) {
            Some("stdin") => 0,
            Some("stdout") => 1,
            Some("stderr") => 2,
            _ => return Err(Malformed),
        };
        each[fd] = match atom(&value) {
            Some("stdout") if fd == 2 => Directive::Stdout,
            _ => directive(value)?,
        };
    }
    Ok(Stdio::Each(each))
}

fn directive(value: Term) -> Decoded<Directive> {
    match atom(&value) {
        Some("inherit") => return Ok(Directive::Inherit),
        Some("devnull") => return Ok(Directive::DevNull),
        Some("pipe") => return Ok(Directive::Pipe),
        Some(_) => return Err(Malformed),
        None => {}
    }
    if let Some([_kind, _path, _modes]) = elements(&value) {
        let [kind, path, modes] = tuple(value)?;
        return match atom(&kind) {
            Some("file") => Ok(Directive::File(string(path)?, open_flags(modes)?)),
            _ => Err(Malformed),
        };
    }
    let [kind, path] = tuple(value)?;
    match atom(&kind) {
        Some("connect_unix") => Ok(Directive::ConnectUnix(string(path)?)),
        _ => Err(Malformed),
    }
}

/// How a file is opened that is to be read, written, appended to, or must not be there.
fn open_flags(modes: Term) -> Decoded<libc::c_int> {
    let (mut read, mut write, mut append, mut exclusive) = (false, false, false, false);
    for mode in list(modes)? {
        match atom(&mode) {
            Some("read") => read = true,
            Some("write") => write = true,
            Some("append") => append = true,
            Some("exclusive") => exclusive = true,
            _ => return Err(Malformed),
        }
    }
    let access = match (read, write || append) {
        (true, false) if !exclusive => return Ok(libc::O_RDONLY),
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        _ => return Err(Malformed),
    };
    let more = [
        (append, libc::O_APPEND),
        (!read && !append, libc::O_TRUNC),
        (exclusive, libc::O_EXCL),
    ];
    let more = more.iter().filter(|(wanted, _)| *wanted);
    Ok(more.fold(access | libc::O_CREAT, |flags, (_, flag)| flags | flag))
}
