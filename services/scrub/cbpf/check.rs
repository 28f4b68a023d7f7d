//! That a program ends, and stays inside of itself.

use super::{INSTRUCTIONS_MAX, Instruction};

/// Checks what `bpf_check_classic` of net/core/filter.c does, or says which instruction is wrong and
/// why. Each is known to be one by itself.
pub(super) fn check(instructions: &[Instruction]) -> Result<(), (usize, String)> {
    let count = instructions.len();
    assert!((1..=INSTRUCTIONS_MAX).contains(&count), "counted before");
    // The scratch words that are written on every way to an instruction. Jumps go forward, so when
    // it is its turn, all ways are known.
    let mut written = vec![u16::MAX; count];
    let mut now = 0_u16;
    for (index, &instruction) in instructions.iter().enumerate() {
        now &= written[index];
        let land = |skip: usize| {
            let at = index + 1 + skip;
            if at < count {
                return Ok(at);
            }
            Err((index, format!("jumps to {at}, but the last one is {}", count - 1)))
        };
        match instruction {
            Instruction::Store(word) | Instruction::StoreX(word) => now |= 1 << word,
            Instruction::Recall(word) | Instruction::RecallX(word) if now & 1 << word == 0 => {
                return Err((index, format!("scratch word {word} is read before it is written")));
            }
            Instruction::Jump(skip) => {
                written[land(skip as usize)?] &= now;
                now = u16::MAX;
            }
            Instruction::Branch(_, _, then, otherwise) => {
                written[land(then.into())?] &= now;
                written[land(otherwise.into())?] &= now;
                now = u16::MAX;
            }
            _ => {}
        }
    }
    match instructions[count - 1] {
        Instruction::Return(_) | Instruction::ReturnA => Ok(()),
        _ => Err((count - 1, "the last one must be a return (6 or 22)".into())),
    }
}
