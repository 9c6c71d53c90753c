//! The vectors of the document are what the code reads and writes.

use super::{vectors, Vector};
use crate::sys::tty::WindowSize;
use crate::sys::wait::{Death, Usage};
use crate::wire::decode::{addressed, command, request, Addressed};
use crate::wire::landlock::{Rights, Rule};
use crate::wire::mount::{Flags, Mount};
use crate::wire::screen::Malformed;
use crate::wire::{
    address, encode, Command, Confinement, Credentials, Directive, Event, Extent, Failure, Id,
    Inbound, Landlock, Leftover, Maps, Namespace, OutputEnd, Reach, Reply, Request, Setup, Source,
    Stage, StagedFile, Stdio, Step, Where,
};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Every vector has an expectation, every expectation a vector, and they agree.
fn compare<T: PartialEq + Debug>(
    vectors: Vec<Vector>,
    expected: Vec<(&str, T)>,
    read: impl Fn(&[u8]) -> T,
) {
    let mut unused: BTreeMap<_, _> = expected.iter().map(|(text, _)| (*text, ())).collect();
    assert_eq!(unused.len(), expected.len(), "a term is expected twice");
    for vector in vectors {
        let Some((text, value)) = expected.iter().find(|(text, _)| *text == vector.text) else {
            panic!("nothing is expected of {}", vector.text)
        };
        assert_eq!(read(&vector.bytes), *value, "{text}");
        unused.remove(text);
    }
    assert_eq!(unused, BTreeMap::new(), "no vector for these");
}

fn c(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).unwrap()
}

/// A request to spawn /bin/true with all the defaults.
fn plain() -> Request {
    Request {
        place: Where::Fresh(vec![]),
        argv: vec![c("/bin/true")],
        arg0: None,
        chain: vec![],
        env: None,
        stdio: each(Directive::Inherit),
        winsize: None,
        cwd: None,
        files: vec![],
        no_new_privs: false,
        credentials: Credentials::default(),
        maps: None,
        init: false,
        cgroup: None,
        setup: vec![],
        confine: vec![],
        orphan: Leftover::Leave,
        descendants: Leftover::Leave,
        causes: false,
        usage: false,
        auto_proceed: false,
        origin: None,
        credit: None,
        output: OutputEnd::Exit,
    }
}

fn each(directive: Directive) -> Stdio {
    Stdio::Each([directive.clone(), directive.clone(), directive])
}

fn files(flags: [libc::c_int; 3]) -> Stdio {
    let [a, b, c] = flags;
    Stdio::Each(
        [("/a", a), ("/b", b), ("/c", c)]
            .map(|(path, flags)| Directive::File(self::c(path), flags)),
    )
}

fn extent(inside: u32, outside: u32, count: u32) -> Extent {
    Extent {
        inside,
        outside,
        count,
    }
}

fn size(rows: u16, columns: u16) -> WindowSize {
    WindowSize {
        rows,
        columns,
        x_pixels: 0,
        y_pixels: 0,
    }
}

fn of_user(uid: Option<u32>, gid: Option<u32>, groups: Option<Vec<u32>>) -> Request {
    Request {
        credentials: Credentials { uid, gid, groups },
        ..plain()
    }
}

fn landlock() -> Landlock {
    let path = |path: &'static [u8], access, optional| Rule::Path {
        path,
        access,
        optional,
    };
    let port = |port, access| Rule::Port { port, access };
    let rules = [
        path(b"/usr\0", 0b1101, false),
        path(b"/tmp\0", 0b1111_1111_1111_0010, true),
        port(443, 2),
        port(0, 1),
    ];
    Landlock {
        least_abi: 4,
        handled: Rights {
            fs: 0xffff,
            net: 3,
            scoped: 3,
        },
        rules: rules
            .iter()
            .flat_map(|rule| postcard::to_allocvec(rule).unwrap())
            .collect(),
    }
}

#[test]
fn requests_are_read_as_documented() {
    let all = Namespace::ALL.to_vec();
    let expected = vec![
        (r#"{:spawn, %{argv: ["/bin/true"]}}"#, plain()),
        (
            r#"{:spawn, %{argv: ["/bin/true"], causes: true}}"#,
            Request {
                causes: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], causes: false}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: [~c"/bin/true"]}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true", []]}}"#,
            Request {
                argv: vec![c("/bin/true"), c("")],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/echo", "", "a b"], causes: true}}"#,
            Request {
                argv: vec![c("/bin/echo"), c(""), c("a b")],
                causes: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], env: ["A=1", "B="]}}"#,
            Request {
                env: Some(vec![c("A=1"), c("B=")]),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], env: []}}"#,
            Request {
                env: Some(vec![]),
                ..plain()
            },
        ),
        (
            "{:spawn,\n %{\n   argv: [\"/bin/true\"],\n   namespaces: [:user, :mount, :uts, :ipc, :cgroup, :net, :time, :pid]\n }}",
            Request {
                place: Where::Fresh(all),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], cwd: "/usr"}}"#,
            Request {
                cwd: Some(c("/usr")),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], no_new_privs: true}}"#,
            Request {
                no_new_privs: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], namespaces: [:user], uid_map: [{0, 1000, 1}], gid_map: [{0, 1000, 1}, {1, 100_000, 65_535}], setgroups: :deny}}"#,
            Request {
                place: Where::Fresh(vec![Namespace::User]),
                maps: Some(Maps {
                    uid: vec![extent(0, 1000, 1)],
                    gid: vec![extent(0, 1000, 1), extent(1, 100_000, 65_535)],
                    denies_setgroups: true,
                    by_beam: false,
                }),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], namespaces: [:user], uid_map: [{0, 100_000, 65_536}], gid_map: [{0, 100_000, 65_536}], mapped_by: :beam}}"#,
            Request {
                place: Where::Fresh(vec![Namespace::User]),
                maps: Some(Maps {
                    uid: vec![extent(0, 100_000, 65_536)],
                    gid: vec![extent(0, 100_000, 65_536)],
                    denies_setgroups: false,
                    by_beam: true,
                }),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], namespaces: [:pid], init: true}}"#,
            Request {
                place: Where::Fresh(vec![Namespace::Pid]),
                init: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], cgroup: "/sys/fs/cgroup/box"}}"#,
            Request {
                cgroup: Some(c("/sys/fs/cgroup/box")),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], setup: [:loopback, {:hostname, "box"}, {:time_offsets, -1, 86_400_000_000_000}]}}"#,
            Request {
                setup: vec![
                    Setup::Loopback,
                    Setup::Hostname(b"box".to_vec()),
                    Setup::TimeOffsets {
                        monotonic: -1,
                        boottime: 86_400_000_000_000,
                    },
                ],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], namespaces: [:mount], setup: [{:mount, {:file_system, "tmpfs", "tmpfs", "/", ["noswap", {"size", "1m"}], [:nosuid]}}, {:mount, {:make_file, "/etc/x", 0o600, "x"}}, {:mount, :pivot_root}]}}"#,
            Request {
                place: Where::Fresh(vec![Namespace::Mount]),
                setup: [
                    Mount::FileSystem {
                        kind: b"tmpfs\0".to_vec(),
                        source: b"tmpfs\0".to_vec(),
                        target: b"/\0".to_vec(),
                        options: b"\0noswap\0\x01size\x001m\0".to_vec(),
                        flags: Flags {
                            set: libc::MOUNT_ATTR_NOSUID,
                            ..Flags::default()
                        },
                    },
                    Mount::MakeFile {
                        target: b"/etc/x\0".to_vec(),
                        mode: 0o600,
                        data: b"x".to_vec(),
                    },
                    Mount::PivotRoot,
                ]
                .map(Setup::Mount)
                .into(),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], confine: [{:nice, -5}, {:oom_score_adj, 1000}, {:cpu_affinity, <<3>>}, {:umask, 0o77}, {:rlimit, 7, 1024, 18_446_744_073_709_551_615}]}}"#,
            Request {
                confine: vec![
                    Confinement::Nice(-5),
                    Confinement::OomScoreAdj(1000),
                    Confinement::CpuAffinity(vec![3]),
                    Confinement::Umask(0o77),
                    Confinement::Limit {
                        resource: 7,
                        soft: 1024,
                        hard: u64::MAX,
                    },
                ],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], confine: [{:cap_drop_bounding, 1}, {:securebits, 3}, {:cap_set_thread, 4, 5, 6}, {:cap_set_ambient, 7}, :no_new_privs, {:seccomp, <<6, 0, 0, 0, 0, 0, 255, 127>>}]}}"#,
            Request {
                confine: vec![
                    Confinement::CapDropBounding(1),
                    Confinement::Securebits(3),
                    Confinement::CapSetThread {
                        effective: 4,
                        permitted: 5,
                        inheritable: 6,
                    },
                    Confinement::CapSetAmbient(7),
                    Confinement::NoNewPrivs,
                    Confinement::Seccomp(vec![6, 0, 0, 0, 0, 0, 255, 127]),
                ],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], confine: [{:landlock, 4, [:fs, :bind_tcp, :connect_tcp, :abstract_unix_socket, :signal], [{:path, "/usr", [:read, :execute]}, {:optional_path, "/tmp", [:write]}, {:connect_tcp, 443}, {:bind_tcp, 0}]}]}}"#,
            Request {
                confine: vec![Confinement::Landlock(landlock())],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: :inherit}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: :devnull}}"#,
            Request {
                stdio: each(Directive::DevNull),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: :pty}}"#,
            Request {
                stdio: Stdio::Pty,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: []}}"#,
            plain(),
        ),
        (
            "{:spawn,\n %{\n   argv: [\"/bin/true\"],\n   stdio: [stdin: :devnull, stdout: {:connect_unix, \"/run/s\"}, stderr: :inherit]\n }}",
            Request {
                stdio: Stdio::Each([
                    Directive::DevNull,
                    Directive::ConnectUnix(c("/run/s")),
                    Directive::Inherit,
                ]),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: :pipe}}"#,
            Request {
                stdio: each(Directive::Pipe),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: [stdin: :pipe, stderr: :stdout]}}"#,
            Request {
                stdio: Stdio::Each([Directive::Pipe, Directive::Inherit, Directive::Stdout]),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: [stdin: {:file, "/a", [:read]}, stdout: {:file, "/b", [:write]}, stderr: {:file, "/c", [:append]}]}}"#,
            Request {
                stdio: files([
                    libc::O_RDONLY,
                    libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
                    libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND,
                ]),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: [stdin: {:file, "/a", [:read, :write]}, stdout: {:file, "/b", [:write, :exclusive]}, stderr: {:file, "/c", [:read, :append]}]}}"#,
            Request {
                stdio: files([
                    libc::O_RDWR | libc::O_CREAT,
                    libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_EXCL,
                    libc::O_RDWR | libc::O_CREAT | libc::O_APPEND,
                ]),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], credit: 0, stdio: :pipe}}"#,
            Request {
                credit: Some(0),
                stdio: each(Directive::Pipe),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], credit: 4_294_967_295, stdio: :pipe}}"#,
            Request {
                credit: Some(u32::MAX),
                stdio: each(Directive::Pipe),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], output: :exit}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], output: :eof}}"#,
            Request {
                output: OutputEnd::Eof,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], orphan: :kill, descendants: :kill, causes: true}}"#,
            Request {
                orphan: Leftover::Kill,
                descendants: Leftover::Kill,
                causes: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], orphan: :leave, descendants: :leave}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], auto_proceed: true}}"#,
            Request {
                auto_proceed: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], auto_proceed: false}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], origin: "/usr"}}"#,
            Request {
                origin: Some(c("/usr")),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], cwd: "lib", auto_proceed: true, origin: "/usr"}}"#,
            Request {
                cwd: Some(c("lib")),
                auto_proceed: true,
                origin: Some(c("/usr")),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], arg0: "-true"}}"#,
            Request {
                arg0: Some(c("-true")),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], usage: true}}"#,
            Request {
                usage: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], usage: false}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], stdio: :pty, winsize: {24, 80, 0, 65535}}}"#,
            Request {
                stdio: Stdio::Pty,
                winsize: Some(WindowSize {
                    y_pixels: 65_535,
                    ..size(24, 80)
                }),
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], uid: 1000, gid: 100, groups: [100, 4]}}"#,
            of_user(Some(1000), Some(100), Some(vec![100, 4])),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], uid: 0}}"#,
            of_user(Some(0), None, Some(vec![])),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], gid: 4_294_967_294}}"#,
            of_user(None, Some(u32::MAX - 1), Some(vec![])),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], groups: []}}"#,
            of_user(None, None, Some(vec![])),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], files: [{"/etc/motd", "hi\n", 420}, {~c"a", <<0>>, 0}]}}"#,
            Request {
                files: vec![
                    StagedFile {
                        path: c("/etc/motd"),
                        data: b"hi\n".to_vec(),
                        mode: 0o644,
                    },
                    StagedFile {
                        path: c("a"),
                        data: vec![0],
                        mode: 0,
                    },
                ],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], files: []}}"#,
            plain(),
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], chain: [["/bin/echo", "a"], ["/bin/false"]]}}"#,
            Request {
                chain: vec![vec![c("/bin/echo"), c("a")], vec![c("/bin/false")]],
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], chain: []}}"#,
            plain(),
        ),
        (
            r#"{:enter, %{argv: ["/bin/true"], target: 4242}}"#,
            Request {
                place: Where::Of {
                    target: 4242,
                    only: None,
                },
                ..plain()
            },
        ),
        (
            r#"{:enter, %{argv: ["/bin/true"], target: 4242, namespaces: [:net, :uts], causes: true}}"#,
            Request {
                place: Where::Of {
                    target: 4242,
                    only: Some(vec![Namespace::Net, Namespace::Uts]),
                },
                causes: true,
                ..plain()
            },
        ),
        (
            r#"{:spawn, %{argv: ["/bin/true"], colour: {1.5, <<5::3>>, [1 | 2], %{"k" => :ünïcode}}}}"#,
            plain(),
        ),
    ];
    compare(
        vectors("request"),
        expected.into_iter().map(|(t, r)| (t, Ok(r))).collect(),
        request,
    );
}

#[test]
fn commands_are_read_as_documented() {
    let allow_all = vec![6, 0, 0, 0, 0, 0, 255, 127];
    let plain = [
        (":proceed", Command::Proceed),
        (":mapped", Command::Mapped),
        (":abort", Command::Abort),
        ("{:signal, 15}", Command::Signal(15, Reach::Process)),
        ("{:signal, 0}", Command::Signal(0, Reach::Process)),
        ("{:signal, -1}", Command::Signal(-1, Reach::Process)),
        (
            "{:signal, 10, :process}",
            Command::Signal(10, Reach::Process),
        ),
        ("{:signal, 10, :group}", Command::Signal(10, Reach::Group)),
        ("{:signal, 10, :tree}", Command::Signal(10, Reach::Tree)),
        ("{:stop, 0}", Command::Stop(0, 15)),
        ("{:stop, 5000}", Command::Stop(5000, 15)),
        (
            "{:stop, 18_446_744_073_709_551_615}",
            Command::Stop(u64::MAX, 15),
        ),
        ("{:stop, 5000, 2}", Command::Stop(5000, 2)),
        ("{:stop, 0, -1}", Command::Stop(0, -1)),
        (r#"{:pty_in, "ls\n"}"#, Command::PtyIn(b"ls\n".to_vec())),
        (r#"{:pty_in, ""}"#, Command::PtyIn(vec![])),
        (
            "{:pty_winsize, {24, 80, 0, 0}}",
            Command::PtyWinsize(Some(size(24, 80))),
        ),
        (
            "{:pty_winsize, {65_536, -1, 4_294_967_296, 0}}",
            Command::PtyWinsize(None),
        ),
        (":pty_master", Command::PtyMaster),
        (r#"{:stdin, "hi\n"}"#, Command::Stdin(b"hi\n".to_vec())),
        (r#"{:stdin, ""}"#, Command::Stdin(vec![])),
        (":close_stdin", Command::CloseStdin),
        (
            "{:credit, :stdout, 65_536}",
            Command::Credit(Source::Stdout, 65_536),
        ),
        ("{:credit, :stderr, 0}", Command::Credit(Source::Stderr, 0)),
        (
            "{:credit, :pty, 4_294_967_295}",
            Command::Credit(Source::Pty, u32::MAX),
        ),
        (
            "{:cap_drop_bounding, 0x200000}",
            Command::Step(Step::Now(Confinement::CapDropBounding(1 << 21))),
        ),
        (
            "{:cap_set_thread, 0x400, 0x1FFFFFFFFFF, 0}",
            Command::Step(Step::Now(Confinement::CapSetThread {
                effective: 0x400,
                permitted: 0x1ff_ffff_ffff,
                inheritable: 0,
            })),
        ),
        (
            "{:cap_set_ambient, 0xFFFFFFFFFFFFFFFF}",
            Command::Step(Step::Now(Confinement::CapSetAmbient(u64::MAX))),
        ),
        (
            "{:seccomp_install, <<6, 0, 0, 0, 0, 0, 255, 127>>}",
            Command::Step(Step::Hold(Confinement::Seccomp(allow_all))),
        ),
        (
            "{:setup, :loopback}",
            Command::Step(Step::Setup(Setup::Loopback)),
        ),
        (
            r#"{:setup, {:mount, {:bind, "/usr", "/usr//", [:recursive, :read_only, :noatime, :make]}}}"#,
            Command::Step(Step::Setup(Setup::Mount(Mount::Bind {
                source: b"/usr\0".to_vec(),
                target: b"/usr\0".to_vec(),
                flags: Flags {
                    set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOATIME,
                    clear: libc::MOUNT_ATTR__ATIME,
                    recursive: true,
                    make: true,
                    ..Flags::default()
                },
            }))),
        ),
        (
            "{:confine, :no_new_privs}",
            Command::Step(Step::Hold(Confinement::NoNewPrivs)),
        ),
    ];
    let called = [
        ("{:call, 0, :proceed}", 0, Command::Proceed),
        ("{:call, 300, :abort}", 300, Command::Abort),
        (
            "{:call, 7, {:confine, {:umask, 63}}}",
            7,
            Command::Step(Step::Hold(Confinement::Umask(63))),
        ),
        (
            "{:call, 18_446_744_073_709_551_615, {:signal, 9, :tree}}",
            u64::MAX,
            Command::Signal(9, Reach::Tree),
        ),
    ];
    let plain = plain.map(|(text, command)| (text, Ok(Inbound::Command(None, command))));
    let called =
        called.map(|(text, call, command)| (text, Ok(Inbound::Command(Some(call), command))));
    compare(
        vectors("command"),
        plain.into_iter().chain(called).collect(),
        command,
    );
}

#[derive(Debug)]
enum Written {
    Event(Event),
    Output(Source, &'static [u8]),
}

#[test]
fn events_are_written_as_documented() {
    let failure = |errno, stage| Failure { errno, stage };
    let refused =
        |reference, errno, stage| Event::Reply(reference, Reply::Error(failure(errno, stage)));
    let died = |death| Event::Error(failure(Errno::EIO, Stage::Checkpoint), Some(death));
    let events = [
        ("{:status, :unmapped, 4242}", Event::Unmapped(4242)),
        ("{:status, :spawned, 4242}", Event::Spawned(4242)),
        ("{:status, :ready, 1}", Event::Ready(1)),
        ("{:status, :running}", Event::Running),
        ("{:eof, :stdout}", Event::Eof(Source::Stdout)),
        ("{:eof, :stderr}", Event::Eof(Source::Stderr)),
        ("{:status, :exited, 0}", Event::Exited(0)),
        ("{:status, :exited, 255}", Event::Exited(255)),
        ("{:status, :signaled, 9}", Event::Signaled(9)),
        ("{:status, :aborted, 70000}", Event::Aborted(70_000)),
        (
            "{:error, 2, :execve}",
            Event::Error(failure(Errno::ENOENT, Stage::Execve), None),
        ),
        (
            "{:error, 1, :setns_net}",
            Event::Error(failure(Errno::EPERM, Stage::SetNs(Namespace::Net)), None),
        ),
        (
            "{:error, 5, :checkpoint, {:signaled, 9}}",
            died(Death::Signaled(9)),
        ),
        (
            "{:error, 5, :checkpoint, {:exited, 0}}",
            died(Death::Exited(0)),
        ),
        ("{:reply, 0, :ok}", Event::Reply(0, Reply::Ok)),
        ("{:reply, 300, :ok}", Event::Reply(300, Reply::Ok)),
        (
            "{:reply, 4_294_967_296, :ok}",
            Event::Reply(1 << 32, Reply::Ok),
        ),
        (
            "{:reply, 18_446_744_073_709_551_615, :ok}",
            Event::Reply(u64::MAX, Reply::Ok),
        ),
        (
            "{:reply, 7, {:error, 16, :running}}",
            refused(7, Errno::EBUSY, Stage::Running),
        ),
        (
            "{:reply, 7, {:error, 3, :ended}}",
            refused(7, Errno::ESRCH, Stage::Ended),
        ),
        (
            "{:reply, 7, {:error, 25, :pty_in}}",
            refused(7, Errno::ENOTTY, Stage::PtyIn),
        ),
        (
            "{:usage,\n %{\n   inblock: 8,\n   majflt: 0,\n   maxrss: 4_294_967_296,\n   minflt: 70,\n   nivcsw: 256,\n   nvcsw: 2,\n   oublock: 0,\n   stime: 20,\n   utime: 1_500_000\n }}",
            Event::Usage(Usage([1_500_000, 20, 1 << 32, 70, 0, 8, 0, 2, 256])),
        ),
        (
            r#"{:reply, 7, {:ok, %{fd: 9, os_pid: 4241, slave: "/dev/pts/0"}}}"#,
            Event::Reply(
                7,
                Reply::PtyMaster {
                    os_pid: 4241,
                    fd: 9,
                    slave: "/dev/pts/0".into(),
                },
            ),
        ),
        (
            "{:reply, 7, {:ok, %{abi: 7, fs: 65_535, net: 3, scoped: 2}}}",
            Event::Reply(
                7,
                Reply::Landlock(
                    7,
                    Rights {
                        fs: 0xffff,
                        net: 3,
                        scoped: 2,
                    },
                ),
            ),
        ),
    ]
    .map(|(text, event)| (text, Written::Event(event)));
    let output = [
        (
            r#"{:pty_out, "hi\r\n"}"#,
            Written::Output(Source::Pty, b"hi\r\n"),
        ),
        (
            "{:pty_out, <<0, 255>>}",
            Written::Output(Source::Pty, &[0, 255]),
        ),
        (
            r#"{:stdout, "hi\n"}"#,
            Written::Output(Source::Stdout, b"hi\n"),
        ),
        (
            "{:stderr, <<0, 255>>}",
            Written::Output(Source::Stderr, &[0, 255]),
        ),
    ];
    let mut expected: BTreeMap<_, _> = events.into_iter().chain(output).collect();
    for vector in vectors("event") {
        let Some(written) = expected.remove(vector.text.as_str()) else {
            panic!("nothing is expected of {}, or twice", vector.text)
        };
        let mut frame = Vec::new();
        match &written {
            Written::Output(source, bytes) => {
                encode::append_output(&mut frame, None, *source, bytes)
            }
            Written::Event(event) => event.append_to(&mut frame, None),
        }
        let (header, body) = frame.split_at(4);
        assert_eq!(header, (vector.bytes.len() as u32).to_be_bytes());
        match written {
            // The pairs of a map stand in no particular order.
            Written::Event(
                Event::Usage(_) | Event::Reply(_, Reply::PtyMaster { .. } | Reply::Landlock(..)),
            ) => {
                assert_eq!(
                    eetf::Term::decode(body).unwrap(),
                    eetf::Term::decode(vector.bytes.as_slice()).unwrap()
                )
            }
            _ => assert_eq!(body, vector.bytes, "{}", vector.text),
        }
    }
    assert!(expected.is_empty(), "no vector for {expected:?}");
}

#[test]
fn malformed_requests_are_refused() {
    for vector in vectors("malformed-request") {
        assert_eq!(request(&vector.bytes), Err(Malformed), "{}", vector.text);
    }
}

/// Their comments tell the two kinds apart: a running workload survives one and not the other.
#[test]
fn malformed_commands_are_none() {
    for vector in vectors("malformed-command") {
        let read = command(&vector.bytes);
        if vector.text.starts_with("# no term") {
            assert_eq!(read, Err(Malformed), "{}", vector.text);
        } else {
            assert!(vector.text.starts_with("# no command"), "{}", vector.text);
            let unknown = matches!(read, Ok(Inbound::Unknown(_)));
            assert!(unknown, "{}: {read:?}", vector.text);
        }
    }
}

/// What a host makes of a body.
fn heard(body: &[u8]) -> Option<(Id, Addressed)> {
    address::split(body).map(|(id, term)| (id, addressed(&term)))
}

#[test]
fn what_is_said_to_a_host_is_read_as_documented() {
    let spawn = Request {
        orphan: Leftover::Kill,
        descendants: Leftover::Kill,
        causes: true,
        auto_proceed: true,
        ..plain()
    };
    let enter = Request {
        place: Where::Of {
            target: 4242,
            only: None,
        },
        ..plain()
    };
    let commanded = |inbound| Addressed::Command(Ok(inbound));
    let proceed = || commanded(Inbound::Command(None, Command::Proceed));
    let signal = Inbound::Command(Some(300), Command::Signal(15, Reach::Process));
    let expected = vec![
        (
            r#"{0, {:spawn, %{argv: ["/bin/true"], auto_proceed: true, orphan: :kill, descendants: :kill, causes: true}}}"#,
            (0, Addressed::Request(Ok(Box::new(spawn)))),
        ),
        (
            r#"{1, {:enter, %{argv: ["/bin/true"], target: 4242}}}"#,
            (1, Addressed::Request(Ok(Box::new(enter)))),
        ),
        (
            "{1, {:spawn, %{}}}",
            (1, Addressed::Request(Err(Malformed))),
        ),
        ("{1, {:spawn, []}}", (1, Addressed::Request(Err(Malformed)))),
        ("{0, :proceed}", (0, proceed())),
        ("{7, :proceed}", (7, proceed())),
        ("{255, :proceed}", (255, proceed())),
        ("{256, :proceed}", (256, proceed())),
        ("{2_147_483_647, :proceed}", (i32::MAX as Id, proceed())),
        ("{2_147_483_648, :proceed}", (1 << 31, proceed())),
        ("{4_294_967_295, :proceed}", (Id::MAX, proceed())),
        ("{7, {:call, 300, {:signal, 15}}}", (7, commanded(signal))),
        ("{7, :hangup}", (7, Addressed::Hangup)),
        (
            "{7, {:call, 1, :hangup}}",
            (7, commanded(Inbound::Unknown(Some(1)))),
        ),
        (
            "{7, {:spawn, %{}, 1}}",
            (7, commanded(Inbound::Unknown(None))),
        ),
        ("{7, :dance}", (7, commanded(Inbound::Unknown(None)))),
    ];
    compare(
        vectors("to-host"),
        expected.into_iter().map(|(t, e)| (t, Some(e))).collect(),
        heard,
    );
}

/// What has no address concerns the host, what has one and no term behind it its session.
#[test]
fn what_a_host_cannot_read_is_told_apart_by_its_address() {
    for vector in vectors("malformed-to-host") {
        let read = heard(&vector.bytes);
        if vector.text.starts_with("# no address") {
            assert_eq!(read, None, "{}", vector.text);
        } else {
            assert!(
                vector.text.starts_with("# no term for 7"),
                "{}",
                vector.text
            );
            let expected = (7, Addressed::Command(Err(Malformed)));
            assert_eq!(read, Some(expected), "{}", vector.text);
        }
    }
}

#[test]
fn what_a_host_says_is_written_as_documented() {
    let error = |errno, stage, cause| Event::Error(Failure { errno, stage }, cause);
    let malformed = || error(Errno::EINVAL, Stage::MalformedRequest, None);
    let congested = error(Errno::ENOBUFS, Stage::Congested, None);
    let died = error(Errno::EIO, Stage::Execve, Some(Death::Signaled(9)));
    let ended = Reply::Error(Failure {
        errno: Errno::ESRCH,
        stage: Stage::Ended,
    });
    let mut expected = BTreeMap::from([
        (
            "{0, {:status, :spawned, 4242}}",
            (Some(0), Event::Spawned(4242)),
        ),
        ("{255, {:status, :running}}", (Some(255), Event::Running)),
        ("{256, {:status, :ready, 1}}", (Some(256), Event::Ready(1))),
        (
            "{2_147_483_648, {:status, :exited, 0}}",
            (Some(1 << 31), Event::Exited(0)),
        ),
        (
            "{4_294_967_295, {:status, :hangup}}",
            (Some(Id::MAX), Event::HungUp),
        ),
        (
            "{7, {:eof, :stderr}}",
            (Some(7), Event::Eof(Source::Stderr)),
        ),
        (
            "{7, {:reply, 1, {:error, 3, :ended}}}",
            (Some(7), Event::Reply(1, ended)),
        ),
        (
            "{7, {:error, 22, :malformed_request}}",
            (Some(7), malformed()),
        ),
        ("{7, {:error, 105, :congested}}", (Some(7), congested)),
        ("{7, {:error, 5, :execve, {:signaled, 9}}}", (Some(7), died)),
        ("{:error, 22, :malformed_request}", (None, malformed())),
        (
            "{:error, 90, :command_too_big}",
            (None, error(Errno::EMSGSIZE, Stage::CommandTooBig, None)),
        ),
    ]);
    for vector in vectors("from-host") {
        let mut frame = Vec::new();
        match expected.remove(vector.text.as_str()) {
            Some((id, event)) => event.append_to(&mut frame, id),
            None if vector.text == r#"{7, {:pty_out, "hi\r\n"}}"# => {
                encode::append_output(&mut frame, Some(7), Source::Pty, b"hi\r\n");
            }
            None => panic!("nothing is expected of {}, or twice", vector.text),
        }
        assert_eq!(frame[4..], vector.bytes, "{}", vector.text);
    }
    assert!(expected.is_empty(), "no vector for {expected:?}");
}
