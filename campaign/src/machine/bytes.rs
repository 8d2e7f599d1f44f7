//! Instructions as bytes (Intel's manual, volume 2, chapter 2 and appendix A).

use iced_x86::{Encoder, Instruction};

pub(super) const NOP: u8 = 0x90;

/// Returns where the opcode of a legacy instruction is, after its prefixes; none, of one with a VEX or EVEX prefix.
pub(super) fn opcode_at(bytes: &[u8]) -> Option<usize> {
    let is_prefix = |byte: &u8| {
        matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3) || (0x40..=0x4f).contains(byte)
    };
    let at = bytes.iter().position(|byte| !is_prefix(byte))?;
    (!matches!(bytes[at], 0xc4 | 0xc5 | 0x62 | 0xd5)).then_some(at)
}

/// Encodes an instruction in as many bytes as there are for it; none, if it takes more.
pub(super) fn encoded(instruction: &Instruction, len: usize) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, instruction.ip()).ok()?;
    let mut bytes = encoder.take_buffer();
    if bytes.len() > len {
        return None;
    }
    bytes.resize(len, NOP);
    Some(bytes)
}

/// Returns where a condition is: in the low four bits of that byte. Of Jcc, SETcc and CMOVcc.
pub(super) fn condition_at(bytes: &[u8]) -> Option<usize> {
    let at = opcode_at(bytes)?;
    match (bytes[at], bytes.get(at + 1)) {
        (0x70..=0x7f, _) => Some(at),
        (0x0f, Some(0x40..=0x4f | 0x80..=0x9f)) => Some(at + 1),
        _ => None,
    }
}

/// Returns a condition that differs from this one where both sides are equal; none, if it is of no order.
pub(super) fn off_by_one(condition: u8) -> Option<u8> {
    match condition & 0xf {
        // B, AE, BE and A.
        0x2 | 0x3 | 0x6 | 0x7 => Some(condition ^ 4),
        // L, GE, LE and G.
        0xc..=0xf => Some(condition ^ 2),
        _ => None,
    }
}
