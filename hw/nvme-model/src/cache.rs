//! What was written and is not durable: enough of it to undo any part when power is lost.

use std::collections::VecDeque;

use nook_seed::Rng;

/// One write.
struct Entry {
    /// Where it begins, in blocks.
    first: u64,
    /// What was there before, and what was written.
    old: Box<[u8]>,
    new: Box<[u8]>,
    /// It is on the medium whatever comes: written with FUA, over others that are not.
    durable: bool,
}

/// The writes since the last flush, in order, up to a number of bytes; those before them are durable.
pub(crate) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
    pub(crate) capacity_bytes: usize,
}

impl Cache {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Cache { entries: VecDeque::new(), bytes: 0, capacity_bytes }
    }

    /// Returns whether a write must be noted: one that is durable matters only above others that are not.
    pub(crate) fn wants(&self, durable: bool) -> bool {
        self.capacity_bytes != 0 && (!durable || !self.entries.is_empty())
    }

    /// Notes a write. What no longer fits becomes durable, the oldest first.
    pub(crate) fn note(&mut self, first: u64, old: Box<[u8]>, new: Box<[u8]>, durable: bool) {
        self.bytes += new.len();
        self.entries.push_back(Entry { first, old, new, durable });
        while self.bytes > self.capacity_bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.new.len();
        }
    }

    /// Forgets all: it is durable now.
    pub(crate) fn flush(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Loses power. `put` writes blocks on the medium, from the first one on. Each write that is not durable is kept,
    /// or lost, or, if it has more than `atomic_blocks`, torn.
    pub(crate) fn lose<E>(
        &mut self,
        rng: &mut Rng,
        block_bytes: usize,
        atomic_blocks: u32,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for entry in self.entries.iter().rev() {
            put(entry.first, &entry.old)?;
        }
        for entry in &self.entries {
            let blocks = entry.new.len() / block_bytes;
            if entry.durable || rng.one_in(2) {
                put(entry.first, &entry.new)?;
            } else if blocks > atomic_blocks as usize && rng.one_in(2) {
                // Up to some block, or any of them.
                let end = rng.one_in(2).then(|| rng.index(blocks));
                for (at, block) in entry.new.chunks_exact(block_bytes).enumerate() {
                    if end.map_or_else(|| rng.one_in(2), |end| at < end) {
                        put(entry.first + at as u64, block)?;
                    }
                }
            }
        }
        self.flush();
        Ok(())
    }
}
