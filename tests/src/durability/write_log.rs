//! The log that QEMU's `blklogwrites` keeps of what reaches a drive, and its replay: what would be on a medium that
//! loses all that was not flushed.
//!
//! The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): a
//! superblock, then entries, each a sector with the entry's header and then its data. The count in the superblock is
//! as old as the last flush that had something to flush, and a log that is used again keeps what it held: so entries
//! are read until one is empty or the file ends, and a log is empty when a run begins.

use std::io::{Error, Result};

use nook_seed::Rng;

use super::BLOCK_BYTES;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1 << 0;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
/// Bytes of a sector of the log, as it was asked for.
const SECTOR: usize = BLOCK_BYTES;

/// What happened to the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Where it begins, in sectors.
    sector: u64,
    sectors: u64,
    flags: u64,
    /// Where its data is in the log, as many sectors; of a discard there is none.
    data: usize,
    /// Where it ends in the log.
    end: usize,
}

/// A log, and a medium on which it is replayed.
pub struct WriteLog {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many entries the medium has: all up to a flush.
    replayed: usize,
    /// A part of the drive, and its first sector.
    first: u64,
    medium: Vec<u8>,
}

impl WriteLog {
    /// Reads a log, to replay it on a part of the drive: `before` is what that held when the log began, from block `first`
    /// on.
    ///
    /// # Errors
    /// If it is no log.
    pub fn read(bytes: Vec<u8>, first: u64, before: Vec<u8>) -> Result<Self> {
        let word =
            |at: usize| bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let mut entries = Vec::new();
        // The superblock is written with the first flush that has something to flush.
        if !matches!(word(0), Some(0 | MAGIC)) {
            return Err(Error::other("the log does not begin as one"));
        }
        let mut at = SECTOR;
        while let (Some(sector), Some(sectors), Some(flags)) = (word(at), word(at + 8), word(at + 16)) {
            let data = at + SECTOR;
            let with_data = if flags & DISCARD == 0 { sectors as usize } else { 0 };
            let end = data + with_data * SECTOR;
            if (sectors, flags) == (0, 0) || end > bytes.len().next_multiple_of(SECTOR) {
                break;
            }
            entries.push(Entry { sector, sectors, flags, data, end });
            at = end;
        }
        Ok(WriteLog { bytes, entries, replayed: 0, first, medium: before })
    }

    /// Returns how many writes and how many flushes there are.
    pub fn counts(&self) -> (u64, u64) {
        let flushes = self.entries.iter().filter(|entry| entry.flags & FLUSH != 0).count();
        ((self.entries.len() - flushes) as u64, flushes as u64)
    }

    /// Replays the log to the last flush in its first bytes, and returns the medium; it goes forward only. Of what was
    /// written behind that flush and is in these bytes, `rng` picks what is there too, block by block: the second
    /// medium.
    pub fn cut(&mut self, log_bytes: u64, rng: &mut Rng) -> (&[u8], Vec<u8>) {
        let there = self.entries.partition_point(|entry| entry.end as u64 <= log_bytes);
        let flush = self.entries[..there].iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |at| at + 1);
        while self.replayed < flush {
            let entry = &self.entries[self.replayed];
            entry.put(&self.bytes, self.first, &mut self.medium, || true);
            self.replayed += 1;
        }
        let mut some = self.medium.clone();
        for entry in &self.entries[flush..there] {
            let all = entry.flags & FUA != 0;
            entry.put(&self.bytes, self.first, &mut some, || all || rng.one_in(2));
        }
        (&self.medium, some)
    }
}

impl Entry {
    /// Puts its blocks on a medium that begins at block `first`, those that are picked.
    fn put(&self, log: &[u8], first: u64, medium: &mut [u8], mut picks: impl FnMut() -> bool) {
        if self.flags & DISCARD != 0 {
            // Advice: what was there may stay.
            return;
        }
        for nth in 0..self.sectors {
            let from = self.data + nth as usize * SECTOR;
            if let Some(at) = (self.sector + nth).checked_sub(first)
                && let Some(place) = medium.get_mut(at as usize * SECTOR..(at as usize + 1) * SECTOR)
                && let Some(data) = log.get(from..from + SECTOR)
                && picks()
            {
                place.copy_from_slice(data);
            }
        }
    }
}
