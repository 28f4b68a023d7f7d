//! A program as text, in the form of xt_bpf.

use std::fmt;

use super::{Comparison, Instruction, Octets, Operand, Operation, Program};

impl fmt::Display for Program {
    /// What reads back to the same program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.instructions.len())?;
        for &instruction in &*self.instructions {
            let (code, jump_true, jump_false, k) = encoded(instruction);
            write!(f, ",{code} {jump_true} {jump_false} {k}")?;
        }
        Ok(())
    }
}

/// Code, jump if true, jump if false, k: `struct sock_filter` of linux/filter.h.
fn encoded(instruction: Instruction) -> (u16, u8, u8, u32) {
    let plain = |code: u16, k: u32| (code, 0, 0, k);
    let with = |code: u16, operand: Operand| match operand {
        Operand::Number(k) => (code, k),
        Operand::X => (code | 0x08, 0),
    };
    let size = |octets: Octets| match octets {
        Octets::Four => 0x00,
        Octets::Two => 0x08,
        Octets::One => 0x10,
    };
    match instruction {
        Instruction::Load(octets, at) => plain(0x20 | size(octets), at),
        Instruction::LoadBehindX(octets, at) => plain(0x40 | size(octets), at),
        Instruction::LoadLength => plain(0x80, 0),
        // SKF_AD_OFF + SKF_AD_PROTOCOL.
        Instruction::LoadProtocol => plain(0x28, 0xffff_f000),
        Instruction::Set(k) => plain(0x00, k),
        Instruction::Recall(word) => plain(0x60, word.into()),
        Instruction::LoadHeaderLengthX(at) => plain(0xb1, at),
        Instruction::LoadLengthX => plain(0x81, 0),
        Instruction::SetX(k) => plain(0x01, k),
        Instruction::RecallX(word) => plain(0x61, word.into()),
        Instruction::Store(word) => plain(0x02, word.into()),
        Instruction::StoreX(word) => plain(0x03, word.into()),
        Instruction::Compute(operation, operand) => {
            let (code, k) = with(code_of(operation), operand);
            plain(code, k)
        }
        Instruction::Negate => plain(0x84, 0),
        Instruction::Jump(over) => plain(0x05, over),
        Instruction::Branch(comparison, operand, jump_true, jump_false) => {
            let code = match comparison {
                Comparison::Equal => 0x15,
                Comparison::Greater => 0x25,
                Comparison::GreaterOrEqual => 0x35,
                Comparison::AnyBit => 0x45,
            };
            let (code, k) = with(code, operand);
            (code, jump_true, jump_false, k)
        }
        Instruction::Return(k) => plain(0x06, k),
        Instruction::ReturnA => plain(0x16, 0),
        Instruction::Tax => plain(0x07, 0),
        Instruction::Txa => plain(0x87, 0),
    }
}

const fn code_of(operation: Operation) -> u16 {
    match operation {
        Operation::Add => 0x04,
        Operation::Subtract => 0x14,
        Operation::Multiply => 0x24,
        Operation::Divide => 0x34,
        Operation::Remainder => 0x94,
        Operation::And => 0x54,
        Operation::Or => 0x44,
        Operation::Xor => 0xa4,
        Operation::ShiftLeft => 0x64,
        Operation::ShiftRight => 0x74,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One program of each instruction, with numbers that could be mistaken for each other.
    const ALL: &str = "40,32 0 0 1,40 0 0 2,48 0 0 3,0 0 0 5,1 0 0 7,64 0 0 4,72 0 0 5,80 0 0 6,\
        128 0 0 0,40 0 0 4294963200,0 0 0 9,2 0 0 3,96 0 0 3,177 0 0 0,129 0 0 0,1 0 0 11,\
        3 0 0 4,97 0 0 4,4 0 0 12,20 0 0 13,36 0 0 14,52 0 0 15,148 0 0 16,84 0 0 17,68 0 0 18,\
        164 0 0 19,100 0 0 20,116 0 0 21,12 0 0 0,132 0 0 0,5 0 0 1,6 0 0 0,21 0 1 22,37 1 0 23,\
        53 0 0 24,69 0 0 25,29 0 0 0,7 0 0 0,135 0 0 0,22 0 0 0";

    #[test]
    fn every_instruction_reads_back_to_itself() {
        let program: Program = ALL.parse().unwrap();
        assert_eq!(program.to_string().parse::<Program>().unwrap(), program);
        assert_eq!(program.to_string(), ALL);
    }
}
