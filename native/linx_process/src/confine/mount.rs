//! A mount namespace of the child's own, made into what its program is to see.
//!
//! Every step is on descriptors, and a mount has its attributes before it is anywhere. Targets are resolved beneath
//! the root that is to be, and never lead out of it. Nothing done here is seen outside.
//!
//! A new root is not mounted in the old one, where it would cover something. The old root goes into a directory of a
//! small base, the new one into another; the child stays in the old one, where sources are found as ever, until
//! `pivot_root` makes the new one the root and takes the base away with everything in it:
//!
//! ```text
//! base/old   the root until pivot_root
//! base/new   the root from then on
//! ```

use super::attributes::set_umask;
use crate::sys::fds::{self, Fd};
use crate::sys::mount::{self, Change};
use crate::sys::{beneath, process};
use crate::wire::mount::{options, Flags, Mount, Propagation};
use crate::wire::{Failure, Stage};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::RawFd;

/// What the steps of one child leave for those that follow.
pub struct Mounts {
    /// Whether the mount namespace is the child's own.
    own: bool,
    /// Whether it has been cut off from where its mounts come from.
    separate: bool,
    new_root: Option<NewRoot>,
}

struct NewRoot {
    base: Fd,
    root: Fd,
}

const PLACE: libc::c_int = libc::O_PATH;
const DIRECTORY: libc::c_int = libc::O_PATH | libc::O_DIRECTORY;
/// Of what is made on the way to a target.
const DIRECTORY_MODE: libc::mode_t = 0o755;
const FILE_MODE: libc::mode_t = 0o644;

const LONGEST_PATH: usize = libc::PATH_MAX as usize;

impl Mounts {
    pub fn new(own: bool) -> Self {
        Mounts {
            own,
            separate: false,
            new_root: None,
        }
    }

    /// `EINVAL` in a mount namespace that is not the child's own: what is done there would be done to others.
    pub fn perform<B: AsRef<[u8]>>(&mut self, mount: &Mount<B>) -> Result<(), Failure> {
        let stage = mount.stage();
        if !self.own {
            return Err(stage.failed()(Errno::EINVAL));
        }
        if !self.separate {
            separate(mount).map_err(Stage::MountPropagation.failed())?;
            self.separate = true;
        }
        match mount {
            Mount::Bind {
                source,
                target,
                flags,
            } => {
                let source = c_string(source).map_err(stage.failed())?;
                let copy = if flags.no_symlinks {
                    beneath::open_directly(source)
                        .and_then(|it| mount::copy_of(&it, flags.recursive))
                } else {
                    mount::copy(source, flags.recursive)
                };
                let tree = match copy {
                    Err(Errno::ENOENT) if flags.optional => return Ok(()),
                    tree => tree.map_err(stage.failed())?,
                };
                set(tree.raw(), flags)?;
                self.place(tree, target, flags, stage)
            }
            Mount::FileSystem {
                kind,
                source,
                target,
                options: with,
                flags,
            } => {
                let tree = c_string(kind).and_then(|kind| {
                    let options = options(with.as_ref());
                    mount::create(kind, c_string(source)?, options, flags.set)
                });
                self.place(tree.map_err(stage.failed())?, target, flags, stage)
            }
            Mount::Propagation {
                target,
                propagation,
                recursive,
            } => {
                let target = self.find(target)?;
                spread(target.raw(), *recursive, *propagation).map_err(stage.failed())
            }
            Mount::Attributes { target, flags } => set(self.find(target)?.raw(), flags),
            Mount::Unmount { target, detach } => {
                let flags = if *detach { libc::MNT_DETACH } else { 0 };
                let (directory, name) = self.split(target)?;
                with_c_string(name, |name| {
                    from(&directory, || mount::unmount(name, flags))
                })
                .map_err(stage.failed())
            }
            Mount::MakeDirectory { target, mode } => self
                .make(target, |at, name| beneath::make_directory(at, name, *mode))
                .or_else(|errno| match errno {
                    // It may be there.
                    Errno::EEXIST => self.open(target, DIRECTORY).map(drop),
                    errno => Err(errno),
                })
                .map_err(stage.failed()),
            Mount::MakeFile { target, mode, data } => self
                .make(target, |at, name| {
                    let file = beneath::make_file(at, name, *mode)?;
                    fds::write_all(file.raw(), data.as_ref())
                })
                .map_err(stage.failed()),
            Mount::Symlink { target, content } => self
                .make(target, |at, name| {
                    beneath::make_symlink(c_string(content)?, at, name)
                })
                .map_err(stage.failed()),
            Mount::PivotRoot => {
                let new = self.new_root.take().ok_or(Errno::EINVAL);
                new.and_then(NewRoot::pivot).map_err(stage.failed())
            }
        }
    }

    /// Mounts what is nowhere yet.
    fn place<B: AsRef<[u8]>>(
        &mut self,
        tree: Fd,
        target: &B,
        flags: &Flags,
        stage: Stage,
    ) -> Result<(), Failure> {
        if names(target.as_ref()).is_empty() {
            return self.replace_root(tree).map_err(stage.failed());
        }
        let target = match self.open(target, PLACE) {
            Err(Errno::ENOENT) if flags.make => self.make_mount_point(target, &tree),
            target => target,
        };
        let target = target.map_err(Stage::MountTarget.failed())?;
        mount::attach(&tree, target.raw()).map_err(stage.failed())
    }

    /// What has been made is opened where that was, and not by the same way once more, which may be another by now.
    fn make_mount_point<B: AsRef<[u8]>>(&self, target: &B, tree: &Fd) -> Result<Fd, Errno> {
        let is_directory = fds::is_directory(tree.raw())?;
        self.make(target, |at, name| {
            if is_directory {
                beneath::make_directory(at, name, DIRECTORY_MODE)?;
            } else {
                beneath::make_file(at, name, FILE_MODE)?;
            }
            beneath::open_entry(at, name)
        })
    }

    /// A new root, in place of another one that has not become the root.
    fn replace_root(&mut self, root: Fd) -> Result<(), Errno> {
        // pivot_root(2) takes no other.
        spread(root.raw(), false, Propagation::Private)?;
        let base = match self.new_root.take() {
            Some(former) => former.base,
            None => step_aside()?,
        };
        let new = beneath::open(base.raw(), c"new", DIRECTORY)?;
        mount::attach(&root, new.raw())?;
        self.new_root = Some(NewRoot { base, root });
        Ok(())
    }

    fn find<B: AsRef<[u8]>>(&self, target: &B) -> Result<Fd, Failure> {
        self.open(target, PLACE)
            .map_err(Stage::MountTarget.failed())
    }

    fn open<B: AsRef<[u8]>>(&self, target: &B, flags: libc::c_int) -> Result<Fd, Errno> {
        let target = c_string(target)?;
        self.in_root(|root| beneath::open(root, target, flags))
    }

    fn in_root<T>(&self, body: impl FnOnce(RawFd) -> Result<T, Errno>) -> Result<T, Errno> {
        match &self.new_root {
            Some(new) => body(new.root.raw()),
            None => body(fds::open_place(c"/")?.raw()),
        }
    }

    /// The directory that a target is in, and its name there. `EBUSY` for the root.
    fn split<'a, B: AsRef<[u8]>>(&self, target: &'a B) -> Result<(Fd, &'a [u8]), Failure> {
        let (directory, name) = last(names(target.as_ref()));
        if name.is_empty() {
            return Err(Stage::MountTarget.failed()(Errno::EBUSY));
        }
        self.directory(directory)
            .map_err(Stage::MountTarget.failed())
            .map(|directory| (directory, name))
    }

    fn directory(&self, path: &[u8]) -> Result<Fd, Errno> {
        let path = if path.is_empty() { b"/" } else { path };
        self.in_root(|root| with_c_string(path, |path| beneath::open(root, path, DIRECTORY)))
    }

    /// Makes something where `target` says, with the directories that lead there. No umask concerns them.
    fn make<T, B: AsRef<[u8]>>(
        &self,
        target: &B,
        make: impl FnOnce(RawFd, &CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let umask = set_umask(0);
        let made = self.make_unmasked(names(target.as_ref()), make);
        set_umask(umask);
        made
    }

    fn make_unmasked<T>(
        &self,
        path: &[u8],
        make: impl FnOnce(RawFd, &CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (directory, name) = last(path);
        if name.is_empty() {
            return Err(Errno::EEXIST);
        }
        let directory = match self.directory(directory) {
            Err(Errno::ENOENT) => self.make_directories(directory),
            directory => directory,
        }?;
        with_c_string(name, |name| make(directory.raw(), name))
    }

    /// A directory, with those above it that are missing.
    fn make_directories(&self, path: &[u8]) -> Result<Fd, Errno> {
        let slashes = path.iter().enumerate().skip(1);
        let ends = slashes
            .filter(|(_, byte)| **byte == b'/')
            .map(|(end, _)| end);
        for end in ends.chain([path.len()]) {
            if !matches!(self.directory(&path[..end]), Err(Errno::ENOENT)) {
                continue;
            }
            let (directory, name) = last(&path[..end]);
            let directory = self.directory(directory)?;
            let make = |name: &CStr| beneath::make_directory(directory.raw(), name, DIRECTORY_MODE);
            match with_c_string(name, make) {
                // Somebody else has, meanwhile.
                Err(Errno::EEXIST) => {}
                made => made?,
            }
        }
        self.directory(path)
    }
}

impl NewRoot {
    fn pivot(self) -> Result<(), Errno> {
        mount::change_directory(self.base.raw())?;
        mount::change_root()?;
        mount::change_directory(self.root.raw())?;
        mount::pivot_root(c".")?;
        // The base now covers the new root.
        mount::unmount(c".", libc::MNT_DETACH)?;
        process::change_directory(c"/")
    }
}

/// Cuts the mount namespace off from the one it is a copy of, before anything is done that would be seen there. Who
/// begins with a slave of it all wants to see what is mounted there later.
fn separate<B: AsRef<[u8]>>(first: &Mount<B>) -> Result<(), Errno> {
    let propagation = match first {
        Mount::Propagation {
            target,
            propagation: Propagation::Slave,
            recursive: true,
        } if names(target.as_ref()).is_empty() => Propagation::Slave,
        _ => Propagation::Private,
    };
    spread(fds::open_place(c"/")?.raw(), true, propagation)
}

/// Puts the root into a base, and the child back into that root. The new root will be beside it.
fn step_aside() -> Result<Fd, Errno> {
    let old = fds::open_place(c"/")?;
    let here = fds::open_place(c".")?;
    let base = mount::create(c"tmpfs", c"linx", std::iter::empty(), 0)?;
    mount::attach(&base, old.raw())?;
    beneath::make_directory(base.raw(), c"old", DIRECTORY_MODE)?;
    beneath::make_directory(base.raw(), c"new", DIRECTORY_MODE)?;
    mount::change_directory(base.raw())?;
    mount::pivot_root(c"old")?;
    mount::change_directory(old.raw())?;
    mount::change_root()?;
    mount::change_directory(here.raw())?;
    Ok(base)
}

fn set(mount: RawFd, flags: &Flags) -> Result<(), Failure> {
    let change = Change {
        set: flags.set,
        clear: flags.clear,
        propagation: 0,
        user_namespace: 0,
    };
    if (change.set, change.clear) == (0, 0) {
        return Ok(());
    }
    mount::change(mount, flags.recursive, &change).map_err(Stage::MountAttributes.failed())
}

fn spread(mount: RawFd, recursive: bool, propagation: Propagation) -> Result<(), Errno> {
    let propagation = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    };
    let change = Change {
        set: 0,
        clear: 0,
        propagation,
        user_namespace: 0,
    };
    mount::change(mount, recursive, &change)
}

/// Does something in a directory, and comes back.
fn from(directory: &Fd, body: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let here = fds::open_place(c".")?;
    mount::change_directory(directory.raw())?;
    let done = body();
    mount::change_directory(here.raw())?;
    done
}

/// A target without its zero, and empty for the root.
fn names(target: &[u8]) -> &[u8] {
    let path = target.strip_suffix(&[0]).unwrap_or(target);
    if path == b"/" {
        b""
    } else {
        path
    }
}

/// What comes before the last slash, and after it.
fn last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn c_string<B: AsRef<[u8]>>(bytes: &B) -> Result<&CStr, Errno> {
    CStr::from_bytes_with_nul(bytes.as_ref()).or(Err(Errno::EINVAL))
}

/// A part of a path, with the zero that it lacks.
// Not a part of whoever calls it: the stack of a session that mounts nothing shall not have room for a path.
#[inline(never)]
fn with_c_string<T>(part: &[u8], body: impl FnOnce(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
    let mut copy = [0; LONGEST_PATH];
    let room = copy[..LONGEST_PATH - 1].get_mut(..part.len());
    room.ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(part);
    body(CStr::from_bytes_until_nul(&copy).or(Err(Errno::EINVAL))?)
}

#[cfg(test)]
mod tests;
