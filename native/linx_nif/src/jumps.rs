//! Jumps to jumps, taken away: a filter is run at every system call, and by the kernel for each number
//! when it is installed.

use crate::bpf::{Instruction, Program, JA, JMP, RET};

/// The same program, with conditional jumps straight to where they lead, and without what nobody gets to.
pub fn tidied(program: Program) -> Program {
    let direct: Program = (0..program.len())
        .map(|at| straightened(&program, at))
        .collect();
    let reached = reached(&direct);
    // Where an instruction is when those before it that nobody gets to are gone.
    let mut places = Vec::with_capacity(direct.len() + 1);
    let mut kept = 0;
    for &is_reached in &reached {
        places.push(kept);
        kept += usize::from(is_reached);
    }
    let moved = |at: usize, by: usize| places[at + 1 + by] - places[at] - 1;
    let mut tidy = Program::with_capacity(kept);
    for (at, &instruction) in direct.iter().enumerate().filter(|(at, _)| reached[*at]) {
        tidy.push(match kind(&instruction) {
            Kind::Always => Instruction {
                k: moved(at, instruction.k as usize) as u32,
                ..instruction
            },
            Kind::Either => Instruction {
                // Never more than it was.
                jt: moved(at, instruction.jt.into()) as u8,
                jf: moved(at, instruction.jf.into()) as u8,
                ..instruction
            },
            Kind::Next | Kind::End => instruction,
        });
    }
    tidy
}

enum Kind {
    Always,
    Either,
    Next,
    End,
}

fn kind(instruction: &Instruction) -> Kind {
    match instruction.code & 7 {
        JMP if instruction.code & 0xf0 == JA => Kind::Always,
        JMP => Kind::Either,
        RET => Kind::End,
        _ => Kind::Next,
    }
}

/// An instruction whose targets are no jumps, as far as it can reach; and what jumps to an end, ends.
fn straightened(program: &Program, at: usize) -> Instruction {
    let instruction = program[at];
    let short =
        |by: u8| u8::try_from(landing(program, at + 1 + usize::from(by)) - at - 1).unwrap_or(by);
    match kind(&instruction) {
        Kind::Always => {
            let target = landing(program, at);
            match kind(&program[target]) {
                Kind::End => program[target],
                _ => Instruction {
                    k: (target - at - 1) as u32,
                    ..instruction
                },
            }
        }
        Kind::Either => Instruction {
            jt: short(instruction.jt),
            jf: short(instruction.jf),
            ..instruction
        },
        Kind::Next | Kind::End => instruction,
    }
}

/// Where somebody ends up who comes to this instruction: at the first that is no unconditional jump.
fn landing(program: &Program, mut at: usize) -> usize {
    while let Kind::Always = kind(&program[at]) {
        at += 1 + program[at].k as usize;
    }
    at
}

/// Jumps lead forward only, so one pass finds it.
fn reached(program: &Program) -> Vec<bool> {
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    for (at, instruction) in program.iter().enumerate() {
        if !reached[at] {
            continue;
        }
        match kind(instruction) {
            Kind::Always => reached[at + 1 + instruction.k as usize] = true,
            Kind::Either => {
                reached[at + 1 + usize::from(instruction.jt)] = true;
                reached[at + 1 + usize::from(instruction.jf)] = true;
            }
            Kind::Next => reached[at + 1] = true,
            Kind::End => {}
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::tidied;
    use crate::bpf::{jump, statement, JA, JEQ, JMP, K, RET};

    #[test]
    fn a_jump_to_a_jump_leads_to_where_that_leads() {
        let program = vec![
            jump(JMP | JEQ | K, 7, 0, 1),
            statement(JMP | JA, 1),
            statement(JMP | JA, 1),
            statement(RET | K, 1),
            statement(RET | K, 2),
        ];
        let tidy = vec![
            jump(JMP | JEQ | K, 7, 0, 1),
            statement(RET | K, 1),
            statement(RET | K, 2),
        ];
        assert_eq!(tidied(program), tidy);
    }

    #[test]
    fn what_is_too_far_for_a_conditional_jump_is_reached_by_another() {
        let mut program = vec![jump(JMP | JEQ | K, 7, 0, 1), statement(JMP | JA, 601)];
        for number in 0..300 {
            program.push(jump(JMP | JEQ | K, number, 0, 1));
            program.push(statement(RET | K, number));
        }
        program.extend([statement(RET | K, 1000), statement(RET | K, 1001)]);
        assert_eq!(tidied(program.clone())[..3], {
            let mut straight = program[..3].to_vec();
            // It ends where it lands, so it ends at once.
            straight[1] = statement(RET | K, 1001);
            straight
        });
    }
}
