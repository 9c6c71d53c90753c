//! Programs ready to be executed, and ways to end that need no library.

use super::direct::call;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::CString;

/// Arguments and environment as `execve(2)` wants them, built before clone so that
/// nothing is left to allocate after it. There may be more than one, to be executed one after another.
pub struct Program {
    _strings: Vec<CString>,
    paths: Vec<*const libc::c_char>,
    argvs: Vec<Vec<*const libc::c_char>>,
    envp: Option<Vec<*const libc::c_char>>,
}

// SAFETY: nothing in it ever changes, and what the pointers point to is its own.
unsafe impl Sync for Program {}

impl Program {
    /// None of `argvs` is empty: its first element is the path to execute. Nor are there none.
    /// With `arg0` the first program is told that it is called so, instead of by its path.
    /// Without `env` the programs get the environment of the agent.
    pub fn new(argvs: Vec<Vec<CString>>, arg0: Option<CString>, env: Option<Vec<CString>>) -> Self {
        let pointers = |strings: &[CString]| {
            let mut list: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
            list.push(std::ptr::null());
            list
        };
        let paths = argvs.iter().map(|argv| argv[0].as_ptr()).collect();
        let mut argv_pointers: Vec<_> = argvs.iter().map(|argv| pointers(argv)).collect();
        if let Some(name) = &arg0 {
            argv_pointers[0][0] = name.as_ptr();
        }
        let envp = env.as_deref().map(pointers);
        let strings = argvs.into_iter().chain(env).flatten().chain(arg0);
        Program {
            _strings: strings.collect(),
            paths,
            argvs: argv_pointers,
            envp,
        }
    }

    /// The number of the last one; the first is 0.
    pub fn last(&self) -> usize {
        self.argvs.len() - 1
    }

    /// `execve(2)` of the one with this number. Any return is a failure: a seccomp filter can make it
    /// "return" 0, which is reported as `EPERM`.
    pub fn execute(&self, number: usize) -> Errno {
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
            let (path, argv) = (self.paths[number], &self.argvs[number]);
            call(
                libc::SYS_execve,
                [path as usize, argv.as_ptr() as usize, envp as usize],
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
