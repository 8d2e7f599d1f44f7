//! Records that are being written: they count when the log's top is raised past them.

use super::facts::Bytes;
use super::values::Value;
use crate::undo::layout::{TRAILER_BYTES, padded};

/// What memory held at an address plus an offset, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) address: Value,
    pub(super) offset: u64,
    pub(super) width: u32,
    /// How often something may have changed before that.
    pub(super) change: u64,
}

/// What a record ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) address: Value,
    pub(super) len: u32,
}

impl Trailer {
    /// Returns the trailer that a constant is.
    pub(super) fn of(constant: u64) -> Trailer {
        Trailer { address: Value::constant(constant as u32), len: (constant >> 32) as u32 }
    }

    fn is_of(self, old: Old) -> bool {
        self.len == old.width && self.address == old.address.add(old.offset as u32)
    }
}

/// What is stored to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Old bytes, padded to 8 or 16.
    Old(Old),
    Trailer(Trailer),
    /// Both in one vector.
    Whole(Old, Trailer),
}

/// Records behind the log's top.
#[derive(Default)]
pub(super) struct Records {
    /// Where the next one begins, from the top on.
    end: u64,
    /// One without its trailer.
    half: Option<Old>,
    bytes: Vec<Bytes>,
}

impl Records {
    /// Takes a store to the log, this far from its top on. `change` is how often something may have changed so far.
    pub(super) fn store(&mut self, at: u64, piece: Piece, change: u64) -> Result<(), &'static str> {
        let (old, trailer) = match (piece, self.half.take()) {
            (Piece::Old(old), None) if at == self.end => {
                self.half = Some(old);
                return Ok(());
            }
            (Piece::Trailer(trailer), Some(old)) if at == self.end + u64::from(padded(old.width)) => (old, trailer),
            (Piece::Whole(old, trailer), None) if at == self.end && padded(old.width) == 8 => (old, trailer),
            _ => return Err("a store to the log that is no part of a record"),
        };
        if !trailer.is_of(old) {
            return Err("a record of another place than its bytes were read from");
        }
        if old.change != change {
            return Err("a record of bytes that may have changed since they were read");
        }
        self.end += u64::from(padded(old.width) + TRAILER_BYTES);
        self.bytes.push(Bytes::of(old.address, old.offset, old.width.into()));
        Ok(())
    }

    /// Forgets what the log's top was not raised past.
    pub(super) fn abandon(&mut self) {
        (self.end, self.half) = (0, None);
        self.bytes.clear();
    }

    /// Returns what is in the log once its top is raised by this much.
    pub(super) fn commit(&mut self, by: u32) -> Result<Vec<Bytes>, &'static str> {
        let whole = self.half.is_none() && self.end == u64::from(by);
        let bytes = std::mem::take(&mut self.bytes);
        self.abandon();
        if whole { Ok(bytes) } else { Err("the log's top raised to where no record ends") }
    }
}
