//! What the kernel makes of a system call under filters, without running it: `seccomp_run_filters` and
//! `seccomp_check_filter` of kernel/seccomp.c, `bpf_check_classic` of net/core/filter.c.

use crate::bpf::*;

/// `struct seccomp_data`: what a filter is told of a system call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub audit_arch: u32,
    pub instruction_pointer: u64,
    pub arguments: [u64; 6],
}

impl Call {
    /// The word at an offset that [`check`] has found good.
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64| {
            // In memory the low half comes first on little-endian machines, and Linx runs on no other.
            if offset % 8 < 4 {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        match offset {
            DATA_NUMBER => self.number,
            DATA_ARCH => self.audit_arch,
            DATA_POINTER..DATA_ARGUMENTS => half(self.instruction_pointer),
            _ => {
                let index = (offset.saturating_sub(DATA_ARGUMENTS) / 8) as usize;
                half(self.arguments.get(index).copied().unwrap_or(0))
            }
        }
    }
}

/// What comes of all programs, the last one installed last. Nothing if one of them is none that the
/// kernel would take.
pub fn verdict(programs: &[Program], call: &Call) -> Option<u32> {
    let mut verdict = action::ALLOW;
    for program in programs.iter().rev() {
        let value = run(program, call)?;
        if action::rank(value) < action::rank(verdict) {
            verdict = value;
        }
    }
    Some(verdict)
}

/// What one program returns.
pub fn run(program: &[Instruction], call: &Call) -> Option<u32> {
    check(program)?;
    let mut memory = [0; MEMORY];
    let (mut a, mut x) = (0u32, 0u32);
    let mut next = 0;
    loop {
        let Instruction { code, jt, jf, k } = *program.get(next)?;
        next += 1;
        let operand = if code & X == 0 { k } else { x };
        match code & 7 {
            LD => a = load(code, k, call, &memory),
            LDX => x = load(code, k, call, &memory),
            ST => memory[k as usize] = a,
            STX => memory[k as usize] = x,
            ALU => match calculate(code & 0xf0, a, operand) {
                Some(result) => a = result,
                None => return Some(action::KILL_THREAD), // divided by zero
            },
            JMP if code & 0xf0 == JA => next += k as usize,
            JMP => {
                let holds = match code & 0xf0 {
                    JEQ => a == operand,
                    JGT => a > operand,
                    JGE => a >= operand,
                    _ => a & operand != 0,
                };
                next += usize::from(if holds { jt } else { jf });
            }
            RET => return Some(if code & A == 0 { k } else { a }),
            _ if code & 0xf8 == TAX => x = a,
            _ => a = x,
        }
    }
}

fn load(code: u16, k: u32, call: &Call, memory: &[u32; MEMORY]) -> u32 {
    match code & 0xe0 {
        ABS => call.word(k),
        MEM => memory[k as usize],
        LEN => DATA,
        _ => k,
    }
}

fn calculate(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        ADD => a.wrapping_add(operand),
        SUB => a.wrapping_sub(operand),
        MUL => a.wrapping_mul(operand),
        DIV => a.checked_div(operand)?,
        OR => a | operand,
        AND => a & operand,
        LSH => a.wrapping_shl(operand),
        RSH => a.wrapping_shr(operand),
        XOR => a ^ operand,
        _ => a.wrapping_neg(),
    })
}

/// Whether the kernel would take this program.
fn check(program: &[Instruction]) -> Option<()> {
    let length = program.len();
    for (index, instruction) in program.iter().enumerate() {
        let Instruction { code, jt, jf, k } = *instruction;
        let room = length - index - 1;
        let good = match (code & 7, code) {
            (LD, _) if code == LD | ABS => k < DATA && k % 4 == 0,
            (LD, _) => code == LD | IMM || code == LD | LEN || code == LD | MEM && in_memory(k),
            (LDX, _) => code == LDX | IMM || code == LDX | LEN || code == LDX | MEM && in_memory(k),
            (ST | STX, ST | STX) => in_memory(k),
            (ALU, _) if code == ALU | NEG => true,
            (ALU, _) => code & !0xf8 == ALU && arithmetic(code, k),
            (JMP, _) if code == JMP | JA => (k as usize) < room,
            (JMP, _) => {
                matches!(code & 0xf0, JEQ | JGT | JGE | JSET)
                    && code & !0xf8 == JMP
                    && usize::from(jt.max(jf)) < room
            }
            (RET, _) => code == RET | K || code == RET | A,
            (MISC, _) => code == MISC | TAX || code == MISC | TXA,
            _ => false,
        };
        if !good {
            return None;
        }
    }
    let last = program.last()?.code;
    (last & 7 == RET).then_some(())
}

fn in_memory(k: u32) -> bool {
    (k as usize) < MEMORY
}

fn arithmetic(code: u16, k: u32) -> bool {
    let constant = code & X == 0;
    match code & 0xf0 {
        DIV => !constant || k != 0,
        LSH | RSH => !constant || k < 32,
        ADD | SUB | MUL | OR | AND | XOR => true,
        _ => false,
    }
}
