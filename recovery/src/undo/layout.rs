//! The log in the module's second memory: a header with the globals, then records.
//!
//! A record is the old bytes, padded to a multiple of 8 (stores of at most 8 bytes: to 8), then the address (`u32`) and
//! the length (`u32`, with [`BULK`] set if the bytes came from a bulk instruction). The address comes last so that the
//! log is read from its top downwards. The top is in a global of the module, and moves only when a record is whole.

/// The log's length. It is touched only as far as it is used, and what lies behind it traps.
pub(super) const LOG_BYTES: u64 = 64 << 20;
/// Where saved globals begin, 16 bytes each.
pub(super) const SAVED_GLOBALS: u32 = 0;
/// What a saved global takes.
pub(super) const SAVED_GLOBAL_BYTES: u32 = 16;
/// Address and length.
pub(super) const TRAILER_BYTES: u32 = 8;
/// In the length: the old bytes are of any number, and padded.
pub(super) const BULK: u32 = 1 << 31;

/// The log memory's export. The loader refuses drivers that export anything with this beginning.
pub(super) const LOG_EXPORT: &str = "nook_undo_log";
/// The global with the log's top.
pub(super) const TOP_EXPORT: &str = "nook_undo_top";
/// The global with a [`Mode`].
pub(super) const MODE_EXPORT: &str = "nook_undo_mode";
/// The driver's mutable globals, each followed by its number.
pub(super) const GLOBAL_EXPORT: &str = "nook_undo_global_";
/// What all of them begin with.
pub(super) const RESERVED_PREFIX: &str = "nook_undo_";

/// What the instance is doing, in a global of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Mode {
    /// Not called yet, or rolled back.
    Idle = 0,
    /// A transaction runs, or was cut off by a trap.
    Transaction = 1,
    /// Another call runs, or was cut off by a trap.
    Plain = 2,
    /// The last call was a transaction and returned.
    TransactionReturned = 3,
    /// The last call was another one and returned.
    PlainReturned = 4,
}

impl Mode {
    /// The mode with this number.
    pub(super) fn of(number: i32) -> Option<Mode> {
        use Mode::*;
        [Idle, Transaction, Plain, TransactionReturned, PlainReturned].into_iter().find(|mode| *mode as i32 == number)
    }
}

/// Where records begin.
pub(super) fn first_record(globals: usize) -> u32 {
    SAVED_GLOBALS + SAVED_GLOBAL_BYTES * globals as u32
}

/// What a record's old bytes take.
pub(super) fn padded(len_bytes: u32) -> u32 {
    len_bytes.next_multiple_of(8)
}
