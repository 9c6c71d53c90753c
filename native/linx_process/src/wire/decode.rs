//! Requests and commands: what the BEAM tells the agent.

use super::confine;
use super::screen::{screen, Malformed};
use super::stage::Namespace;
use super::stdio::{self, Directive, Stdio};
use super::step::{Confinement, Setup, Step};
use super::terms::{
    self, atom, boolean, elements, integer, list, string, strings, tuple, unsigned, Decoded,
};
use crate::sys::tty::WindowSize;
use eetf::Term;
use std::ffi::CString;

/// What to run, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub place: Where,
    /// Never empty; the first element is the path to execute.
    pub argv: Vec<CString>,
    /// What it is told that it is called, instead of that path.
    pub arg0: Option<CString>,
    /// What is run after that, one after another; likewise.
    pub chain: Vec<Vec<CString>>,
    /// `None`: the agent's own environment.
    pub env: Option<Vec<CString>>,
    pub stdio: Stdio,
    /// Of the PTY from the start, if there is one.
    pub winsize: Option<WindowSize>,
    pub cwd: Option<CString>,
    pub files: Vec<StagedFile>,
    pub no_new_privs: bool,
    pub credentials: Credentials,
    /// How the ids of a fresh user namespace are mapped, unless the host does that at the checkpoint.
    pub maps: Option<Maps>,
    /// Whether the main process has an init beside it, which is pid 1 of its PID namespace.
    pub init: bool,
    /// The cgroup it is born in.
    pub cgroup: Option<CString>,
    pub setup: Vec<Setup>,
    pub confine: Vec<Confinement>,
    /// The workload's fate when the BEAM or the agent is gone.
    pub orphan: Leftover,
    /// The fate of what the workload leaves behind when it ends.
    pub descendants: Leftover,
    /// Whether the BEAM understands the death behind an error.
    pub causes: bool,
    /// Whether the BEAM is to be told what the workload has used.
    pub usage: bool,
    /// Whether the workload goes on from the checkpoint without being told.
    pub auto_proceed: bool,
    /// Where it starts out from, before anything else; `None`: where the agent is.
    pub origin: Option<CString>,
    /// So many bytes of each output may be passed on before more is granted; `None`: all.
    pub credit: Option<u32>,
    /// What ends the workload's output.
    pub output: OutputEnd,
}

impl Request {
    /// Whether the main process has to stop on its way, be it for the agent alone.
    pub fn stops(&self) -> bool {
        self.maps.is_some() || self.init || !self.setup.is_empty()
    }

    /// What the workload leaves behind can only be killed if it comes to us when its parent ends.
    pub fn inherits_orphans(&self) -> bool {
        [self.orphan, self.descendants].contains(&Leftover::Kill)
    }
}

/// Whose process the workload is to be; `None`: as the agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub uid: Option<libc::uid_t>,
    pub gid: Option<libc::gid_t>,
    /// Never `None` when one of the others is not: another user shall not keep the agent's groups.
    pub groups: Option<Vec<libc::gid_t>>,
}

/// A line of a map: so many ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// What is written to `uid_map` and `gid_map` (user_namespaces(7)).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Maps {
    pub uid: Vec<Extent>,
    pub gid: Vec<Extent>,
    /// The process may not change its groups, as the kernel wants it from those without privileges.
    pub denies_setgroups: bool,
    /// Whether it is the BEAM that writes them, which may run programs for that (newuidmap(1)).
    pub by_beam: bool,
}

/// A file that is to be there when the workload begins.
#[derive(Debug, PartialEq, Eq)]
pub struct StagedFile {
    pub path: CString,
    pub data: Vec<u8>,
    pub mode: libc::mode_t,
}

/// The namespaces a workload is born in.
#[derive(Debug, PartialEq, Eq)]
pub enum Where {
    /// Fresh ones of these types, the agent's for the rest.
    Fresh(Vec<Namespace>),
    /// Those of the process `target`: all of them, or these.
    Of {
        target: libc::pid_t,
        only: Option<Vec<Namespace>>,
    },
}

impl Where {
    /// Whether the workload has this namespace to itself.
    pub fn is_fresh(&self, namespace: Namespace) -> bool {
        match self {
            Where::Fresh(namespaces) => namespaces.contains(&namespace),
            Where::Of { .. } => false,
        }
    }
}

/// What ends the output of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputEnd {
    /// The end of the main process. What is buffered by then still counts.
    Exit,
    /// The end of the last one that could write.
    Eof,
}

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
    Pty,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
            Source::Pty => "pty",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Kill,
    Leave,
}

/// What the BEAM of a host says about one of its sessions.
#[derive(Debug, PartialEq, Eq)]
pub enum Addressed {
    /// The session begins.
    Request(Decoded<Box<Request>>),
    Command(Decoded<Inbound>),
    /// Nobody will hear of the session any more.
    Hangup,
}

/// A frame after the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    Command(Call, Command),
    /// A term, but no command this agent knows.
    Unknown(Call),
}

/// The reference under which the BEAM wants an answer, if it does.
pub type Call = Option<u64>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Proceed,
    Abort,
    /// The ids are mapped, as the BEAM was asked to.
    Mapped,
    Step(Step),
    /// The number may be out of range: it is checked where it is sent.
    Signal(i32, Reach),
    /// This many milliseconds of grace, begun with a signal, whose number may be out of range; then SIGKILL.
    Stop(u64, i32),
    PtyIn(Vec<u8>),
    /// `None`: sizes that no terminal can have.
    PtyWinsize(Option<WindowSize>),
    PtyMaster,
    Stdin(Vec<u8>),
    CloseStdin,
    /// So many more bytes of this output may be passed on.
    Credit(Source, u32),
}

impl Command {
    /// How much it carries, beyond itself.
    pub fn bytes(&self) -> usize {
        match self {
            Command::PtyIn(bytes) | Command::Stdin(bytes) => bytes.len(),
            Command::Step(step) => step.bytes(),
            _ => 0,
        }
    }
}

/// How far a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Process,
    Group,
    Tree,
}

/// All permissions, and the set-user-ID, set-group-ID and sticky bits.
pub(super) const MODES: u64 = 0o7777;

/// The first frame: `{:spawn, Map}` or `{:enter, Map}`.
pub fn request(frame: &[u8]) -> Decoded<Request> {
    request_in(term(frame)?)
}

fn request_in(term: Term) -> Decoded<Request> {
    let [mode, options] = tuple(term)?;
    let Term::Map(options) = options else {
        return Err(Malformed);
    };
    let mut argv = None;
    let mut arg0 = None;
    let mut chain = Vec::new();
    let mut env = None;
    let mut namespaces = None;
    let mut target = None;
    let mut stdio = Stdio::Each([const { Directive::Inherit }; 3]);
    let mut winsize = None;
    let mut cwd = None;
    let mut files = Vec::new();
    let mut no_new_privs = false;
    let mut credentials = Credentials::default();
    let (mut uid_map, mut gid_map, mut denies_setgroups) = (None, None, false);
    let mut by_beam = false;
    let mut init = false;
    let mut cgroup = None;
    let mut setup = Vec::new();
    let mut confine = Vec::new();
    let mut orphan = Leftover::Leave;
    let mut descendants = Leftover::Leave;
    let mut causes = false;
    let mut usage = false;
    let mut auto_proceed = false;
    let mut origin = None;
    let mut credit = None;
    let mut output = OutputEnd::Exit;
    for (key, value) in options.map {
        match atom(&key).ok_or(Malformed)? {
            "argv" => argv = Some(terms::argv(value)?),
            "arg0" => arg0 = Some(string(value)?),
            "chain" => {
                chain = list(value)?
                    .into_iter()
                    .map(terms::argv)
                    .collect::<Decoded<_>>()?
            }
            "env" => env = Some(strings(value)?),
            "namespaces" => {
                namespaces = Some(
                    list(value)?
                        .iter()
                        .map(namespace)
                        .collect::<Decoded<Vec<_>>>()?,
                )
            }
            "target" => target = Some(integer(&value).filter(|pid| *pid > 0).ok_or(Malformed)?),
            "stdio" => stdio = stdio::stdio(value)?,
            "winsize" => winsize = Some(window_size(&value).flatten().ok_or(Malformed)?),
            "cwd" => cwd = Some(string(value)?),
            "files" => files = list(value)?.into_iter().map(file).collect::<Decoded<_>>()?,
            "no_new_privs" => no_new_privs = boolean(&value)?,
            "uid" => credentials.uid = Some(id(&value)?),
            "gid" => credentials.gid = Some(id(&value)?),
            "groups" => credentials.groups = Some(ids(value)?),
            "uid_map" => uid_map = Some(confine::map(value)?),
            "gid_map" => gid_map = Some(confine::map(value)?),
            "setgroups" => denies_setgroups = confine::denies_setgroups(&value)?,
            "mapped_by" => by_beam = confine::is_mapped_by_beam(&value)?,
            "init" => init = boolean(&value)?,
            "cgroup" => cgroup = Some(string(value)?),
            "setup" => setup = confine::all(value, confine::setup)?,
            "confine" => confine = confine::all(value, confine::confinement)?,
            "orphan" => orphan = leftover(&value)?,
            "descendants" => descendants = leftover(&value)?,
            "causes" => causes = boolean(&value)?,
            "usage" => usage = boolean(&value)?,
            "auto_proceed" => auto_proceed = boolean(&value)?,
            "origin" => origin = Some(string(value)?),
            "credit" => credit = Some(amount(&value).ok_or(Malformed)?),
            "output" => output = output_end(&value)?,
            _ => {}
        }
    }
    if credentials.uid.or(credentials.gid).is_some() && !denies_setgroups {
        credentials.groups.get_or_insert_default();
    }
    let maps = (uid_map.is_some() || gid_map.is_some()).then(|| Maps {
        uid: uid_map.unwrap_or_default(),
        gid: gid_map.unwrap_or_default(),
        denies_setgroups,
        by_beam,
    });
    let place = match atom(&mode) {
        Some("spawn") => Where::Fresh(namespaces.unwrap_or_default()),
        Some("enter") => Where::Of {
            target: target.ok_or(Malformed)?,
            only: namespaces,
        },
        _ => return Err(Malformed),
    };
    let unfit = init && !place.is_fresh(Namespace::Pid);
    if unfit || maps.is_some() && !place.is_fresh(Namespace::User) {
        return Err(Malformed);
    }
    Ok(Request {
        place,
        argv: argv.ok_or(Malformed)?,
        arg0,
        chain,
        env,
        stdio,
        winsize,
        cwd,
        files,
        no_new_privs,
        credentials,
        maps,
        init,
        cgroup,
        setup,
        confine,
        orphan,
        descendants,
        causes,
        usage,
        auto_proceed,
        origin,
        credit,
        output,
    })
}

/// A frame to a host, without its address.
pub fn addressed(frame: &[u8]) -> Addressed {
    match term(frame) {
        Ok(term) if atom(&term) == Some("hangup") => Addressed::Hangup,
        Ok(term) if is_request(&term) => Addressed::Request(request_in(term).map(Box::new)),
        Ok(term) => Addressed::Command(Ok(command_in(&term))),
        Err(malformed) => Addressed::Command(Err(malformed)),
    }
}

fn is_request(term: &Term) -> bool {
    match elements(term) {
        Some([mode, _options]) => matches!(atom(mode), Some("spawn" | "enter")),
        _ => false,
    }
}

/// Any later frame: a command, or `{:call, Ref, Command}`.
pub fn command(frame: &[u8]) -> Decoded<Inbound> {
    Ok(command_in(&term(frame)?))
}

fn command_in(term: &Term) -> Inbound {
    let (call, term) = match called(term) {
        Some((reference, command)) => (Some(reference), command),
        None => (None, term),
    };
    match self::known_command(term) {
        Some(command) => Inbound::Command(call, command),
        None => Inbound::Unknown(call),
    }
}

fn called(term: &Term) -> Option<(u64, &Term)> {
    match elements(term)? {
        [tag, reference, command] if atom(tag) == Some("call") => {
            Some((unsigned(reference)?, command))
        }
        _ => None,
    }
}

fn known_command(term: &Term) -> Option<Command> {
    if let Some(name) = atom(term) {
        return match name {
            "proceed" => Some(Command::Proceed),
            "mapped" => Some(Command::Mapped),
            "abort" => Some(Command::Abort),
            "pty_master" => Some(Command::PtyMaster),
            "close_stdin" => Some(Command::CloseStdin),
            _ => None,
        };
    }
    let (name, arguments) = elements(term)?.split_first()?;
    match (atom(name)?, arguments) {
        ("signal", [number]) => Some(Command::Signal(integer(number)?, Reach::Process)),
        ("signal", [number, to]) => Some(Command::Signal(integer(number)?, reach(to)?)),
        ("stop", [grace]) => Some(Command::Stop(unsigned(grace)?, libc::SIGTERM)),
        ("stop", [grace, signal]) => Some(Command::Stop(unsigned(grace)?, integer(signal)?)),
        ("pty_in", [Term::Binary(bytes)]) => Some(Command::PtyIn(bytes.bytes.clone())),
        ("stdin", [Term::Binary(bytes)]) => Some(Command::Stdin(bytes.bytes.clone())),
        ("credit", [source, more]) => Some(Command::Credit(self::source(source)?, amount(more)?)),
        ("pty_winsize", [size]) => Some(Command::PtyWinsize(window_size(size)?)),
        ("setup", [setup]) => Some(Command::Step(Step::Setup(confine::setup(setup)?))),
        ("confine", [confinement]) => Some(Command::Step(Step::Hold(confine::confinement(
            confinement,
        )?))),
        ("seccomp_install", [Term::Binary(program)]) => {
            let program = program.bytes.clone();
            Some(Command::Step(Step::Hold(Confinement::Seccomp(program))))
        }
        (name, _) if name.starts_with("cap_") => {
            Some(Command::Step(Step::Now(confine::confinement(term)?)))
        }
        _ => None,
    }
}

/// Four integers; `Some(None)` when they are integers but not a size.
fn window_size(term: &Term) -> Option<Option<WindowSize>> {
    let cells: &[Term; 4] = elements(term)?.try_into().ok()?;
    let mut sizes = [Some(0); 4];
    for (size, cell) in sizes.iter_mut().zip(cells) {
        *size = match cell {
            Term::FixInteger(integer) => u16::try_from(integer.value).ok(),
            Term::BigInteger(integer) => u16::try_from(&integer.value).ok(),
            _ => return None,
        };
    }
    let [rows, columns, x, y] = sizes;
    Some(
        rows.zip(columns)
            .zip(x.zip(y))
            .map(|((rows, columns), (x_pixels, y_pixels))| WindowSize {
                rows,
                columns,
                x_pixels,
                y_pixels,
            }),
    )
}

fn reach(term: &Term) -> Option<Reach> {
    match atom(term)? {
        "process" => Some(Reach::Process),
        "group" => Some(Reach::Group),
        "tree" => Some(Reach::Tree),
        _ => None,
    }
}

fn source(term: &Term) -> Option<Source> {
    match atom(term)? {
        "stdout" => Some(Source::Stdout),
        "stderr" => Some(Source::Stderr),
        "pty" => Some(Source::Pty),
        _ => None,
    }
}

fn amount(term: &Term) -> Option<u32> {
    unsigned(term).and_then(|amount| u32::try_from(amount).ok())
}

fn output_end(term: &Term) -> Decoded<OutputEnd> {
    match atom(term) {
        Some("exit") => Ok(OutputEnd::Exit),
        Some("eof") => Ok(OutputEnd::Eof),
        _ => Err(Malformed),
    }
}

fn namespace(term: &Term) -> Decoded<Namespace> {
    atom(term).and_then(Namespace::from_name).ok_or(Malformed)
}

fn file(value: Term) -> Decoded<StagedFile> {
    let [path, data, mode] = tuple(value)?;
    let mode = unsigned(&mode)
        .filter(|mode| *mode <= MODES)
        .ok_or(Malformed)?;
    match data {
        Term::Binary(data) => Ok(StagedFile {
            path: string(path)?,
            data: data.bytes,
            mode: mode as libc::mode_t,
        }),
        _ => Err(Malformed),
    }
}

/// A user's or group's number. The greatest of 32 bits means "none" to the kernel.
fn id(term: &Term) -> Decoded<u32> {
    let id = unsigned(term).and_then(|number| u32::try_from(number).ok());
    id.filter(|id| *id != u32::MAX).ok_or(Malformed)
}

/// A list of them. The BEAM writes one of small numbers as it writes a string.
fn ids(value: Term) -> Decoded<Vec<u32>> {
    match value {
        Term::ByteList(list) => Ok(list.bytes.into_iter().map(u32::from).collect()),
        value => list(value)?.iter().map(id).collect(),
    }
}

fn leftover(term: &Term) -> Decoded<Leftover> {
    match atom(term) {
        Some("kill") => Ok(Leftover::Kill),
        Some("leave") => Ok(Leftover::Leave),
        _ => Err(Malformed),
    }
}

fn term(frame: &[u8]) -> Decoded<Term> {
    Term::decode(screen(frame)?.as_slice()).map_err(|_| Malformed)
}
