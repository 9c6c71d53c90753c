//! Files that are there when the program begins, written by the child: where it will be, and as who it will be.

use crate::sys::fds;
use crate::wire::StagedFile;
use nix::errno::Errno;
use std::ffi::CString;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::RawFd;

/// A file, and the name under which it is written beside its place.
pub struct Staged {
    file: StagedFile,
    temporary: CString,
}

impl Staged {
    /// Makes ready what the child could not, since it does not allocate.
    pub fn new(file: StagedFile) -> Self {
        // In a directory where anybody may write nobody shall have been there before.
        let random = RandomState::new().hash_one(());
        let name = format!(".linx-{random:016x}");
        let path = file.path.as_bytes();
        let directory = path.iter().rposition(|byte| *byte == b'/');
        let directory = &path[..directory.map_or(0, |slash| slash + 1)];
        // There is no zero in either.
        let temporary = CString::new([directory, name.as_bytes()].concat()).unwrap_or_default();
        Staged { file, temporary }
    }

    /// Nobody sees a part of the file, or one with another mode: it takes its place when it is whole.
    pub fn write(&self) -> Result<(), Errno> {
        let fd = fds::create(&self.temporary)?;
        let written = self.fill(fd);
        fds::close_one(fd);
        let placed = written.and_then(|()| fds::rename(&self.temporary, &self.file.path));
        if placed.is_err() {
            let _ = fds::unlink(&self.temporary);
        }
        placed
    }

    fn fill(&self, fd: RawFd) -> Result<(), Errno> {
        fds::write_all(fd, &self.file.data)?;
        // Behind the bytes, for writing takes the set-user-ID bit away; and no umask concerns it.
        fds::set_mode(fd, self.file.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(path: &str) -> Staged {
        let path = CString::new(path).unwrap();
        let (data, mode) = (b"x".to_vec(), 0o640);
        Staged::new(StagedFile { path, data, mode })
    }

    #[test]
    fn the_temporary_name_is_beside_the_file_and_no_two_are_alike() {
        let long = "x".repeat(255);
        for (path, directory) in [
            ("/etc/hosts", "/etc/"),
            ("hosts", ""),
            ("/hosts", "/"),
            ("a/", "a/"),
            (&format!("a/{long}"), "a/"),
            ("", ""),
        ] {
            let names = [staged(path), staged(path)].map(|s| s.temporary.into_string().unwrap());
            for name in &names {
                let name = name.strip_prefix(directory).unwrap();
                assert!(name.starts_with(".linx-") && !name.contains('/'), "{name}");
            }
            assert_ne!(names[0], names[1]);
        }
    }

    #[test]
    fn a_file_takes_its_place_whole_or_not_at_all() {
        let name = format!("linx-files-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(directory.join("taken")).unwrap();
        let write = |name: &str| staged(directory.join(name).to_str().unwrap()).write();
        let entries = || std::fs::read_dir(&directory).unwrap().count();

        assert_eq!(write("taken"), Err(Errno::EISDIR));
        assert_eq!(write("no/where"), Err(Errno::ENOENT));
        assert_eq!(entries(), 1);
        std::os::unix::fs::symlink("taken", directory.join("link")).unwrap();
        assert_eq!((write("link"), write("new")), (Ok(()), Ok(())));
        assert_eq!(entries(), 3);
        for name in ["link", "new"] {
            let metadata = directory.join(name).symlink_metadata().unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
            assert_eq!((metadata.is_file(), mode & 0o7777), (true, 0o640));
            assert_eq!(std::fs::read(directory.join(name)).unwrap(), b"x");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
