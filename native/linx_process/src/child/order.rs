//! What the agent and a parked child say to each other, one message each on a
//! `SOCK_SEQPACKET` socket. Both ends are the same binary, so plain bytes do.

use crate::wire::Step;

/// The agent to the child.
#[derive(Debug, PartialEq, Eq)]
pub enum Order<'a> {
    Step(Step<&'a [u8]>),
    Proceed,
}

/// The child to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// At the checkpoint, with the pid the child sees.
    Ready(libc::pid_t),
    /// The step has been carried out.
    Done,
}

/// The longest message: the longest seccomp program behind its tag.
pub const MAX: usize = 1 + 4096 * 8;

/// No step has more numbers than this.
const NUMBERS: usize = 3;

impl<'a> Order<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let (tag, numbers): (u8, &[u64]) = match self {
            Order::Proceed => (b'P', &[]),
            Order::Step(Step::CapDropBounding(mask)) => (b'B', &[*mask]),
            Order::Step(Step::CapSetThread {
                effective,
                permitted,
                inheritable,
            }) => (b'T', &[*effective, *permitted, *inheritable]),
            Order::Step(Step::CapSetAmbient(mask)) => (b'A', &[*mask]),
            Order::Step(Step::SeccompInstall(program)) => {
                return [b"S", *program].concat();
            }
        };
        let numbers = numbers.iter().flat_map(|number| number.to_ne_bytes());
        std::iter::once(tag).chain(numbers).collect()
    }

    /// Without allocating: the child does this.
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let (tag, body) = message.split_first()?;
        if *tag == b'S' {
            return Some(Order::Step(Step::SeccompInstall(body)));
        }
        let mut numbers = [0; NUMBERS];
        for (number, bytes) in numbers.iter_mut().zip(body.chunks(8)) {
            *number = u64::from_ne_bytes(bytes.try_into().ok()?);
        }
        let [first, second, third] = numbers;
        match (tag, body.len()) {
            (b'P', 0) => Some(Order::Proceed),
            (b'B', 8) => Some(Order::Step(Step::CapDropBounding(first))),
            (b'T', 24) => Some(Order::Step(Step::CapSetThread {
                effective: first,
                permitted: second,
                inheritable: third,
            })),
            (b'A', 8) => Some(Order::Step(Step::CapSetAmbient(first))),
            _ => None,
        }
    }
}

impl Word {
    /// "Done" is a zero: no process sees itself as pid 0.
    pub fn encode(self) -> [u8; 4] {
        match self {
            Word::Ready(pid) => pid.to_ne_bytes(),
            Word::Done => [0; 4],
        }
    }

    pub fn decode(message: &[u8]) -> Option<Self> {
        match i32::from_ne_bytes(message.try_into().ok()?) {
            0 => Some(Word::Done),
            pid => Some(Word::Ready(pid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_way() {
        let orders = [
            Order::Proceed,
            Order::Step(Step::CapDropBounding(u64::MAX)),
            Order::Step(Step::CapSetThread {
                effective: 1,
                permitted: 2,
                inheritable: 1 << 40,
            }),
            Order::Step(Step::CapSetAmbient(0)),
            Order::Step(Step::SeccompInstall(&[7; MAX - 1])),
        ];
        for order in orders {
            let message = order.encode();
            assert!(message.len() <= MAX);
            assert_eq!(Order::decode(&message), Some(order));
        }
        assert_eq!(Order::decode(b""), None);
        assert_eq!(Order::decode(b"B1234567"), None);
        assert_eq!(Order::decode(b"P12345678"), None);
    }

    #[test]
    fn words_survive_the_way() {
        for word in [Word::Ready(1), Word::Ready(i32::MAX), Word::Done] {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        assert_eq!(Word::decode(b""), None);
    }
}
