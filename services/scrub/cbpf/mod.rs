//! Classic BPF as iptables' xt_bpf takes it: read, checked, run.

/// Bytecode that was checked: it ends, and reads nothing outside of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    instructions: Box<[Instruction]>,
}

/// `struct sock_filter` of linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}
