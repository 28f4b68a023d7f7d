//! Classic BPF as iptables' xt_bpf takes it: read, checked, run.
//!
//! ```text
//! 4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0        code, jump if true, jump if false, k
//! ```
//!
//! A program sees the packet from its IP header on, as xt_bpf's does, so `tcpdump -ddd -y RAW`
//! prints what fits here. Each instruction means what it means in the kernel (net/core/filter.c),
//! which differs from libpcap's own interpreter in two places: shifts count modulo 32, and an
//! address that is computed wraps. A load from outside of the packet ends the program with 0.
//!
//! Not taken, by name: what only the kernel knows of a packet (its interface, mark, queue …), and
//! its link layer.

use super::misread::Misread;

mod check;
#[cfg(test)]
mod libpcap;
mod read;
mod show;
#[cfg(test)]
mod tests;

/// `BPF_MAXINSNS`: more than any generator prints, and few enough to run for one packet.
const INSTRUCTIONS_MAX: usize = 4096;

/// `BPF_MEMWORDS`.
const SCRATCH_WORDS: usize = 16;

/// `SKF_NET_OFF` of linux/filter.h: negative offsets from here on count from the IP header.
const FROM_NETWORK: i32 = -0x10_0000;

/// Bytecode that was checked: every instruction is known, jumps only go forward and stay inside,
/// scratch words are written before they are read. So a run takes at most as many steps as there are
/// instructions, and cannot fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    instructions: Box<[Instruction]>,
}

/// What one instruction does. A and X are the two registers of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    /// A is so many octets at a place.
    Load(Octets, u32),
    /// A is so many octets at X and this.
    LoadBehindX(Octets, u32),
    /// A is the length of the packet.
    LoadLength,
    /// A is the EtherType that the packet would have.
    LoadProtocol,
    /// A is a number.
    Set(u32),
    /// A is a scratch word.
    Recall(u8),
    /// X is four times the low half of the octet at a place: the length of an IPv4 header.
    LoadHeaderLengthX(u32),
    /// X is the length of the packet.
    LoadLengthX,
    /// X is a number.
    SetX(u32),
    /// X is a scratch word.
    RecallX(u8),
    /// A is put into a scratch word.
    Store(u8),
    /// X is put into a scratch word.
    StoreX(u8),
    /// A is computed of A and something.
    Compute(Operation, Operand),
    /// A is its own negative.
    Negate,
    /// So many instructions are left out.
    Jump(u32),
    /// As many as the first number says are left out if A compares so, else as many as the second.
    Branch(Comparison, Operand, u8, u8),
    /// The end.
    Return(u32),
    /// The end, with A.
    ReturnA,
    /// X is A.
    Tax,
    /// A is X.
    Txa,
}

/// How many octets are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Octets {
    One,
    Two,
    Four,
}

/// What else an instruction takes beside A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Number(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl Program {
    /// What the program returns of a packet, which is given from its IP header on and whole.
    pub(crate) fn run(&self, packet: &[u8]) -> u32 {
        self.run_head(packet, u32::try_from(packet.len()).unwrap_or(u32::MAX))
    }

    /// The same of a packet of `octets`, of which the beginning is given. What lies further behind
    /// counts as outside of the packet.
    pub(crate) fn run_head(&self, head: &[u8], octets: u32) -> u32 {
        // Nothing at all stands for "ended without a return", which `check` has ruled out.
        self.steps(head, octets).unwrap_or(0)
    }

    /// `None` where a load from outside or a division by zero ends it.
    fn steps(&self, head: &[u8], octets: u32) -> Option<u32> {
        let (mut a, mut x, mut scratch) = (0_u32, 0_u32, [0_u32; SCRATCH_WORDS]);
        let mut rest = self.instructions.iter();
        while let Some(&instruction) = rest.next() {
            match instruction {
                Instruction::Load(width, at) => a = load(head, at, width)?,
                Instruction::LoadBehindX(width, at) => {
                    a = load(head, from_start(x.wrapping_add(at))?, width)?;
                }
                Instruction::LoadLength => a = octets,
                Instruction::LoadProtocol => {
                    a = if head.first()? >> 4 == 6 { 0x86dd } else { 0x0800 };
                }
                Instruction::Set(number) => a = number,
                Instruction::Recall(word) => a = scratch[usize::from(word)],
                Instruction::LoadHeaderLengthX(at) => {
                    x = (load(head, at, Octets::One)? & 0xf) << 2;
                }
                Instruction::LoadLengthX => x = octets,
                Instruction::SetX(number) => x = number,
                Instruction::RecallX(word) => x = scratch[usize::from(word)],
                Instruction::Store(word) => scratch[usize::from(word)] = a,
                Instruction::StoreX(word) => scratch[usize::from(word)] = x,
                Instruction::Compute(operation, operand) => {
                    a = compute(operation, a, operand.of(x))?;
                }
                Instruction::Negate => a = a.wrapping_neg(),
                Instruction::Jump(skip) => leave_out(&mut rest, skip as usize),
                Instruction::Branch(comparison, operand, then, otherwise) => {
                    let b = operand.of(x);
                    let holds = match comparison {
                        Comparison::Equal => a == b,
                        Comparison::Greater => a > b,
                        Comparison::GreaterOrEqual => a >= b,
                        Comparison::AnyBit => a & b != 0,
                    };
                    leave_out(&mut rest, usize::from(if holds { then } else { otherwise }));
                }
                Instruction::Return(number) => return Some(number),
                Instruction::ReturnA => return Some(a),
                Instruction::Tax => x = a,
                Instruction::Txa => a = x,
            }
        }
        None
    }
}

impl Operand {
    #[inline]
    const fn of(self, x: u32) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::X => x,
        }
    }
}

#[inline]
fn leave_out(rest: &mut std::slice::Iter<'_, Instruction>, count: usize) {
    *rest = rest.as_slice().get(count..).unwrap_or_default().iter();
}

/// An offset that was computed, as one from the IP header. The kernel reads it as signed.
#[inline]
fn from_start(at: u32) -> Option<u32> {
    match at.cast_signed() {
        0.. => Some(at),
        FROM_NETWORK..0 => Some(at.wrapping_sub(FROM_NETWORK.cast_unsigned())),
        // The link layer, and what is nowhere.
        _ => None,
    }
}

#[inline]
fn load(head: &[u8], at: u32, width: Octets) -> Option<u32> {
    let behind = head.get(at as usize..)?;
    match width {
        Octets::One => behind.first().map(|&octet| octet.into()),
        Octets::Two => behind.first_chunk().map(|&two| u16::from_be_bytes(two).into()),
        Octets::Four => behind.first_chunk().map(|&four| u32::from_be_bytes(four)),
    }
}

#[inline]
fn compute(operation: Operation, a: u32, b: u32) -> Option<u32> {
    Some(match operation {
        Operation::Add => a.wrapping_add(b),
        Operation::Subtract => a.wrapping_sub(b),
        Operation::Multiply => a.wrapping_mul(b),
        Operation::Divide => a.checked_div(b)?,
        Operation::Remainder => a.checked_rem(b)?,
        Operation::And => a & b,
        Operation::Or => a | b,
        Operation::Xor => a ^ b,
        Operation::ShiftLeft => a.wrapping_shl(b),
        Operation::ShiftRight => a.wrapping_shr(b),
    })
}
