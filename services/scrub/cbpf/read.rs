//! From the decimal form to instructions.

use std::str::FromStr;

use super::{
    Comparison, FROM_NETWORK, INSTRUCTIONS_MAX, Instruction, Misread, Octets, Operand, Operation,
    Program, SCRATCH_WORDS, check,
};

/// `struct sock_filter` of linux/filter.h, and the text that it was read from.
#[derive(Clone, Copy)]
struct Raw<'a> {
    text: &'a str,
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}

impl FromStr for Program {
    type Err = Misread;

    /// Reads the number of instructions and then each as four decimal numbers, parted by commas as
    /// for xt_bpf or by ends of lines as `tcpdump -ddd` prints them.
    fn from_str(text: &str) -> Result<Self, Misread> {
        let whole = text.trim_end_matches(|c: char| c.is_whitespace() || c == ',');
        let mut parts = whole.split([',', '\n']).map(str::trim);
        let first = parts.next().unwrap_or_default();
        let Ok(count) = first.parse::<usize>() else {
            let what = format!(
                "{first:?} is not the number of instructions, as in `4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0`"
            );
            return Err(Misread::part(text, if first.is_empty() { text } else { first }, what));
        };
        if count == 0 || count > INSTRUCTIONS_MAX {
            let what = format!("{count} instructions: 1 to {INSTRUCTIONS_MAX} can be run");
            return Err(Misread::part(text, first, what));
        }
        let mut places = Vec::with_capacity(count);
        let mut instructions = Vec::with_capacity(count);
        for part in parts {
            if instructions.len() == count {
                let what = format!("more instructions than the {count} that the first number says");
                return Err(Misread::part(text, part, what));
            }
            let index = instructions.len();
            let refuse = |what| Misread::part(text, part, format!("instruction {index}: {what}"));
            instructions.push(Raw::read(part).and_then(Raw::decode).map_err(refuse)?);
            places.push(part);
        }
        if instructions.len() < count {
            let what = format!(
                "{} instructions, but the first number says that there are {count}",
                instructions.len()
            );
            return Err(Misread::part(text, first, what));
        }
        check::check(&instructions).map_err(|(index, what)| {
            Misread::part(text, places[index], format!("instruction {index}: {what}"))
        })?;
        Ok(Self { instructions: instructions.into() })
    }
}

impl<'a> Raw<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let shape = || format!("{text:?} is not four numbers: code, two jumps, and k");
        let mut word = || words.next().ok_or_else(shape);
        let (code, jump_true, jump_false, k) = (word()?, word()?, word()?, word()?);
        if words.next().is_some() {
            return Err(shape());
        }
        let number = |word: &str, last: u32| match word.parse::<u32>() {
            Ok(number) if number <= last => Ok(number),
            _ => Err(format!("{word:?} is not a number up to {last}")),
        };
        let small = |word| number(word, 255).map(|number| number.to_le_bytes()[0]);
        Ok(Self {
            text,
            code: number(code, 0xffff)?.try_into().map_err(|_| shape())?,
            jump_true: small(jump_true)?,
            jump_false: small(jump_false)?,
            k: number(k, u32::MAX)?,
        })
    }

    /// The instruction, as `chk_code_allowed` of net/core/filter.c knows it.
    fn decode(self) -> Result<Instruction, String> {
        let Self { k, jump_true, jump_false, .. } = self;
        let operand = if self.code & 0x08 == 0 { Operand::Number(k) } else { Operand::X };
        Ok(match self.code {
            0x20 => self.load(Octets::Four)?,
            0x28 => self.load(Octets::Two)?,
            0x30 => self.load(Octets::One)?,
            0x40 => Instruction::LoadBehindX(Octets::Four, k),
            0x48 => Instruction::LoadBehindX(Octets::Two, k),
            0x50 => Instruction::LoadBehindX(Octets::One, k),
            0x80 => Instruction::LoadLength,
            0x00 => Instruction::Set(k),
            0x60 => Instruction::Recall(self.scratch()?),
            0xb1 => Instruction::LoadHeaderLengthX(self.place()?),
            0x81 => Instruction::LoadLengthX,
            0x01 => Instruction::SetX(k),
            0x61 => Instruction::RecallX(self.scratch()?),
            0x02 => Instruction::Store(self.scratch()?),
            0x03 => Instruction::StoreX(self.scratch()?),
            0x84 => Instruction::Negate,
            0x05 => Instruction::Jump(k),
            0x15 | 0x1d => Instruction::Branch(Comparison::Equal, operand, jump_true, jump_false),
            0x25 | 0x2d => Instruction::Branch(Comparison::Greater, operand, jump_true, jump_false),
            0x35 | 0x3d => {
                Instruction::Branch(Comparison::GreaterOrEqual, operand, jump_true, jump_false)
            }
            0x45 | 0x4d => Instruction::Branch(Comparison::AnyBit, operand, jump_true, jump_false),
            0x06 => Instruction::Return(k),
            0x16 => Instruction::ReturnA,
            0x07 => Instruction::Tax,
            0x87 => Instruction::Txa,
            code => Instruction::Compute(self.operation(code, operand)?, operand),
        })
    }

    fn operation(self, code: u16, operand: Operand) -> Result<Operation, String> {
        let operation = match code & !0x08 {
            0x04 => Operation::Add,
            0x14 => Operation::Subtract,
            0x24 => Operation::Multiply,
            0x34 => Operation::Divide,
            0x94 => Operation::Remainder,
            0x54 => Operation::And,
            0x44 => Operation::Or,
            0xa4 => Operation::Xor,
            0x64 => Operation::ShiftLeft,
            0x74 => Operation::ShiftRight,
            _ => return Err(format!("{:?}: the kernel has no code {code}", self.text)),
        };
        match (operation, operand) {
            (Operation::Divide | Operation::Remainder, Operand::Number(0)) => {
                Err(format!("{:?} divides by 0", self.text))
            }
            (Operation::ShiftLeft | Operation::ShiftRight, Operand::Number(32..)) => {
                Err(format!("{:?} shifts by {}: 0 to 31 can be", self.text, self.k))
            }
            _ => Ok(operation),
        }
    }

    fn scratch(self) -> Result<u8, String> {
        let word = self.k.to_le_bytes()[0];
        if (self.k as usize) < SCRATCH_WORDS {
            return Ok(word);
        }
        let (text, k) = (self.text, self.k);
        Err(format!("{text:?}: scratch word {k}: there are {SCRATCH_WORDS}, from 0"))
    }

    /// A load from a place, or of what the kernel knows of the packet.
    fn load(self, width: Octets) -> Result<Instruction, String> {
        match self.k.cast_signed().wrapping_sub(-0x1000) {
            ancillary @ 0..0x1000 => match ancillary {
                0 => Ok(Instruction::LoadProtocol),
                40 => Ok(Instruction::Compute(Operation::Xor, Operand::X)),
                other => {
                    let text = self.text;
                    let name = ancillary_name(other);
                    Err(format!("{text:?} asks for {name}, which is not known here"))
                }
            },
            _ => Ok(Instruction::Load(width, self.place()?)),
        }
    }

    /// An offset from the IP header. Checked when it is read, not each time it is used.
    fn place(self) -> Result<u32, String> {
        let (text, k) = (self.text, self.k.cast_signed());
        match k {
            0.. => Ok(self.k),
            FROM_NETWORK..-0x1000 => Ok(self.k.wrapping_sub(FROM_NETWORK.cast_unsigned())),
            -0x20_0000..FROM_NETWORK => Err(format!(
                "{text:?} loads from the link layer (SKF_LL_OFF): a program begins at the IP header; \
                 `tcpdump -ddd -y RAW` prints one that does"
            )),
            _ => Err(format!("{text:?} loads from {k}: there is nothing")),
        }
    }
}

/// `SKF_AD_*` of linux/filter.h.
const fn ancillary_name(at: i32) -> &'static str {
    match at {
        4 => "the kind of packet (SKF_AD_PKTTYPE)",
        8 => "the interface (SKF_AD_IFINDEX)",
        12 | 16 => "a netlink attribute (SKF_AD_NLATTR)",
        20 => "the mark (SKF_AD_MARK)",
        24 => "the queue (SKF_AD_QUEUE)",
        28 => "the kind of device (SKF_AD_HATYPE)",
        32 => "the hash (SKF_AD_RXHASH)",
        36 => "the core (SKF_AD_CPU)",
        44 => "the VLAN tag (SKF_AD_VLAN_TAG)",
        48 => "the VLAN tag (SKF_AD_VLAN_TAG_PRESENT)",
        52 => "the place of the payload (SKF_AD_PAY_OFFSET)",
        56 => "a random number (SKF_AD_RANDOM)",
        60 => "the VLAN tag (SKF_AD_VLAN_TPID)",
        _ => "something that the kernel does not have either",
    }
}
