//! A program ready to be executed, and ways to end that need no library.

use super::direct::call;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::CString;

/// argv and environment as `execve(2)` wants them, built before clone so that
/// nothing is left to allocate after it.
pub struct Program {
    _strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Option<Vec<*const libc::c_char>>,
}

// SAFETY: nothing in it ever changes, and what the pointers point to is its own.
unsafe impl Sync for Program {}

impl Program {
    /// `argv` must not be empty: its first element is the path to execute.
    /// Without `env` the program gets the environment of the agent.
    pub fn new(argv: Vec<CString>, env: Option<Vec<CString>>) -> Self {
        let pointers = |strings: &[CString]| {
            let mut list: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
            list.push(std::ptr::null());
            list
        };
        let argv_pointers = pointers(&argv);
        let envp = env.as_deref().map(pointers);
        let mut strings = argv;
        strings.extend(env.into_iter().flatten());
        Program {
            _strings: strings,
            argv: argv_pointers,
            envp,
        }
    }

    /// `execve(2)`. Any return is a failure: a seccomp filter can make it
    /// "return" 0, which is reported as `EPERM`.
    pub fn execute(&self) -> Errno {
        extern "C" {
            static environ: *const *const libc::c_char;
        }
        // SAFETY: both arrays end with a null and point into `_strings`, or
        // are the process's own environment, which nothing changes.
        let result = unsafe {
            let envp = match &self.envp {
                Some(list) => list.as_ptr(),
                None => environ,
            };
            let argv = self.argv.as_ptr();
            call(
                libc::SYS_execve,
                [self.argv[0] as usize, argv as usize, envp as usize],
            )
        };
        result.err().unwrap_or(Errno::EPERM)
    }
}

/// `exit_group(2)` without exit handlers. A seccomp filter may refuse even
/// that; then a fault ends the process, which takes no system call.
pub fn exit(code: libc::c_int) -> Infallible {
    // SAFETY: exit_group does not return, or does nothing.
    let _ = unsafe { call(libc::SYS_exit_group, [code as usize]) };
    loop {
        // SAFETY: an undefined instruction raises SIGILL and touches no memory.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!("ud2")
        };
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("udf #0")
        };
    }
}
