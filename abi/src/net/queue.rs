//! What stands in the four queues.
//!
//! Packets live in the DMA window. Who may touch one is decided by which queue it went through last:
//! the host gives empty buffers (`rx_provide`) and frames to send (`tx_provide`), the driver gives back received
//! frames (`rx_return`) and sent ones (`tx_return`).

use core::mem::offset_of;

use super::Side;
use crate::QUEUE_CAPACITY;
use crate::queue::ring_bytes;

/// The four queues between host and driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Queue {
    /// Host to driver: empty receive buffers.
    RxProvide = 0,
    /// Driver to host: received frames, and buffers that were not used.
    RxReturn = 1,
    /// Host to driver: frames to send.
    TxProvide = 2,
    /// Driver to host: frames that were sent, or not.
    TxReturn = 3,
}

impl Queue {
    /// In the order of [`NetPage::rings`](super::NetPage::rings).
    pub const ALL: [Queue; 4] = [Queue::RxProvide, Queue::RxReturn, Queue::TxProvide, Queue::TxReturn];

    /// Returns the queue's name, as in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Queue::RxProvide => "rx_provide",
            Queue::RxReturn => "rx_return",
            Queue::TxProvide => "tx_provide",
            Queue::TxReturn => "tx_return",
        }
    }
}

impl core::fmt::Display for Queue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of one ring with its header.
pub const RING_BYTES: usize = ring_bytes(size_of::<QueueEntry>());

/// Bytes of the side array of `tx_provide`, which follows that ring.
pub const SIDES_BYTES: usize = QUEUE_CAPACITY as usize * size_of::<Side>();

/// One entry of a ring: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct QueueEntry {
    /// Which packet buffer: below [`PoolLayout::count`](super::PoolLayout::count).
    pub id: u32,
    /// How often the buffer had been given out before: returned as it was given.
    pub generation: u16,
    /// [`entry_flags`].
    pub flags: u16,
    /// Bytes of payload in this buffer (for `rx_provide`: bytes of room).
    pub len_bytes: u32,
    /// A [`PacketStatus`] when returned; zero when given.
    pub status: u16,
    /// Zero.
    pub reserved: u16,
}

/// An entry as it is copied: field by field it would be six loads and stores, which neither compiler of wasm joins, and
/// each store of a driver that can be rolled back is logged.
pub type EntryWords = [u64; 2];

impl QueueEntry {
    /// Where `generation` begins in the first word.
    pub const GENERATION_SHIFT: u32 = 32;
    /// Where `flags` begins in the first word.
    pub const FLAGS_SHIFT: u32 = 48;
    /// Where `status` begins in the second word, above `len_bytes`.
    pub const STATUS_SHIFT: u32 = 32;
    const RESERVED_SHIFT: u32 = 48;

    /// Returns the words as they lie in the memory of a little-endian machine.
    #[inline(always)]
    pub const fn to_words(self) -> EntryWords {
        let QueueEntry { id, generation, flags, len_bytes, status, reserved } = self;
        [
            id as u64 | (generation as u64) << Self::GENERATION_SHIFT | (flags as u64) << Self::FLAGS_SHIFT,
            len_bytes as u64 | (status as u64) << Self::STATUS_SHIFT | (reserved as u64) << Self::RESERVED_SHIFT,
        ]
    }

    /// Undoes [`to_words`](Self::to_words).
    #[inline(always)]
    pub const fn from_words([first, second]: EntryWords) -> Self {
        QueueEntry {
            id: first as u32,
            generation: (first >> Self::GENERATION_SHIFT) as u16,
            flags: (first >> Self::FLAGS_SHIFT) as u16,
            len_bytes: second as u32,
            status: (second >> Self::STATUS_SHIFT) as u16,
            reserved: (second >> Self::RESERVED_SHIFT) as u16,
        }
    }
}

const _: () = {
    assert!(size_of::<QueueEntry>() == size_of::<EntryWords>());
    assert!(offset_of!(QueueEntry, id) == 0 && offset_of!(QueueEntry, len_bytes) == 8);
    assert!(offset_of!(QueueEntry, generation) * 8 == QueueEntry::GENERATION_SHIFT as usize);
    assert!(offset_of!(QueueEntry, flags) * 8 == QueueEntry::FLAGS_SHIFT as usize);
    assert!(offset_of!(QueueEntry, status) * 8 == 64 + QueueEntry::STATUS_SHIFT as usize);
    assert!(offset_of!(QueueEntry, reserved) * 8 == 64 + QueueEntry::RESERVED_SHIFT as usize);
};

#[cfg(target_endian = "big")]
compile_error!("the words of an entry are as they lie in the memory of little-endian machines");

/// Bits of [`QueueEntry::flags`].
pub mod entry_flags {
    /// The first buffer of a frame.
    pub const FIRST: u16 = 1 << 0;
    /// The last buffer of a frame.
    pub const LAST: u16 = 1 << 1;
    /// Of a frame to be sent: the ring's side array says what is to be done to it. On its first entry only.
    pub const SIDE: u16 = 1 << 2;
    /// Of a received frame: the device found its checksum of TCP or UDP right. On its first entry only, and only if the
    /// driver said that its device looks at checksums (`offload::RX_CHECKSUM`).
    pub const CHECKED: u16 = 1 << 3;
    /// Every bit that may be set.
    pub const ALL: u16 = FIRST | LAST | SIDE | CHECKED;
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PacketStatus {
    /// Received or sent.
    Done = 0,
    /// The device reported an error.
    Failed = 1,
    /// Not used: the interface went down first.
    Unused = 2,
    /// The nook's filter does not let it pass.
    Dropped = 3,
}

impl PacketStatus {
    /// Returns the status with this number.
    pub const fn from_u16(value: u16) -> Option<Self> {
        Some(match value {
            0 => PacketStatus::Done,
            1 => PacketStatus::Failed,
            2 => PacketStatus::Unused,
            3 => PacketStatus::Dropped,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_words() {
        let words = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
        let entry = QueueEntry::from_words(words);
        assert_eq!((entry.id, entry.generation, entry.flags), (0x0506_0708, 0x0304, 0x0102));
        assert_eq!((entry.len_bytes, entry.status, entry.reserved), (0x1516_1718, 0x1314, 0x1112));
        assert_eq!(entry.to_words(), words);
    }
}
