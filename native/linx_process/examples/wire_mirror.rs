//! Says what the agent makes of a frame, and what it makes of an event, so that the BEAM's own
//! encoder and decoder can be held against the agent's (test/linx/agent/wire_property_test.exs).
//!
//! It answers each frame on standard input with one on standard output. The first byte of a frame
//! tells what the rest is:
//!
//! | | the rest | the answer |
//! |---|---|---|
//! | `r` | a request as the agent would get it | a term with what was understood, or `malformed` |
//! | `c` | a command | the same |
//! | `e` | an event, in words | the bytes that the agent would write |
//! | `o` | output of a terminal | the same |
//! | `s` | nothing | the atoms of all stages |

use eetf::{Atom, BigInteger, Binary, List, Map, Term, Tuple};
use linx_process::session::{Death, WindowSize};
use linx_process::wire::frame::{self, Reader};
use linx_process::wire::landlock::{Rights, Rule};
use linx_process::wire::mount::{self, Flags, Mount, Propagation};
use linx_process::wire::{
    decode, encode, Call, Command, Confinement, Directive, Event, Extent, Failure, Inbound,
    Landlock, Leftover, Maps, Namespace, OutputEnd, Reach, Reply, Request, Setup, Source, Stage,
    StagedFile, Stdio, Step, Where,
};
use nix::errno::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io::{stdin, stdout, Read, Write};

fn main() -> std::io::Result<()> {
    let mut reader = Reader::default();
    let mut buffer = [0; 64 << 10];
    loop {
        let length = stdin().read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        reader.feed(&buffer[..length]);
        while let Some(frame) = reader.next_frame() {
            let frame = frame.expect("a frame within the limit");
            stdout().write_all(&mirror(&frame))?;
            stdout().flush()?;
        }
    }
}

fn mirror(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match frame.split_first().expect("a frame that is not empty") {
        (b'r', rest) => answer(&mut out, decode::request(rest).map(request)),
        (b'c', rest) => answer(&mut out, decode::command(rest).map(inbound)),
        (b'e', rest) => {
            let words = std::str::from_utf8(rest).expect("words");
            event(&words.split(' ').collect::<Vec<_>>()).append_to(&mut out, None);
        }
        (b's', []) => {
            let stages = list(stages().map(|stage| atom(&stage.name())));
            answer(&mut out, Ok::<_, ()>(stages));
        }
        (b'o', rest) => encode::append_output(&mut out, None, Source::Pty, rest),
        _ => panic!("there is no such kind of frame"),
    }
    out
}

fn answer<E>(out: &mut Vec<u8>, understood: Result<Term, E>) {
    let term = understood.unwrap_or_else(|_| atom("malformed"));
    frame::append(out, |body| term.encode(body).expect("a term"));
}

// What was understood, as a term.

fn request(request: Request) -> Term {
    let (mode, target, namespaces) = match request.place {
        Where::Fresh(fresh) => ("spawn", atom("nil"), Some(fresh)),
        Where::Of { target, only } => ("enter", integer(target), only),
    };
    let entries = [
        ("target", target),
        ("namespaces", option(namespaces, self::namespaces)),
        ("argv", strings(request.argv)),
        ("arg0", option(request.arg0, string)),
        ("chain", list(request.chain.into_iter().map(strings))),
        ("env", option(request.env, strings)),
        ("stdio", stdio(request.stdio)),
        ("winsize", option(request.winsize, window_size)),
        ("cwd", option(request.cwd, string)),
        ("files", list(request.files.into_iter().map(file))),
        ("no_new_privs", boolean(request.no_new_privs)),
        ("uid", option(request.credentials.uid, integer)),
        ("gid", option(request.credentials.gid, integer)),
        ("groups", option(request.credentials.groups, ids)),
        ("maps", option(request.maps, maps)),
        ("init", atom(if request.init { "true" } else { "false" })),
        ("cgroup", option(request.cgroup, string)),
        ("setup", list(request.setup.into_iter().map(setup))),
        (
            "confine",
            list(request.confine.into_iter().map(confinement)),
        ),
        ("orphan", leftover(request.orphan)),
        ("descendants", leftover(request.descendants)),
        ("causes", boolean(request.causes)),
        ("usage", boolean(request.usage)),
        ("auto_proceed", boolean(request.auto_proceed)),
        ("origin", option(request.origin, string)),
        ("credit", option(request.credit, integer)),
        (
            "output",
            atom(match request.output {
                OutputEnd::Exit => "exit",
                OutputEnd::Eof => "eof",
            }),
        ),
    ];
    let map: HashMap<_, _> = entries.map(|(key, value)| (atom(key), value)).into();
    tuple([atom(mode), Term::from(Map::from(map))])
}

fn namespaces(namespaces: Vec<Namespace>) -> Term {
    list(namespaces.into_iter().map(|n| atom(n.name())))
}

fn stdio(stdio: Stdio) -> Term {
    match stdio {
        Stdio::Pty => atom("pty"),
        Stdio::Each(each) => tuple(each.map(|directive| match directive {
            Directive::Inherit => atom("inherit"),
            Directive::DevNull => atom("devnull"),
            Directive::ConnectUnix(path) => tuple([atom("connect_unix"), string(path)]),
            Directive::Pipe => atom("pipe"),
            Directive::File(path, flags) => tuple([atom("file"), string(path), integer(flags)]),
            Directive::Stdout => atom("stdout"),
        })),
    }
}

fn file(file: StagedFile) -> Term {
    tuple([string(file.path), binary(file.data), integer(file.mode)])
}

fn ids(ids: Vec<u32>) -> Term {
    list(ids.into_iter().map(integer))
}

fn extents(map: Vec<Extent>) -> Term {
    let line = |e: Extent| tuple([e.inside, e.outside, e.count].map(integer));
    list(map.into_iter().map(line))
}

fn maps(maps: Maps) -> Term {
    let deny = atom(if maps.denies_setgroups {
        "deny"
    } else {
        "allow"
    });
    let by = atom(if maps.by_beam { "beam" } else { "agent" });
    tuple([extents(maps.uid), extents(maps.gid), deny, by])
}

fn leftover(leftover: Leftover) -> Term {
    atom(match leftover {
        Leftover::Kill => "kill",
        Leftover::Leave => "leave",
    })
}

fn inbound(inbound: Inbound) -> Term {
    let reference = |call: Call| option(call, integer);
    match inbound {
        Inbound::Command(call, command) => tuple([reference(call), self::command(command)]),
        Inbound::Unknown(call) => tuple([reference(call), atom("unknown")]),
    }
}

fn command(command: Command) -> Term {
    match command {
        Command::Proceed => atom("proceed"),
        Command::Abort => atom("abort"),
        Command::Mapped => atom("mapped"),
        Command::PtyMaster => atom("pty_master"),
        Command::Signal(number, to) => tuple([atom("signal"), integer(number), reach(to)]),
        Command::Stop(grace, signal) => tuple([atom("stop"), integer(grace), integer(signal)]),
        Command::PtyIn(bytes) => tuple([atom("pty_in"), binary(bytes)]),
        Command::Stdin(bytes) => tuple([atom("stdin"), binary(bytes)]),
        Command::CloseStdin => atom("close_stdin"),
        Command::Credit(source, more) => {
            tuple([atom("credit"), atom(source.name()), integer(more)])
        }
        Command::PtyWinsize(size) => tuple([atom("pty_winsize"), option(size, window_size)]),
        Command::Step(step) => self::step(step),
    }
}

fn step(step: Step) -> Term {
    match step {
        Step::Setup(setup) => tuple([atom("setup"), self::setup(setup)]),
        Step::Now(confinement) => self::confinement(confinement),
        Step::Hold(confinement) => tuple([atom("confine"), self::confinement(confinement)]),
    }
}

fn setup(setup: Setup) -> Term {
    match setup {
        Setup::Hostname(name) => tuple([atom("hostname"), binary(name)]),
        Setup::Loopback => atom("loopback"),
        Setup::TimeOffsets {
            monotonic,
            boottime,
        } => tuple([atom("time_offsets"), integer(monotonic), integer(boottime)]),
        Setup::Mount(mount) => tuple([atom("mount"), self::mount(mount)]),
    }
}

fn mount(mount: Mount) -> Term {
    match mount {
        Mount::Bind {
            source,
            target,
            flags,
        } => tuple([atom("bind"), path(source), path(target), mount_flags(flags)]),
        Mount::FileSystem {
            kind,
            source,
            target,
            options,
            flags,
        } => tuple([
            atom("file_system"),
            path(kind),
            path(source),
            path(target),
            list(mount::options(&options).map(mount_option)),
            mount_flags(flags),
        ]),
        Mount::Propagation {
            target,
            propagation,
            recursive,
        } => tuple([
            atom("propagation"),
            path(target),
            atom(match propagation {
                Propagation::Private => "private",
                Propagation::Slave => "slave",
                Propagation::Shared => "shared",
                Propagation::Unbindable => "unbindable",
            }),
            list(recursive.then(|| atom("recursive")).into_iter()),
        ]),
        Mount::Attributes { target, flags } => {
            tuple([atom("attributes"), path(target), mount_flags(flags)])
        }
        Mount::Unmount { target, detach } => tuple([
            atom("unmount"),
            path(target),
            list(detach.then(|| atom("detach")).into_iter()),
        ]),
        Mount::MakeDirectory { target, mode } => {
            tuple([atom("make_directory"), path(target), integer(mode)])
        }
        Mount::MakeFile { target, mode, data } => {
            tuple([atom("make_file"), path(target), integer(mode), binary(data)])
        }
        Mount::Symlink { target, content } => tuple([atom("symlink"), path(target), path(content)]),
        Mount::PivotRoot => atom("pivot_root"),
    }
}

/// By name, in the order in which the agent has them.
fn mount_flags(flags: Flags) -> Term {
    let set = mount::ATTRIBUTES
        .into_iter()
        .filter(|(_, attribute)| *attribute != 0 && flags.set & attribute == *attribute)
        .map(|(name, _)| name);
    let relatime = flags.clear != 0 && flags.set & flags.clear == 0;
    let others = [
        ("relatime", relatime),
        ("recursive", flags.recursive),
        ("optional", flags.optional),
        ("make", flags.make),
        ("no_symlinks", flags.no_symlinks),
    ];
    let others = others.into_iter().filter(|(_, is_set)| *is_set);
    list(set.chain(others.map(|(name, _)| name)).map(atom))
}

fn mount_option((name, value): (&CStr, Option<&CStr>)) -> Term {
    let text = |text: &CStr| binary(text.to_bytes().to_vec());
    match value {
        Some(value) => tuple([text(name), text(value)]),
        None => text(name),
    }
}

fn path(mut path: Vec<u8>) -> Term {
    path.pop();
    binary(path)
}

fn confinement(confinement: Confinement) -> Term {
    match confinement {
        Confinement::Nice(nice) => tuple([atom("nice"), integer(nice)]),
        Confinement::OomScoreAdj(score) => tuple([atom("oom_score_adj"), integer(score)]),
        Confinement::CpuAffinity(mask) => tuple([atom("cpu_affinity"), binary(mask)]),
        Confinement::Umask(mask) => tuple([atom("umask"), integer(mask)]),
        Confinement::Limit {
            resource,
            soft,
            hard,
        } => tuple([
            atom("rlimit"),
            integer(resource),
            integer(soft),
            integer(hard),
        ]),
        Confinement::CapDropBounding(mask) => tuple([atom("cap_drop_bounding"), integer(mask)]),
        Confinement::Securebits(bits) => tuple([atom("securebits"), integer(bits)]),
        Confinement::CapSetThread {
            effective,
            permitted,
            inheritable,
        } => tuple([
            atom("cap_set_thread"),
            integer(effective),
            integer(permitted),
            integer(inheritable),
        ]),
        Confinement::CapSetAmbient(mask) => tuple([atom("cap_set_ambient"), integer(mask)]),
        Confinement::NoNewPrivs => atom("no_new_privs"),
        Confinement::Landlock(landlock) => self::landlock(landlock),
        Confinement::Seccomp(program) => tuple([atom("seccomp"), binary(program)]),
    }
}

fn landlock(landlock: Landlock) -> Term {
    let Rights { fs, net, scoped } = landlock.handled;
    let rules = landlock.rules().map(|rule| match rule {
        Rule::Path {
            path,
            access,
            optional,
        } => {
            let path = binary(path[..path.len() - 1].to_vec());
            tuple([atom("path"), path, integer(access), boolean(optional)])
        }
        Rule::Port { port, access } => tuple([atom("port"), integer(port), integer(access)]),
    });
    tuple([
        atom("landlock"),
        integer(landlock.least_abi),
        tuple([fs, net, scoped].map(integer)),
        list(rules),
    ])
}

fn reach(reach: Reach) -> Term {
    atom(match reach {
        Reach::Process => "process",
        Reach::Group => "group",
        Reach::Tree => "tree",
    })
}

fn window_size(size: WindowSize) -> Term {
    tuple([size.rows, size.columns, size.x_pixels, size.y_pixels].map(integer))
}

// What the agent is to say, in words.

fn event(words: &[&str]) -> Event {
    match words {
        ["unmapped", pid] => Event::Unmapped(number(pid)),
        ["spawned", pid] => Event::Spawned(number(pid)),
        ["ready", pid] => Event::Ready(number(pid)),
        ["running"] => Event::Running,
        ["aborted", pid] => Event::Aborted(number(pid)),
        ["exited", code] => Event::Exited(number(code)),
        ["signaled", signal] => Event::Signaled(number(signal)),
        ["error", errno, stage] => Event::Error(failure(errno, stage), None),
        ["error", errno, stage, how, code] => {
            let death = match *how {
                "exited" => Death::Exited,
                _ => Death::Signaled,
            };
            Event::Error(failure(errno, stage), Some(death(number(code))))
        }
        ["reply", reference, reply @ ..] => {
            let reference = reference.parse().expect("a reference");
            Event::Reply(reference, self::reply(reply))
        }
        _ => panic!("there is no such event: {words:?}"),
    }
}

fn reply(words: &[&str]) -> Reply {
    match words {
        ["ok"] => Reply::Ok,
        ["error", errno, stage] => Reply::Error(failure(errno, stage)),
        ["landlock", abi, fs, net, scoped] => {
            let [fs, net, scoped] = [fs, net, scoped].map(|word| word.parse().expect("a mask"));
            let abi = abi.parse().expect("a version");
            Reply::Landlock(abi, Rights { fs, net, scoped })
        }
        ["pty_master", os_pid, fd, slave] => Reply::PtyMaster {
            os_pid: os_pid.parse().expect("a pid"),
            fd: number(fd),
            slave: slave.to_string(),
        },
        _ => panic!("there is no such reply: {words:?}"),
    }
}

fn failure(errno: &str, stage: &str) -> Failure {
    let stage = stages().find(|s| s.name() == stage);
    stage.expect("a stage").failed()(Errno::from_raw(number(errno)))
}

fn stages() -> impl Iterator<Item = Stage> {
    (0..0x300).filter_map(Stage::from_code)
}

fn number(word: &str) -> i32 {
    word.parse().expect("a number")
}

// Terms.

fn atom(name: &str) -> Term {
    Term::from(Atom::from(name))
}

fn boolean(value: bool) -> Term {
    atom(if value { "true" } else { "false" })
}

fn integer<I: Into<BigInteger>>(value: I) -> Term {
    Term::from(value.into())
}

fn binary(bytes: Vec<u8>) -> Term {
    Term::from(Binary::from(bytes))
}

fn string(string: CString) -> Term {
    binary(string.into_bytes())
}

fn strings(strings: Vec<CString>) -> Term {
    list(strings.into_iter().map(string))
}

fn list(elements: impl Iterator<Item = Term>) -> Term {
    Term::from(List::from(elements.collect::<Vec<_>>()))
}

fn tuple<const N: usize>(elements: [Term; N]) -> Term {
    Term::from(Tuple::from(Vec::from(elements)))
}

fn option<T>(value: Option<T>, term: impl FnOnce(T) -> Term) -> Term {
    value.map_or_else(|| atom("nil"), term)
}
