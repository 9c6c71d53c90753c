//! `sethostname(2)`, `unshare(2)`, and the loopback interface by `netdevice(7)`.

use super::direct::call;
use super::fds;
use nix::errno::Errno;
use std::mem::zeroed;

/// `EPERM`; `EINVAL` for more than 64 bytes.
pub fn set_hostname(name: &[u8]) -> Result<(), Errno> {
    let arguments = [name.as_ptr() as usize, name.len()];
    // SAFETY: the kernel copies so many bytes.
    unsafe { call(libc::SYS_sethostname, arguments) }.map(drop)
}

/// `unshare(CLONE_NEWTIME)`: `EPERM`, `EINVAL` where there are no time namespaces.
pub fn unshare_time() -> Result<(), Errno> {
    // SAFETY: integers only.
    unsafe { call(libc::SYS_unshare, [libc::CLONE_NEWTIME as usize]) }.map(drop)
}

/// Moves to the time namespace that children would be born in: `EUSERS` in shared memory. Before Linux 6.3 exec did not do
/// so (kernel commit 2b5f9dad32ed).
pub fn enter_time() -> Result<(), Errno> {
    let namespace = fds::open(c"/proc/self/ns/time_for_children", libc::O_RDONLY)?;
    let arguments = [namespace as usize, libc::CLONE_NEWTIME as usize];
    // SAFETY: integers only.
    let result = unsafe { call(libc::SYS_setns, arguments) };
    fds::close_one(namespace);
    result.map(drop)
}

/// Has the interface `lo` up, and with it its addresses: `EPERM` without CAP_NET_ADMIN.
pub fn raise_loopback() -> Result<(), Errno> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: integers only.
    let socket = unsafe { call(libc::SYS_socket, [libc::AF_INET as usize, kind as usize, 0]) }?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (letter, name) in request.ifr_name.iter_mut().zip(b"lo") {
        *letter = *name as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let argument = std::ptr::from_mut(&mut request) as usize;
    // SAFETY: it reads one ifreq.
    let result = unsafe {
        call(
            libc::SYS_ioctl,
            [socket, libc::SIOCSIFFLAGS as usize, argument],
        )
    };
    fds::close_one(socket as i32);
    result.map(drop)
}
