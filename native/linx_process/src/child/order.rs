//! What the agent and a parked child say to each other, one message each on a
//! `SOCK_SEQPACKET` socket. Both ends are the same binary, so there is no version to agree on.

use crate::wire::Step;
use serde::{Deserialize, Serialize};

/// The agent to the child.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order<B = Vec<u8>> {
    Step(Step<B>),
    Proceed,
    /// Its user and group ids are mapped.
    Mapped,
}

/// The child to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// At the checkpoint, with the pid the child sees.
    Ready(libc::pid_t),
    /// The step has been carried out.
    Done,
    /// It is there, in a user namespace where its ids are to be mapped.
    Unmapped,
}

/// The longest message: the longest seccomp program, and more than the largest of anything else.
pub const MAX: usize = 64 << 10;

impl Order {
    pub fn encode(&self) -> Vec<u8> {
        // Into memory, and of plain data: nothing can fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }
}

impl<'a> Order<&'a [u8]> {
    /// Without allocating: the child does this.
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        match postcard::take_from_bytes(message) {
            Ok((order, [])) => Some(order),
            _ => None,
        }
    }
}

/// In place of a pid: no process sees itself as 0, or less.
const DONE: libc::pid_t = 0;
const UNMAPPED: libc::pid_t = -1;

impl Word {
    pub fn encode(self) -> [u8; 4] {
        match self {
            Word::Ready(pid) => pid.to_ne_bytes(),
            Word::Done => DONE.to_ne_bytes(),
            Word::Unmapped => UNMAPPED.to_ne_bytes(),
        }
    }

    pub fn decode(message: &[u8]) -> Option<Self> {
        match libc::pid_t::from_ne_bytes(message.try_into().ok()?) {
            DONE => Some(Word::Done),
            UNMAPPED => Some(Word::Unmapped),
            pid => Some(Word::Ready(pid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Confinement, Setup};

    #[test]
    fn orders_survive_the_way() {
        let program = vec![7; 4096 * 8];
        for order in [
            Order::Proceed,
            Order::Mapped,
            Order::Step(Step::Setup(Setup::Hostname(b"box".to_vec()))),
            Order::Step(Step::Now(Confinement::CapSetThread {
                effective: u64::MAX,
                permitted: 1,
                inheritable: 0,
            })),
            Order::Step(Step::Hold(Confinement::Seccomp(program))),
        ] {
            let message = order.encode();
            assert!(!message.is_empty() && message.len() <= MAX);
            let read = Order::decode(&message).unwrap();
            // The same bytes once more are the same order.
            assert_eq!(postcard::to_allocvec(&read).unwrap(), message);
            assert_eq!(Order::decode(&message[..message.len() - 1]), None);
            assert_eq!(Order::decode(&[&message[..], &[0]].concat()), None);
        }
        assert_eq!(Order::decode(&[]), None);
        assert_eq!(Order::decode(&[250]), None);
    }

    #[test]
    fn words_survive_the_way() {
        for word in [
            Word::Ready(1),
            Word::Ready(99_999),
            Word::Done,
            Word::Unmapped,
        ] {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        assert_eq!(Word::decode(&[]), None);
        assert_eq!(Word::decode(&[1, 2, 3]), None);
    }
}
