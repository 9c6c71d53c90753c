//! `clone3(2)`, and `clone(2)` where clone3 answers `ENOSYS` (old kernels, and
//! seccomp profiles of container engines that do not know it).
//!
//! Every child is made with `exit_signal` 0: exec resets it to SIGCHLD before
//! it closes the close-on-exec descriptors, so that `waitid` without `__WALL`
//! tells for certain whether a child got as far as exec ([`super::wait::has_execed`]).

use super::block::Stack;
use super::check;
use super::direct::checked;
use nix::errno::Errno;
use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicI32;

/// A child just made: its pid in this process's PID namespace, and its pidfd.
#[derive(Debug)]
pub struct Child {
    pub pid: libc::pid_t,
    pub pidfd: OwnedFd,
}

/// `CLONE_INTO_CGROUP`, which libc has in a type that does not hold it everywhere.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Where a process is born.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// `CLONE_NEW*`
    pub namespaces: u64,
    /// A directory of cgroup v2: `EACCES` when it is not delegated to us, `EBADF` when it is none, `EBUSY` when it
    /// hands its controllers on.
    pub cgroup: Option<RawFd>,
}

impl Place {
    fn is_known_to_clone(self) -> bool {
        self.cgroup.is_none() && self.namespaces & libc::CLONE_NEWTIME as u64 == 0
    }
}

/// A copy of this process that runs `body`, with the same table of descriptors when `shares_files`.
///
/// `EAGAIN` over `RLIMIT_NPROC` or a pids limit, `ENOMEM`.
pub fn child(shares_files: bool, body: impl FnOnce() -> Infallible) -> Result<Child, Errno> {
    child_in(Place::default(), shares_files, body)
}

/// The same, born in a place of its own. Errors as [`suspended`], too.
pub fn child_in(
    place: Place,
    shares_files: bool,
    body: impl FnOnce() -> Infallible,
) -> Result<Child, Errno> {
    let mut pidfd: libc::c_int = -1;
    let files = if shares_files { libc::CLONE_FILES } else { 0 };
    let pid = copy(place, (libc::CLONE_PIDFD | files) as u64, &mut pidfd, body)?;
    // SAFETY: the kernel has just put this descriptor into our table for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// A copy of this process whose parent is *this process's parent* (`CLONE_PARENT`).
/// The pid is the one this process's own PID namespace knows it by, also after
/// `setns` to another one, which only moves children.
///
/// Errors as [`child`].
/// It stands in `pid` before the new process begins.
pub fn sibling(pid: &AtomicI32, body: impl FnOnce() -> Infallible) -> Result<libc::pid_t, Errno> {
    let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;
    copy(Place::default(), flags as u64, pid.as_ptr(), body)
}

fn copy(
    place: Place,
    flags: u64,
    address: *mut libc::c_int,
    body: impl FnOnce() -> Infallible,
) -> Result<libc::pid_t, Errno> {
    let mut arguments = arguments(place, flags);
    // `flags` decide what is put there.
    arguments.pidfd = address as u64;
    arguments.parent_tid = address as u64;
    // SAFETY: without CLONE_VM the child gets a copy of everything, stack
    // included. Whoever copies itself has one thread, so no lock can be held in the copy.
    // What is at `address` outlives the call and is only written by it.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &arguments, SIZE) };
    let pid = match check(result) {
        Err(Errno::ENOSYS) if place.is_known_to_clone() => {
            let flags = place.namespaces | flags;
            // SAFETY: as above. A null stack means "continue on a copy of mine";
            // the remaining arguments are not looked at with these flags.
            check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, address, 0, 0) })
        }
        other => other,
    }?;
    if pid == 0 {
        body();
    }
    Ok(pid as libc::pid_t)
}

/// What another process uses in our memory. Dropping it gives nothing back.
pub struct Lent<T>(ManuallyDrop<Box<T>>);

impl<T> Lent<T> {
    pub fn new(value: T) -> Self {
        Lent(ManuallyDrop::new(Box::new(value)))
    }

    /// For when the other process has executed a program, or ended: until then it may look here.
    pub fn take_back(self) -> T {
        *ManuallyDrop::into_inner(self.0)
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a process finds at the top of its new stack, or its parent leaves it.
struct Job<T> {
    body: fn(&T) -> Infallible,
    argument: *const T,
}

impl<T> Job<T> {
    /// Its place, and what of the stack is left below it.
    ///
    /// # Safety
    ///
    /// Nobody uses the stack.
    unsafe fn place_on(self, stack: Stack) -> (usize, *const Self) {
        // The ABI wants 16 bytes.
        let place = (stack.top() as usize - std::mem::size_of::<Self>()) & !15;
        let offset = place - stack.bottom() as usize;
        let place = stack.bottom().wrapping_add(offset).cast::<Self>();
        // SAFETY: it is within the stack, aligned, and nobody else's.
        unsafe { place.write(self) };
        (place as usize, place)
    }
}

/// A process that runs `body` on `stack`, *in this process's memory*, beside it (`CLONE_VM`), and with its
/// descriptors (`CLONE_FILES`) when `shares_files`.
///
/// It must not allocate, panic, or use the C library ([`super::direct`]). `stack` and `argument` are its own as
/// long as it lives, and so are those of a process that it has made by [`suspended`] and that has not executed
/// anything.
///
/// Errors as [`child`].
pub fn beside<T: Sync>(
    stack: Stack,
    shares_files: bool,
    body: fn(&T) -> Infallible,
    argument: &Lent<T>,
) -> Result<Child, Errno> {
    let job = Job {
        body,
        argument: std::ptr::from_ref(&**argument),
    };
    // SAFETY: the stack is in no use.
    let (top, job) = unsafe { job.place_on(stack) };
    let mut pidfd: libc::c_int = -1;
    let address = std::ptr::from_mut(&mut pidfd);
    let files = if shares_files { libc::CLONE_FILES } else { 0 };
    let flags = (libc::CLONE_VM | libc::CLONE_PIDFD | files) as u64;
    let mut arguments = arguments(Place::default(), flags);
    arguments.pidfd = address as u64;
    arguments.stack = stack.bottom() as u64;
    arguments.stack_size = (top - stack.bottom() as usize) as u64;
    // SAFETY: the new process runs on a stack of its own and never returns to ours. What it looks at it has been
    // lent, and it keeps its hands off everything else, as its body promises.
    let pid = unsafe { start(&arguments, Some(top), address, enter::<T>, job) }?;
    // SAFETY: the kernel has just put this descriptor into our table for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// A child in `place`, which runs `body` while this process is suspended
/// (`CLONE_VFORK`): until the child executes a program, or ends. Its pid, in this process's PID namespace, stands in
/// `pid` before it begins. With `in_our_memory` the memory is not copied (`CLONE_VM`), and the child must
/// keep to what [`beside`] says.
///
/// `EPERM` without the privilege a namespace needs, `ENOSPC` over a limit on
/// their nesting or number, `EAGAIN` over `RLIMIT_NPROC` or a pids limit,
/// `ENOSYS` when a time namespace is asked for and there is no clone3
/// (`CLONE_NEWTIME` shares its bit with clone(2)'s exit signal).
pub fn suspended<T>(
    place: Place,
    in_our_memory: bool,
    pid: &AtomicI32,
    body: fn(&T) -> Infallible,
    argument: &T,
) -> Result<libc::pid_t, Errno> {
    let job = Job {
        body,
        argument: std::ptr::from_ref(argument),
    };
    let memory = if in_our_memory { libc::CLONE_VM } else { 0 };
    let flags = (libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | memory) as u64;
    let mut arguments = arguments(place, flags);
    arguments.parent_tid = pid.as_ptr() as u64;
    // SAFETY: the child goes on below this frame, on our stack or a copy of it, and never returns to it;
    // we are not there meanwhile. `pid` is written by the kernel before either of us goes on.
    unsafe { start(&arguments, None, pid.as_ptr(), enter::<T>, &job) }
}

/// A copy of this process in `place`, which runs `body` while this process goes on. Its
/// pid, in this process's PID namespace, stands in `pid` before it begins. It runs on `stack`, which is private memory;
/// without one on a copy of this process's own, which then has to be private, too.
///
/// Errors as [`suspended`].
pub fn apart<T>(
    place: Place,
    stack: Option<Stack>,
    pid: &AtomicI32,
    body: fn(&T) -> Infallible,
    argument: &T,
) -> Result<libc::pid_t, Errno> {
    let job = Job {
        body,
        argument: std::ptr::from_ref(argument),
    };
    let mut arguments = arguments(place, libc::CLONE_PARENT_SETTID as u64);
    arguments.parent_tid = pid.as_ptr() as u64;
    // SAFETY: the child has a copy of all that is private, this frame or `stack` included, and never returns to
    // the frame. `stack` is in no use. `pid` is written by the kernel before the child begins.
    unsafe {
        let Some(stack) = stack else {
            return start(&arguments, None, pid.as_ptr(), enter::<T>, &job);
        };
        let (top, job) = job.place_on(stack);
        arguments.stack = stack.bottom() as u64;
        arguments.stack_size = (top - stack.bottom() as usize) as u64;
        start(&arguments, Some(top), pid.as_ptr(), enter::<T>, job)
    }
}

extern "C" fn enter<T>(job: *const Job<T>) -> ! {
    // SAFETY: whoever made this process has put it there, and leaves it there.
    let job = unsafe { &*job };
    // SAFETY: likewise.
    match (job.body)(unsafe { &*job.argument }) {}
}

const SIZE: usize = std::mem::size_of::<libc::clone_args>();

fn arguments(place: Place, flags: u64) -> libc::clone_args {
    // SAFETY: an all-zero clone_args is valid (no stack, no tls, exit_signal 0).
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = place.namespaces | flags;
    if let Some(cgroup) = place.cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = cgroup as u64;
    }
    arguments
}

/// clone3, or clone; the child calls `entry` and never returns. `tid` is where clone(2) puts a pid or pidfd.
///
/// # Safety
///
/// `entry` gets the `job` it expects, and nothing the two processes share is used by both.
unsafe fn start<T>(
    arguments: &libc::clone_args,
    stack: Option<usize>,
    tid: *mut libc::c_int,
    entry: extern "C" fn(*const Job<T>) -> !,
    job: *const Job<T>,
) -> Result<libc::pid_t, Errno> {
    let (entry, job) = (entry as usize, job as usize);
    let clone3 = [std::ptr::from_ref(arguments) as usize, SIZE, 0, 0];
    // SAFETY: the caller's promise.
    let result = match checked(unsafe { branch(libc::SYS_clone3, clone3, entry, job) }) {
        Err(Errno::ENOSYS) if arguments.flags & (libc::CLONE_NEWTIME as u64 | INTO_CGROUP) == 0 => {
            let flags = arguments.flags as usize;
            let clone = [flags, stack.unwrap_or(0), tid as usize, 0];
            // SAFETY: as above.
            checked(unsafe { branch(libc::SYS_clone, clone, entry, job) })
        }
        other => other,
    };
    result.map(|pid| pid as libc::pid_t)
}

/// The system call, and in the child, where it returns 0, a call of `entry` with `job`.
///
/// Both are in one piece of assembly, so that the child never sees a frame of the parent's: the compiler
/// would not expect a function to return twice on one stack.
#[cfg(target_arch = "x86_64")]
unsafe fn branch(number: libc::c_long, a: [usize; 4], entry: usize, job: usize) -> isize {
    let result;
    // SAFETY: the caller's promise. The kernel keeps all registers but these three; the stack is aligned, and
    // below its pointer there is nothing of ours.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") number as isize => result,
            in("rdi") a[0],
            in("rsi") a[1],
            in("rdx") a[2],
            in("r10") a[3],
            in("r8") 0,
            in("r12") entry,
            in("r13") job,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn branch(number: libc::c_long, a: [usize; 4], entry: usize, job: usize) -> isize {
    let result;
    // SAFETY: as above; the kernel keeps all registers but x0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "udf 0",
            "2:",
            in("x8") number,
            inlateout("x0") a[0] as isize => result,
            in("x1") a[1],
            in("x2") a[2],
            in("x3") a[3],
            in("x4") 0,
            in("x20") entry,
            in("x21") job,
        );
    }
    result
}
