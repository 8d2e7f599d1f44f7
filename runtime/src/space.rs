//! A driver's memory as the host sees it: addresses become pointers here and nowhere else.
//!
//! The host makes no Rust reference into this memory, because the driver or its device may write to it: every access
//! is volatile, and what was read is used from the copy.
#![expect(unsafe_code, reason = "a driver's memory is reached by raw pointers only")]

use nook_abi::{HostPage, RingHeader};
use nook_bus::VolatileSlice;

use crate::ring::{HostConsumer, HostProducer, HostSides};

/// Where a driver's memory and the shared things in it are.
///
/// For a wasm driver, addresses count from the start of linear memory; for a native one they are this process's own;
/// for one in another process they are those of that process.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    base: *mut u8,
    /// The driver's address of what is at `base`.
    origin: u64,
    len_bytes: u64,
    places: RegionAddrs,
}

/// Addresses, in the driver's memory, of what it shares with the host.
#[derive(Clone, Copy, Debug)]
pub struct RegionAddrs {
    /// The heap.
    pub heap: u64,
    /// The host page.
    pub host_page: u64,
    /// The rings.
    pub rings: [u64; 4],
    /// The window.
    pub window: u64,
}

// SAFETY: a Space is only ever used by the thread that drives the nook; moving the nook moves all of it.
unsafe impl Send for Space {}

impl Space {
    /// Describes a memory of `len_bytes` at `base`, with what is shared at these places.
    ///
    /// # Safety
    ///
    /// All of it stays mapped, readable and writable for as long as the `Space` is used; the host page (one page) and
    /// the rings (each as long as its class has them, aligned to 64) lie inside it.
    pub unsafe fn new(base: *mut u8, len_bytes: u64, places: RegionAddrs) -> Self {
        Space { base, origin: 0, len_bytes, places }
    }

    /// Describes a memory that the driver has at `origin` and this process at `base`.
    ///
    /// # Safety
    ///
    /// As for [`new`](Self::new).
    pub unsafe fn beginning_at(origin: u64, base: *mut u8, len_bytes: u64, places: RegionAddrs) -> Self {
        Space { base, origin, len_bytes, places }
    }

    /// Returns the length of the whole memory.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Returns the address of the heap.
    pub fn heap_addr(&self) -> u64 {
        self.places.heap
    }

    /// Returns the address of the host page.
    pub fn host_page_addr(&self) -> u64 {
        self.places.host_page
    }

    /// Returns the address of the window.
    pub fn window_addr(&self) -> u64 {
        self.places.window
    }

    /// Returns the addresses of the rings.
    pub fn ring_addrs(&self) -> [u64; 4] {
        self.places.rings
    }

    fn at<T>(&self, addr: u64) -> *mut T {
        self.base.wrapping_add(addr.wrapping_sub(self.origin) as usize).cast()
    }

    /// Returns memory that a driver named; `None` if it leaves the driver's memory.
    pub fn slice(&self, addr: u64, len_bytes: u64) -> Option<VolatileSlice<'_>> {
        let end = addr.checked_sub(self.origin)?.checked_add(len_bytes)?;
        if end > self.len_bytes {
            return None;
        }
        // SAFETY: the range lies inside the memory, which stays mapped while `self` is used.
        Some(unsafe { VolatileSlice::new(self.at(addr), len_bytes as usize) })
    }

    /// Writes the whole host page.
    pub(crate) fn write_host_page(&self, page: &HostPage) {
        // SAFETY: the host page lies inside the memory and is aligned; nobody holds a reference to it.
        unsafe { self.at::<HostPage>(self.places.host_page).write_volatile(*page) }
    }

    /// Reads the whole host page, for what the driver mailed in it.
    pub(crate) fn read_host_page(&self) -> HostPage {
        // SAFETY: the host page lies inside the memory and is aligned; a HostPage is integers only, so whatever is
        // there is a valid one.
        unsafe { self.at::<HostPage>(self.places.host_page).read_volatile() }
    }

    /// Tells the driver the time.
    #[inline]
    pub(crate) fn write_now(&self, now_ns: u64) {
        let page = self.at::<HostPage>(self.places.host_page);
        // SAFETY: the host page, of which `now_ns` is a field, lies inside the memory and is aligned.
        unsafe { (&raw mut (*page).now_ns).write_volatile(now_ns) }
    }

    /// Says how many doorbells the driver may leave.
    pub(crate) fn write_doorbell_room(&self, room: u32) {
        let page = self.at::<HostPage>(self.places.host_page);
        // SAFETY: the host page, of which `doorbell_room` is a field, lies inside the memory and is aligned.
        unsafe { (&raw mut (*page).doorbell_room).write_volatile(room) }
    }

    /// Reads how many doorbells the driver says that it has left.
    #[inline]
    pub(crate) fn doorbell_count(&self) -> u32 {
        let page = self.at::<HostPage>(self.places.host_page);
        // SAFETY: the host page, of which `doorbell_count` is a field, lies inside the memory and is aligned.
        unsafe { (&raw const (*page).doorbell_count).read_volatile() }
    }

    /// Takes them all: from here on none is left.
    #[inline]
    pub(crate) fn clear_doorbells(&self) {
        let page = self.at::<HostPage>(self.places.host_page);
        // SAFETY: the host page, of which `doorbell_count` is a field, lies inside the memory and is aligned.
        unsafe { (&raw mut (*page).doorbell_count).write_volatile(0) }
    }

    /// Reads one doorbell. One at a time, as the driver wrote them: a wider load would wait for the store buffer.
    ///
    /// # Panics
    /// If there is no such place.
    #[inline]
    pub(crate) fn doorbell(&self, at: usize) -> u64 {
        let page = self.at::<HostPage>(self.places.host_page);
        // SAFETY: the host page, of which `doorbells` is a field, lies inside the memory and is aligned; the index is
        // checked, and words are words, whatever is there.
        unsafe { (&raw const (*page).doorbells[at]).read_volatile() }
    }

    /// Returns the host's end of a ring to the driver: one of those that the class of its manifest has, with entries
    /// of this many words.
    pub(crate) fn producer<const WORDS: usize>(&self, ring: usize) -> HostProducer<WORDS> {
        let (header, entries) = self.ring(ring);
        // SAFETY: the ring lies inside the memory, is aligned and stays mapped while `self` is used.
        unsafe { HostProducer::new(header, entries) }
    }

    /// Returns the host's end of a ring from the driver: as for [`producer`](Self::producer).
    pub(crate) fn consumer<const WORDS: usize>(&self, ring: usize) -> HostConsumer<WORDS> {
        let (header, entries) = self.ring(ring);
        // SAFETY: the ring lies inside the memory, is aligned and stays mapped while `self` is used.
        unsafe { HostConsumer::new(header, entries) }
    }

    /// Returns the array beside a ring to the driver, which is at this address in the ring's part of the memory and
    /// has places of this many words.
    pub(crate) fn sides<const WORDS: usize>(&self, addr: u64) -> HostSides<WORDS> {
        // SAFETY: a class makes the rings' part of the memory long enough for what it has beside a ring, behind it, so
        // it lies inside the memory, is aligned and stays mapped while `self` is used.
        unsafe { HostSides::new(self.at(addr)) }
    }

    fn ring<const WORDS: usize>(&self, ring: usize) -> (*mut RingHeader, *mut [u64; WORDS]) {
        let addr = self.places.rings[ring];
        (self.at(addr), self.at(addr + size_of::<RingHeader>() as u64))
    }
}
