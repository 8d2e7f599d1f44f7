//! The host's ends of the rings, whose entries are of as many words as a class says. The host keeps its own counters;
//! the driver's are read once and checked.
#![expect(unsafe_code, reason = "rings lie in memory that a driver writes, and are reached by raw pointers only")]

use nook_abi::{Fault, QUEUE_CAPACITY, RingHeader};

const MASK: u32 = QUEUE_CAPACITY - 1;

/// Puts entries in for the driver.
#[derive(Debug)]
pub(crate) struct HostProducer<const WORDS: usize> {
    header: *mut RingHeader,
    entries: *mut [u64; WORDS],
    /// Entries ever put in: the host's own count.
    produced: u32,
    /// Entries that the driver had taken out when it was last asked.
    consumed: u32,
}

/// Takes entries out that the driver put in.
#[derive(Debug)]
pub(crate) struct HostConsumer<const WORDS: usize> {
    header: *mut RingHeader,
    entries: *mut [u64; WORDS],
    /// Entries ever taken out: the host's own count.
    consumed: u32,
}

// SAFETY: the pointers lead into the memory of a driver that moves between threads together with its host.
unsafe impl<const WORDS: usize> Send for HostProducer<WORDS> {}
// SAFETY: its pointers lead into that memory, too.
unsafe impl<const WORDS: usize> Send for HostConsumer<WORDS> {}

impl<const WORDS: usize> HostProducer<WORDS> {
    /// # Safety
    ///
    /// `header` and the [`QUEUE_CAPACITY`] entries at `entries` are aligned and stay readable and writable while the
    /// producer is used.
    pub(crate) unsafe fn new(header: *mut RingHeader, entries: *mut [u64; WORDS]) -> Self {
        // SAFETY: the caller promises that the header is aligned and writable.
        unsafe { header.write_volatile(RingHeader::default()) };
        HostProducer { header, entries, produced: 0, consumed: 0 }
    }

    /// Reads how far the driver is, and checks it; that counts only after [`sync`](Self::sync).
    #[inline]
    pub(crate) fn look(&self, queue: &'static str) -> Result<u32, Fault> {
        // SAFETY: `new` was promised that the header stays aligned, readable and writable.
        let consumed = unsafe { (&raw const (*self.header).consumed).read_volatile() };
        // The driver may not take out more than was put in, nor put back.
        if consumed.wrapping_sub(self.consumed) > self.produced.wrapping_sub(self.consumed) {
            let rule = "more was taken out than had been put in";
            return Err(Fault::QueueCorrupt { queue, value: consumed, rule });
        }
        Ok(consumed)
    }

    /// Reads the counter again, and from here on it counts: the call that took entries out is final.
    #[inline]
    pub(crate) fn sync(&mut self, queue: &'static str) -> Result<(), Fault> {
        self.consumed = self.look(queue)?;
        Ok(())
    }

    /// Entries that the driver had not taken out when it was last asked.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        self.produced.wrapping_sub(self.consumed)
    }

    /// Entries ever put in.
    #[inline]
    pub(crate) fn produced(&self) -> u32 {
        self.produced
    }

    /// Returns how many entries fit.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        QUEUE_CAPACITY - self.waiting()
    }

    /// Puts entries in, no more than there is [`room`](Self::room) for. Returns how many. Visible after
    /// [`publish`](Self::publish).
    #[inline]
    pub(crate) fn put(&mut self, entries: impl Iterator<Item = [u64; WORDS]>) -> u32 {
        // Counted beside the field: after each write through a pointer the compiler would store and load that again.
        let (ring, begin, mut at) = (self.entries, self.produced, self.produced);
        for words in entries {
            // SAFETY: the index is masked; otherwise as `new` was promised.
            unsafe { ring.add((at & MASK) as usize).write_volatile(words) };
            at = at.wrapping_add(1);
        }
        debug_assert!(at.wrapping_sub(begin) <= self.room());
        self.produced = at;
        at.wrapping_sub(begin)
    }

    /// Copies an entry, as it is in the driver's memory now: it may have moved entries that it did not take.
    pub(crate) fn get(&self, at: u32) -> [u64; WORDS] {
        // SAFETY: the index is masked, and words are words, whatever is there.
        unsafe { self.entries.add((at & MASK) as usize).read_volatile() }
    }

    /// Takes the newest `count` entries out again, which the driver had not taken when it was last asked; the caller
    /// has asked [`waiting`](Self::waiting).
    pub(crate) fn retract(&mut self, count: u32) {
        debug_assert!(count <= self.waiting());
        self.produced = self.produced.wrapping_sub(count);
        self.publish();
    }

    /// Entries ever put in, and how many of them the driver had taken out.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.produced, self.consumed)
    }

    /// Restores the ring to these [`counts`](Self::counts); its memory was restored before.
    pub(crate) fn restore(&mut self, (produced, consumed): (u32, u32)) {
        (self.produced, self.consumed) = (produced, consumed);
    }

    /// Shows the driver what was put in. It runs on this thread, so order is the compiler's business only, and the
    /// writes are volatile.
    #[inline]
    pub(crate) fn publish(&mut self) {
        // SAFETY: `new` was promised that the header stays aligned, readable and writable.
        unsafe { (&raw mut (*self.header).produced).write_volatile(self.produced) };
    }
}

/// An array beside a ring to the driver, with as many places, of which the host writes those that an entry it puts
/// names.
#[derive(Debug)]
pub(crate) struct HostSides<const WORDS: usize>(*mut [u64; WORDS]);

// SAFETY: the pointer leads into the memory of a driver that moves between threads together with its host.
unsafe impl<const WORDS: usize> Send for HostSides<WORDS> {}

impl<const WORDS: usize> HostSides<WORDS> {
    /// # Safety
    ///
    /// The [`QUEUE_CAPACITY`] places at `places` are aligned and stay writable while the array is used.
    pub(crate) unsafe fn new(places: *mut [u64; WORDS]) -> Self {
        HostSides(places)
    }

    /// Writes what belongs to the entry that is the `at`th ever put in.
    #[inline]
    pub(crate) fn set(&mut self, at: u32, words: [u64; WORDS]) {
        // SAFETY: the index is masked; otherwise as `new` was promised.
        unsafe { self.0.add((at & MASK) as usize).write_volatile(words) };
    }
}

impl<const WORDS: usize> HostConsumer<WORDS> {
    /// # Safety
    ///
    /// As for [`HostProducer::new`].
    pub(crate) unsafe fn new(header: *mut RingHeader, entries: *mut [u64; WORDS]) -> Self {
        // SAFETY: the caller promises that the header is aligned and writable.
        unsafe { header.write_volatile(RingHeader::default()) };
        HostConsumer { header, entries, consumed: 0 }
    }

    /// Copies every entry that the driver has put in, and takes it out if `each` accepts it; ends at the first that it
    /// does not.
    #[inline]
    pub(crate) fn take(
        &mut self,
        queue: &'static str,
        mut each: impl FnMut([u64; WORDS]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // SAFETY: `new` was promised that the header stays aligned, readable and writable.
        let produced = unsafe { (&raw const (*self.header).produced).read_volatile() };
        if produced.wrapping_sub(self.consumed) > QUEUE_CAPACITY {
            let rule = "more was put in than the ring holds";
            return Err(Fault::QueueCorrupt { queue, value: produced, rule });
        }
        // Counted beside the field, as in `HostProducer::put`.
        let (ring, mut at, mut outcome) = (self.entries, self.consumed, Ok(()));
        while at != produced {
            // SAFETY: the index is masked, and words are words, whatever is there.
            outcome = each(unsafe { ring.add((at & MASK) as usize).read_volatile() });
            if outcome.is_err() {
                break;
            }
            at = at.wrapping_add(1);
        }
        self.consumed = at;
        outcome
    }

    /// Entries ever taken out.
    pub(crate) fn count(&self) -> u32 {
        self.consumed
    }

    /// Restores the ring to this [`count`](Self::count); its memory was restored before.
    pub(crate) fn restore(&mut self, consumed: u32) {
        self.consumed = consumed;
    }

    /// Puts the last `count` entries back as not taken out; not after [`publish`](Self::publish).
    pub(crate) fn rewind(&mut self, count: u32) {
        self.consumed = self.consumed.wrapping_sub(count);
    }

    /// Shows the driver how far the host is.
    #[inline]
    pub(crate) fn publish(&mut self) {
        // SAFETY: `new` was promised that the header stays aligned, readable and writable.
        unsafe { (&raw mut (*self.header).consumed).write_volatile(self.consumed) };
    }
}
