//! [`CompletionRing`]: the device fills slots, and the driver gives them back.

use core::marker::PhantomData;

use nook_abi::Status;

use super::{Announced, Done, Finished, Phase, next};
use crate::raw::{Slots, Span};
use crate::{DmaBytes, DmaRegion, Kernel, Nook};

/// A ring of `N` (a power of two, 2 to 65,536) slots of `SLOT` bytes that the device fills one after the other. `D` is
/// how it says that it has filled one.
///
/// The device has all slots at first, and those again that the driver has taken and released. Taking a slot and
/// releasing it are two steps, because the device may overwrite it after the second.
///
/// ```
/// # use nook_sdk::{ByCounter, CompletionRing, Phase};
/// /// Completions of NVM Express: bit 16 of the last of four words is the phase.
/// type Completions<K> = CompletionRing<K, 1024, 16, Phase<3, 0x1_0000>>;
/// /// The used ring of a split virtqueue, whose index of 16 bits lies before it.
/// type Used<K> = CompletionRing<K, 256, 8, ByCounter<16>>;
///
/// /// Takes what is there, and says in a doorbell how far.
/// # use nook_sdk::{Kernel, Register, Regs};
/// fn take<K: Kernel>(ring: &mut Completions<K>, regs: &Regs<K>, head: Register<u32>, mut each: impl FnMut(u32)) {
///     let mut taken = ring.take();
///     while let Some(completion) = taken.next() {
///         each(completion.word(3) & 0xffff);
///     }
///     drop(taken);
///     if let Some(at) = ring.release() {
///         regs.write(head, at);
///     }
/// }
/// ```
pub struct CompletionRing<K: Kernel, const N: usize, const SLOT: usize, D> {
    memory: DmaRegion<K>,
    /// What lies before the first slot.
    head: Span,
    slots: Slots<SLOT, N>,
    taken: u32,
    released: u32,
    done: PhantomData<D>,
}

impl<K: Kernel, const N: usize, const SLOT: usize, D: Done> CompletionRing<K, N, SLOT, D> {
    /// Creates a ring in fresh DMA memory, zeroed and aligned to 4096 bytes. Process context only.
    pub fn new(nook: Nook<K>) -> Result<Self, Status> {
        Self::with_head(nook, 0)
    }

    /// Creates one with `head_bytes` (a multiple of 8) of memory before it, for what a device has there: its index.
    pub fn with_head(nook: Nook<K>, head_bytes: u32) -> Result<Self, Status> {
        let len_bytes = Slots::<SLOT, N>::LEN_BYTES;
        let memory = nook.dma_alloc(head_bytes.checked_add(len_bytes).ok_or(Status::Invalid)?, 4096)?;
        let head = memory.span().part(0, head_bytes)?;
        let slots = Slots::new(memory.span().part(head_bytes, len_bytes)?)?;
        Ok(CompletionRing { memory, head, slots, taken: 0, released: 0, done: PhantomData })
    }

    /// Returns where the device finds the first slot.
    pub fn iova(&self) -> u64 {
        self.memory.iova() + u64::from(self.head.len_bytes())
    }

    /// Returns how long the slots are together.
    pub fn len_bytes(&self) -> u32 {
        Slots::<SLOT, N>::LEN_BYTES
    }

    /// Returns the memory before the first slot, which ends where that begins.
    #[inline(always)]
    pub fn head(&self) -> DmaBytes<'_> {
        DmaBytes::new(self.head)
    }

    /// Returns how many were ever taken: moves while the device makes progress.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Gives everything that was reclaimed to the device. The result is the new head, from 0 to N - 1, for the
    /// device's register if it has one; `None` if nothing is new.
    #[inline(always)]
    pub fn release(&mut self) -> Option<u32> {
        if self.taken == self.released {
            return None;
        }
        self.released = self.taken;
        Some(self.taken & (N as u32 - 1))
    }

    /// Begins again with slot 0 on the first lap, and zeroes all slots and the head: what an earlier life of the device
    /// left there would pass for new. The device must be quiet.
    pub fn clear(&mut self) -> Result<(), Status> {
        (self.taken, self.released) = (0, 0);
        self.memory.bytes().fill(0, self.memory.len_bytes(), 0)
    }

    /// Returns where the slots end that the device may have filled.
    #[inline(always)]
    fn end(&self) -> u32 {
        self.released.wrapping_add(N as u32)
    }

    #[inline(always)]
    fn take_until(&mut self, end: u32) -> Taken<'_, N, SLOT, D> {
        Taken { slots: self.slots, at: self.taken, end, taken: &mut self.taken, done: PhantomData }
    }
}

impl<K: Kernel, const N: usize, const SLOT: usize, const WORD: usize, const MASK: u32>
    CompletionRing<K, N, SLOT, Phase<WORD, MASK>>
{
    /// Begins a batch of taking what the device has filled, as the slots say; at most `N` between two releases. The
    /// batch ends, and counts, when the result is dropped.
    #[inline(always)]
    pub fn take(&mut self) -> Taken<'_, N, SLOT, Phase<WORD, MASK>> {
        self.take_until(self.end())
    }
}

impl<K: Kernel, const N: usize, const SLOT: usize, D: Announced> CompletionRing<K, N, SLOT, D> {
    /// Begins a batch of taking what the device has filled: up to where it `announced` to be, which is checked.
    /// [`Status::DeviceFailed`] if it cannot have filled that many. The batch ends, and counts, when the result is
    /// dropped.
    #[inline(always)]
    pub fn take_to(&mut self, announced: u32) -> Result<Taken<'_, N, SLOT, D>, Status> {
        let (taken, most) = (self.taken, self.end().wrapping_sub(self.taken));
        let filled = D::distance(announced, taken, N as u32).filter(|filled| *filled <= most);
        Ok(self.take_until(taken.wrapping_add(filled.ok_or(Status::DeviceFailed)?)))
    }
}

/// A batch of taking.
pub struct Taken<'a, const N: usize, const SLOT: usize, D> {
    slots: Slots<SLOT, N>,
    at: u32,
    end: u32,
    taken: &'a mut u32,
    done: PhantomData<D>,
}

impl<const N: usize, const SLOT: usize, D: Done> Taken<'_, N, SLOT, D> {
    /// Takes the oldest slot, if the device has filled it.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // It lends: the device may fill the slot again once it was released.
    pub fn next(&mut self) -> Option<Finished<'_, (), SLOT, N>> {
        next::<D, (), SLOT, N>(self.slots, &mut self.at, self.end, |_| ())
    }
}

impl<const N: usize, const SLOT: usize, D> Drop for Taken<'_, N, SLOT, D> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.taken = self.at;
    }
}
