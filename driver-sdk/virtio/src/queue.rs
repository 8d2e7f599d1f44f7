//! [`Queue`]: the crate's queue, told to the device as a rollback asks for.

use core::ptr::NonNull;
use core::slice;

use nook_sdk::{DmaBytes, Kernel, Status, error};
use virtio_drivers::queue::VirtQueue;
use virtio_regs::NOTIFY;

use crate::Device;
use crate::hal::{self, WindowHal};

/// Buffers of a chain at most, of both directions together.
pub const MOST_PARTS: usize = 4;
/// Bytes of a descriptor (2.7.5).
const DESCRIPTOR_BYTES: usize = 16;
/// Bytes before the entries of the driver area: flags, and the index (2.7.6).
const AVAIL_HEAD_BYTES: usize = 4;
/// Where the index is in the first word.
const INDEX_SHIFT: u32 = 16;

/// What the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What the driver gave with it.
    pub cookie: u32,
    /// How many bytes the device says that it has written.
    pub written: u32,
}

/// A chain that the device has.
#[derive(Clone, Copy)]
struct Chain {
    cookie: u32,
    from: u8,
    into: u8,
    parts: [Part; MOST_PARTS],
}

/// A buffer, by its address.
#[derive(Clone, Copy)]
struct Part {
    addr: usize,
    len: usize,
}

impl Chain {
    const NONE: Chain = Chain { cookie: 0, from: 0, into: 0, parts: [Part { addr: 0, len: 0 }; MOST_PARTS] };

    /// Notes buffers, which must have bytes.
    fn of(cookie: u32, from: &[DmaBytes<'_>], into: &[DmaBytes<'_>]) -> Result<Self, Status> {
        let count = from.len() + into.len();
        if count == 0 || count > MOST_PARTS || from.iter().chain(into).any(|part| part.len_bytes() == 0) {
            return Err(Status::Invalid);
        }
        let mut chain = Chain { cookie, from: from.len() as u8, into: into.len() as u8, ..Chain::NONE };
        for (place, part) in chain.parts.iter_mut().zip(from.iter().chain(into)) {
            let memory = part.as_ptr();
            *place = Part { addr: memory.addr().get(), len: memory.len() };
        }
        Ok(chain)
    }

    fn count(&self) -> usize {
        usize::from(self.from + self.into)
    }

    /// Has `with` use the buffers as the crate wants to see them.
    ///
    /// # Safety
    /// The buffers lie in the window, and the device does not use them: not yet, or not any more.
    unsafe fn with<R>(&self, with: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R) -> R {
        let mut from: [&[u8]; MOST_PARTS] = [&[]; MOST_PARTS];
        let mut into: [&mut [u8]; MOST_PARTS] = core::array::from_fn(|_| Default::default());
        let (read, written) = self.parts[..self.count()].split_at(self.from.into());
        for (place, part) in from.iter_mut().zip(read) {
            // SAFETY: the caller vouches for the memory, which stays while the driver does; nobody writes to it while
            // the crate looks at the slice's address and length.
            *place = unsafe { slice::from_raw_parts(part.addr as *const u8, part.len) };
        }
        for (place, part) in into.iter_mut().zip(written) {
            // SAFETY: the caller vouches for this memory too; only the address and length of the slice are used.
            *place = unsafe { slice::from_raw_parts_mut(part.addr as *mut u8, part.len) };
        }
        with(&from[..read.len()], &mut into[..written.len()])
    }
}

/// A queue of `SIZE` descriptors, of the crate's [`VirtQueue`].
///
/// Each call into the driver that uses it begins with [`begin`](Self::begin) and ends with [`end`](Self::end). What is
/// added in between, the device learns at the next `begin`: so a driver whose `end` says that something is waiting asks
/// to be polled again at once.
pub struct Queue<const SIZE: usize> {
    ring: VirtQueue<WindowHal, SIZE>,
    index: u16,
    /// The driver's side: where the crate has it, and where it is in the arena.
    private: NonNull<u8>,
    offset: u32,
    /// How far the device may look, as it was last shown.
    told: u16,
    chains: [Chain; SIZE],
}

impl<const SIZE: usize> Queue<SIZE> {
    const DESCRIPTORS: usize = SIZE * DESCRIPTOR_BYTES;

    /// Sets up the queue with this number; see [`Device::queue`].
    fn new<K: Kernel>(device: &mut Device<K>, index: u16) -> Result<Self, Status> {
        const { assert!(SIZE >= 4 && SIZE <= 128, "a queue has 4 to 128 descriptors: its driver's side is one page") }
        let ring = VirtQueue::new(device, index, false, false).map_err(|why| {
            error!(device.nook(), "queue {index} of {SIZE} entries: {why}");
            Status::Unsupported
        })?;
        device.outcome()?;
        let (offset, private) = hal::private_page(device.last_set).ok_or(Status::Invalid)?;
        Ok(Queue { ring, index, private, offset, told: 0, chains: [Chain::NONE; SIZE] })
    }

    /// Returns a part of the driver's side, as the crate has left it.
    fn private(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: the callers' parts lie in the queue's driver area, which lies in the page that it was given and that
        // nobody else has. The crate writes there in `&mut` methods of `ring` only, so not while this is borrowed.
        unsafe { slice::from_raw_parts(self.private.as_ptr().add(at), len) }
    }

    /// Returns the first word behind the descriptors: flags, index and the first two entries.
    fn head(&self) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(self.private(Self::DESCRIPTORS, 8));
        u64::from_le_bytes(word)
    }

    /// Returns how far the device may look when this call has counted.
    fn added(&self) -> u16 {
        (self.head() >> INDEX_SHIFT) as u16
    }

    /// Tells the device what earlier calls have added. First of all in a call: what is added before it in the same call
    /// would be shown without being there, if the call is rolled back.
    #[inline]
    pub fn begin<K: Kernel>(&mut self, device: &Device<K>) {
        let head = self.head();
        let added = (head >> INDEX_SHIFT) as u16;
        if added == self.told {
            return;
        }
        // The place is the queue's own: it is there.
        let _ = device.arena().write_for_good(self.offset + Self::DESCRIPTORS as u32, head);
        device.regs().write(NOTIFY.get(self.index.into()), self.index);
        self.told = added;
    }

    /// Makes what this call has added ready to be shown. Returns whether there is something that the device does not
    /// know of: then the driver has to be called again, soon.
    #[inline]
    pub fn end<K: Kernel>(&mut self, device: &Device<K>) -> bool {
        if self.added() == self.told {
            return false;
        }
        let (arena, at) = (device.arena(), self.offset);
        let entries = Self::DESCRIPTORS + AVAIL_HEAD_BYTES;
        // The places are the queue's own: they are there. Descriptors that the device has are written as they are.
        let _ = arena.write_bytes(at, self.private(0, Self::DESCRIPTORS));
        let _ = arena.write_bytes(at + entries as u32, self.private(entries, 2 * SIZE));
        true
    }

    /// Returns how many more buffers fit in.
    #[inline]
    pub fn room(&self) -> usize {
        self.ring.available_desc()
    }

    /// Adds a chain of buffers: those `from` which the device reads, then those `into` which it writes. They are the
    /// device's until the chain is [taken](Self::take), and must lie in the window.
    ///
    /// # Errors
    /// `Busy` if there is no room for it; `Invalid` without buffers, with more than [`MOST_PARTS`], or with an empty
    /// one.
    pub fn add(&mut self, cookie: u32, from: &[DmaBytes<'_>], into: &[DmaBytes<'_>]) -> Result<(), Status> {
        let chain = Chain::of(cookie, from, into)?;
        if self.room() < chain.count() {
            return Err(Status::Busy);
        }
        // SAFETY: `DmaBytes` lie in the window, and what a driver adds it has got back, or never gave.
        let added = unsafe { chain.with(|from, into| self.ring.add(from, into)) };
        let token = added.map_err(|_| Status::Busy)?;
        if let Some(place) = self.chains.get_mut(usize::from(token)) {
            *place = chain;
        }
        Ok(())
    }

    /// Takes a chain that the device is done with, in the device's order.
    ///
    /// # Errors
    /// `DeviceFailed` if the device says that it is done with what it does not have: only a reset mends that.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Used>, Status> {
        let Some(token) = self.ring.peek_used() else { return Ok(None) };
        let chain = match self.chains.get(usize::from(token)) {
            Some(chain) if chain.count() > 0 => *chain,
            _ => return Err(Status::DeviceFailed),
        };
        // SAFETY: these are the buffers of that chain, which the device has used.
        let taken = unsafe { chain.with(|from, into| self.ring.pop_used(token, from, into)) };
        let written = taken.map_err(|_| Status::DeviceFailed)?;
        self.chains[usize::from(token)] = Chain::NONE;
        Ok(Some(Used { cookie: chain.cookie, written }))
    }
}

impl<K: Kernel> Device<K> {
    /// Sets up a queue of `SIZE` descriptors, 4 to 128, a power of two. Between [`negotiate`](Self::negotiate) and
    /// [`start`](Self::start), and each once.
    ///
    /// # Errors
    /// `Unsupported` if the device has no such queue, or a shorter one. The log has the reason.
    pub fn queue<const SIZE: usize>(&mut self, index: u16) -> Result<Queue<SIZE>, Status> {
        Queue::new(self, index)
    }
}
