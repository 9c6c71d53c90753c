//! What a child mounts in a mount namespace of its own, and how that is said in terms.

use super::decode::MODES;
use super::stage::Stage;
use super::terms::{atom, elements, list, unsigned};
use eetf::Term;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;

/// Paths and names end in a zero, for the child to hand them on as they are. A target begins with a slash, and has
/// nothing in it but names; the one without a name is a new root, beneath which all that follows is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount<B = Vec<u8>> {
    /// What is somewhere already, there as well.
    Bind {
        source: B,
        target: B,
        flags: Flags,
    },
    /// Something new.
    FileSystem {
        kind: B,
        source: B,
        target: B,
        /// What [`options`] reads.
        options: B,
        flags: Flags,
    },
    Propagation {
        target: B,
        propagation: Propagation,
        recursive: bool,
    },
    Attributes {
        target: B,
        flags: Flags,
    },
    Unmount {
        target: B,
        /// Also what is in use, and what is mounted below (`MNT_DETACH`).
        detach: bool,
    },
    MakeDirectory {
        target: B,
        mode: u32,
    },
    MakeFile {
        target: B,
        mode: u32,
        data: B,
    },
    Symlink {
        target: B,
        content: B,
    },
    /// The new root becomes the root, and of the old one nothing is left.
    PivotRoot,
}

/// What a mount is to be like.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// `MOUNT_ATTR_*`, and those that give way to them.
    pub set: u64,
    pub clear: u64,
    pub recursive: bool,
    /// Nothing is done without the source.
    pub optional: bool,
    /// Where there is no mount point one is made.
    pub make: bool,
    /// The source is found without following any symbolic link.
    pub no_symlinks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

/// Attributes by name.
pub const ATTRIBUTES: [(&str, u64); 9] = [
    ("read_only", libc::MOUNT_ATTR_RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC),
    ("relatime", libc::MOUNT_ATTR_RELATIME),
    ("noatime", libc::MOUNT_ATTR_NOATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW),
];

/// With its zero.
const LONGEST_PATH: usize = libc::PATH_MAX as usize;
/// An order to the child has to hold all of it.
const LONGEST_DATA: usize = 32 << 10;
const LONGEST_OPTIONS: usize = 16 << 10;

impl<B> Mount<B> {
    /// Where it fails, if not at one of its parts.
    pub fn stage(&self) -> Stage {
        match self {
            Mount::Bind { .. } => Stage::MountBind,
            Mount::FileSystem { .. } => Stage::MountFileSystem,
            Mount::Propagation { .. } => Stage::MountPropagation,
            Mount::Attributes { .. } => Stage::MountAttributes,
            Mount::Unmount { .. } => Stage::MountUnmount,
            Mount::MakeDirectory { .. } | Mount::MakeFile { .. } | Mount::Symlink { .. } => {
                Stage::MountMake
            }
            Mount::PivotRoot => Stage::PivotRoot,
        }
    }
}

impl Mount {
    /// How much it carries, beyond itself.
    pub fn bytes(&self) -> usize {
        match self {
            Mount::Bind { source, target, .. } => source.len() + target.len(),
            Mount::FileSystem {
                kind,
                source,
                target,
                options,
                ..
            } => kind.len() + source.len() + target.len() + options.len(),
            Mount::MakeFile { target, data, .. } => target.len() + data.len(),
            Mount::Symlink { target, content } => target.len() + content.len(),
            Mount::Propagation { target, .. }
            | Mount::Attributes { target, .. }
            | Mount::Unmount { target, .. }
            | Mount::MakeDirectory { target, .. } => target.len(),
            Mount::PivotRoot => 0,
        }
    }
}

/// The options of a file system: a name, and a value if it has one.
pub fn options(mut bytes: &[u8]) -> impl Iterator<Item = (&CStr, Option<&CStr>)> {
    std::iter::from_fn(move || {
        let (has_value, rest) = bytes.split_first()?;
        let name = CStr::from_bytes_until_nul(rest).ok()?;
        bytes = &rest[name.count_bytes() + 1..];
        if *has_value == 0 {
            return Some((name, None));
        }
        let value = CStr::from_bytes_until_nul(bytes).ok()?;
        bytes = &bytes[value.count_bytes() + 1..];
        Some((name, Some(value)))
    })
}

pub fn mount(term: &Term) -> Option<Mount> {
    if atom(term) == Some("pivot_root") {
        return Some(Mount::PivotRoot);
    }
    let (name, arguments) = elements(term)?.split_first()?;
    match (atom(name)?, arguments) {
        ("bind", [from, to, how]) => Some(Mount::Bind {
            source: path(from)?,
            target: target(to)?,
            flags: flags(how)?,
        }),
        ("file_system", [kind, from, to, with, how]) => Some(Mount::FileSystem {
            kind: path(kind)?,
            source: path(from)?,
            target: target(to)?,
            options: encode(with)?,
            flags: flags(how)?,
        }),
        ("propagation", [to, how, only]) => Some(Mount::Propagation {
            target: target(to)?,
            propagation: propagation(how)?,
            recursive: alone(only, "recursive")?,
        }),
        ("attributes", [to, how]) => Some(Mount::Attributes {
            target: target(to)?,
            flags: flags(how)?,
        }),
        ("unmount", [to, how]) => Some(Mount::Unmount {
            target: target(to)?,
            detach: alone(how, "detach")?,
        }),
        ("make_directory", [to, mode]) => Some(Mount::MakeDirectory {
            target: target(to)?,
            mode: permissions(mode)?,
        }),
        ("make_file", [to, mode, data]) => Some(Mount::MakeFile {
            target: target(to)?,
            mode: permissions(mode)?,
            data: bytes(data, LONGEST_DATA)?.to_vec(),
        }),
        ("symlink", [to, content]) => Some(Mount::Symlink {
            target: target(to)?,
            content: path(content)?,
        }),
        _ => None,
    }
}

fn bytes(term: &Term, longest: usize) -> Option<&[u8]> {
    match term {
        Term::Binary(binary) if binary.bytes.len() <= longest => Some(&binary.bytes),
        _ => None,
    }
}

/// Not empty, and without a zero but the one at its end.
fn path(term: &Term) -> Option<Vec<u8>> {
    let path = bytes(term, LONGEST_PATH - 1)?;
    let is_one = !path.is_empty() && !path.contains(&0);
    is_one.then(|| [path, &[0]].concat())
}

/// Without anything in it that leads nowhere, or up.
fn target(term: &Term) -> Option<Vec<u8>> {
    let path = bytes(term, LONGEST_PATH - 1)?;
    if path.first() != Some(&b'/') || path.contains(&0) {
        return None;
    }
    let mut target = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            name => {
                target.push(b'/');
                target.extend_from_slice(name);
            }
        }
    }
    if target.is_empty() {
        target.push(b'/');
    }
    target.push(0);
    Some(target)
}

fn flags(term: &Term) -> Option<Flags> {
    let mut flags = Flags::default();
    for flag in list(term.clone()).ok()? {
        match atom(&flag)? {
            "recursive" => flags.recursive = true,
            "optional" => flags.optional = true,
            "make" => flags.make = true,
            "no_symlinks" => flags.no_symlinks = true,
            name => {
                let (_, attribute) = ATTRIBUTES.iter().find(|(known, _)| *known == name)?;
                flags.set |= attribute;
                if name.ends_with("atime") && name != "nodiratime" {
                    flags.clear |= libc::MOUNT_ATTR__ATIME;
                }
            }
        }
    }
    Some(flags)
}

/// Whether this is in a list of nothing else.
fn alone(term: &Term, name: &str) -> Option<bool> {
    let all = list(term.clone()).ok()?;
    let known = all.iter().all(|flag| atom(flag) == Some(name));
    known.then_some(!all.is_empty())
}

fn propagation(term: &Term) -> Option<Propagation> {
    match atom(term)? {
        "private" => Some(Propagation::Private),
        "slave" => Some(Propagation::Slave),
        "shared" => Some(Propagation::Shared),
        "unbindable" => Some(Propagation::Unbindable),
        _ => None,
    }
}

fn permissions(term: &Term) -> Option<u32> {
    let mode = unsigned(term).filter(|mode| *mode <= MODES)?;
    u32::try_from(mode).ok()
}

/// A byte that tells whether there is a value, the name, the value.
fn encode(term: &Term) -> Option<Vec<u8>> {
    let mut encoded = Vec::new();
    for option in list(term.clone()).ok()? {
        let parts = elements(&option).unwrap_or(std::slice::from_ref(&option));
        let (name, value) = match parts {
            [name] => (name, None),
            [name, value] => (name, Some(value)),
            _ => return None,
        };
        encoded.push(value.is_some().into());
        encoded.extend(path(name)?);
        if let Some(value) = value {
            let value = bytes(value, LONGEST_PATH - 1)?;
            if value.contains(&0) {
                return None;
            }
            encoded.extend_from_slice(value);
            encoded.push(0);
        }
    }
    (encoded.len() <= LONGEST_OPTIONS).then_some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eetf::{Atom, Binary, List, Tuple};

    fn binary(text: &str) -> Term {
        Term::from(Binary::from(text.as_bytes()))
    }

    fn atoms(names: &[&str]) -> Term {
        let atoms = names.iter().map(|name| Term::from(Atom::from(*name)));
        Term::from(List::from(atoms.collect::<Vec<_>>()))
    }

    fn tuple(name: &str, rest: &[Term]) -> Term {
        let name = [Term::from(Atom::from(name))];
        Term::from(Tuple::from([&name, rest].concat()))
    }

    #[test]
    fn a_target_has_nothing_in_it_but_names() {
        let read = |path| target(&binary(path)).map(|path| String::from_utf8(path).unwrap());
        for (path, expected) in [
            ("/", "/\0"),
            ("//.//", "/\0"),
            ("/a", "/a\0"),
            ("/a//./b/", "/a/b\0"),
            ("/..a/b..", "/..a/b..\0"),
        ] {
            assert_eq!(read(path).as_deref(), Some(expected));
        }
        let long = "/a".repeat(2048);
        for path in ["", "a", "./a", "/..", "/a/../b", "/a\0b", &long] {
            assert_eq!(read(path), None, "{path}");
        }
    }

    #[test]
    fn flags_have_names() {
        let read = |names| flags(&atoms(names));
        let expected = Flags {
            set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME,
            clear: libc::MOUNT_ATTR__ATIME,
            recursive: true,
            ..Flags::default()
        };
        assert_eq!(read(&["read_only", "noatime", "recursive"]), Some(expected));
        assert_eq!(read(&[]), Some(Flags::default()));
        assert_eq!(read(&["nodiratime"]).unwrap().clear, 0);
        assert_eq!(read(&["readonly"]), None);
    }

    #[test]
    fn options_come_back_as_they_went() {
        let pair = Term::from(Tuple::from(vec![binary("size"), binary("1m")]));
        let empty = Term::from(Tuple::from(vec![binary("lowerdir"), binary("")]));
        let list = List::from(vec![pair, binary("ro"), empty]);
        let encoded = encode(&Term::from(list)).unwrap();
        let read: Vec<_> = options(&encoded).collect();
        let expected = [
            (c"size", Some(c"1m")),
            (c"ro", None),
            (c"lowerdir", Some(c"")),
        ];
        assert_eq!(read, expected);
        assert_eq!(options(&[]).count(), 0);
        assert_eq!(options(&[1, b'a']).count(), 0);
    }

    #[test]
    fn what_is_no_mount_is_refused() {
        let (path, none) = (binary("/a"), atoms(&[]));
        let known = [
            tuple("bind", &[path.clone(), path.clone(), none.clone()]),
            tuple("attributes", &[path.clone(), atoms(&["nodev"])]),
            tuple("unmount", &[path.clone(), atoms(&["detach"])]),
            tuple("symlink", &[path.clone(), binary("../b")]),
            Term::from(Atom::from("pivot_root")),
        ];
        assert!(known.iter().all(|term| mount(term).is_some()));
        for term in [
            tuple("bind", &[binary(""), path.clone(), none.clone()]),
            tuple("bind", &[path.clone(), binary("/../a"), none.clone()]),
            tuple("attributes", &[path.clone(), atoms(&["detach"])]),
            tuple("unmount", &[path.clone(), atoms(&["recursive"])]),
            tuple("unmount", std::slice::from_ref(&path)),
            tuple("mount", &[path, none]),
            Term::from(Atom::from("pivot")),
        ] {
            assert_eq!(mount(&term), None, "{term}");
        }
    }
}
