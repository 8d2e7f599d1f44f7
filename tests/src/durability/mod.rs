//! What may be read back from a disk: the table "What is durable when" of docs/block.md, as a checker.
//!
//! A [`Ledger`] knows of each block what was asked, acknowledged, and made durable by a flush or FUA, and judges what
//! is there after drivers have ended, or after a power cut. Every test whose verdict is about durability asks it: other
//! judges accept what they should not (fio takes an older block for a good one, a file system that unmounts may
//! have lost what was synced). [`Checker`] is a client of an NBD server that keeps one; [`WriteLog`] reads what QEMU's
//! `blklogwrites` logged, and replays it.

mod checker;
mod content;
mod ledger;
mod nbd;
mod write_log;

pub use checker::{Acknowledged, Checker, Region};
pub use ledger::{After, Ledger, Must, Verdict};
pub use write_log::WriteLog;

/// Bytes of a block: no device tears one.
pub const BLOCK_BYTES: usize = 512;
