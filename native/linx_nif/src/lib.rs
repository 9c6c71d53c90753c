//! `linx_nif`: what Linx computes for a sandbox. Nothing here touches a process or makes a system
//! call: terms in, terms out, on a dirty scheduler.
//!
//! This file is the border to the BEAM, and knows nothing else. Elixir calls it in
//! `lib/linx/seccomp/native.ex`, which says what each function takes.

#![deny(unsafe_code)]

pub mod bpf;
pub mod compile;
pub mod disassemble;
pub mod interpret;
mod json;
mod jumps;
pub mod table;

use bpf::Program;
use compile::{Comparison, Condition, Mistake, Rule, Spec};
use rustler::{Atom, Binary, Encoder, Env, NifResult, OwnedBinary, Term};
use table::{Arch, Lookup};

mod atoms {
    rustler::atoms! {
        ok, error,
        x86_64, aarch64,
        other_arch, unknown,
        eq, ne, lt, le, gt, ge, masked_eq,
        too_long, bad_program, bad_json,
    }
}

fn arch(atom: Atom) -> NifResult<Arch> {
    if atom == atoms::x86_64() {
        Ok(Arch::X86_64)
    } else if atom == atoms::aarch64() {
        Ok(Arch::Aarch64)
    } else {
        Err(rustler::Error::BadArg)
    }
}

/// `[{Name, Number}]`, by number.
#[rustler::nif(schedule = "DirtyCpu")]
fn syscalls(of: Atom) -> NifResult<Vec<(&'static str, u32)>> {
    Ok(arch(of)?.syscalls().collect())
}

/// For each name its number, `other_arch` or `unknown`.
#[rustler::nif(schedule = "DirtyCpu")]
fn resolve<'a>(env: Env<'a>, of: Atom, names: Vec<&str>) -> NifResult<Vec<Term<'a>>> {
    let arch = arch(of)?;
    let answer = |name: &&str| match arch.lookup(name) {
        Lookup::Number(number) => number.encode(env),
        Lookup::OtherArch => atoms::other_arch().encode(env),
        Lookup::Unknown => atoms::unknown().encode(env),
    };
    Ok(names.iter().map(answer).collect())
}

type RuleTerm = (u32, u32, Vec<ConditionTerm>);
/// Argument, operator, width, value, mask.
type ConditionTerm = (u8, Atom, u8, u64, u64);

/// `{ok, Program}`, or `{error, {too_long, Instructions}}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn compile<'a>(
    env: Env<'a>,
    of: Atom,
    default: u32,
    foreign: u32,
    newer: u32,
    rules: Vec<RuleTerm>,
) -> NifResult<Term<'a>> {
    let rules = rules.into_iter().map(rule).collect::<NifResult<_>>()?;
    let spec = Spec {
        arch: arch(of)?,
        default,
        foreign,
        newer,
        rules,
    };
    match compile::program(&spec) {
        Ok(program) => {
            let program = binary(env, &bpf::encode(&program))?;
            Ok((atoms::ok(), program).encode(env))
        }
        Err(Mistake::TooLong(instructions)) => {
            Ok((atoms::error(), (atoms::too_long(), instructions)).encode(env))
        }
        Err(Mistake::Argument) => Err(rustler::Error::BadArg),
    }
}

fn rule((number, action, conditions): RuleTerm) -> NifResult<Rule> {
    let conditions = conditions
        .into_iter()
        .map(condition)
        .collect::<NifResult<_>>()?;
    Ok(Rule {
        number,
        action,
        conditions,
    })
}

fn condition((argument, operator, width, value, mask): ConditionTerm) -> NifResult<Condition> {
    let comparison = [
        (atoms::eq(), Comparison::Eq),
        (atoms::ne(), Comparison::Ne),
        (atoms::lt(), Comparison::Lt),
        (atoms::le(), Comparison::Le),
        (atoms::gt(), Comparison::Gt),
        (atoms::ge(), Comparison::Ge),
        (atoms::masked_eq(), Comparison::MaskedEq(mask)),
    ]
    .into_iter()
    .find_map(|(atom, comparison)| (atom == operator).then_some(comparison))
    .ok_or(rustler::Error::BadArg)?;
    Ok(Condition {
        argument,
        comparison,
        wide: width == 64,
        value,
    })
}

/// `{ok, Return}`: what the kernel makes of all of these, the last one installed last.
#[rustler::nif(schedule = "DirtyCpu")]
fn evaluate<'a>(
    env: Env<'a>,
    programs: Vec<Binary>,
    number: u32,
    audit_arch: u32,
    arguments: Vec<u64>,
) -> NifResult<Term<'a>> {
    let arguments = arguments.try_into().map_err(|_| rustler::Error::BadArg)?;
    let call = interpret::Call {
        number,
        audit_arch,
        instruction_pointer: 0,
        arguments,
    };
    let verdict = programs
        .iter()
        .map(|program| bpf::decode(program))
        .collect::<Option<Vec<Program>>>()
        .and_then(|programs| interpret::verdict(&programs, &call));
    Ok(match verdict {
        Some(verdict) => (atoms::ok(), verdict).encode(env),
        None => (atoms::error(), atoms::bad_program()).encode(env),
    })
}

/// `{ok, Text}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn disassemble<'a>(env: Env<'a>, of: Atom, program: Binary) -> NifResult<Term<'a>> {
    let arch = arch(of)?;
    Ok(match bpf::decode(&program) {
        Some(program) => (atoms::ok(), disassemble::text(&program, arch)).encode(env),
        None => (atoms::error(), atoms::bad_program()).encode(env),
    })
}

/// `{ok, Term}` with binaries for strings and for keys, or `{error, {bad_json, Why}}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn parse_json<'a>(env: Env<'a>, text: Binary) -> NifResult<Term<'a>> {
    Ok(match serde_json::from_slice(&text) {
        Ok(value) => (atoms::ok(), json::term(env, &value)?).encode(env),
        Err(error) => {
            let why = (atoms::bad_json(), error.to_string());
            (atoms::error(), why).encode(env)
        }
    })
}

/// Panics, so that a test can see what becomes of one, and says nothing on the standard error.
#[rustler::nif(schedule = "DirtyCpu")]
fn panic() -> bool {
    std::panic::resume_unwind(Box::new("a test wants to see this"))
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> NifResult<Term<'a>> {
    let mut binary = OwnedBinary::new(bytes.len()).ok_or(rustler::Error::BadArg)?;
    binary.as_mut_slice().copy_from_slice(bytes);
    Ok(Binary::from_owned(binary, env).encode(env))
}

#[allow(unsafe_code)] // what the macro expands to
mod init {
    rustler::init!("Elixir.Linx.Seccomp.Native");
}
