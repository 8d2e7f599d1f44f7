//! Queues between host and driver.
//!
//! Host and driver use one on the same thread, never at the same time, so its counters and entries need no atomics: an
//! entry call is a barrier.

use core::marker::PhantomData;

use nook_abi::{Addr, QUEUE_CAPACITY, RingHeader};

use super::scratch;

/// A queue as memory. Entries are copied as `WORDS` words: field by field it would be more loads and stores, which
/// neither compiler of wasm joins, and each store of a driver that can be rolled back is logged.
#[repr(C)]
struct Layout<const WORDS: usize> {
    header: RingHeader,
    entries: [[u64; WORDS]; QUEUE_CAPACITY as usize],
}

const _: () = assert!(QUEUE_CAPACITY.is_power_of_two());

/// A queue, by its address. An entry's index is taken modulo the capacity.
#[derive(Debug)]
pub(crate) struct QueueMemory<const WORDS: usize> {
    layout: *mut Layout<WORDS>,
    /// Not for another thread.
    thread: PhantomData<*mut ()>,
}

impl<const WORDS: usize> QueueMemory<WORDS> {
    /// How long it is.
    pub(crate) const LEN_BYTES: usize = size_of::<Layout<WORDS>>();

    /// # Safety
    /// A queue with entries of `WORDS` words is at `addr`, aligned to 8 bytes and valid for reads and writes while the
    /// result is used. The host uses it only between calls into the driver, and nobody makes a reference to it.
    pub(crate) const unsafe fn new(addr: Addr) -> Self {
        QueueMemory { layout: addr as *mut Layout<WORDS>, thread: PhantomData }
    }

    /// Reads both counters.
    #[inline(always)]
    pub(crate) fn header(&self) -> RingHeader {
        // SAFETY: the queue is valid (`new`), and this thread alone uses it now.
        unsafe { (&raw const (*self.layout).header).read() }
    }

    /// Writes the counter of what was put in.
    #[inline(always)]
    pub(crate) fn set_produced(&self, produced: u32) {
        // SAFETY: the queue is valid (`new`), and this thread alone uses it now.
        unsafe { (&raw mut (*self.layout).header.produced).write(produced) }
    }

    /// Writes the counter of what was taken out.
    #[inline(always)]
    pub(crate) fn set_consumed(&self, consumed: u32) {
        // SAFETY: the queue is valid (`new`), and this thread alone uses it now.
        unsafe { (&raw mut (*self.layout).header.consumed).write(consumed) }
    }

    #[inline(always)]
    fn entry(&self, at: u32) -> *mut [u64; WORDS] {
        let index = (at & (QUEUE_CAPACITY - 1)) as usize;
        // SAFETY: the queue is valid (`new`), and the index is below its capacity.
        unsafe { (&raw mut (*self.layout).entries).cast::<[u64; WORDS]>().add(index) }
    }

    /// Returns where the entry at counter `at` is, and how many lie one after the other from there on.
    #[inline(always)]
    pub(super) fn run(&self, at: u32) -> (*mut [u64; WORDS], u32) {
        (self.entry(at), QUEUE_CAPACITY - (at & (QUEUE_CAPACITY - 1)))
    }

    /// Reads the entry at counter `at`.
    #[inline(always)]
    pub(crate) fn get(&self, at: u32) -> [u64; WORDS] {
        // SAFETY: `entry` gives an entry of this queue, which is valid (`new`), and this thread alone uses it now.
        unsafe { self.entry(at).read() }
    }

    /// Writes the entry at counter `at`, which is not between the counters: a rollback leaves it, see
    /// [`scratch`].
    #[inline(always)]
    pub(crate) fn set_free(&self, at: u32, words: [u64; WORDS]) {
        // SAFETY: `entry` gives an entry of this queue, which is valid (`new`), and this thread alone uses it now.
        unsafe { scratch::write(self.entry(at), 0, words) }
    }

    /// Writes the entry at counter `at`.
    #[inline(always)]
    pub(crate) fn set(&self, at: u32, words: [u64; WORDS]) {
        // SAFETY: `entry` gives an entry of this queue, which is valid (`new`), and this thread alone uses it now.
        unsafe { self.entry(at).write(words) }
    }
}

/// An array beside a queue, with a place for each of its entries, by its address.
#[derive(Debug)]
pub(crate) struct SideMemory<const WORDS: usize> {
    places: *mut [u64; WORDS],
    /// Not for another thread.
    thread: PhantomData<*mut ()>,
}

impl<const WORDS: usize> SideMemory<WORDS> {
    /// # Safety
    /// As for [`QueueMemory::new`], of an array of as many places of `WORDS` words as a queue has entries.
    pub(crate) const unsafe fn new(addr: Addr) -> Self {
        SideMemory { places: addr as *mut [u64; WORDS], thread: PhantomData }
    }

    fn place(&self, at: u32) -> *mut [u64; WORDS] {
        // SAFETY: the array has as many places (`new`), and the index is below that.
        unsafe { self.places.add((at & (QUEUE_CAPACITY - 1)) as usize) }
    }

    /// Reads what is beside the entry at counter `at`.
    pub(crate) fn get(&self, at: u32) -> [u64; WORDS] {
        // SAFETY: `place` gives a place of this array, which is valid (`new`), and this thread alone uses it now.
        unsafe { self.place(at).read() }
    }

    /// Writes what is beside the entry at counter `at`.
    pub(crate) fn set(&self, at: u32, words: [u64; WORDS]) {
        // SAFETY: `place` gives a place of this array, which is valid (`new`), and this thread alone uses it now.
        unsafe { self.place(at).write(words) }
    }
}
