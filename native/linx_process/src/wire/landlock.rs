//! What a workload may still do to files, ports and processes that are not its own, as terms.
//!
//! The rights are those of the `landlock` crate, as the kernel numbers them, of the version [`VETTED`]. What later
//! ones add is left alone: it would take from a program what nobody has tried it without.

use super::confine::bytes;
use super::terms::{atom, elements, unsigned};
use eetf::Term;
use landlock::{Access, AccessFs, AccessNet, Scope, ABI};
use serde::{Deserialize, Serialize};
use std::ffi::CString;

const VETTED: ABI = ABI::V7;

/// `B` is bytes, as in a [`super::Step`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landlock<B = Vec<u8>> {
    /// An older kernel will not do. What a newer one lacks all the same is left out.
    pub least_abi: u32,
    /// What is forbidden, but for the rules.
    pub handled: Rights,
    /// [`Rule`]s, one behind another as postcard writes them.
    pub rules: B,
}

/// Bits of the kernel's (`linux/landlock.h`).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub fs: u64,
    pub net: u64,
    pub scoped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule<'a> {
    Path {
        /// With a NUL behind it.
        path: &'a [u8],
        access: u64,
        /// Without such a file there is no rule.
        optional: bool,
    },
    Port {
        port: u16,
        access: u64,
    },
}

impl Rights {
    /// Those that the kernel of this version knows.
    fn all(abi: ABI) -> Self {
        Rights {
            fs: AccessFs::from_all(abi).bits(),
            net: AccessNet::from_all(abi).bits(),
            scoped: Scope::from_all(abi).bits(),
        }
    }

    pub fn known_to(self, abi: u32) -> Self {
        let known = Rights::all(ABI::from(abi as i32));
        Rights {
            fs: self.fs & known.fs,
            net: self.net & known.net,
            scoped: self.scoped & known.scoped,
        }
    }

    fn and(self, other: Self) -> Self {
        Rights {
            fs: self.fs | other.fs,
            net: self.net | other.net,
            scoped: self.scoped | other.scoped,
        }
    }
}

/// Those that there are for files that are no directories.
pub fn to_files() -> u64 {
    AccessFs::from_file(VETTED).bits()
}

impl<B: AsRef<[u8]>> Landlock<B> {
    /// Without allocating: the child does this.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let mut rest = self.rules.as_ref();
        std::iter::from_fn(move || {
            let (rule, others) = postcard::take_from_bytes(rest).ok()?;
            rest = others;
            Some(rule)
        })
    }
}

/// `[LeastAbi, Handled, Rules]`
pub fn landlock(arguments: &[Term]) -> Option<Landlock> {
    let [least_abi, handled, rules] = arguments else {
        return None;
    };
    let least_abi = unsigned(least_abi).and_then(|abi| u32::try_from(abi).ok())?;
    let handled = items(handled)?
        .iter()
        .try_fold(Rights::default(), |rights, term| {
            Some(rights.and(category(atom(term)?)?))
        })?;
    let mut encoded = Vec::new();
    for rule in items(rules)? {
        encoded = append(encoded, elements(rule)?)?;
    }
    Some(Landlock {
        least_abi,
        handled,
        rules: encoded,
    })
}

fn category(name: &str) -> Option<Rights> {
    let none = Rights::default();
    Some(match name {
        "fs" => Rights {
            fs: AccessFs::from_all(VETTED).bits(),
            ..none
        },
        "connect_tcp" | "bind_tcp" => Rights {
            net: port_access(name)?,
            ..none
        },
        "abstract_unix_socket" => Rights {
            scoped: Scope::AbstractUnixSocket as u64,
            ..none
        },
        "signal" => Rights {
            scoped: Scope::Signal as u64,
            ..none
        },
        _ => return None,
    })
}

fn append(rules: Vec<u8>, rule: &[Term]) -> Option<Vec<u8>> {
    match rule {
        [kind, path, access] => {
            let optional = match atom(kind)? {
                "path" => false,
                "optional_path" => true,
                _ => return None,
            };
            let path = CString::new(bytes(path)?).ok()?;
            let access = items(access)?.iter();
            write(
                rules,
                &Rule::Path {
                    path: path.as_bytes_with_nul(),
                    access: access
                        .map(path_access)
                        .try_fold(0, |all, one| Some(all | one?))?,
                    optional,
                },
            )
        }
        [access, port] => write(
            rules,
            &Rule::Port {
                port: unsigned(port).and_then(|port| u16::try_from(port).ok())?,
                access: port_access(atom(access)?)?,
            },
        ),
        _ => None,
    }
}

fn write(rules: Vec<u8>, rule: &Rule) -> Option<Vec<u8>> {
    postcard::to_extend(rule, rules).ok()
}

fn path_access(term: &Term) -> Option<u64> {
    let execute = AccessFs::Execute;
    Some(match atom(term)? {
        "read" => (AccessFs::from_read(VETTED) & !execute).bits(),
        "write" => AccessFs::from_write(VETTED).bits(),
        "execute" => execute as u64,
        _ => return None,
    })
}

fn port_access(name: &str) -> Option<u64> {
    match name {
        "connect_tcp" => Some(AccessNet::ConnectTcp as u64),
        "bind_tcp" => Some(AccessNet::BindTcp as u64),
        _ => None,
    }
}

fn items(term: &Term) -> Option<&[Term]> {
    match term {
        Term::List(list) => Some(&list.elements),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rights = Rights {
        fs: u64::MAX,
        net: u64::MAX,
        scoped: u64::MAX,
    };

    #[test]
    fn a_kernel_is_asked_for_no_more_than_it_knows() {
        let rights = |fs, net, scoped| Rights { fs, net, scoped };
        let expected = [
            (0, rights(0, 0, 0)),
            (1, rights((1 << 13) - 1, 0, 0)),
            (2, rights((1 << 14) - 1, 0, 0)),
            (3, rights((1 << 15) - 1, 0, 0)),
            (4, rights((1 << 15) - 1, 3, 0)),
            (5, rights((1 << 16) - 1, 3, 0)),
            (6, rights((1 << 16) - 1, 3, 3)),
            (7, rights((1 << 16) - 1, 3, 3)),
        ];
        for (abi, known) in expected {
            assert_eq!(ALL.known_to(abi), known);
        }
        assert_eq!(Rights::all(VETTED), ALL.known_to(7));
        assert_eq!(category("fs").unwrap().known_to(u32::MAX >> 1).net, 0);
    }

    #[test]
    fn reading_writing_and_executing_are_all_there_is() {
        let access = |name| path_access(&Term::from(eetf::Atom::from(name))).unwrap();
        let [read, write, execute] = ["read", "write", "execute"].map(access);
        assert_eq!((read & write, read & execute, write & execute), (0, 0, 0));
        assert_eq!(read | write | execute, Rights::all(VETTED).fs);
        assert_eq!(execute, 1);
        assert_eq!(read, 0b1100);
        // Execute, write, read, truncate, ioctl.
        assert_eq!(to_files(), 0b1100_0000_0000_0111);
    }
}
