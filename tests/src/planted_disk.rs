//! The driver of a disk with a planted bug: before it looks at its requests, one of them is changed, or is too much for
//! it.

use std::mem::offset_of;

use nook_abi::block::{BlockOp, BlockQueue, BlockRequest};
use nook_abi::{Entry, QUEUE_CAPACITY, RingHeader};
use nook_runtime::{DriverModule, Wasi};
use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

use crate::planted::plant;

/// What is wrong with a disk's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBug {
    /// It computes the number of the block wrong: these bits of it are lost, in reads and in writes.
    LosesBits(u64),
    /// It traps when it looks at a read or a write that begins at this block.
    TrapsAt(u64),
    /// It acknowledges writes that begin at this block, and has never made them: it flushes instead.
    Skips(u64),
}

/// Parameters and locals of `poll`.
const BUDGET: u32 = 1;
const AT: u32 = 3;
const END: u32 = 4;
const ENTRY: u32 = 5;

const fn word(offset: usize) -> MemArg {
    MemArg { offset: offset as u64, align: 2, memory_index: 0 }
}

const FIRST: MemArg = MemArg { align: 3, ..word(offset_of!(BlockRequest, first)) };
const OP: MemArg = MemArg { align: 0, ..word(offset_of!(BlockRequest, op)) };
const OP_AND_FLAGS: MemArg = MemArg { align: 1, ..word(offset_of!(BlockRequest, op)) };
const BLOCKS_AND_LENGTH: MemArg = MemArg { align: 2, ..word(offset_of!(BlockRequest, blocks)) };

/// Returns the driver with the bug.
///
/// # Panics
/// If it is no driver of a disk.
pub fn with_disk_bug(driver: &[u8], bug: DiskBug) -> Vec<u8> {
    let module = DriverModule::from_bytes(driver, Wasi::Refused).expect("a driver");
    let ring = module.layout().rings[BlockQueue::Requests as usize] as i32;
    plant(driver, |entry| entry == Entry::Poll, |_, poll, _| planted(ring, poll, bug))
}

/// Returns a `poll` that looks at each request that the driver may take now, and then calls the driver's own.
fn planted(ring: i32, poll: u32, bug: DiskBug) -> Function {
    let mut function = Function::new([(3, ValType::I32)]);
    let mut code = function.instructions();
    let (produced, consumed) = (word(offset_of!(RingHeader, produced)), word(offset_of!(RingHeader, consumed)));
    // As far as the budget goes.
    code.i32_const(ring).i32_load(consumed).local_set(AT);
    code.i32_const(ring).i32_load(produced).local_get(AT).i32_sub().local_tee(END);
    code.local_get(BUDGET).local_get(END).local_get(BUDGET).i32_lt_u().select();
    code.local_get(AT).i32_add().local_set(END);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(AT).local_get(END).i32_eq().br_if(1);
    code.local_get(AT).i32_const(QUEUE_CAPACITY as i32 - 1).i32_and();
    code.i32_const(size_of::<BlockRequest>() as i32).i32_mul();
    code.i32_const(ring + size_of::<RingHeader>() as i32).i32_add().local_set(ENTRY);
    look(&mut code, bug);
    code.local_get(AT).i32_const(1).i32_add().local_set(AT).br(0);
    code.end().end();
    code.local_get(0).local_get(BUDGET).local_get(2).call(poll).end();
    function
}

/// Looks at one request.
fn look(code: &mut InstructionSink<'_>, bug: DiskBug) {
    let begins_at = |code: &mut InstructionSink<'_>, block: u64| {
        code.local_get(ENTRY).i64_load(FIRST).i64_const(block as i64).i64_eq();
    };
    code.local_get(ENTRY).i32_load8_u(OP);
    match bug {
        DiskBug::LosesBits(bits) => {
            code.i32_const(BlockOp::Write as i32).i32_le_u().if_(BlockType::Empty);
            code.local_get(ENTRY).local_get(ENTRY).i64_load(FIRST);
            code.i64_const(!bits as i64).i64_and().i64_store(FIRST).end();
        }
        DiskBug::TrapsAt(block) => {
            code.i32_const(BlockOp::Write as i32).i32_le_u();
            begins_at(code, block);
            code.i32_and().if_(BlockType::Empty).unreachable().end();
        }
        DiskBug::Skips(block) => {
            code.i32_const(BlockOp::Write as i32).i32_eq();
            begins_at(code, block);
            code.i32_and().if_(BlockType::Empty);
            code.local_get(ENTRY).i32_const(BlockOp::Flush as i32).i32_store16(OP_AND_FLAGS);
            code.local_get(ENTRY).i64_const(0).i64_store(FIRST);
            code.local_get(ENTRY).i64_const(0).i64_store(BLOCKS_AND_LENGTH).end();
        }
    }
}
