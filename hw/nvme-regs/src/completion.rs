//! Entries of completion queues: 16 bytes, four little-endian words of 32 bits (section 3.3.3.2).

use nook_regs::Field;

/// Bytes of an entry.
pub const BYTES: u32 = 16;
/// Its logarithm: `CC::IOCQES`, and `CQES` of Identify.
pub const LOG_BYTES: u32 = 4;
/// The word that says what is specific to the command.
pub const RESULT_WORD: usize = 0;
/// The word with [`SQHD`] and [`SQID`].
pub const QUEUE_WORD: usize = 2;
/// The word with [`CID`], [`PHASE`] and [`STATUS`].
pub const STATUS_WORD: usize = 3;

/// Word 2: how far the controller has taken commands from the submission queue.
pub const SQHD: Field = Field::new(0, 16);
/// Word 2: which submission queue.
pub const SQID: Field = Field::new(16, 16);
/// Word 3: the command's identifier.
pub const CID: Field = Field::new(0, 16);
/// Word 3: the phase tag, which changes with each lap of the queue; 1 on the first (section 3.3.3.2.2).
pub const PHASE: u32 = 1 << 16;
/// Word 3: the status, as in [`status`](crate::status).
pub const STATUS: Field = Field::new(17, 15);

/// Returns an entry's words, without phase.
pub const fn words(result: u32, sqhd: u16, sqid: u16, cid: u16, status: u16) -> [u32; 4] {
    let queue = SQHD.put(sqhd as u32) | SQID.put(sqid as u32);
    [result, 0, queue, CID.put(cid as u32) | STATUS.put(status as u32)]
}
