//! Requests and commands: what the BEAM tells the agent.

use super::screen::{screen, Malformed};
use super::stage::Namespace;
use crate::sys::tty::WindowSize;
use eetf::{Term, Tuple};
use std::ffi::CString;

/// What to run, and how.
#[derive(Debug)]
pub struct Request {
    pub place: Where,
    /// Never empty; the first element is the path to execute.
    pub argv: Vec<CString>,
    /// `None`: the agent's own environment.
    pub env: Option<Vec<CString>>,
    pub stdio: Stdio,
    pub cwd: Option<CString>,
    pub no_new_privs: bool,
    /// The workload's fate when the BEAM or the agent is gone.
    pub orphan: Leftover,
    /// The fate of what the workload leaves behind when it ends.
    pub descendants: Leftover,
    /// Whether the BEAM understands the death behind an error.
    pub causes: bool,
}

impl Request {
    /// What the workload leaves behind can only be killed if it comes to us when its parent ends.
    pub fn inherits_orphans(&self) -> bool {
        [self.orphan, self.descendants].contains(&Leftover::Kill)
    }
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Kill,
    Leave,
}

/// A frame after the request.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    Command(Call, Command),
    /// A term, but no command this agent knows.
    Unknown(Call),
}

/// The reference under which the BEAM wants an answer, if it does.
pub type Call = Option<u64>;

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Proceed,
    Abort,
    Step(Step),
    /// The number may be out of range: it is checked where it is sent.
    Signal(i32, Reach),
    /// SIGTERM, this many milliseconds of grace, SIGKILL.
    Stop(u64),
    PtyIn(Vec<u8>),
    /// `None`: sizes that no terminal can have.
    PtyWinsize(Option<WindowSize>),
    PtyMaster,
}

/// What a parked child is told to do to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    CapDropBounding(u64),
    CapSetThread {
        effective: u64,
        permitted: u64,
        inheritable: u64,
    },
    CapSetAmbient(u64),
    /// A cBPF program.
    SeccompInstall(Vec<u8>),
}

/// How far a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Process,
    Group,
    Tree,
}

type Decoded<T> = Result<T, Malformed>;

/// The first frame: `{:spawn, Map}` or `{:enter, Map}`.
pub fn request(frame: &[u8]) -> Decoded<Request> {
    let [mode, options] = tuple(term(frame)?)?;
    let Term::Map(options) = options else {
        return Err(Malformed);
    };
    let mut argv = None;
    let mut env = None;
    let mut namespaces = None;
    let mut target = None;
    let mut stdio = Stdio::Each([const { Directive::Inherit }; 3]);
    let mut cwd = None;
    let mut no_new_privs = false;
    let mut orphan = Leftover::Leave;
    let mut descendants = Leftover::Leave;
    let mut causes = false;
    for (key, value) in options.map {
        match atom(&key).ok_or(Malformed)? {
            "argv" => argv = Some(strings(value)?),
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
            "cwd" => cwd = Some(string(value)?),
            "no_new_privs" => no_new_privs = boolean(&value)?,
            "orphan" => orphan = leftover(&value)?,
            "descendants" => descendants = leftover(&value)?,
            "causes" => causes = boolean(&value)?,
            _ => {}
        }
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
        argv: argv.filter(|argv| !argv.is_empty()).ok_or(Malformed)?,
        env,
        stdio,
        cwd,
        no_new_privs,
        orphan,
        descendants,
        causes,
    })
}

/// Any later frame: a command, or `{:call, Ref, Command}`.
pub fn command(frame: &[u8]) -> Decoded<Inbound> {
    let term = term(frame)?;
    let (call, term) = match called(&term) {
        Some((reference, command)) => (Some(reference), command),
        None => (None, &term),
    };
    Ok(match self::known_command(term) {
        Some(command) => Inbound::Command(call, command),
        None => Inbound::Unknown(call),
    })
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
            _ => None,
        };
    }
    let (name, arguments) = elements(term)?.split_first()?;
    match (atom(name)?, arguments) {
        ("signal", [number]) => Some(Command::Signal(integer(number)?, Reach::Process)),
        ("signal", [number, to]) => Some(Command::Signal(integer(number)?, reach(to)?)),
        ("stop", [grace]) => Some(Command::Stop(unsigned(grace)?)),
        ("pty_in", [Term::Binary(bytes)]) => Some(Command::PtyIn(bytes.bytes.clone())),
        ("pty_winsize", [size]) => match elements(size)? {
            [rows, columns, x, y] => Some(Command::PtyWinsize(window_size([rows, columns, x, y])?)),
            _ => None,
        },
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
fn window_size(cells: [&Term; 4]) -> Option<Option<WindowSize>> {
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
        each[fd] = directive(value)?;
    }
    Ok(Stdio::Each(each))
}

fn directive(value: Term) -> Decoded<Directive> {
    match atom(&value) {
        Some("inherit") => return Ok(Directive::Inherit),
        Some("devnull") => return Ok(Directive::DevNull),
        Some(_) => return Err(Malformed),
        None => {}
    }
    let [kind, path] = tuple(value)?;
    match atom(&kind) {
        Some("connect_unix") => Ok(Directive::ConnectUnix(string(path)?)),
        _ => Err(Malformed),
    }
}

fn namespace(term: &Term) -> Decoded<Namespace> {
    atom(term).and_then(Namespace::from_name).ok_or(Malformed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use eetf::{Atom, BigInteger, Binary, ByteList, FixInteger, List, Map};

    fn a(name: &str) -> Term {
        Term::from(Atom::from(name))
    }

    fn i(value: i32) -> Term {
        Term::from(FixInteger::from(value))
    }

    fn b(text: &str) -> Term {
        Term::from(Binary::from(text.as_bytes().to_vec()))
    }

    fn t<const N: usize>(elements: [Term; N]) -> Term {
        Term::from(Tuple::from(Vec::from(elements)))
    }

    fn l<const N: usize>(elements: [Term; N]) -> Term {
        Term::from(List::from(Vec::from(elements)))
    }

    fn m<const N: usize>(entries: [(&str, Term); N]) -> Term {
        Term::from(Map::from(entries.map(|(key, value)| (a(key), value))))
    }

    fn encode(term: Term) -> Vec<u8> {
        let mut bytes = Vec::new();
        term.encode(&mut bytes).unwrap();
        bytes
    }

    fn spawn<const N: usize>(entries: [(&str, Term); N]) -> Decoded<Request> {
        request(&encode(t([a("spawn"), m(entries)])))
    }

    fn argv() -> (&'static str, Term) {
        ("argv", l([b("/bin/true")]))
    }

    #[test]
    fn the_defaults_are_those_of_the_c_agent() {
        let request = spawn([argv()]).unwrap();
        assert_eq!(request.place, Where::Fresh(vec![]));
        assert_eq!(request.argv, [c"/bin/true".to_owned()]);
        assert_eq!(request.env, None);
        assert_eq!(
            request.stdio,
            Stdio::Each([const { Directive::Inherit }; 3])
        );
        assert_eq!(request.cwd, None);
        assert!(!request.no_new_privs && !request.causes);
        assert_eq!(
            (request.orphan, request.descendants),
            (Leftover::Leave, Leftover::Leave)
        );
    }

    #[test]
    fn strings_come_as_binaries_and_as_lists_of_bytes() {
        let bytes = Term::from(ByteList::from(b"/bin/true".to_vec()));
        let list = l([i(47), i(98)]);
        let request = spawn([("argv", l([bytes, list, b(""), l([])]))]).unwrap();
        let expected = [c"/bin/true", c"/b", c"", c""].map(|s| s.to_owned());
        assert_eq!(request.argv, expected);
    }

    #[test]
    fn keys_that_are_not_known_are_skipped() {
        let request = spawn([argv(), ("colour", l([a("blue"), t([i(1), b("x")])]))]);
        assert!(request.is_ok());
    }

    #[test]
    fn what_is_wrong_is_malformed() {
        assert!(spawn([]).is_err());
        assert!(spawn([("argv", l([]))]).is_err());
        assert!(spawn([("argv", l([b("a\0b")]))]).is_err());
        assert!(spawn([("argv", b("/bin/true"))]).is_err());
        assert!(spawn([argv(), ("namespaces", l([a("typo")]))]).is_err());
        assert!(spawn([argv(), ("env", l([i(1)]))]).is_err());
        assert!(spawn([argv(), ("cwd", i(1))]).is_err());
        assert!(spawn([argv(), ("stdio", a("pipe"))]).is_err());
        assert!(spawn([argv(), ("stdio", l([t([a("stdlog"), a("devnull")])]))]).is_err());
        assert!(spawn([argv(), ("no_new_privs", i(1))]).is_err());
        assert!(spawn([argv(), ("orphan", a("maybe"))]).is_err());
        assert!(request(&encode(t([a("enter"), m([argv()])]))).is_err());
        assert!(request(&encode(t([a("enter"), m([argv(), ("target", i(0))])]))).is_err());
        assert!(request(&encode(t([a("fork"), m([argv()])]))).is_err());
        assert!(request(&encode(a("proceed"))).is_err());
        assert!(request(&[]).is_err());
    }

    #[test]
    fn enter_without_namespaces_means_all_of_them() {
        let decoded = |entries| request(&encode(t([a("enter"), entries]))).unwrap().place;
        let target = || ("target", i(7));
        assert_eq!(
            decoded(m([argv(), target()])),
            Where::Of {
                target: 7,
                only: None
            }
        );
        let only = Some(vec![Namespace::Net]);
        let net = ("namespaces", l([a("net")]));
        assert_eq!(
            decoded(m([argv(), target(), net])),
            Where::Of { target: 7, only }
        );
    }

    #[test]
    fn stdio_is_one_word_or_one_directive_each() {
        let stdio = |value| spawn([argv(), ("stdio", value)]).unwrap().stdio;
        assert_eq!(stdio(a("pty")), Stdio::Pty);
        assert_eq!(
            stdio(a("devnull")),
            Stdio::Each([const { Directive::DevNull }; 3])
        );
        let unix = t([a("connect_unix"), b("/s")]);
        assert_eq!(
            stdio(l([t([a("stdout"), unix])])),
            Stdio::Each([
                Directive::Inherit,
                Directive::ConnectUnix(c"/s".to_owned()),
                Directive::Inherit
            ])
        );
    }

    #[test]
    fn commands_with_and_without_a_reference() {
        let decoded = |term| command(&encode(term)).unwrap();
        let signal = || t([a("signal"), i(15)]);
        let expected = || Command::Signal(15, Reach::Process);
        assert_eq!(decoded(signal()), Inbound::Command(None, expected()));
        let reference = Term::from(BigInteger::from(1u64 << 60));
        assert_eq!(
            decoded(t([a("call"), reference, signal()])),
            Inbound::Command(Some(1 << 60), expected())
        );
        assert_eq!(decoded(a("dance")), Inbound::Unknown(None));
        assert_eq!(
            decoded(t([a("call"), i(3), a("dance")])),
            Inbound::Unknown(Some(3))
        );
        assert_eq!(
            decoded(t([a("call"), i(-3), a("proceed")])),
            Inbound::Unknown(None)
        );
        assert_eq!(decoded(t([a("pty_in"), a("text")])), Inbound::Unknown(None));
    }

    #[test]
    fn masks_have_sixty_four_bits() {
        let mask = |value| Term::from(BigInteger::from(value));
        let decoded = |term| command(&encode(t([a("cap_set_ambient"), term]))).unwrap();
        assert_eq!(
            decoded(mask(u64::MAX)),
            Inbound::Command(None, Command::Step(Step::CapSetAmbient(u64::MAX)))
        );
        assert_eq!(decoded(i(-1)), Inbound::Unknown(None));
    }

    #[test]
    fn a_window_size_out_of_range_is_a_command_without_one() {
        let decoded =
            |rows| command(&encode(t([a("pty_winsize"), t([rows, i(80), i(0), i(0)])]))).unwrap();
        let size = WindowSize {
            rows: 24,
            columns: 80,
            x_pixels: 0,
            y_pixels: 0,
        };
        assert_eq!(
            decoded(i(24)),
            Inbound::Command(None, Command::PtyWinsize(Some(size)))
        );
        assert_eq!(
            decoded(i(65536)),
            Inbound::Command(None, Command::PtyWinsize(None))
        );
        let huge = Term::from(BigInteger::from(1u64 << 33));
        assert_eq!(
            decoded(huge),
            Inbound::Command(None, Command::PtyWinsize(None))
        );
        assert_eq!(decoded(a("tall")), Inbound::Unknown(None));
    }
}
