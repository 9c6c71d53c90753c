//! Sockets and pipes, as a process uses them that must keep away from the C library ([`super::direct`]).

use super::direct::call;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::RawFd;

/// `recvfrom(2)`: the length of the next message, 0 when there will be none.
pub fn receive(socket: RawFd, buffer: &mut [u8], flags: libc::c_int) -> Result<usize, Errno> {
    let address = buffer.as_mut_ptr() as usize;
    let (socket, flags) = (socket as usize, flags as usize);
    // SAFETY: writes no more than the buffer holds.
    unsafe {
        call(
            libc::SYS_recvfrom,
            [socket, address, buffer.len(), flags, 0, 0],
        )
    }
}

/// `sendto(2)`, without a signal when nobody is there: `EPIPE`, `ECONNRESET`.
pub fn send(socket: RawFd, message: &[u8]) -> Result<(), Errno> {
    let (address, flags) = (message.as_ptr() as usize, libc::MSG_NOSIGNAL as usize);
    // SAFETY: reads no more than the message has.
    unsafe {
        call(
            libc::SYS_sendto,
            [socket as usize, address, message.len(), flags, 0, 0],
        )
    }
    .map(drop)
}

/// `socketpair(2)`: two ends that keep messages apart, close-on-exec. `EMFILE`, `ENFILE`.
pub fn pair() -> Result<(RawFd, RawFd), Errno> {
    let mut ends: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    let address = ends.as_mut_ptr() as usize;
    let arguments = [libc::AF_UNIX as usize, kind as usize, 0, address];
    // SAFETY: writes two integers.
    unsafe { call(libc::SYS_socketpair, arguments) }?;
    let [one, other] = ends;
    Ok((one, other))
}

/// `write(2)`.
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let address = bytes.as_ptr() as usize;
    // SAFETY: reads no more than there is.
    unsafe { call(libc::SYS_write, [fd as usize, address, bytes.len()]) }
}

/// A stream socket connected to the Unix socket at `path`, close-on-exec. `ENAMETOOLONG` for a path that
/// does not fit, `EINVAL` for an empty one, and the errors of `connect(2)`.
pub fn connect_unix(path: &CStr) -> Result<RawFd, Errno> {
    // SAFETY: all zeroes are an address without a path.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.to_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: integers only.
    let fd = unsafe { call(libc::SYS_socket, [libc::AF_UNIX as usize, kind as usize, 0]) }?;
    // An empty path is no address; with the zero behind it it would be an abstract one.
    let end = if bytes.is_empty() { 0 } else { bytes.len() + 1 };
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + end;
    let pointer = std::ptr::from_ref(&address) as usize;
    // SAFETY: reads an address of this length.
    unsafe { call(libc::SYS_connect, [fd, pointer, length]) }?;
    Ok(fd as RawFd)
}
