//! What the agent and a parked child say to each other, one message each on a
//! `SOCK_SEQPACKET` socket. Both ends are the same binary, so plain bytes do.

use crate::wire::Step;

/// The agent to the child.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    Step(Step),
    Proceed,
}

/// The child to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// At the checkpoint, with the pid the child sees.
    Ready(libc::pid_t),
    /// The step has been carried out.
    Done,
}

/// The longest message: the longest seccomp program behind its tag.
pub const MAX: usize = 1 + 4096 * 8;

impl Order {
    pub fn encode(&self) -> Vec<u8> {
        let (tag, words): (u8, &[u64]) = match self {
            Order::Proceed => (b'P', &[]),
            Order::Step(Step::CapDropBounding(mask)) => (b'B', &[*mask]),
            Order::Step(Step::CapSetThread {
                effective,
                permitted,
                inheritable,
            }) => (b'T', &[*effective, *permitted, *inheritable]),
            Order::Step(Step::CapSetAmbient(mask)) => (b'A', &[*mask]),
            Order::Step(Step::SeccompInstall(program)) => {
                return [b"S", program.as_slice()].concat();
            }
        };
        let words = words.iter().flat_map(|word| word.to_ne_bytes());
        std::iter::once(tag).chain(words).collect()
    }

    pub fn decode(message: &[u8]) -> Option<Self> {
        let (tag, body) = message.split_first()?;
        if *tag == b'S' {
            return Some(Order::Step(Step::SeccompInstall(body.to_vec())));
        }
        let words: Vec<u64> = body
            .chunks(8)
            .map(|chunk| chunk.try_into().map(u64::from_ne_bytes).ok())
            .collect::<Option<_>>()?;
        match (tag, words.as_slice()) {
            (b'P', []) => Some(Order::Proceed),
            (b'B', [mask]) => Some(Order::Step(Step::CapDropBounding(*mask))),
            (b'T', [effective, permitted, inheritable]) => Some(Order::Step(Step::CapSetThread {
                effective: *effective,
                permitted: *permitted,
                inheritable: *inheritable,
            })),
            (b'A', [mask]) => Some(Order::Step(Step::CapSetAmbient(*mask))),
            _ => None,
        }
    }
}

impl Report {
    /// "Done" is a zero: no process sees itself as pid 0.
    pub fn encode(self) -> [u8; 4] {
        match self {
            Report::Ready(pid) => pid.to_ne_bytes(),
            Report::Done => [0; 4],
        }
    }

    pub fn decode(message: &[u8]) -> Option<Self> {
        match i32::from_ne_bytes(message.try_into().ok()?) {
            0 => Some(Report::Done),
            pid => Some(Report::Ready(pid)),
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
            Order::Step(Step::SeccompInstall(vec![7; MAX - 1])),
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
    fn reports_survive_the_way() {
        for report in [Report::Ready(1), Report::Ready(i32::MAX), Report::Done] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(b""), None);
    }
}
