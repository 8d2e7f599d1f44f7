//! The log in the module's second memory: a header with the [time cell](crate::deadline::TIME_CELL) and the globals,
//! then records.
//!
//! A record is the old bytes, padded to a multiple of 8 (stores of at most 8 bytes: to 8), then the address (`u32`) and
//! the length (`u32`, with [`BULK`] set if the bytes came from a bulk instruction). The address comes last so that the
//! log is read from its top downwards. The top is in a global of the module, and moves only when a record is whole.

/// The log's length. It is touched only as far as it is used, and what lies behind it traps.
pub const LOG_BYTES: u64 = 64 << 20;
/// An `i32` that is set when a bulk instruction does not fit into the log.
pub const FULL_CELL: u32 = 4;
/// Where saved globals begin, 16 bytes each.
pub const SAVED_GLOBALS: u32 = 64;
/// What a saved global takes.
pub const SAVED_GLOBAL_BYTES: u32 = 16;
/// Address and length.
pub const TRAILER_BYTES: u32 = 8;
/// The most stores that are logged together: a group's records are addressed from one top.
pub const MAX_GROUP: usize = 64;
/// What a group takes at most: each record holds up to 16 bytes.
pub const MAX_GROUP_BYTES: u32 = MAX_GROUP as u32 * (16 + TRAILER_BYTES);
/// In the length: the old bytes are of any number, and padded.
pub const BULK: u32 = 1 << 31;

/// The log memory's export. The loader refuses drivers that export anything with this beginning.
pub const LOG_EXPORT: &str = "nook_undo_log";
/// The global with the log's top.
pub const TOP_EXPORT: &str = "nook_undo_top";
/// The global with a [`Mode`].
pub const MODE_EXPORT: &str = "nook_undo_mode";
/// The driver's mutable globals, each followed by its number.
pub const GLOBAL_EXPORT: &str = "nook_undo_global_";
/// What all of them begin with.
pub const RESERVED_PREFIX: &str = "nook_undo_";

/// What the instance is doing, in a global of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Mode {
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
    /// Returns the mode with this number.
    pub fn of(number: i32) -> Option<Mode> {
        use Mode::*;
        [Idle, Transaction, Plain, TransactionReturned, PlainReturned].into_iter().find(|mode| *mode as i32 == number)
    }
}

/// Returns where records begin.
pub fn first_record(globals: usize) -> u32 {
    SAVED_GLOBALS + SAVED_GLOBAL_BYTES * globals as u32
}

/// Returns what a record's old bytes take.
pub fn padded(len_bytes: u32) -> u32 {
    len_bytes.next_multiple_of(8)
}
