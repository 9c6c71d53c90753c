//! Classic BPF as seccomp has it: the words of `linux/bpf_common.h`, `linux/filter.h` and
//! `linux/seccomp.h`.

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

pub type Program = Vec<Instruction>;

/// `BPF_MAXINSNS`.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The size of an instruction.
const SIZE: usize = 8;

// Instruction classes.
pub const LD: u16 = 0x00;
pub const LDX: u16 = 0x01;
pub const ST: u16 = 0x02;
pub const STX: u16 = 0x03;
pub const ALU: u16 = 0x04;
pub const JMP: u16 = 0x05;
pub const RET: u16 = 0x06;
pub const MISC: u16 = 0x07;

// Sizes and modes of loads; a word is 0.
pub const IMM: u16 = 0x00;
pub const ABS: u16 = 0x20;
pub const MEM: u16 = 0x60;
pub const LEN: u16 = 0x80;

// Operations of ALU.
pub const ADD: u16 = 0x00;
pub const SUB: u16 = 0x10;
pub const MUL: u16 = 0x20;
pub const DIV: u16 = 0x30;
pub const OR: u16 = 0x40;
pub const AND: u16 = 0x50;
pub const LSH: u16 = 0x60;
pub const RSH: u16 = 0x70;
pub const NEG: u16 = 0x80;
pub const XOR: u16 = 0xa0;

// Operations of JMP.
pub const JA: u16 = 0x00;
pub const JEQ: u16 = 0x10;
pub const JGT: u16 = 0x20;
pub const JGE: u16 = 0x30;
pub const JSET: u16 = 0x40;

// Where an operand is: in the instruction, in X, and for RET also in A.
pub const K: u16 = 0x00;
pub const X: u16 = 0x08;
pub const A: u16 = 0x10;

// Operations of MISC.
pub const TAX: u16 = 0x00;
pub const TXA: u16 = 0x80;

/// The words of scratch memory.
pub const MEMORY: usize = 16;

/// The size of `struct seccomp_data`, and where its fields are.
pub const DATA: u32 = 64;
pub const DATA_NUMBER: u32 = 0;
pub const DATA_ARCH: u32 = 4;
pub const DATA_POINTER: u32 = 8;
pub const DATA_ARGUMENTS: u32 = 16;

/// What a filter returns: an action, with data in the low 16 bits.
pub mod action {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const NOTIFY: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;

    /// `SECCOMP_RET_ACTION_FULL`: the action without its data.
    pub const fn of(value: u32) -> u32 {
        value & 0xffff_0000
    }

    pub const fn data(value: u32) -> u32 {
        value & 0xffff
    }

    /// The smaller, the more restrictive: the kernel compares signed numbers.
    pub const fn rank(value: u32) -> i32 {
        of(value) as i32
    }
}

/// An instruction that does not jump.
pub const fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// A conditional jump over `jt` instructions, or over `jf`.
pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// A program as the kernel takes it.
pub fn encode(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * SIZE);
    for instruction in program {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

/// The inverse of [`encode`]; nothing for what is no program of a length the kernel takes.
pub fn decode(bytes: &[u8]) -> Option<Program> {
    let instructions = bytes.len() / SIZE;
    if bytes.len() % SIZE != 0 || instructions == 0 || instructions > MAX_INSTRUCTIONS {
        return None;
    }
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Some(bytes.chunks_exact(SIZE).map(instruction).collect())
}
