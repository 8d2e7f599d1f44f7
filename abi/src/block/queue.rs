//! What stands in the two rings.

use core::mem::offset_of;

/// The two rings between host and driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum BlockQueue {
    /// Host to driver: what is to be done.
    Requests = 0,
    /// Driver to host: what came of it.
    Completions = 1,
}

impl BlockQueue {
    /// Both, in their order.
    pub const ALL: [BlockQueue; 2] = [BlockQueue::Requests, BlockQueue::Completions];

    /// Returns the ring's name, as in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            BlockQueue::Requests => "requests",
            BlockQueue::Completions => "completions",
        }
    }

    /// Returns the bytes of an entry.
    pub const fn entry_bytes(self) -> usize {
        match self {
            BlockQueue::Requests => size_of::<BlockRequest>(),
            BlockQueue::Completions => size_of::<BlockCompletion>(),
        }
    }
}

impl core::fmt::Display for BlockQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// One request: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BlockRequest {
    /// Which request: below [`BlockPage::most_requests`](super::BlockPage::most_requests). No other one with this id is
    /// the driver's at the same time.
    pub id: u32,
    /// How often the id had been given out before: completed as it was given.
    pub generation: u16,
    /// A [`BlockOp`].
    pub op: u8,
    /// [`request_flags`].
    pub flags: u8,
    /// The first block; 0 for a flush.
    pub first: u64,
    /// How many blocks; 0 for a flush. They lie inside the disk, and are at most as many as the driver said.
    pub blocks: u32,
    /// Bytes of data to be moved: of a read or a write, those of the blocks; else 0.
    pub len_bytes: u32,
    /// Where the data lies in the window: a multiple of 4096. The request has
    /// [`BlockPage::transfer_bytes`](super::BlockPage::transfer_bytes) of room there.
    pub offset: u32,
    /// Zero.
    pub reserved: u32,
}

/// One completion: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BlockCompletion {
    /// As it was given.
    pub id: u32,
    /// As it was given.
    pub generation: u16,
    /// A [`BlockStatus`].
    pub status: u16,
    /// What the device said, for people: 0 if it was done.
    pub detail: u32,
    /// Zero.
    pub reserved: u32,
}

/// A request as it is copied.
pub type RequestWords = [u64; 4];

/// A completion as it is copied.
pub type CompletionWords = [u64; 2];

impl BlockRequest {
    /// Returns the words as they lie in the memory of a little-endian machine.
    #[inline(always)]
    pub const fn to_words(self) -> RequestWords {
        let BlockRequest { id, generation, op, flags, first, blocks, len_bytes, offset, reserved } = self;
        [
            id as u64 | (generation as u64) << 32 | (op as u64) << 48 | (flags as u64) << 56,
            first,
            blocks as u64 | (len_bytes as u64) << 32,
            offset as u64 | (reserved as u64) << 32,
        ]
    }

    /// Undoes [`to_words`](Self::to_words).
    #[inline(always)]
    pub const fn from_words([who, first, length, place]: RequestWords) -> Self {
        BlockRequest {
            id: who as u32,
            generation: (who >> 32) as u16,
            op: (who >> 48) as u8,
            flags: (who >> 56) as u8,
            first,
            blocks: length as u32,
            len_bytes: (length >> 32) as u32,
            offset: place as u32,
            reserved: (place >> 32) as u32,
        }
    }
}

impl BlockCompletion {
    /// Returns the words as they lie in the memory of a little-endian machine.
    #[inline(always)]
    pub const fn to_words(self) -> CompletionWords {
        let BlockCompletion { id, generation, status, detail, reserved } = self;
        [id as u64 | (generation as u64) << 32 | (status as u64) << 48, detail as u64 | (reserved as u64) << 32]
    }

    /// Undoes [`to_words`](Self::to_words).
    #[inline(always)]
    pub const fn from_words([who, what]: CompletionWords) -> Self {
        BlockCompletion {
            id: who as u32,
            generation: (who >> 32) as u16,
            status: (who >> 48) as u16,
            detail: what as u32,
            reserved: (what >> 32) as u32,
        }
    }
}

const _: () = {
    assert!(size_of::<BlockRequest>() == size_of::<RequestWords>());
    assert!(offset_of!(BlockRequest, op) == 6 && offset_of!(BlockRequest, flags) == 7);
    assert!(offset_of!(BlockRequest, first) == 8 && offset_of!(BlockRequest, blocks) == 16);
    assert!(offset_of!(BlockRequest, len_bytes) == 20 && offset_of!(BlockRequest, offset) == 24);
    assert!(size_of::<BlockCompletion>() == size_of::<CompletionWords>());
    assert!(offset_of!(BlockCompletion, status) == 6 && offset_of!(BlockCompletion, detail) == 8);
};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockOp {
    /// Reads blocks into the buffer.
    Read = 0,
    /// Writes blocks from the buffer.
    Write = 1,
    /// Makes durable all that was completed before it was given.
    Flush = 2,
    /// Gives blocks up: what they hold afterwards is not known.
    Discard = 3,
    /// Makes blocks zero.
    WriteZeroes = 4,
}

impl BlockOp {
    /// Returns the operation with this number.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => BlockOp::Read,
            1 => BlockOp::Write,
            2 => BlockOp::Flush,
            3 => BlockOp::Discard,
            4 => BlockOp::WriteZeroes,
            _ => return None,
        })
    }
}

/// Bits of [`BlockRequest::flags`].
pub mod request_flags {
    /// To be durable when it is done. Only of a driver whose disk has `FUA`.
    pub const FUA: u8 = 1 << 0;
    /// Every bit that may be set.
    pub const ALL: u8 = FUA;
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum BlockStatus {
    /// It was done.
    Done = 0,
    /// The device reported an error.
    Failed = 1,
    /// It was not done and the device will not do it any more: service ended first. It is given again to the next
    /// instance, if there is one. Only in `stop`.
    Unused = 2,
}

impl BlockStatus {
    /// Returns the status with this number.
    pub const fn from_u16(value: u16) -> Option<Self> {
        Some(match value {
            0 => BlockStatus::Done,
            1 => BlockStatus::Failed,
            2 => BlockStatus::Unused,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_completion_survive_being_words() {
        let words = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718, 0x2122_2324_2526_2728, 0x3132_3334_3536_3738];
        let request = BlockRequest::from_words(words);
        assert_eq!((request.id, request.generation, request.op, request.flags), (0x0506_0708, 0x0304, 2, 1));
        assert_eq!((request.blocks, request.len_bytes, request.offset), (0x2526_2728, 0x2122_2324, 0x3536_3738));
        assert_eq!(request.to_words(), words);
        let words = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
        let completion = BlockCompletion::from_words(words);
        assert_eq!((completion.generation, completion.status, completion.detail), (0x0304, 0x0102, 0x1516_1718));
        assert_eq!(completion.to_words(), words);
    }

    #[test]
    fn each_operation_and_status_survives_the_boundary() {
        for op in (0..=u8::MAX).filter_map(BlockOp::from_u8) {
            assert_eq!(BlockOp::from_u8(op as u8), Some(op));
        }
        for status in (0..=u16::MAX).filter_map(BlockStatus::from_u16) {
            assert_eq!(BlockStatus::from_u16(status as u16), Some(status));
        }
        assert_eq!((BlockOp::from_u8(5), BlockStatus::from_u16(3)), (None, None));
    }
}
