//! The host's ends of the rings. The host keeps its own counters; the driver's are read once and checked.
#![expect(unsafe_code, reason = "rings lie in memory that a driver writes, and are reached by raw pointers only")]

use nook_abi::net::{EntryWords, QueueEntry};
use nook_abi::{Fault, QUEUE_CAPACITY, RingHeader};

const MASK: u32 = QUEUE_CAPACITY - 1;

/// Puts entries in for the driver.
#[derive(Debug)]
pub(crate) struct HostProducer {
    header: *mut RingHeader,
    entries: *mut EntryWords,
    /// Entries ever put in: the host's own count.
    produced: u32,
    /// Entries that the driver had taken out when it was last asked.
    consumed: u32,
}

/// Takes entries out that the driver put in.
#[derive(Debug)]
pub(crate) struct HostConsumer {
    header: *mut RingHeader,
    entries: *mut EntryWords,
    /// Entries ever taken out: the host's own count.
    consumed: u32,
}

// SAFETY: the pointers lead into the memory of a driver that moves between threads together with its host.
unsafe impl Send for HostProducer {}
// SAFETY: its pointers lead into that memory, too.
unsafe impl Send for HostConsumer {}

impl HostProducer {
    /// # Safety
    ///
    /// `header` and the [`QUEUE_CAPACITY`] entries at `entries` are aligned and stay readable and writable while the
    /// producer is used.
    pub(crate) unsafe fn new(header: *mut RingHeader, entries: *mut EntryWords) -> Self {
        // SAFETY: the caller promises that the header is aligned and writable.
        unsafe { header.write_volatile(RingHeader::default()) };
        HostProducer { header, entries, produced: 0, consumed: 0 }
    }

    /// Reads how far the driver is, and checks it; that counts only after [`sync`](Self::sync).
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
    pub(crate) fn sync(&mut self, queue: &'static str) -> Result<(), Fault> {
        self.consumed = self.look(queue)?;
        Ok(())
    }

    /// Entries that the driver had not taken out when it was last asked.
    pub(crate) fn waiting(&self) -> u32 {
        self.produced.wrapping_sub(self.consumed)
    }

    /// Returns how many entries fit.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        QUEUE_CAPACITY - self.waiting()
    }

    /// Puts an entry in; the caller has asked [`room`](Self::room). Visible after [`publish`](Self::publish).
    #[inline]
    pub(crate) fn push(&mut self, entry: &QueueEntry) {
        debug_assert!(self.room() > 0);
        // SAFETY: the index is masked; otherwise as `new` was promised.
        unsafe { self.entries.add((self.produced & MASK) as usize).write_volatile(entry.to_words()) };
        self.produced = self.produced.wrapping_add(1);
    }

    /// Takes the newest `count` entries out again, which the driver had not taken when it was last asked; the caller
    /// has asked [`waiting`](Self::waiting).
    pub(crate) fn retract(&mut self, count: u32) {
        debug_assert!(count <= self.waiting());
        self.produced = self.produced.wrapping_sub(count);
        self.publish();
    }

    /// Returns the number of the next entry to be put in: counts entries ever put in.
    #[inline]
    pub(crate) fn produced(&self) -> u32 {
        self.produced
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

impl HostConsumer {
    /// # Safety
    ///
    /// As for [`HostProducer::new`].
    pub(crate) unsafe fn new(header: *mut RingHeader, entries: *mut EntryWords) -> Self {
        // SAFETY: the caller promises that the header is aligned and writable.
        unsafe { header.write_volatile(RingHeader::default()) };
        HostConsumer { header, entries, consumed: 0 }
    }

    /// Returns how many entries the driver has put in, checked.
    pub(crate) fn available(&self, queue: &'static str) -> Result<u32, Fault> {
        // SAFETY: `new` was promised that the header stays aligned, readable and writable.
        let produced = unsafe { (&raw const (*self.header).produced).read_volatile() };
        let available = produced.wrapping_sub(self.consumed);
        if available > QUEUE_CAPACITY {
            let rule = "more was put in than the ring holds";
            return Err(Fault::QueueCorrupt { queue, value: produced, rule });
        }
        Ok(available)
    }

    /// Copies the next entry; the caller has asked [`available`](Self::available).
    #[inline]
    pub(crate) fn pop(&mut self) -> QueueEntry {
        // SAFETY: the index is masked, and words are words, whatever is there.
        let words = unsafe { self.entries.add((self.consumed & MASK) as usize).read_volatile() };
        self.consumed = self.consumed.wrapping_add(1);
        QueueEntry::from_words(words)
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
