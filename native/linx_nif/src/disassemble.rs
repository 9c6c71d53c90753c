//! A program as text: one instruction a line, with targets instead of offsets, and behind a semicolon
//! what it means to a filter.

use crate::bpf::*;
use crate::table::Arch;
use std::fmt::Write;

/// What is known to be in the accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// The word at this offset of `struct seccomp_data`.
    Field(u32),
    Something,
}

pub fn text(program: &[Instruction], arch: Arch) -> String {
    let mut text = String::new();
    let known = accumulator(program);
    for (index, instruction) in program.iter().enumerate() {
        let (words, comment) = line(index, instruction, known[index], arch);
        let _ = match comment {
            Some(comment) => writeln!(text, "{index:04}  {words:<34}; {comment}"),
            None => writeln!(text, "{index:04}  {words}"),
        };
    }
    text
}

/// Before each instruction. Jumps only go forward, so one pass finds it; where nothing comes by, nothing is known.
fn accumulator(program: &[Instruction]) -> Vec<Holds> {
    let mut known: Vec<Option<Holds>> = vec![None; program.len()];
    if let Some(first) = known.first_mut() {
        *first = Some(Holds::Something);
    }
    for (index, instruction) in program.iter().enumerate() {
        let Some(before) = known[index] else { continue };
        let after = match (instruction.code & 7, instruction.code & 0xe0) {
            (LD, ABS) => Holds::Field(instruction.k),
            (LD | ALU | MISC, _) => Holds::Something,
            _ => before,
        };
        for target in targets(index, instruction) {
            if let Some(there) = known.get_mut(target) {
                *there = match *there {
                    Some(other) if other != after => Some(Holds::Something),
                    _ => Some(after),
                };
            }
        }
    }
    known
        .into_iter()
        .map(|it| it.unwrap_or(Holds::Something))
        .collect()
}

fn targets(index: usize, instruction: &Instruction) -> Vec<usize> {
    let next = index + 1;
    match (instruction.code & 7, instruction.code & 0xf0) {
        (RET, _) => vec![],
        (JMP, JA) => vec![next.saturating_add(instruction.k as usize)],
        (JMP, _) => [instruction.jt, instruction.jf]
            .map(|by| next + usize::from(by))
            .to_vec(),
        _ => vec![next],
    }
}

fn line(
    index: usize,
    instruction: &Instruction,
    holds: Holds,
    arch: Arch,
) -> (String, Option<String>) {
    let Instruction { code, k, .. } = *instruction;
    let operand = if code & X == 0 {
        format!("#{k:#x}")
    } else {
        "x".to_string()
    };
    match code & 7 {
        LD | LDX => {
            let register = if code & 7 == LD { "ld" } else { "ldx" };
            match code & 0xe0 {
                ABS => (format!("{register} [{k}]"), Some(field(k))),
                MEM => (format!("{register} M[{k}]"), None),
                LEN => (format!("{register} len"), None),
                _ => (format!("{register} #{k:#x}"), None),
            }
        }
        ST => (format!("st M[{k}]"), None),
        STX => (format!("stx M[{k}]"), None),
        ALU => {
            let name = match code & 0xf0 {
                ADD => "add",
                SUB => "sub",
                MUL => "mul",
                DIV => "div",
                OR => "or",
                AND => "and",
                LSH => "lsh",
                RSH => "rsh",
                XOR => "xor",
                NEG => return ("neg".to_string(), None),
                _ => return unknown(instruction),
            };
            (format!("{name} {operand}"), None)
        }
        JMP => {
            let name = match code & 0xf0 {
                JA => return (format!("ja {:04}", targets(index, instruction)[0]), None),
                JEQ => "jeq",
                JGT => "jgt",
                JGE => "jge",
                JSET => "jset",
                _ => return unknown(instruction),
            };
            let [yes, no] = targets(index, instruction)[..] else {
                return unknown(instruction);
            };
            let words = format!("{name} {operand}, {yes:04}, {no:04}");
            let comment = (code & X == 0).then(|| constant(holds, k, arch)).flatten();
            (words, comment)
        }
        RET if code & A != 0 => ("ret a".to_string(), None),
        RET => (format!("ret #{k:#010x}"), Some(returned(k))),
        _ if code & 0xf8 == TAX => ("tax".to_string(), None),
        _ => ("txa".to_string(), None),
    }
}

fn unknown(instruction: &Instruction) -> (String, Option<String>) {
    (format!("?{:#06x}", instruction.code), None)
}

fn field(offset: u32) -> String {
    let half = if offset % 8 < 4 { "low" } else { "high" };
    match offset {
        DATA_NUMBER => "number".to_string(),
        DATA_ARCH => "arch".to_string(),
        DATA_POINTER..DATA_ARGUMENTS => format!("instruction pointer, {half} half"),
        _ => {
            let index = offset.saturating_sub(DATA_ARGUMENTS) / 8;
            format!("argument {index}, {half} half")
        }
    }
}

fn constant(holds: Holds, k: u32, arch: Arch) -> Option<String> {
    match holds {
        Holds::Field(DATA_NUMBER) => arch.name(k).map(str::to_string),
        Holds::Field(DATA_ARCH) => [(Arch::X86_64, "x86_64"), (Arch::Aarch64, "aarch64")]
            .into_iter()
            .find_map(|(arch, name)| (arch.audit() == k).then(|| name.to_string())),
        _ => None,
    }
}

fn returned(value: u32) -> String {
    let data = action::data(value);
    match action::of(value) {
        action::KILL_PROCESS => "kill_process".to_string(),
        action::KILL_THREAD => "kill_thread".to_string(),
        action::TRAP => "trap".to_string(),
        action::ERRNO => format!("errno {data}"),
        action::NOTIFY => "notify".to_string(),
        action::TRACE => format!("trace {data}"),
        action::LOG => "log".to_string(),
        action::ALLOW => "allow".to_string(),
        _ => "kill_process: no action".to_string(),
    }
}
