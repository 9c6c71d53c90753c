//! Requests and commands: what the BEAM tells the agent.

use super::screen::{screen, Malformed};
use super::stage::Namespace;
use crate::sys::tty::WindowSize;
use eetf::{Term, Tuple};
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

#[derive(Debug, PartialEq, Eq)]
pub enum Stdio {
    /// One PTY slave on 0, 1 and 2.
    Pty,
    Each([Directive; 3]),
}

/// What becomes of one standard descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    Inherit,
    DevNull,
    /// A stream socket connected to this path.
    ConnectUnix(CString),
    /// A pipe to the agent, or from it.
    Pipe,
    /// What this path names, opened with these flags of open(2).
    File(CString, libc::c_int),
    /// The same as the standard output; of the standard error alone.
    Stdout,
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
            Command::PtyIn(bytes)
            | Command::Stdin(bytes)
            | Command::Step(Step::SeccompInstall(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

/// What a parked child is told to do to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<Program = Vec<u8>> {
    CapDropBounding(u64),
    CapSetThread {
        effective: u64,
        permitted: u64,
        inheritable: u64,
    },
    CapSetAmbient(u64),
    /// A cBPF program.
    SeccompInstall(Program),
}

impl Step {
    pub fn borrowed(&self) -> Step<&[u8]> {
        match self {
            Step::CapDropBounding(mask) => Step::CapDropBounding(*mask),
            Step::CapSetThread {
                effective,
                permitted,
                inheritable,
            } => Step::CapSetThread {
                effective: *effective,
                permitted: *permitted,
                inheritable: *inheritable,
            },
            Step::CapSetAmbient(mask) => Step::CapSetAmbient(*mask),
            Step::SeccompInstall(program) => Step::SeccompInstall(program),
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
const MODES: u64 = 0o7777;

type Decoded<T> = Result<T, Malformed>;

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
            "argv" => argv = Some(self::argv(value)?),
            "arg0" => arg0 = Some(string(value)?),
            "chain" => {
                chain = list(value)?
                    .into_iter()
                    .map(self::argv)
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
            "stdio" => stdio = self::stdio(value)?,
            "winsize" => winsize = Some(window_size(&value).flatten().ok_or(Malformed)?),
            "cwd" => cwd = Some(string(value)?),
            "files" => files = list(value)?.into_iter().map(file).collect::<Decoded<_>>()?,
            "no_new_privs" => no_new_privs = boolean(&value)?,
            "uid" => credentials.uid = Some(id(&value)?),
            "gid" => credentials.gid = Some(id(&value)?),
            "groups" => credentials.groups = Some(ids(value)?),
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
    if credentials.uid.or(credentials.gid).is_some() {
        credentials.groups.get_or_insert_default();
    }
    let place = match atom(&mode) {
        Some("spawn") => Where::Fresh(namespaces.unwrap_or_default()),
        Some("enter") => Where::Of {
            target: target.ok_or(Malformed)?,
            only: namespaces,
        },
        _ => return Err(Malformed),
    };
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
        ("cap_drop_bounding", [mask]) => {
            Some(Command::Step(Step::CapDropBounding(unsigned(mask)?)))
        }
        ("cap_set_thread", [effective, permitted, inheritable]) => {
            Some(Command::Step(Step::CapSetThread {
                effective: unsigned(effective)?,
                permitted: unsigned(permitted)?,
                inheritable: unsigned(inheritable)?,
            }))
        }
        ("cap_set_ambient", [mask]) => Some(Command::Step(Step::CapSetAmbient(unsigned(mask)?))),
        ("seccomp_install", [Term::Binary(program)]) => {
            Some(Command::Step(Step::SeccompInstall(program.bytes.clone())))
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

fn stdio(value: Term) -> Decoded<Stdio> {
    match atom(&value) {
        Some("pty") => return Ok(Stdio::Pty),
        Some(_) => {
            let directive = directive(value)?;
            return Ok(Stdio::Each([
                directive.clone(),
                directive.clone(),
                directive,
            ]));
        }
        None => {}
    }
    let mut each = [const { Directive::Inherit }; 3];
    for entry in list(value)? {
        let [fd, value] = tuple(entry)?;
        let fd = match atom(&fd) {
            Some("stdin") => 0,
            Some("stdout") => 1,
            Some("stderr") => 2,
            _ => return Err(Malformed),
        };
        each[fd] = match atom(&value) {
            Some("stdout") if fd == 2 => Directive::Stdout,
            _ => directive(value)?,
        };
    }
    Ok(Stdio::Each(each))
}

fn directive(value: Term) -> Decoded<Directive> {
    match atom(&value) {
        Some("inherit") => return Ok(Directive::Inherit),
        Some("devnull") => return Ok(Directive::DevNull),
        Some("pipe") => return Ok(Directive::Pipe),
        Some(_) => return Err(Malformed),
        None => {}
    }
    if let Some([_kind, _path, _modes]) = elements(&value) {
        let [kind, path, modes] = tuple(value)?;
        return match atom(&kind) {
            Some("file") => Ok(Directive::File(string(path)?, open_flags(modes)?)),
            _ => Err(Malformed),
        };
    }
    let [kind, path] = tuple(value)?;
    match atom(&kind) {
        Some("connect_unix") => Ok(Directive::ConnectUnix(string(path)?)),
        _ => Err(Malformed),
    }
}

/// How a file is opened that is to be read, written, appended to, or must not be there.
fn open_flags(modes: Term) -> Decoded<libc::c_int> {
    let (mut read, mut write, mut append, mut exclusive) = (false, false, false, false);
    for mode in list(modes)? {
        match atom(&mode) {
            Some("read") => read = true,
            Some("write") => write = true,
            Some("append") => append = true,
            Some("exclusive") => exclusive = true,
            _ => return Err(Malformed),
        }
    }
    let access = match (read, write || append) {
        (true, false) if !exclusive => return Ok(libc::O_RDONLY),
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        _ => return Err(Malformed),
    };
    let more = [
        (append, libc::O_APPEND),
        (!read && !append, libc::O_TRUNC),
        (exclusive, libc::O_EXCL),
    ];
    let more = more.iter().filter(|(wanted, _)| *wanted);
    Ok(more.fold(access | libc::O_CREAT, |flags, (_, flag)| flags | flag))
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

fn boolean(term: &Term) -> Decoded<bool> {
    match atom(term) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(Malformed),
    }
}

fn term(frame: &[u8]) -> Decoded<Term> {
    Term::decode(screen(frame)?.as_slice()).map_err(|_| Malformed)
}

fn argv(value: Term) -> Decoded<Vec<CString>> {
    Some(strings(value)?)
        .filter(|argv| !argv.is_empty())
        .ok_or(Malformed)
}

fn strings(value: Term) -> Decoded<Vec<CString>> {
    list(value)?.into_iter().map(string).collect()
}

/// A binary, or a list of bytes in either of its encodings. Without a NUL, which no
/// argument, variable or path can carry.
fn string(value: Term) -> Decoded<CString> {
    let bytes = match value {
        Term::Binary(binary) => binary.bytes,
        Term::ByteList(list) => list.bytes,
        Term::List(list) => {
            let byte = |term| integer(term).and_then(|i| u8::try_from(i).ok());
            let bytes: Option<_> = list.elements.iter().map(byte).collect();
            bytes.ok_or(Malformed)?
        }
        _ => return Err(Malformed),
    };
    CString::new(bytes).map_err(|_| Malformed)
}

fn list(value: Term) -> Decoded<Vec<Term>> {
    match value {
        Term::List(list) => Ok(list.elements),
        _ => Err(Malformed),
    }
}

fn tuple<const N: usize>(value: Term) -> Decoded<[Term; N]> {
    match value {
        Term::Tuple(Tuple { elements }) => elements.try_into().map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

fn elements(term: &Term) -> Option<&[Term]> {
    match term {
        Term::Tuple(tuple) => Some(&tuple.elements),
        _ => None,
    }
}

fn atom(term: &Term) -> Option<&str> {
    match term {
        Term::Atom(atom) => Some(&atom.name),
        _ => None,
    }
}

fn integer(term: &Term) -> Option<i32> {
    match term {
        Term::FixInteger(integer) => Some(integer.value),
        Term::BigInteger(integer) => i32::try_from(&integer.value).ok(),
        _ => None,
    }
}

fn unsigned(term: &Term) -> Option<u64> {
    match term {
        Term::FixInteger(integer) => u64::try_from(integer.value).ok(),
        Term::BigInteger(integer) => u64::try_from(&integer.value).ok(),
        _ => None,
    }
}
