//! What a disk is plugged into: a server of blocks, an exercise.

use std::io;
use std::os::fd::RawFd;

use vm_memory::VolatileSlice;

/// What a disk is, as its driver said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block: a power of two, 512 at least.
    pub block_bytes: u32,
    /// How many blocks there are.
    pub blocks: u64,
    /// The most blocks of a read or a write.
    pub max_blocks: u32,
    /// Writes, discards and zeroes are not taken.
    pub read_only: bool,
    /// What was written may be lost with the power until a flush is done. Without it a write that is done is durable.
    pub volatile_cache: bool,
    /// [`Op::Discard`] is taken.
    pub discard: bool,
    /// [`Op::WriteZeroes`] is taken.
    pub write_zeroes: bool,
    /// The device's name for itself, for people: may be empty.
    pub serial: String,
}

impl Geometry {
    /// Returns the bytes of the whole disk.
    pub fn len_bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_bytes)
    }
}

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reads blocks.
    Read,
    /// Writes blocks.
    Write,
    /// Makes durable every write, discard and zeroes that was done before this was asked for.
    Flush,
    /// Gives blocks up: what they hold afterwards is not known, until they are written.
    Discard,
    /// Makes blocks zero.
    WriteZeroes,
}

impl Op {
    /// Returns whether it changes what is on the disk.
    pub const fn writes(self) -> bool {
        matches!(self, Op::Write | Op::Discard | Op::WriteZeroes)
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The backend's own number for it: not that of another request that is not complete, and not `u64::MAX`, which is
    /// the host's own.
    pub id: u64,
    /// What is asked.
    pub op: Op,
    /// The first block; 0 for a flush.
    pub first: u64,
    /// How many: at least 1, and 0 for a flush. At most [`Geometry::max_blocks`] for a read or a write; a discard and
    /// zeroes may have as many as the disk.
    pub blocks: u32,
    /// Of a write, discard or zeroes: complete only when it is durable.
    pub fua: bool,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not done, or not all of it: the device failed at it, or drivers ended at it until it was given up. What
    /// the blocks of a write hold is not known.
    IoError,
}

/// The side of a disk that faces those who read and write it.
///
/// Implemented by `classes/block/`; used by the block class, on the nook's thread. Nothing in it waits. The slices lie
/// in the DMA window, which a driver or a device can write at any time: read a byte once, then use it.
///
/// What a backend asks for is answered once, however the driver ends, in any order. Requests that overlap and are not
/// complete may be done in any order too, as on any disk.
pub trait BlockBackend: Send {
    /// Takes what the disk is: once, before anything is asked of it. A driver that is restarted has the same disk.
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()>;

    /// Returns what is asked next, `None` if nothing is; as large as [`Request`] allows, and inside the disk: the
    /// backend splits and aligns. A request that is not so is answered with [`Outcome::IoError`].
    fn next(&mut self) -> io::Result<Option<Request>>;

    /// Puts the data of a write into `buffer`, which has the length of its blocks: once, before it is given to the
    /// driver.
    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()>;

    /// Takes what came of a request. `data` is what a read that was done has read, of the length of its blocks.
    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()>;

    /// Ends a batch of calls of [`complete`](Self::complete).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Takes that there is no driver any more and none will come: whatever was asked was answered before, and nothing
    /// more will be. Followed by [`attach`](Self::attach) if one is started after all.
    fn detach(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Lets it work, and says when it wants to be called again even if nothing happens (nanoseconds of the nook's
    /// clock).
    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        let _ = now_ns;
        Ok(None)
    }

    /// Adds descriptors that become readable when [`next`](Self::next) or [`service`](Self::service) has something to
    /// do.
    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        let _ = fds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_disk_is_past_what_32_bits_hold() {
        let geometry = Geometry { block_bytes: 4096, blocks: 1 << 32, ..Geometry::default() };
        assert_eq!(geometry.len_bytes(), 1 << 44);
    }

    #[test]
    fn a_flush_and_a_read_change_nothing() {
        let writing = [Op::Read, Op::Write, Op::Flush, Op::Discard, Op::WriteZeroes].map(Op::writes);
        assert_eq!(writing, [false, true, false, true, true]);
    }
}
