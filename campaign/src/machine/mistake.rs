//! What one mistake makes of one instruction.

use iced_x86::{
    ConstantOffsets, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
use nook_abi::HOSTCALLS;
use nook_seed::Rng;

use super::bytes::{NOP, condition_at, encoded, off_by_one, opcode_at};
use super::{ObjectForm, Place};
use crate::CodeClass;

/// Returns the bytes that this kind of mistake puts in an instruction's place, drawn from `rng`; nothing, if it cannot
/// be made there.
pub(super) fn mistake(class: CodeClass, place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    let bytes = match class {
        CodeClass::Source => other_register(place, Side::Read, rng)?,
        CodeClass::Destination => other_register(place, Side::Written, rng)?,
        CodeClass::Operation => operation(place, rng)?,
        CodeClass::Constant => constant(place, rng)?,
        CodeClass::Condition => condition(place, rng)?,
        CodeClass::Branch => branch(place, rng)?,
        CodeClass::Pointer => pointer(place, rng)?,
        CodeClass::LoopBound => {
            let at = condition_at(place.bytes).filter(|_| place.branches_back())?;
            let other = off_by_one(place.bytes[at])?;
            place.with(at, other)
        }
        CodeClass::Initialisation => {
            let instruction = place.instruction;
            let sets = instruction.mnemonic() == Mnemonic::Mov && is_immediate(instruction.op1_kind());
            (sets || place.is_zeroing()).then(|| place.nothing())?
        }
        CodeClass::Stack => stack(place, rng)?,
        // REP MOVS and REP STOS do as much as the count register says; without the prefix, one.
        CodeClass::BulkLength => {
            let at = place.bytes.iter().position(|byte| *byte == 0xf3)?;
            let is_string = matches!(place.bytes[opcode_at(place.bytes)?], 0xa4 | 0xa5 | 0xaa | 0xab);
            is_string.then(|| place.with(at, NOP))?
        }
        CodeClass::Leak => leak(place)?,
        CodeClass::Argument => argument(place, rng)?,
        CodeClass::RegisterWrite => {
            place.hostcall(place.instruction).filter(|name| name.starts_with("mmio_write"))?;
            place.nothing()
        }
        CodeClass::EndlessLoop => place.branches_back().then(|| always(place.bytes))??,
        CodeClass::Barrier => barrier(place)?,
        // What is given back is not known in machine code.
        CodeClass::DoubleReturn => return None,
    };
    (bytes != place.bytes).then_some(bytes)
}

/// Which operands are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Read,
    Written,
}

impl Place<'_> {
    /// The instruction left out.
    fn nothing(&self) -> Vec<u8> {
        vec![NOP; self.bytes.len()]
    }

    fn with(&self, at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        bytes[at] = byte;
        bytes
    }

    /// Returns whether it is a conditional branch to an earlier place in the function.
    fn branches_back(&self) -> bool {
        let target = self.instruction.near_branch_target();
        self.instruction.is_jcc_short_or_near() && (self.begin..self.instruction.ip()).contains(&target)
    }

    /// `xor eax, eax` and the like.
    fn is_zeroing(&self) -> bool {
        let instruction = self.instruction;
        instruction.mnemonic() == Mnemonic::Xor
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register()
    }

    /// Returns the name of the hostcall that an instruction is, as far as a call through the host's table differs
    /// from others: by its place in the table.
    fn hostcall(&self, instruction: &Instruction) -> Option<&'static str> {
        let through_memory = instruction.is_call_near_indirect() && instruction.op0_kind() == OpKind::Memory;
        let has_base = instruction.memory_base().is_gpr64() && instruction.memory_index() == Register::None;
        if self.form != ObjectForm::Shared || !through_memory || !has_base {
            return None;
        }
        let at = instruction.memory_displacement64();
        // The first is no hostcall (`NativeServices`).
        let row = (at / 8).checked_sub(1).filter(|_| at.is_multiple_of(8))?;
        HOSTCALLS.get(usize::try_from(row).ok()?).map(|row| row.name)
    }

    fn offsets(&self) -> ConstantOffsets {
        let mut decoder = Decoder::with_ip(64, self.bytes, self.instruction.ip(), DecoderOptions::NONE);
        let instruction = decoder.decode();
        decoder.get_constant_offsets(&instruction)
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// Registers that a variable may be in, in each size; the stack pointer is none.
const REGISTERS: [[Register; 15]; 4] = {
    use Register as R;
    [
        [
            R::AL,
            R::CL,
            R::DL,
            R::BL,
            R::BPL,
            R::SIL,
            R::DIL,
            R::R8L,
            R::R9L,
            R::R10L,
            R::R11L,
            R::R12L,
            R::R13L,
            R::R14L,
            R::R15L,
        ],
        [
            R::AX,
            R::CX,
            R::DX,
            R::BX,
            R::BP,
            R::SI,
            R::DI,
            R::R8W,
            R::R9W,
            R::R10W,
            R::R11W,
            R::R12W,
            R::R13W,
            R::R14W,
            R::R15W,
        ],
        [
            R::EAX,
            R::ECX,
            R::EDX,
            R::EBX,
            R::EBP,
            R::ESI,
            R::EDI,
            R::R8D,
            R::R9D,
            R::R10D,
            R::R11D,
            R::R12D,
            R::R13D,
            R::R14D,
            R::R15D,
        ],
        [
            R::RAX,
            R::RCX,
            R::RDX,
            R::RBX,
            R::RBP,
            R::RSI,
            R::RDI,
            R::R8,
            R::R9,
            R::R10,
            R::R11,
            R::R12,
            R::R13,
            R::R14,
            R::R15,
        ],
    ]
};

/// Another register in the place of one that is read or written, if there is one with which the instruction is no
/// longer than it was.
fn other_register(place: &Place<'_>, side: Side, rng: &mut Rng) -> Option<Vec<u8>> {
    let instruction = place.instruction;
    if instruction.flow_control() != FlowControl::Next || place.is_zeroing() {
        return None;
    }
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let operands: Vec<_> = (0..instruction.op_count())
        .filter(|&operand| instruction.op_kind(operand) == OpKind::Register)
        .filter(|&operand| {
            let access = info.op_access(operand);
            match side {
                Side::Read => matches!(access, OpAccess::Read | OpAccess::CondRead),
                Side::Written => matches!(access, OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite),
            }
        })
        .collect();
    let operand = *operands.get(rng.index(operands.len()))?;
    let now = instruction.op_register(operand);
    let registers = REGISTERS.iter().find(|registers| registers.contains(&now))?;
    let from = rng.index(registers.len());
    (0..registers.len()).map(|n| registers[(from + n) % registers.len()]).find_map(|other| {
        let mut changed = *instruction;
        changed.set_op_register(operand, other);
        encoded(&changed, place.bytes.len()).filter(|_| other != now)
    })
}

fn operation(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    // ADD, OR, AND, SUB, XOR, by the number that says so; ADC and SBB are of longer numbers, CMP writes nothing.
    const ARITHMETIC: [u8; 5] = [0, 1, 4, 5, 6];
    // ROL, ROR, SHL, SHR, SAR.
    const SHIFTS: [u8; 5] = [0, 1, 4, 5, 7];
    let at = opcode_at(place.bytes)?;
    let mut other = |all: [u8; 5], now: u8| {
        let known = all.iter().position(|&number| number == now)?;
        Some(all[(known + 1 + rng.index(all.len() - 1)) % all.len()])
    };
    if place.is_zeroing() {
        return None;
    }
    let opcode = place.bytes[at];
    let in_operand = |number: u8| place.with(at + 1, place.bytes[at + 1] & !0x38 | number << 3);
    let now = |bytes: &[u8]| bytes[at + 1] >> 3 & 7;
    match opcode {
        0x00..=0x3d if opcode & 7 < 6 => Some(place.with(at, opcode & 7 | other(ARITHMETIC, opcode >> 3 & 7)? << 3)),
        0x80 | 0x81 | 0x83 => Some(in_operand(other(ARITHMETIC, now(place.bytes))?)),
        0xc0 | 0xc1 | 0xd0..=0xd3 => Some(in_operand(other(SHIFTS, now(place.bytes))?)),
        _ => None,
    }
}

fn constant(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    let offsets = place.offsets();
    let stack = place.instruction.op0_kind() == OpKind::Register && place.instruction.op0_register() == Register::RSP;
    if !offsets.has_immediate() || place.instruction.flow_control() != FlowControl::Next || stack {
        return None;
    }
    Some(other_number(place.bytes, offsets.immediate_offset(), offsets.immediate_size(), rng))
}

/// Changes a number of `size` bytes.
fn other_number(bytes: &[u8], at: usize, size: usize, rng: &mut Rng) -> Vec<u8> {
    let mut number = [0; 8];
    number[..size].copy_from_slice(&bytes[at..at + size]);
    let value = u64::from_le_bytes(number);
    let drawn = match rng.below(4) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => value ^ (1 << rng.below(8 * size as u64)),
        _ => 0,
    };
    let other = if drawn == value { value.wrapping_add(1) } else { drawn };
    replaced(bytes, at, &other.to_le_bytes()[..size])
}

fn replaced(bytes: &[u8], at: usize, by: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + by.len()].copy_from_slice(by);
    bytes
}

fn condition(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    let at = condition_at(place.bytes)?;
    let now = place.bytes[at];
    let other = off_by_one(now).filter(|_| rng.one_in(2)).unwrap_or(now ^ 1);
    Some(place.with(at, other))
}

/// A conditional branch that is always taken.
fn always(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = condition_at(bytes)?;
    let mut bytes = bytes.to_vec();
    match bytes[at] {
        0x70..=0x7f => bytes[at] = 0xeb,
        // JMP has one byte less, and the same end.
        0x80..=0x8f => bytes[at - 1..=at].copy_from_slice(&[NOP, 0xe9]),
        _ => return None,
    }
    Some(bytes)
}

fn branch(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    if !place.instruction.is_jcc_short_or_near() {
        return None;
    }
    let at = condition_at(place.bytes)?;
    match rng.below(3) {
        0 => Some(place.with(at, place.bytes[at] ^ 1)),
        1 => Some(place.nothing()),
        _ => always(place.bytes),
    }
}

/// Returns whether it is a load or store by a pointer: not of the stack, nor of what is beside the code.
fn by_pointer(instruction: &Instruction) -> bool {
    let base = instruction.memory_base();
    base.is_gpr64() && base != Register::RSP && instruction.mnemonic() != Mnemonic::Lea
}

fn pointer(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    let (offsets, instruction) = (place.offsets(), place.instruction);
    let accesses = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    if !accesses || !by_pointer(instruction) || instruction.mnemonic() == Mnemonic::Nop {
        return None;
    }
    // As far as there is room for it in the instruction.
    let far = if offsets.displacement_size() == 4 { 26 } else { 7 };
    if offsets.has_displacement() && rng.below(4) > 0 {
        let (at, size) = (offsets.displacement_offset(), offsets.displacement_size());
        let mut number = [0; 8];
        number[..size].copy_from_slice(&place.bytes[at..at + size]);
        let moved = u64::from_le_bytes(number) ^ 1 << rng.below(far);
        return Some(replaced(place.bytes, at, &moved.to_le_bytes()[..size]));
    }
    let registers = REGISTERS[3];
    let from = rng.index(registers.len());
    (0..registers.len()).map(|n| registers[(from + n) % registers.len()]).find_map(|other| {
        let mut changed = *instruction;
        changed.set_memory_base(other);
        encoded(&changed, place.bytes.len()).filter(|_| other != instruction.memory_base())
    })
}

fn stack(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    let instruction = place.instruction;
    let moves = matches!(instruction.mnemonic(), Mnemonic::Add | Mnemonic::Sub)
        && instruction.op0_register() == Register::RSP
        && is_immediate(instruction.op1_kind());
    if !moves {
        return None;
    }
    let offsets = place.offsets();
    let at = offsets.immediate_offset();
    match rng.below(3) {
        0 => Some(place.nothing()),
        // By eight bytes or sixteen more or less.
        n => Some(place.with(at, place.bytes[at] ^ (8 << (n - 1)))),
    }
}

/// A store through a pointer that is left out, or a hostcall that is no access to a register.
fn leak(place: &Place<'_>) -> Option<Vec<u8>> {
    let instruction = place.instruction;
    let stores = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register
        && by_pointer(instruction);
    let calls = place.hostcall(instruction).is_some_and(|name| !name.starts_with("mmio"));
    (stores || calls).then(|| place.nothing())
}

/// What a hostcall is given, which stands right before it. The first argument is the host's own pointer (System V ABI).
fn argument(place: &Place<'_>, rng: &mut Rng) -> Option<Vec<u8>> {
    use Register as R;
    place.next.iter().find_map(|next| place.hostcall(next))?;
    let instruction = place.instruction;
    let to = instruction.op0_register().full_register();
    if instruction.op0_kind() != OpKind::Register || !matches!(to, R::RSI | R::RDX | R::RCX | R::R8) {
        return None;
    }
    match instruction.mnemonic() {
        Mnemonic::Mov if is_immediate(instruction.op1_kind()) => constant(place, rng),
        Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => other_register(place, Side::Read, rng),
        Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Lea | Mnemonic::Xor => Some(place.nothing()),
        _ => None,
    }
}

fn barrier(place: &Place<'_>) -> Option<Vec<u8>> {
    match place.instruction.mnemonic() {
        Mnemonic::Mfence | Mnemonic::Lfence | Mnemonic::Sfence => Some(place.nothing()),
        _ if place.instruction.has_lock_prefix() => {
            let at = place.bytes.iter().position(|byte| *byte == 0xf0)?;
            Some(place.with(at, NOP))
        }
        _ => None,
    }
}
