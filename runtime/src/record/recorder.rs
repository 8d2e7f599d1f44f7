//! Recording: the shadow, and what differs from it.

use std::ops::Range;

use nook_abi::{Entry, Fault, Hostcall};
use nook_instrument::LoadKind;

use super::{Bytes, GlobalValue, HowLeft, RecordSink, Recorded, Stored, low_bytes};
use crate::Space;

/// The grain in which memory is written down where all of it is.
const GRAIN: usize = 256;

/// What records a driver, over all its instances.
pub(crate) struct Recorder {
    sink: Box<dyn RecordSink>,
    /// What shared memory would be if only the driver wrote to it, and others what it loaded.
    shadow: Vec<u8>,
    /// Where shared memory begins.
    from: u64,
    /// Of the call that runs, or ran last.
    loads: u64,
    stored: Stored,
    /// Where it stored, and what it loaded came from others: address and length. A rollback by pages undoes the second
    /// too, where the driver is run again.
    touched: Vec<(u64, u64)>,
    inside: bool,
    snapshots: u64,
}

impl Recorder {
    pub(crate) fn new(sink: Box<dyn RecordSink>) -> Self {
        Recorder {
            sink,
            shadow: Vec::new(),
            from: 0,
            loads: 0,
            stored: Stored::NOTHING,
            touched: Vec::new(),
            inside: false,
            snapshots: 0,
        }
    }

    /// Begins an instance.
    pub(crate) fn begun(&mut self, space: &Space) {
        self.from = space.host_page_addr();
        self.shadow.clear();
        self.shadow.resize((space.len_bytes() - self.from) as usize, 0);
        self.inside = false;
        self.sink.add(&Recorded::Begun);
    }

    pub(crate) fn ended(&mut self) {
        self.sink.add(&Recorded::Ended);
    }

    #[inline]
    pub(crate) fn entered(&mut self, entry: Entry, args: [u64; 3], told_ns: u64) {
        self.inside = true;
        self.loads = 0;
        self.stored = Stored::NOTHING;
        self.touched.clear();
        self.sink.add(&Recorded::Entered { entry, args, told_ns });
    }

    pub(crate) fn counted(&mut self, instructions: u64) {
        self.sink.add(&Recorded::Counted(instructions));
    }

    /// Notes that a load gave this.
    #[inline]
    pub(crate) fn loaded(&mut self, addr: u64, value: u64, kind: LoadKind) {
        self.loads += 1;
        let width = kind.width_bytes as usize;
        let Some(known) = shadow(&mut self.shadow, self.from, addr, width) else { return };
        let bytes = &value.to_le_bytes()[..width];
        if known != bytes {
            known.copy_from_slice(bytes);
            self.touched.push((addr, width as u64));
            self.sink.add(&Recorded::Loaded { load: self.loads, bytes: (addr, bytes.into()) });
        }
    }

    /// Notes a store.
    #[inline]
    pub(crate) fn stored(&mut self, addr: u64, value: u64, width: usize) {
        let bytes = &value.to_le_bytes()[..width];
        let Some(known) = shadow(&mut self.shadow, self.from, addr, width) else { return };
        known.copy_from_slice(bytes);
        self.stored.word(addr);
        self.stored.word(low_bytes(bytes));
        self.touched.push((addr, width as u64));
    }

    /// Notes that it is about to read there.
    pub(crate) fn reads(&mut self, space: &Space, addr: u64, len: u64) {
        self.loads += 1;
        let Some((addr, bytes)) = shared_bytes(space, addr, len) else { return };
        self.differing(addr, &bytes);
    }

    /// Notes what of these bytes the shadow does not have.
    fn differing(&mut self, addr: u64, bytes: &[u8]) {
        let Some(known) = shadow(&mut self.shadow, self.from, addr, bytes.len()) else { return };
        let Some(first) = known.iter().zip(bytes).position(|(a, b)| a != b) else { return };
        let last = known.iter().zip(bytes).rposition(|(a, b)| a != b).unwrap_or(first);
        known[first..=last].copy_from_slice(&bytes[first..=last]);
        let bytes: Bytes<'_> = (addr + first as u64, bytes[first..=last].into());
        self.touched.push((bytes.0, bytes.1.len() as u64));
        self.sink.add(&Recorded::Loaded { load: self.loads, bytes });
    }

    /// Notes what it has copied, after [`reads`](Self::reads): what arrived is what it has read, even if somebody wrote
    /// there in between.
    pub(crate) fn copied(&mut self, space: &Space, to: u64, from: u64, len: u64) {
        let overlap = to.abs_diff(from) < len;
        // Where the two overlap, what was read is not there any more.
        if from + len > self.from && !overlap {
            let skipped = self.from.saturating_sub(from);
            let mut bytes = vec![0; (len - skipped) as usize];
            if space.slice(to + skipped, len - skipped).map(|slice| slice.copy_to(&mut bytes)).is_some() {
                self.differing(from + skipped, &bytes);
            }
        }
        self.changed(space, to, len);
    }

    /// Notes that it has changed memory there.
    pub(crate) fn changed(&mut self, space: &Space, addr: u64, len: u64) {
        let Some((addr, bytes)) = shared_bytes(space, addr, len) else { return };
        let Some(known) = shadow(&mut self.shadow, self.from, addr, bytes.len()) else { return };
        known.copy_from_slice(&bytes);
        self.stored.bytes(addr, &bytes);
        self.touched.push((addr, bytes.len() as u64));
    }

    #[inline]
    pub(crate) fn called(&mut self, call: Hostcall, args: [u64; 3], outcome: Result<u64, Fault>) {
        let outcome = outcome.map_err(|fault| fault.to_string().into());
        self.sink.add(&Recorded::Called { call, args, outcome });
    }

    #[inline]
    pub(crate) fn left(&mut self, outcome: &Result<u64, Fault>) {
        // An instance that has ended is refused further calls without being entered.
        if std::mem::take(&mut self.inside) {
            let how = HowLeft::of(outcome);
            self.sink.add(&Recorded::Left { how, loads: self.loads, stored: self.stored.0 });
        }
    }

    /// Notes that the last call was undone: where it had been is what is there now.
    pub(crate) fn rolled_back(&mut self, space: &Space) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (addr, len) in touched {
            match ranges.last_mut() {
                Some((_, end)) if addr <= *end => *end = (*end).max(addr + len),
                _ => ranges.push((addr, addr + len)),
            }
        }
        let memory = ranges.iter().filter_map(|&(addr, end)| shared_bytes(space, addr, end - addr));
        let memory: Vec<_> = memory.map(|(addr, bytes)| (addr, bytes.into())).collect();
        self.take(&memory);
        self.sink.add(&Recorded::RolledBack(memory));
    }

    /// Returns the number of a snapshot that was taken just now.
    pub(crate) fn captured(&mut self) -> u64 {
        self.snapshots += 1;
        self.sink.add(&Recorded::Captured(self.snapshots));
        self.snapshots
    }

    /// Notes that the instance goes on from a snapshot: from here on all that it shares is known.
    pub(crate) fn restored(&mut self, snapshot: u64, space: &Space) {
        let Some((from, bytes)) = shared_bytes(space, self.from, self.shadow.len() as u64) else { return };
        let memory = filled(from, &bytes);
        self.shadow.fill(0);
        self.take(&memory);
        self.sink.add(&Recorded::Restored { snapshot, memory });
    }

    #[inline]
    pub(crate) fn wants_state(&self, told_ns: u64) -> bool {
        self.sink.wants_state(told_ns)
    }

    /// Returns the file of what is kept, if anything is.
    pub(crate) fn kept(&self) -> Option<Vec<u8>> {
        self.sink.kept()
    }

    /// Notes all of the instance's state, between two calls. What it shares is what it knows of that.
    pub(crate) fn state(&mut self, space: &Space, globals: Vec<GlobalValue>) {
        let Some(private) = space.slice(0, self.from) else { return };
        let mut bytes = vec![0; self.from as usize];
        private.copy_to(&mut bytes);
        let mut memory = filled(0, &bytes);
        memory.extend(filled(self.from, &self.shadow));
        self.sink.add(&Recorded::State { globals, memory });
    }

    fn take(&mut self, memory: &[Bytes<'_>]) {
        for (addr, bytes) in memory {
            if let Some(known) = shadow(&mut self.shadow, self.from, *addr, bytes.len()) {
                known.copy_from_slice(bytes);
            }
        }
    }
}

/// Returns what is not all zero, of memory that begins at `from`.
fn filled(from: u64, bytes: &[u8]) -> Vec<Bytes<'_>> {
    let mut filled: Vec<Range<usize>> = Vec::new();
    for (grain, begin) in bytes.chunks(GRAIN).zip((0..).step_by(GRAIN)) {
        if grain.iter().any(|byte| *byte != 0) {
            let end = begin + grain.len();
            match filled.last_mut() {
                Some(last) if last.end == begin => last.end = end,
                _ => filled.push(begin..end),
            }
        }
    }
    filled.into_iter().map(|range| (from + range.start as u64, bytes[range].into())).collect()
}

/// Returns a part of the shadow.
fn shadow(shadow: &mut [u8], from: u64, addr: u64, len: usize) -> Option<&mut [u8]> {
    let at = usize::try_from(addr.checked_sub(from)?).ok()?;
    shadow.get_mut(at..at.checked_add(len)?)
}

/// Returns what of this range is shared, and what is there.
pub(super) fn shared_bytes(space: &Space, addr: u64, len: u64) -> Option<(u64, Vec<u8>)> {
    let begin = addr.max(space.host_page_addr());
    let len = (addr + len).checked_sub(begin)?;
    let mut bytes = vec![0; len as usize];
    space.slice(begin, len)?.copy_to(&mut bytes);
    Some((begin, bytes))
}
