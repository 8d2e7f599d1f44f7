//! Received frames in several buffers: whether the parts that a driver returns are one.

use nook_abi::Fault;
use nook_abi::net::{NetFault, PacketStatus, Queue, QueueEntry, entry_flags};

use super::packets::LEAST_BYTES;

/// The frame whose parts a driver is returning. It begins and ends within one call, so nothing of it is left for the
/// next one, nor for a rollback.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Entries and bytes of it up to now; no entry if there is none.
    parts: u16,
    bytes: u64,
    /// The last of them.
    id: u32,
}

/// What an entry is to the frame that comes in several buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing to do with one: a whole frame, or a buffer without one.
    Apart,
    /// A part of one that goes on.
    Within,
    /// The last part of one, and how many came before it.
    Last(u16),
}

impl Chain {
    /// Returns whether a frame was begun and not ended.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.parts > 0
    }

    /// Takes the next entry of `rx_return`, which is right by itself, from a driver whose frames have up to
    /// `longest_bytes`.
    pub(super) fn follow(
        &mut self,
        entry: &QueueEntry,
        status: PacketStatus,
        longest_bytes: usize,
    ) -> Result<Place, Fault> {
        let (first, last) = (entry.flags & entry_flags::FIRST != 0, entry.flags & entry_flags::LAST != 0);
        if status != PacketStatus::Done || first && last {
            let rule = "the frame that the entries before it are of has no end";
            return if self.is_open() {
                Err(malformed(entry.id, "flags", entry.flags, rule))
            } else {
                Ok(Place::Apart)
            };
        }
        match (self.is_open(), first) {
            (true, true) => return Err(malformed(entry.id, "flags", entry.flags, "a frame begins within another")),
            (false, false) => return Err(malformed(entry.id, "flags", entry.flags, "no frame was begun")),
            _ => {}
        }
        (self.bytes, self.id) = (self.bytes + u64::from(entry.len_bytes), entry.id);
        if self.bytes > longest_bytes as u64 {
            return Err(malformed(entry.id, "len_bytes", self.bytes, "the frame is longer than the driver's longest"));
        }
        if !last {
            self.parts += 1;
            return Ok(Place::Within);
        }
        let Chain { parts, bytes, .. } = std::mem::take(self);
        if bytes < LEAST_BYTES {
            return Err(malformed(entry.id, "len_bytes", bytes, "shorter than an Ethernet header"));
        }
        Ok(Place::Last(parts))
    }

    /// Checks, at the end of a call, that no frame was begun and not ended.
    pub(super) fn end(&self) -> Result<(), Fault> {
        let rule = "a received frame is returned by one call, to its last entry";
        if self.is_open() { Err(malformed(self.id, "flags", 0_u16, rule)) } else { Ok(()) }
    }
}

#[cold]
fn malformed(id: u32, field: &'static str, value: impl Into<u64>, rule: &'static str) -> Fault {
    NetFault::PacketMalformed { queue: Queue::RxReturn, id, field, value: value.into(), rule }.into()
}
