//! epoll, with what is waited for kept in step with what is wanted.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    ControlIn,
    ControlOut,
    Signals,
    /// Where subreapers say that there is something to see.
    Bell,
    /// A child whose session has ended.
    Left(i32),
    Session(u32, Part),
}

/// The descriptors of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    Main,
    Intermediate,
    Subreaper,
    Channel,
    Pty,
    Stdin,
    Stdout,
    Stderr,
}

/// In the lowest byte of a number; those of a session have the number of their part there.
const LEFT: u64 = 0xfe;
const FIXED: u64 = 0xff;

impl Token {
    fn number(self) -> u64 {
        let fixed = |n: u64| n << 8 | FIXED;
        match self {
            Token::ControlIn => fixed(0),
            Token::ControlOut => fixed(1),
            Token::Signals => fixed(2),
            Token::Bell => fixed(3),
            Token::Left(pid) => u64::from(pid as u32) << 8 | LEFT,
            Token::Session(id, part) => u64::from(id) << 8 | part as u64,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        let value = u32::try_from(number >> 8).ok()?;
        let part = match number & 0xff {
            FIXED => {
                return match value {
                    0 => Some(Token::ControlIn),
                    1 => Some(Token::ControlOut),
                    2 => Some(Token::Signals),
                    3 => Some(Token::Bell),
                    _ => None,
                };
            }
            LEFT => return Some(Token::Left(value as i32)),
            0 => Part::Main,
            1 => Part::Intermediate,
            2 => Part::Subreaper,
            3 => Part::Channel,
            4 => Part::Pty,
            5 => Part::Stdin,
            6 => Part::Stdout,
            7 => Part::Stderr,
            _ => return None,
        };
        Some(Token::Session(value, part))
    }
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub token: Token,
    pub flags: EpollFlags,
}

pub struct Poller {
    epoll: Epoll,
    /// What each registered descriptor is registered for.
    interests: HashMap<Token, EpollFlags>,
}

impl Poller {
    /// `epoll_create1(2)`: `EMFILE`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Poller {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            interests: HashMap::new(),
        })
    }

    /// Waits for `flags` on `fd` from now on, and for hang-ups and errors in
    /// any case. `EPERM` for a file, which is always ready.
    pub fn want(&mut self, token: Token, fd: BorrowedFd, flags: EpollFlags) -> Result<(), Errno> {
        let mut event = EpollEvent::new(flags, token.number());
        match self.interests.insert(token, flags) {
            Some(before) if before == flags => Ok(()),
            Some(_) => self.epoll.modify(fd, &mut event),
            None => self.epoll.add(fd, event).inspect_err(|_| {
                self.interests.remove(&token);
            }),
        }
    }

    /// Waits for nothing on `fd` any more. Needed before the descriptor is
    /// closed: a child may hold a copy, and epoll watches what is open, not the number.
    pub fn forget(&mut self, token: Token, fd: BorrowedFd) {
        if self.interests.remove(&token).is_some() {
            let _ = self.epoll.delete(fd);
        }
    }

    /// Blocks until something is ready or the deadline has passed.
    pub fn wait(&self, deadline: Option<Instant>) -> Vec<Ready> {
        let timeout = deadline.map_or(EpollTimeout::NONE, |deadline| {
            // Rounded up: waking a moment early would mean waking many times.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left + Duration::from_micros(999);
            EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 256];
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let ready = |event: &EpollEvent| {
            Some(Ready {
                token: Token::from_number(event.data())?,
                flags: event.events(),
            })
        };
        events[..count].iter().filter_map(ready).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_way_through_the_kernel() {
        let parts = [
            Part::Main,
            Part::Intermediate,
            Part::Subreaper,
            Part::Channel,
            Part::Pty,
            Part::Stdin,
            Part::Stdout,
            Part::Stderr,
        ];
        let sessions = [0, 1, u32::MAX]
            .into_iter()
            .flat_map(|id| parts.map(|part| Token::Session(id, part)));
        let fixed = [
            Token::ControlIn,
            Token::ControlOut,
            Token::Signals,
            Token::Bell,
            Token::Left(1),
            Token::Left(i32::MAX),
        ];
        for token in fixed.into_iter().chain(sessions) {
            assert_eq!(Token::from_number(token.number()), Some(token));
        }
    }
}
