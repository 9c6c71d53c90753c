use super::*;
use nix::sched::{unshare, CloneFlags};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::process::Command;

/// A thread with mounts, a root, a working directory and descriptors of its own.
fn in_own_mounts(body: impl FnOnce(&mut Mounts) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        return again_as_root_of_a_user_namespace();
    }
    let thread = std::thread::spawn(|| {
        let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS | CloneFlags::CLONE_FILES;
        unshare(own).unwrap();
        body(&mut Mounts::new(true));
    });
    thread.join().unwrap();
}

/// This test once more.
fn again_as_root_of_a_user_namespace() {
    let test = std::thread::current();
    let program = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(program)
        .args(["--exact", test.name().unwrap()])
        .status();
    assert!(status.unwrap().success());
}

fn path(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn flags(names: &[&str]) -> Flags {
    let mut flags = Flags::default();
    for name in names {
        match *name {
            "recursive" => flags.recursive = true,
            "optional" => flags.optional = true,
            "make" => flags.make = true,
            name => {
                let known = crate::wire::mount::ATTRIBUTES.iter();
                flags.set |= known.clone().find(|(known, _)| *known == name).unwrap().1;
            }
        }
    }
    flags
}

fn bind(source: &str, target: &str, with: &[&str]) -> Mount {
    Mount::Bind {
        source: path(source),
        target: path(target),
        flags: flags(with),
    }
}

fn tmpfs(target: &str, with: &[&str]) -> Mount {
    Mount::FileSystem {
        kind: path("tmpfs"),
        source: path("tmpfs"),
        target: path(target),
        options: [&[1][..], b"mode\x000755\0"].concat(),
        flags: flags(with),
    }
}

fn do_all<const N: usize>(mounts: &mut Mounts, all: [Mount; N]) {
    for mount in all {
        assert_eq!(mounts.perform(&mount), Ok(()), "{mount:?}");
    }
}

fn mount_info() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    text.lines().map(str::to_string).collect()
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/thread-self/fd").unwrap().count()
}

#[test]
fn nothing_is_done_in_a_namespace_that_is_not_the_childs() {
    let before = mount_info();
    for mount in [bind("/usr", "/mnt", &[]), Mount::PivotRoot] {
        let refused = mount.stage().failed()(Errno::EINVAL);
        assert_eq!(Mounts::new(false).perform(&mount), Err(refused));
    }
    assert_eq!(mount_info(), before);
}

#[test]
fn all_is_private_before_anything_is_mounted() {
    in_own_mounts(|mounts| {
        spread(
            fds::open_place(c"/").unwrap().raw(),
            true,
            Propagation::Shared,
        )
        .unwrap();
        assert!(mount_info().iter().any(|line| line.contains(" shared:")));
        do_all(mounts, [tmpfs("/mnt", &[])]);
        let spread = |line: &String| line.contains(" shared:") || line.contains(" master:");
        assert!(!mount_info().iter().any(spread));
    });
}

#[test]
fn a_new_root_is_all_that_is_left() {
    in_own_mounts(|mounts| {
        let info = fs::File::open("/proc/thread-self/mountinfo").unwrap();
        do_all(
            mounts,
            [
                tmpfs("/", &[]),
                bind("/usr", "/usr", &["recursive", "read_only", "make"]),
                bind("/no/such/thing", "/lib64", &["optional", "make"]),
                bind("/dev/null", "/dev/null", &["make"]),
                Mount::MakeFile {
                    target: path("/etc/passwd"),
                    mode: 0o640,
                    data: b"root".to_vec(),
                },
                Mount::MakeDirectory {
                    target: path("/var/tmp"),
                    mode: 0o1777,
                },
                Mount::Symlink {
                    target: path("/var/run"),
                    content: path("../run"),
                },
                Mount::MakeDirectory {
                    target: path("/usr"),
                    mode: 0o700,
                },
            ],
        );
        // Sources are found where they have been, links included.
        assert!(fs::metadata("/proc/self/mountinfo").is_ok());
        do_all(mounts, [Mount::PivotRoot]);
        let mut names: Vec<_> = fs::read_dir("/")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["dev", "etc", "usr", "var"]);
        assert_eq!(fs::read("/etc/passwd").unwrap(), b"root");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (mode("/etc/passwd"), mode("/var/tmp"), mode("/etc")),
            (0o640, 0o1777, 0o755)
        );
        assert_eq!(fs::read_link("/var/run").unwrap().to_str(), Some("../run"));
        assert!(fs::read_dir("/usr/bin").unwrap().count() > 0);
        let refused = fs::write("/usr/file", "").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        fs::write("/dev/null", "x").unwrap();
        let info = std::io::read_to_string(info).unwrap();
        assert!(info.lines().all(|line| {
            let point = line.split(' ').nth(4).unwrap();
            point == "/" || point == "/dev/null" || point.starts_with("/usr")
        }));
    });
}

#[test]
fn a_root_that_is_there_already_can_be_the_new_one_and_be_replaced() {
    in_own_mounts(|mounts| {
        let before = open_descriptors();
        do_all(
            mounts,
            [
                tmpfs("/", &[]),
                bind("/usr", "/", &["recursive"]),
                tmpfs("/share", &[]),
                // From the old root, not the new one.
                bind("/etc", "/share/old", &["make", "recursive"]),
            ],
        );
        assert_eq!(open_descriptors(), before + 2);
        do_all(
            mounts,
            [bind("/proc", "/share/proc", &["make", "recursive"])],
        );
        do_all(mounts, [Mount::PivotRoot]);
        assert!(fs::metadata("/share/old/passwd").is_ok());
        assert!(fs::metadata("/bin").is_ok() && fs::metadata("/etc/passwd").is_err());
        symlink("share/proc", "/share/p").unwrap();
        assert_eq!(
            fs::read_dir("/share/proc/thread-self/fd").unwrap().count(),
            before
        );
        let refused = Stage::PivotRoot.failed()(Errno::EINVAL);
        assert_eq!(mounts.perform(&Mount::<Vec<u8>>::PivotRoot), Err(refused));
        // In the present root, then.
        do_all(
            mounts,
            [
                tmpfs("/share/a/b", &["make"]),
                bind("/share/a/b", "/share/c", &["make", "read_only"]),
            ],
        );
        assert!(fs::write("/share/a/b/x", "").is_ok());
        assert!(fs::write("/share/c/y", "").is_err());
        let unmount = |target: &str, detach| Mount::Unmount {
            target: path(target),
            detach,
        };
        do_all(mounts, [unmount("/share/a/b", false)]);
        assert!(fs::metadata("/share/a/b/x").is_err() && fs::metadata("/share/c/x").is_ok());
        let busy = fs::File::open("/share/c/x").unwrap();
        let refused = Stage::MountUnmount.failed()(Errno::EBUSY);
        assert_eq!(mounts.perform(&unmount("/share/c", false)), Err(refused));
        do_all(mounts, [unmount("/share/c", true)]);
        drop(busy);
        let refused = Stage::MountTarget.failed()(Errno::EBUSY);
        assert_eq!(mounts.perform(&unmount("/", false)), Err(refused));
    });
}

#[test]
fn links_do_not_lead_out_of_the_new_root() {
    in_own_mounts(|mounts| {
        let link = |target: &str, content: &str| Mount::Symlink {
            target: path(target),
            content: path(content),
        };
        do_all(
            mounts,
            [
                tmpfs("/", &[]),
                link("/absolute", "/inside"),
                link("/up", "../../../../inside"),
                link("/loop", "loop"),
                link("/dangling", "/nowhere"),
                link("/magic", "/proc/self/root"),
                bind("/proc", "/proc", &["make", "recursive"]),
                Mount::MakeDirectory {
                    target: path("/inside"),
                    mode: 0o755,
                },
                tmpfs("/absolute", &[]),
                tmpfs("/up/deep", &["make"]),
                Mount::MakeFile {
                    target: path("/up/file"),
                    mode: 0o600,
                    data: vec![],
                },
            ],
        );
        for (target, errno) in [
            ("/loop", Errno::ELOOP),
            ("/magic", Errno::ELOOP),
            ("/magic/tmp", Errno::ELOOP),
            ("/proc/self/root", Errno::ELOOP),
            ("/proc/self/cwd/x", Errno::ELOOP),
            ("/dangling", Errno::EEXIST),
            ("/up/file/below", Errno::ENOTDIR),
        ] {
            let refused = Stage::MountTarget.failed()(errno);
            assert_eq!(
                mounts.perform(&tmpfs(target, &["make"])),
                Err(refused),
                "{target}"
            );
        }
        // Neither file nor mount of all that is in the old root.
        assert!(fs::metadata("/inside").is_err() && fs::metadata("/nowhere").is_err());
        do_all(mounts, [Mount::PivotRoot]);
        assert!(fs::metadata("/inside/deep").is_ok() && fs::metadata("/inside/file").is_ok());
    });
}

#[test]
fn read_only_goes_all_the_way_down() {
    in_own_mounts(|mounts| {
        do_all(
            mounts,
            [
                tmpfs("/mnt", &[]),
                tmpfs("/mnt/a", &["make"]),
                tmpfs("/mnt/a/b", &["make"]),
                Mount::MakeDirectory {
                    target: path("/mnt/c"),
                    mode: 0o755,
                },
                bind("/mnt/a", "/mnt/c", &["recursive", "read_only", "nodev"]),
            ],
        );
        let read_only = |path: &str| {
            let error = fs::write(format!("{path}/x"), "").err();
            error.map(|error| error.kind()) == Some(ErrorKind::ReadOnlyFilesystem)
        };
        assert!(read_only("/mnt/c") && read_only("/mnt/c/b"));
        assert!(!read_only("/mnt/a") && !read_only("/mnt/a/b"));
        let attributes = |names: &[&str]| Mount::Attributes {
            target: path("/mnt/a"),
            flags: flags(names),
        };
        do_all(mounts, [attributes(&["read_only"])]);
        assert!(read_only("/mnt/a") && !read_only("/mnt/a/b"));
        do_all(mounts, [attributes(&["read_only", "recursive"])]);
        assert!(read_only("/mnt/a/b") && !read_only("/mnt"));
    });
}
