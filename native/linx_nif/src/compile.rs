//! Rules into a program.
//!
//! seccompiler compiles one question into one program: does one of these rules match, yes or no? So
//! each action's rules become a piece that returns the action, or goes on to the next piece; the
//! most restrictive action has the first:
//!
//! - the *entry* decides about system calls of another ABI, and about those newer than our table;
//! - a binary search leads to a few numbers, and there is a piece for each action of their rules;
//! - what none of them has answered gets the default.
//!
//! It is one program, since one that refuses `seccomp(2)` could not be followed by another.

use crate::bpf::{action, jump, statement, Instruction, Program};
use crate::bpf::{
    ABS, DATA_ARCH, DATA_NUMBER, JA, JEQ, JGE, JGT, JMP, K, LD, MAX_INSTRUCTIONS, RET,
};
use crate::jumps;
use crate::table::Arch;
use seccompiler::{
    sock_filter, BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a filter is to do. Actions are the values a filter returns.
#[derive(Clone, Debug)]
pub struct Spec {
    pub arch: Arch,
    /// What matches no rule.
    pub default: u32,
    /// The system calls of another ABI.
    pub foreign: u32,
    /// System calls with higher numbers than any that is known here.
    pub newer: u32,
    pub rules: Vec<Rule>,
}

/// A rule matches a system call when all of its conditions hold.
#[derive(Clone, Debug)]
pub struct Rule {
    pub number: u32,
    pub action: u32,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
pub struct Condition {
    pub argument: u8,
    pub comparison: Comparison,
    /// All 64 bits of the argument are compared, else the low 32.
    pub wide: bool,
    pub value: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// The argument's bits under the mask are those of the value under the mask.
    MaskedEq(u64),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Mistake {
    /// More instructions than the kernel takes, and how many.
    TooLong(usize),
    /// No such argument.
    Argument,
}

/// The program of a filter.
///
/// Of two equally restrictive actions (two errnos) the one of the first rule that matches wins.
pub fn program(spec: &Spec) -> Result<Program, Mistake> {
    let mut by_number: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in &spec.rules {
        by_number.entry(rule.number).or_default().push(rule);
    }
    let numbers: Vec<_> = by_number.into_iter().collect();
    let program = jumps::tidied(joined(vec![entry(spec), tree(spec, &numbers)?]));
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Mistake::TooLong(program.len()));
    }
    Ok(program)
}

/// So many numbers are compared one after another. The kernel runs a filter once for each number when it is
/// installed, which takes most of that time.
const LEAF: usize = 8;

/// The answer to each number, in a binary search for it.
fn tree(spec: &Spec, numbers: &[(u32, Vec<&Rule>)]) -> Result<Vec<Step>, Mistake> {
    if numbers.len() <= LEAF {
        return leaf(spec, numbers.iter().flat_map(|(_, rules)| rules).copied());
    }
    let (low, high) = numbers.split_at(numbers.len() / 2);
    let bound = high[0].0;
    let mut low = tree(spec, low)?;
    let high = tree(spec, high)?;
    let mut steps = vec![
        Step::Plain(jump(JMP | JGE | K, bound, 0, 1)),
        Step::Plain(statement(JMP | JA, low.len() as u32)),
    ];
    steps.append(&mut low);
    steps.extend(high);
    Ok(steps)
}

fn leaf<'a>(spec: &Spec, rules: impl Iterator<Item = &'a Rule>) -> Result<Vec<Step>, Mistake> {
    let mut pieces = Vec::new();
    for (action, rules) in by_action(rules, spec.default) {
        pieces.push(piece(
            spec.arch,
            rules,
            Answer::Return(action),
            Answer::GoOn,
        )?);
    }
    pieces.push(vec![Step::Answer(Answer::Return(spec.default))]);
    Ok(joined(pieces).into_iter().map(Step::Plain).collect())
}

/// The rules by action, the most restrictive first. Equally restrictive actions are asked in the order of their
/// rules, so an action that another one interrupts for the same system call comes twice.
fn by_action<'a>(rules: impl Iterator<Item = &'a Rule>, default: u32) -> Vec<(u32, Vec<&'a Rule>)> {
    let mut rules: Vec<&Rule> = rules.collect();
    // Stable: equals stay in their order.
    rules.sort_by_key(|rule| action::rank(rule.action));
    let mut groups: Vec<(u32, Vec<&Rule>)> = Vec::new();
    for rule in rules {
        let same = |other: &&Rule| other.number == rule.number;
        let behind = groups
            .iter()
            .rposition(|(action, rules)| *action != rule.action && rules.iter().any(same))
            .map_or(0, |index| index + 1);
        let group = groups[behind..]
            .iter_mut()
            .find(|group| group.0 == rule.action);
        match group {
            Some((_, rules)) => rules.push(rule),
            None => groups.push((rule.action, vec![rule])),
        }
    }
    // What the last one would do, the default does.
    while groups.last().is_some_and(|(action, _)| *action == default) {
        groups.pop();
    }
    groups
}

/// x32 has the `AUDIT_ARCH` of x86_64, and this bit in its numbers (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;

/// No system call: a tracer puts this there to have one skipped.
const SKIPPED: u32 = u32::MAX;

/// What a piece says in the end.
#[derive(Clone, Copy)]
enum Answer {
    Return(u32),
    /// The next piece is asked.
    GoOn,
}

enum Step {
    Plain(Instruction),
    Answer(Answer),
}

fn entry(spec: &Spec) -> Vec<Step> {
    use Answer::{GoOn, Return};
    // No rule is about a newer system call: what counts besides is the default.
    let newer = if action::rank(spec.newer) <= action::rank(spec.default) {
        spec.newer
    } else {
        spec.default
    };
    let mut piece = vec![
        Step::Plain(statement(LD | ABS, DATA_ARCH)),
        Step::Plain(jump(JMP | JEQ | K, spec.arch.audit(), 1, 0)),
        Step::Answer(Return(spec.foreign)),
        Step::Plain(statement(LD | ABS, DATA_NUMBER)),
        Step::Plain(jump(JMP | JEQ | K, SKIPPED, 0, 1)),
        Step::Answer(GoOn),
    ];
    if spec.arch == Arch::X86_64 {
        piece.push(Step::Plain(jump(JMP | JGE | K, X32, 0, 1)));
        piece.push(Step::Answer(Return(spec.foreign)));
    }
    piece.push(Step::Plain(jump(JMP | JGT | K, spec.arch.last(), 0, 1)));
    piece.push(Step::Answer(Return(newer)));
    piece.push(Step::Answer(GoOn));
    piece
}

/// What seccompiler's programs begin with: a look at the architecture, at which the entry has looked.
const PREAMBLE: usize = 3;

/// The piece that answers `yes` to what one of the rules matches, `no` to all else.
fn piece<'a>(
    arch: Arch,
    rules: impl IntoIterator<Item = &'a Rule>,
    yes: Answer,
    no: Answer,
) -> Result<Vec<Step>, Mistake> {
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    // Its programs return one of two values; which ones does not matter.
    let (matches, differs) = (SeccompAction::Allow, SeccompAction::Trap);
    let filter = SeccompFilter::new(chains(rules)?, differs, matches.clone(), target);
    let compiled: BpfProgram = filter.and_then(BpfProgram::try_from).map_err(mistake)?;
    let matches = u32::from(matches);
    let step = |it: sock_filter| match it.code {
        RET if it.k == matches => Step::Answer(yes),
        RET => Step::Answer(no),
        code => Step::Plain(jump(code, it.k, it.jt, it.jf)),
    };
    Ok(compiled.into_iter().skip(PREAMBLE).map(step).collect())
}

/// The pieces one behind the other. Each step is an instruction, so no jump within a piece changes.
fn joined(pieces: Vec<Vec<Step>>) -> Program {
    let mut program = Program::new();
    for piece in pieces {
        let end = program.len() + piece.len();
        for step in piece {
            let to_the_next = (end - program.len() - 1) as u32;
            program.push(match step {
                Step::Plain(instruction) => instruction,
                Step::Answer(Answer::Return(value)) => statement(RET | K, value),
                Step::Answer(Answer::GoOn) => statement(JMP | JA, to_the_next),
            });
        }
    }
    program
}

/// The rules of each number; none stands for "whatever the arguments are".
fn chains<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, Mistake> {
    let mut chains: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = BTreeSet::new();
    for rule in rules {
        let number = i64::from(rule.number);
        let chain = chains.entry(number).or_default();
        if rule.conditions.is_empty() {
            always.insert(number);
        } else {
            let conditions = rule.conditions.iter().map(condition);
            let conditions = conditions.collect::<Result<_, _>>().map_err(mistake)?;
            chain.push(SeccompRule::new(conditions).map_err(mistake)?);
        }
    }
    for number in always {
        chains.insert(number, Vec::new());
    }
    Ok(chains)
}

fn condition(condition: &Condition) -> Result<SeccompCondition, BackendError> {
    let width = if condition.wide {
        SeccompCmpArgLen::Qword
    } else {
        SeccompCmpArgLen::Dword
    };
    let operator = match condition.comparison {
        Comparison::Eq => SeccompCmpOp::Eq,
        Comparison::Ne => SeccompCmpOp::Ne,
        Comparison::Lt => SeccompCmpOp::Lt,
        Comparison::Le => SeccompCmpOp::Le,
        Comparison::Gt => SeccompCmpOp::Gt,
        Comparison::Ge => SeccompCmpOp::Ge,
        Comparison::MaskedEq(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    SeccompCondition::new(condition.argument, width, operator, condition.value)
}

fn mistake(error: BackendError) -> Mistake {
    match error {
        BackendError::FilterTooLarge(instructions) => Mistake::TooLong(instructions),
        _ => Mistake::Argument,
    }
}

#[cfg(test)]
mod tests {
    use super::{program, Comparison, Condition, Mistake, Rule, Spec};
    use crate::bpf::action::{ALLOW, ERRNO, KILL_PROCESS, NOTIFY, TRAP};
    use crate::interpret::{verdict, Call};
    use crate::table::Arch;

    fn spec(default: u32, rules: Vec<Rule>) -> Spec {
        Spec {
            arch: Arch::Aarch64,
            default,
            foreign: KILL_PROCESS,
            newer: ALLOW,
            rules,
        }
    }

    fn rule(number: u32, action: u32, argument: Option<u64>) -> Rule {
        let condition = |value| Condition {
            argument: 0,
            comparison: Comparison::Eq,
            wide: true,
            value,
        };
        Rule {
            number,
            action,
            conditions: argument.map(condition).into_iter().collect(),
        }
    }

    fn answer(spec: &Spec, audit_arch: u32, number: u32, argument: u64) -> u32 {
        let arguments = [argument, 0, 0, 0, 0, 0];
        let call = Call {
            number,
            audit_arch,
            instruction_pointer: 0,
            arguments,
        };
        verdict(&[program(spec).unwrap()], &call).unwrap()
    }

    #[test]
    fn the_most_restrictive_rule_wins_whatever_the_order() {
        for turned in [false, true] {
            let mut rules = vec![
                rule(1, NOTIFY, None),
                rule(1, TRAP, Some(1 << 40)),
                rule(1, ALLOW, None),
            ];
            if turned {
                rules.reverse();
            }
            let spec = spec(ERRNO | 1, rules);
            let arch = Arch::Aarch64.audit();
            assert_eq!(answer(&spec, arch, 1, 0), NOTIFY);
            assert_eq!(answer(&spec, arch, 1, 1 << 40), TRAP);
            assert_eq!(answer(&spec, arch, 2, 0), ERRNO | 1);
            assert_eq!(answer(&spec, Arch::X86_64.audit(), 1, 0), KILL_PROCESS);
        }
    }

    #[test]
    fn an_argument_that_there_is_none_of_is_a_mistake() {
        let mut wrong = rule(1, TRAP, Some(0));
        wrong.conditions[0].argument = 6;
        assert_eq!(program(&spec(ALLOW, vec![wrong])), Err(Mistake::Argument));
    }
}
