//! The channel to the BEAM: frames in on one descriptor, frames out on another.

use crate::sys::pipe;
use crate::wire::frame::{Reader, TooBig};
use crate::wire::{encode, Event, Id, Source};
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{setsockopt, socketpair, sockopt, AddressFamily, SockFlag, SockType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// With more than this on its way out, sources have to wait.
pub const FULL: usize = 256 << 10;
/// They may go on below this.
pub const LOW: usize = 64 << 10;
/// With more than this the BEAM, which does not read its answers, is not asked for more commands.
pub const OVERFULL: usize = 1 << 20;
/// After this time without a byte nothing more of a frame will come.
pub const SILENCE: Duration = Duration::from_millis(200);
/// How often it is looked whether the BEAM has read everything.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// One read from the BEAM takes this much or more.
pub const READ: usize = 64 << 10;

pub struct Control {
    input: OwnedFd,
    reader: Reader,
    outbox: Outbox,
}

/// What came of trying to read.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Something,
    Nothing,
    /// The BEAM has closed its end, or is gone.
    Hangup,
}

impl Control {
    /// Makes both descriptors non-blocking.
    pub fn new(input: OwnedFd, output: OwnedFd) -> Result<Self, Errno> {
        for fd in [&input, &output] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Control {
            input,
            reader: Reader::default(),
            outbox: Outbox::new(output),
        })
    }

    pub fn input(&self) -> &OwnedFd {
        &self.input
    }

    pub fn output(&self) -> &OwnedFd {
        &self.outbox.output
    }

    /// Both ends, for whoever has to hold them open and neither reads nor writes.
    pub fn into_ends(self) -> [OwnedFd; 2] {
        [self.input, self.outbox.output]
    }

    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Waits for the first whole frame; `None` when the BEAM goes away before.
    pub fn first_frame(&mut self) -> Option<Result<Vec<u8>, TooBig>> {
        loop {
            if let Some(frame) = self.next_frame() {
                return Some(frame);
            }
            let mut fds = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE);
            if self.receive() == Received::Hangup {
                return None;
            }
        }
    }

    pub fn next_frame(&mut self) -> Option<Result<Vec<u8>, TooBig>> {
        self.reader.next_frame()
    }

    /// One read, without waiting.
    pub fn receive(&mut self) -> Received {
        match nix::unistd::read(&self.input, self.reader.room(READ)) {
            Ok(0) => Received::Hangup,
            Ok(length) => {
                self.reader.filled(length);
                Received::Something
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
            Err(_) => Received::Hangup,
        }
    }

    /// Writes everything that is left, and waits for the BEAM to have read it.
    ///
    /// Ending sooner could lose it: the BEAM closes a port, read to the end or
    /// not, once a write to it fails. So what it still sends is read, too, and
    /// dropped; with `overrun` all of a frame that has been announced.
    pub fn close(mut self, overrun: bool) {
        let mut hung_up = false;
        let mut silence = Duration::ZERO;
        let mut pause = SHORTEST_PAUSE;
        loop {
            self.outbox.flush();
            match self.receive() {
                Received::Something => silence = Duration::ZERO,
                Received::Nothing => {}
                Received::Hangup => hung_up = true,
            }
            self.reader = Reader::default();
            let taken = self.outbox.is_empty()
                && (hung_up || pipe::unread(self.outbox.output.as_fd()) == Ok(0));
            let expects_more = overrun && !hung_up && silence < SILENCE;
            if self.outbox.is_broken() || (taken && !expects_more) {
                return;
            }
            silence += pause;
            self.pause(pause, hung_up);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A while, which ends when there is something to read or room to write.
    fn pause(&mut self, pause: Duration, hung_up: bool) {
        let wanted = if self.outbox.is_empty() {
            // Asks for nothing, and is told when nobody reads any more.
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        let output = PollFd::new(self.outbox.output.as_fd(), wanted);
        let input = PollFd::new(self.input.as_fd(), PollFlags::POLLIN);
        let mut fds = [output, input];
        let watched = if hung_up { 1 } else { 2 };
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds[..watched], timeout);
        let gone = PollFlags::POLLERR | PollFlags::POLLNVAL;
        if fds[0].revents().is_some_and(|flags| flags.intersects(gone)) {
            self.outbox.give_up();
        }
    }
}

/// Frames on their way to the BEAM.
pub struct Outbox {
    output: OwnedFd,
    bytes: Vec<u8>,
    start: usize,
    moving: Moving,
    broken: bool,
    full: bool,
}

/// Output that is moved from pipe to pipe and never copied: through a pair of sockets of our own. What is in there is
/// ours for certain, while a workload can read what is in its own pipe even when it has been announced. And it has
/// become mere bytes: from pipe to pipe the packets of a workload that writes with `O_DIRECT` (pipe(2)) would stay
/// packets, and of those the BEAM loses what it does not read at once.
#[derive(Default)]
struct Moving {
    sockets: Option<(OwnedFd, OwnedFd)>,
    /// So much is in the sockets …
    length: usize,
    /// … behind so many of the bytes.
    behind: usize,
    /// The channel is no pipe, or there are no sockets for us.
    impossible: bool,
}

/// What our own sockets hold, and the channel shall.
const MOVED_AT_ONCE: usize = 256 << 10;

impl Outbox {
    fn new(output: OwnedFd) -> Self {
        Outbox {
            output,
            bytes: Vec::new(),
            start: 0,
            moving: Moving::default(),
            broken: false,
            full: false,
        }
    }

    /// To the session with this number, if it has one.
    pub fn push(&mut self, id: Option<Id>, event: &Event) {
        if !self.broken {
            event.append_to(&mut self.bytes, id);
        }
    }

    pub fn push_output(&mut self, id: Option<Id>, source: Source, bytes: &[u8]) {
        if !self.broken {
            encode::append_output(&mut self.bytes, id, source, bytes);
        }
    }

    /// Moves up to `most` bytes out of `pipe` behind what is on its way. One such piece is on its way at a time;
    /// until it has left, the outbox is full. `EAGAIN` when that is not possible, or there is nothing.
    pub fn move_output(
        &mut self,
        id: Option<Id>,
        source: Source,
        pipe: BorrowedFd,
        most: usize,
    ) -> Result<usize, Errno> {
        if self.broken || self.moving.impossible || self.moving.length > 0 {
            return Err(Errno::EAGAIN);
        }
        let Some((_, entry)) = self.moving.sockets(&self.output) else {
            return Err(Errno::EAGAIN);
        };
        let length = pipe::splice(pipe, entry.as_fd(), most)?;
        if length == 0 {
            return Err(Errno::EAGAIN);
        }
        encode::append_output_head(&mut self.bytes, id, source, length);
        self.moving.behind = self.bytes.len() - self.start;
        self.moving.length = length;
        self.flush();
        Ok(length)
    }

    /// Writes what the BEAM takes now.
    pub fn flush(&mut self) {
        loop {
            let step = match self.moving.length {
                0 if self.is_empty() => return,
                0 => self.write(self.bytes.len() - self.start),
                _ if self.moving.behind > 0 => self.write(self.moving.behind),
                _ => self.splice(),
            };
            match step {
                Ok(()) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // Nobody reads any more: there is nobody to tell.
                Err(_) => self.give_up(),
            }
        }
    }

    fn write(&mut self, most: usize) -> Result<(), Errno> {
        let bytes = &self.bytes[self.start..self.start + most];
        let written = nix::unistd::write(&self.output, bytes)?;
        self.moving.behind = self.moving.behind.saturating_sub(written);
        self.sent(written);
        Ok(())
    }

    fn splice(&mut self) -> Result<(), Errno> {
        let Some((exit, _)) = &self.moving.sockets else {
            return Err(Errno::EPIPE);
        };
        match pipe::splice(exit.as_fd(), self.output.as_fd(), self.moving.length) {
            Ok(length) => self.moving.length -= length,
            Err(Errno::EINVAL) => {
                // The channel is something that does not take pages.
                self.moving.impossible = true;
                let mut bytes = vec![0; self.moving.length];
                let length = nix::unistd::read(exit, &mut bytes)?;
                self.moving.length -= length;
                let start = self.start + self.moving.behind;
                self.bytes.splice(start..start, bytes.drain(..length));
                self.moving.behind += length;
            }
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Whether sources have to wait: from [`FULL`] until it is down to [`LOW`], and as long as something is moved.
    pub fn is_full(&mut self) -> bool {
        let length = self.bytes.len() - self.start;
        self.full = length > if self.full { LOW } else { FULL };
        self.full || self.moving.length > 0
    }

    /// Whether commands, too, have to wait.
    pub fn is_overfull(&self) -> bool {
        self.bytes.len() - self.start > OVERFULL
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len() && self.moving.length == 0
    }

    /// From now on everything is dropped.
    pub fn give_up(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.moving = Moving::default();
        self.broken = true;
        self.full = false;
    }

    fn sent(&mut self, length: usize) {
        self.start += length;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > FULL {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

impl Moving {
    /// The sockets, made when they are first needed.
    fn sockets(&mut self, channel: &OwnedFd) -> Option<&(OwnedFd, OwnedFd)> {
        if self.sockets.is_none() {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
            self.sockets = pair.ok();
            self.impossible = self.sockets.is_none();
            if let Some((_, entry)) = &self.sockets {
                // The kernel gives what this user may have.
                let _ = setsockopt(entry, sockopt::SndBuf, &MOVED_AT_ONCE);
            }
            // What is no pipe stays as it is.
            let _ = pipe::enlarge(channel.as_fd(), MOVED_AT_ONCE as libc::c_int);
        }
        self.sockets.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(nix::unistd::pipe().unwrap().1)
    }

    #[test]
    fn a_full_outbox_stays_full_until_it_is_low() {
        let mut outbox = outbox();
        let chunk = vec![0; FULL + 1];
        outbox.push_output(None, Source::Pty, &chunk);
        assert!(outbox.is_full());
        outbox.sent(FULL - LOW);
        assert!(outbox.is_full());
        outbox.sent(128);
        assert!(!outbox.is_full());
        assert!(!outbox.is_empty());
    }

    #[test]
    fn a_broken_outbox_takes_everything_and_keeps_nothing() {
        let mut outbox = outbox();
        outbox.push(None, &Event::Running);
        outbox.give_up();
        outbox.push(None, &Event::Running);
        assert!(outbox.is_empty() && outbox.is_broken());
    }

    #[test]
    fn packets_are_moved_as_bytes() {
        // A reader of packets loses what it has no room for.
        let (workload, entry) = nix::unistd::pipe2(OFlag::O_DIRECT | OFlag::O_NONBLOCK).unwrap();
        for byte in 0..4 {
            assert_eq!(nix::unistd::write(&entry, &[byte; 4096]), Ok(4096));
        }
        let (exit, channel) = nix::unistd::pipe().unwrap();
        let mut outbox = Outbox::new(channel);
        let moved = outbox.move_output(None, Source::Stdout, workload.as_fd(), 10_000);
        assert_eq!(moved, Ok(10_000));
        assert!(outbox.is_empty());
        drop(outbox);

        let (mut bytes, mut some) = (Vec::<u8>::new(), [0; 100]);
        while let Ok(length @ 1..) = nix::unistd::read(&exit, &mut some) {
            bytes.extend(&some[..length]);
        }
        let output = (0..10_000).map(|position| (position / 4096) as u8);
        assert!(bytes.into_iter().rev().take(10_000).eq(output.rev()));
    }
}
