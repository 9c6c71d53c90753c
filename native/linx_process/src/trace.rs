//! Which system calls a program makes: `linx_process --trace FILE PROGRAM [ARGUMENT]...`
//!
//! It is a program like others, and Linx runs it as one. Between it and the BEAM there are no frames but the lines
//! of FILE, one for each system call that is new:
//!
//! - `call ARCH NUMBER`, with `AUDIT_ARCH_*` of linux/audit.h;
//! - `execve ERRNO` or `ptrace ERRNO`, when nothing came of it.
//!
//! They are written at once, so that they are there whatever the end is. It ends as the program does, and what the
//! program has left behind is killed: that is what Linx would do, too.

use crate::sys::exec::{exit, Program};
use crate::sys::ptrace::{self, Stop};
use crate::sys::wait::Death;
use crate::sys::{clone, process, signals};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{kill, Signal};
use nix::unistd::{pipe2, Pid};
use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;

/// What a shell says of a program that it cannot run, and of wrong arguments.
const NOT_RUN: i32 = 127;
const USAGE: i32 = 2;

/// Traces what the arguments behind `--trace` tell, and returns the exit code.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    let report = arguments
        .next()
        .and_then(|path| OpenOptions::new().append(true).open(path).ok());
    let argv: Option<Vec<CString>> = arguments
        .map(|it| CString::new(it.into_vec()).ok())
        .collect();
    match (report, argv) {
        (Some(report), Some(argv)) if !argv.is_empty() => trace(Report::new(report), argv),
        _ => USAGE,
    }
}

fn trace(mut report: Report, argv: Vec<CString>) -> i32 {
    match begin(argv) {
        Ok((program, mut errors)) => {
            let death = follow(program, &mut report);
            // Whoever has executed something, or ended, writes nothing into it any more.
            let mut errno = [0; 4];
            if errors.read_exact(&mut errno).is_ok() {
                report.failure("execve", Errno::from_raw(i32::from_ne_bytes(errno)));
            }
            end_as(death)
        }
        Err(errno) => {
            report.failure("ptrace", errno);
            NOT_RUN
        }
    }
}

/// Starts the program, traced from its exec on, and the pipe into which it says why it could not be executed.
fn begin(argv: Vec<CString>) -> Result<(libc::pid_t, File), Errno> {
    let pipe =
        || pipe2(OFlag::O_CLOEXEC).map(|(read, write)| (File::from(read), File::from(write)));
    let (mut gate, mut opener) = pipe()?;
    let (errors, mut failed) = pipe()?;
    let program = Program::new(vec![argv], None, None);
    // Rust's runtime has set some of them, which are not the program's.
    signals::reset_dispositions();
    // Who ends the program, ends all of its tree: the tracer waits for what comes of that.
    signals::block_all()?;
    let child = clone::child(false, || {
        // Without a tracer nothing is executed.
        if gate.read_exact(&mut [0]).is_ok() {
            let errno = signals::unblock_all().err();
            let errno = errno.unwrap_or_else(|| program.execute(0)) as i32;
            let _ = failed.write_all(&errno.to_ne_bytes());
        }
        exit(NOT_RUN)
    })?;
    let seized = ptrace::seize(child.pid).map(|()| opener.write_all(&[0]));
    match seized {
        Ok(Ok(())) => Ok((child.pid, errors)),
        Ok(Err(_)) => Err(Errno::EPIPE),
        Err(errno) => {
            let _ = kill(Pid::from_raw(child.pid), Signal::SIGKILL);
            Err(errno)
        }
    }
}

/// Until the program has ended.
fn follow(program: libc::pid_t, report: &mut Report) -> Death {
    loop {
        let (pid, stop) = match ptrace::wait() {
            Ok(stopped) => stopped,
            // There is nobody any more.
            Err(_) => return Death::Exited(NOT_RUN),
        };
        // Whoever has been killed meanwhile cannot be asked, nor resumed.
        let _ = match stop {
            Stop::Ended(death) if pid == program => return death,
            Stop::Ended(_) => Ok(()),
            Stop::Exec => {
                report.call(ptrace::EXECVE);
                ptrace::resume(pid, 0)
            }
            Stop::Syscall => {
                if let Ok(Some(call)) = ptrace::entered(pid) {
                    report.call(call);
                }
                ptrace::resume(pid, 0)
            }
            Stop::Group => ptrace::listen(pid),
            Stop::Signal(signal) => ptrace::resume(pid, signal),
            Stop::Other => ptrace::resume(pid, 0),
        };
    }
}

/// The exit code, if it does not take a signal to end as the program did.
fn end_as(death: Death) -> i32 {
    match death {
        Death::Exited(code) => code,
        Death::Signaled(number) => {
            let _ = process::dump_no_core();
            signals::end_by(number);
            // The first process of a PID namespace does not die of that.
            128 + number
        }
    }
}

/// FILE.
struct Report {
    file: File,
    calls: BTreeSet<ptrace::Call>,
}

impl Report {
    fn new(file: File) -> Self {
        Report {
            file,
            calls: BTreeSet::new(),
        }
    }

    fn call(&mut self, call: ptrace::Call) {
        if self.calls.insert(call) {
            // Nobody can be told if the file is full.
            let _ = writeln!(self.file, "call {} {}", call.0, call.1);
        }
    }

    fn failure(&mut self, stage: &str, errno: Errno) {
        let _ = writeln!(self.file, "{stage} {}", errno as i32);
    }
}
