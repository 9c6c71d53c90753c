//! The system calls of each architecture, by name and by number.

use std::collections::HashMap;
use std::sync::OnceLock;

/// An architecture that filters are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// What a name is on an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Number(u32),
    /// A system call of Linux, but not of this architecture.
    OtherArch,
    Unknown,
}

/// A table of the crate: the number of its last entry, and what name a number has. (Its own iterator
/// leaves out the last entry.)
macro_rules! table {
    ($arch:ident) => {{
        use syscalls::$arch::Sysno;
        let names = 0..=Sysno::last().id() as u32;
        names.filter_map(|number| Sysno::new(number as usize).map(|call| (call.name(), number)))
    }};
}

impl Arch {
    /// `AUDIT_ARCH_*`, linux/audit.h: what the kernel tells a filter.
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    /// Names and numbers, by number.
    pub fn syscalls(self) -> impl Iterator<Item = (&'static str, u32)> {
        self.tables().by_number.iter().copied()
    }

    /// The number of the newest system call that is known here.
    pub fn last(self) -> u32 {
        self.tables().by_number.last().map_or(0, |last| last.1)
    }

    pub fn name(self, number: u32) -> Option<&'static str> {
        let by_number = &self.tables().by_number;
        let index = by_number.binary_search_by_key(&number, |entry| entry.1);
        index.ok().map(|index| by_number[index].0)
    }

    pub fn lookup(self, name: &str) -> Lookup {
        match self.tables().by_name.get(name) {
            Some(&number) => Lookup::Number(number),
            None if anywhere(name) => Lookup::OtherArch,
            None => Lookup::Unknown,
        }
    }

    fn tables(self) -> &'static Tables {
        static X86_64: OnceLock<Tables> = OnceLock::new();
        static AARCH64: OnceLock<Tables> = OnceLock::new();
        match self {
            Arch::X86_64 => X86_64.get_or_init(|| Tables::new(table!(x86_64))),
            Arch::Aarch64 => AARCH64.get_or_init(|| Tables::new(table!(aarch64))),
        }
    }
}

struct Tables {
    by_number: Vec<(&'static str, u32)>,
    by_name: HashMap<&'static str, u32>,
}

impl Tables {
    fn new(entries: impl Iterator<Item = (&'static str, u32)>) -> Self {
        let by_number: Vec<_> = entries.collect();
        let by_name = by_number.iter().copied().collect();
        Tables { by_number, by_name }
    }
}

/// Whether any architecture of Linux has a system call of this name.
fn anywhere(name: &str) -> bool {
    macro_rules! any {
        ($($arch:ident)*) => { $(name.parse::<syscalls::$arch::Sysno>().is_ok())||* };
    }
    any!(x86 arm x86_64 aarch64 loongarch64 mips mips64 powerpc powerpc64 riscv32 riscv64 s390x sparc sparc64)
}

#[cfg(test)]
mod tests {
    use super::{Arch, Lookup};

    #[test]
    fn numbers_are_those_of_the_architecture() {
        assert_eq!(Arch::X86_64.lookup("openat"), Lookup::Number(257));
        assert_eq!(Arch::Aarch64.lookup("openat"), Lookup::Number(56));
        assert_eq!(Arch::X86_64.name(59), Some("execve"));
        assert_eq!(Arch::X86_64.name(400), None);
    }

    #[test]
    fn names_of_others_are_told_from_what_is_no_name() {
        assert_eq!(Arch::X86_64.lookup("socketcall"), Lookup::OtherArch);
        assert_eq!(Arch::Aarch64.lookup("open"), Lookup::OtherArch);
        assert_eq!(Arch::Aarch64.lookup("opne"), Lookup::Unknown);
    }

    #[test]
    fn a_table_has_its_first_and_its_last_entry() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let last = arch.syscalls().last().unwrap();
            assert_eq!(last.1, arch.last());
            assert_eq!(arch.lookup(last.0), Lookup::Number(last.1));
            assert_eq!(arch.syscalls().next().unwrap().1, 0);
        }
    }
}
