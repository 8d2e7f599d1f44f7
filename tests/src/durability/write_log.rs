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
    /// Reads a log, to replay it on a part of the drive: `before` is what that held when the log began, from block
    /// `first` on.
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

#[cfg(test)]
mod tests {
    use nook_block_api::Op;

    use super::*;
    use crate::durability::{After, Ledger};

    const FIRST: u64 = 100;
    const BLOCKS: u64 = 16;

    /// Adds an entry as QEMU does.
    fn log(bytes: &mut Vec<u8>, sector: u64, flags: u64, data: &[u8]) {
        let mut head: Vec<u8> =
            [sector, (data.len() / SECTOR) as u64, flags, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        head.resize(SECTOR, 0);
        bytes.extend(head);
        bytes.extend(data);
    }

    /// Two acknowledged writes with a flush between, whose entry in the log is `flush`; the log.
    fn logged(ledger: &mut Ledger, flush: u64) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.resize(SECTOR, 0);
        for (first, flags) in [(0, flush), (4, 0)] {
            let number = ledger.ask(Op::Write, first, 2, false);
            log(&mut bytes, FIRST + first, 0, &ledger.data(number));
            ledger.answer(number, true);
            if flags != 0 {
                let number = ledger.ask(Op::Flush, 0, 0, false);
                log(&mut bytes, 0, flags, &[]);
                ledger.answer(number, true);
            }
        }
        bytes
    }

    fn lost(ledger: &Ledger, medium: &[u8]) -> (u64, u64) {
        let verdict = ledger.judge(&ledger.must(After::PowerCut), medium, 1);
        (verdict.lost + verdict.wrong, verdict.not_durable)
    }

    #[test]
    fn a_cut_leaves_what_was_flushed_and_some_of_the_rest() {
        let mut ledger = Ledger::new(BLOCKS, 1);
        let bytes = logged(&mut ledger, FLUSH);
        let len = bytes.len() as u64;
        let mut log = WriteLog::read(bytes, FIRST, vec![0; BLOCKS as usize * SECTOR]).unwrap();
        assert_eq!(log.counts(), (2, 1));
        let (least, _) = log.cut(len, &mut Rng::new(1));
        assert_eq!(lost(&ledger, least), (0, 2), "the second write was not flushed");
        let lost: Vec<u64> = (0..64).map(|seed| lost(&ledger, &log.cut(len, &mut Rng::new(seed)).1).1).collect();
        assert!(lost.contains(&0) && lost.contains(&2), "all of it may be there, and nothing: {lost:?}");
    }

    #[test]
    fn a_flush_that_never_reached_the_disk_is_found() {
        let mut ledger = Ledger::new(BLOCKS, 1);
        // An entry that is a mark, and no flush.
        let bytes = logged(&mut ledger, 1 << 3);
        let len = bytes.len() as u64;
        let mut log = WriteLog::read(bytes, FIRST, vec![0; BLOCKS as usize * SECTOR]).unwrap();
        assert_eq!(lost(&ledger, log.cut(len, &mut Rng::new(1)).0).0, 2);
    }

    #[test]
    fn what_is_not_in_the_log_yet_is_not_there() {
        let mut ledger = Ledger::new(BLOCKS, 1);
        let bytes = logged(&mut ledger, FLUSH);
        let mut log = WriteLog::read(bytes, FIRST, vec![0; BLOCKS as usize * SECTOR]).unwrap();
        let (least, some) = log.cut(4 * SECTOR as u64, &mut Rng::new(1));
        assert_eq!(lost(&ledger, least).0, 2, "the flush is not there");
        assert!(some[4 * SECTOR..].iter().all(|&byte| byte == 0));
        assert!(WriteLog::read(vec![1; SECTOR], FIRST, Vec::new()).is_err());
    }
}
