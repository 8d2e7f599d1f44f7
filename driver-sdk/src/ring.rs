//! Rings of 16-byte descriptors in DMA memory, shared with a device that may write at any time.
//!
//! Who owns a slot is decided by three free-running counters, `reaped <= published <= filled <= reaped + N - 1`:
//! the device owns the slots from `reaped` to `published`, the driver the others. The types allow filling only the
//! driver's, and reading one of the device's only after its done bit was seen.
//!
//! How a slot changes hands, and why it is enough:
//!
//! - *To the device.* A slot is filled with plain stores, and [`DescriptorRing::publish`] orders them before the
//!   doorbell that the caller writes next. In wasm the doorbell is an import call, which neither LLVM nor Cranelift
//!   moves a store across, so a compiler fence is all that is needed (`atomic.fence` would cost 13 ns). The host makes
//!   the real register access with the ordering that its bus needs. Natively on x86-64, stores are seen in program
//!   order, so a compiler fence is enough there too; other architectures get a real release fence.
//! - *To the driver.* The done bit is read by an acquire load: `i32.atomic.load` in wasm. Wasm has no volatile: a plain
//!   load in a loop may be merged with the one before and then never sees the device's write. All other words that the
//!   device writes are read after it, by atomic loads for the same reason.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};

use nook_abi::Status;

use crate::{DmaRegion, Kernel, Nook};

/// Bytes of a descriptor.
const SLOT_BYTES: u32 = 16;

/// The word of a slot, of four, that has the done bit.
const DONE_WORD: usize = 3;

/// One descriptor as memory.
type Slot = [u64; 2];

/// A ring of `N` (a power of two, 8 to 4096) descriptors, and a `T` that the driver keeps beside each while the device
/// has it. At most `N - 1` are in use, because devices take equal head and tail for an empty ring.
pub struct DescriptorRing<K: Kernel, T, const N: usize> {
    memory: DmaRegion<K>,
    kept: [T; N],
    filled: u32,
    published: u32,
    reaped: u32,
}

/// Where counter `at` points.
#[inline(always)]
const fn index<const N: usize>(at: u32) -> usize {
    at as usize & (N - 1)
}

impl<K: Kernel, T: Copy + Default, const N: usize> DescriptorRing<K, T, N> {
    const SIZE: () = assert!(N.is_power_of_two() && N >= 8 && N <= 4096);

    /// An empty ring in fresh DMA memory, aligned to 4096 bytes. Process context only.
    pub fn new(nook: Nook<K>) -> Result<Self, Status> {
        let () = Self::SIZE;
        let memory = nook.dma_alloc(N as u32 * SLOT_BYTES, 4096)?;
        Ok(DescriptorRing { memory, kept: [T::default(); N], filled: 0, published: 0, reaped: 0 })
    }

    /// Where the device finds it.
    pub fn iova(&self) -> u64 {
        self.memory.iova()
    }

    /// How long it is.
    pub fn len_bytes(&self) -> u32 {
        self.memory.len_bytes()
    }

    /// How many descriptors the device has.
    pub fn in_flight(&self) -> u32 {
        self.published.wrapping_sub(self.reaped)
    }

    /// How many were ever taken back: moves while the device makes progress.
    pub fn reaped(&self) -> u32 {
        self.reaped
    }

    #[inline(always)]
    fn slots(&self) -> *mut Slot {
        self.memory.span().addr() as *mut Slot
    }

    /// Begins a batch of filling. The batch ends, and counts, when the result is dropped.
    #[inline(always)]
    pub fn fill(&mut self) -> Fill<'_, T, N> {
        Fill {
            slots: self.slots(),
            at: self.filled,
            end: self.reaped.wrapping_add(N as u32 - 1),
            kept: &mut self.kept,
            filled: &mut self.filled,
        }
    }

    /// Hands everything that was filled to the device. The result is the new tail for the doorbell, which must be
    /// written next; `None` if nothing is new.
    #[inline(always)]
    pub fn publish(&mut self) -> Option<u32> {
        if self.filled == self.published {
            return None;
        }
        self.published = self.filled;
        // Why this is enough: see the module's documentation.
        #[cfg(any(target_arch = "wasm32", target_arch = "x86_64"))]
        core::sync::atomic::compiler_fence(Ordering::Release);
        #[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
        core::sync::atomic::fence(Ordering::Release);
        Some(index::<N>(self.filled) as u32)
    }

    /// Begins a batch of taking back what the device is done with: slots whose last word (bytes 12 to 15, little
    /// endian) has any bit of `done`. The batch ends, and counts, when the result is dropped.
    #[inline(always)]
    pub fn reap(&mut self, done: u32) -> Reap<'_, T, N> {
        Reap {
            slots: self.slots(),
            at: self.reaped,
            end: self.published,
            done,
            kept: &self.kept,
            reaped: &mut self.reaped,
        }
    }

    /// Takes everything back, done or not, and empties the ring, whose next slot is slot 0. The device must be quiet.
    /// `each` gets what was kept, oldest first.
    pub fn clear(&mut self, mut each: impl FnMut(T)) {
        let mut at = self.reaped;
        while at != self.filled {
            each(self.kept[index::<N>(at)]);
            at = at.wrapping_add(1);
        }
        (self.filled, self.published, self.reaped) = (0, 0, 0);
    }
}

/// A batch of filling.
pub struct Fill<'a, T, const N: usize> {
    slots: *mut Slot,
    kept: &'a mut [T; N],
    at: u32,
    end: u32,
    filled: &'a mut u32,
}

impl<'a, T: Copy, const N: usize> Fill<'a, T, N> {
    /// The next slot, if the driver owns one.
    #[inline(always)]
    pub fn vacant(&mut self) -> Option<Vacant<'_, 'a, T, N>> {
        (self.at != self.end).then_some(Vacant(self))
    }

    /// How many slots the driver owns.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }
}

impl<T, const N: usize> Drop for Fill<'_, T, N> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.filled = self.at;
    }
}

/// A slot that the driver owns; nothing happens if it is not used.
pub struct Vacant<'f, 'a, T, const N: usize>(&'f mut Fill<'a, T, N>);

impl<T: Copy, const N: usize> Vacant<'_, '_, T, N> {
    /// Fills the slot: bytes 0 to 7 and 8 to 15, little endian. The done bit must be clear.
    #[inline(always)]
    pub fn put(self, low: u64, high: u64, kept: T) {
        let Vacant(fill) = self;
        fill.kept[index::<N>(fill.at)] = kept;
        // SAFETY: the region has N slots and the index is below N; the driver owns the slot, so the device does not
        // use it. Volatile, so that natively the stores are made as they stand.
        unsafe {
            let slot = fill.slots.add(index::<N>(fill.at)).cast::<u64>();
            slot.write_volatile(low.to_le());
            slot.add(1).write_volatile(high.to_le());
        }
        fill.at = fill.at.wrapping_add(1);
    }
}

/// A batch of taking back.
pub struct Reap<'a, T, const N: usize> {
    slots: *mut Slot,
    kept: &'a [T; N],
    at: u32,
    end: u32,
    done: u32,
    reaped: &'a mut u32,
}

impl<T: Copy, const N: usize> Reap<'_, T, N> {
    /// The oldest descriptor, if the device is done with it.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // It lends: the slot may be filled again once the batch is over.
    pub fn next(&mut self) -> Option<Done<'_, T>> {
        if self.at == self.end {
            return None;
        }
        let at = index::<N>(self.at);
        // SAFETY: the region has N slots and the index is below N.
        let words = unsafe { self.slots.add(at) }.cast::<u32>();
        // SAFETY: a slot is four aligned words, valid while `self` is; nothing but atomics touches it now.
        let last = u32::from_le(unsafe { AtomicU32::from_ptr(words.add(DONE_WORD)) }.load(Ordering::Acquire));
        if last & self.done == 0 {
            return None;
        }
        self.at = self.at.wrapping_add(1);
        Some(Done { words, last, kept: self.kept[at], batch: PhantomData })
    }
}

impl<T, const N: usize> Drop for Reap<'_, T, N> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.reaped = self.at;
    }
}

/// A descriptor that the device is done with.
pub struct Done<'a, T> {
    words: *mut u32,
    last: u32,
    /// What the driver kept beside it.
    pub kept: T,
    batch: PhantomData<&'a ()>,
}

impl<T> Done<'_, T> {
    /// The word with the done bit: bytes 12 to 15.
    #[inline(always)]
    pub fn last_word(&self) -> u32 {
        self.last
    }

    /// Word `index` of four, modulo 4, read after the done bit was seen.
    #[inline(always)]
    pub fn word(&self, index: usize) -> u32 {
        // SAFETY: one of the slot's four aligned words; nobody fills the slot while the batch lends it.
        u32::from_le(unsafe { AtomicU32::from_ptr(self.words.add(index & 3)) }.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;
    use std::vec::Vec;

    const DONE: u32 = 1;

    fn ring(host: &Host) -> DescriptorRing<crate::testing::Fake, u32, 8> {
        DescriptorRing::new(host.nook()).unwrap()
    }

    fn push(ring: &mut DescriptorRing<crate::testing::Fake, u32, 8>, kept: u32) -> bool {
        let mut fill = ring.fill();
        let Some(slot) = fill.vacant() else { return false };
        slot.put(u64::from(kept) << 32, 0, kept);
        true
    }

    #[test]
    fn one_slot_stays_empty_so_that_full_is_not_taken_for_empty() {
        let host = Host::new();
        let mut ring = ring(&host);
        assert_eq!((0..20).filter(|&i| push(&mut ring, i)).count(), 7);
        assert_eq!(ring.publish(), Some(7));
        assert_eq!(ring.publish(), None);
        assert_eq!(ring.in_flight(), 7);
    }

    #[test]
    fn a_slot_is_taken_back_only_after_its_done_bit() {
        let host = Host::new();
        let mut ring = ring(&host);
        (0..3).for_each(|i| assert!(push(&mut ring, i)));
        ring.publish();
        assert!(ring.reap(DONE).next().is_none());
        // The device is done with the second one only: order is kept.
        host.device_writes(0, 1, [5, 6, 7, DONE | 8]);
        assert!(ring.reap(DONE).next().is_none());
        host.device_writes(0, 0, [1, 2, 3, DONE]);
        let mut reap = ring.reap(DONE);
        let first = reap.next().unwrap();
        assert_eq!((first.kept, first.word(2), first.last_word()), (0, 3, DONE));
        let second = reap.next().unwrap();
        assert_eq!((second.kept, second.word(0), second.last_word()), (1, 5, DONE | 8));
        assert!(reap.next().is_none());
        drop(reap);
        assert_eq!((ring.in_flight(), ring.reaped()), (1, 2));
    }

    #[test]
    fn what_was_filled_but_not_published_is_not_taken_back() {
        let host = Host::new();
        let mut ring = ring(&host);
        assert!(push(&mut ring, 9));
        host.device_writes(0, 0, [0, 0, 0, DONE]);
        assert!(ring.reap(DONE).next().is_none());
        ring.publish();
        assert!(ring.reap(DONE).next().is_some());
    }

    #[test]
    fn slots_hold_what_was_put_and_wrap_around() {
        let host = Host::new();
        let mut ring = ring(&host);
        for round in 0..100 {
            assert!(push(&mut ring, round));
            assert_eq!(ring.publish(), Some((round + 1) % 8));
            assert_eq!(host.slot(0, round as usize % 8), [0, round, 0, 0]);
            host.device_writes(0, round as usize % 8, [0, 0, 0, DONE]);
            assert_eq!(ring.reap(DONE).next().map(|done| done.kept), Some(round));
        }
    }

    #[test]
    fn clearing_gives_everything_back_in_order_and_starts_at_slot_0() {
        let host = Host::new();
        let mut ring = ring(&host);
        (0..5).for_each(|i| assert!(push(&mut ring, i)));
        ring.publish();
        host.device_writes(0, 0, [0, 0, 0, DONE]);
        assert!(ring.reap(DONE).next().is_some());
        let mut kept = Vec::new();
        ring.clear(|item| kept.push(item));
        assert_eq!(kept, [1, 2, 3, 4]);
        assert_eq!(ring.in_flight(), 0);
        push(&mut ring, 0);
        assert_eq!(ring.publish(), Some(1));
    }

    #[test]
    fn dropping_a_ring_frees_its_memory() {
        let host = Host::new();
        drop(ring(&host));
        assert_eq!(host.calls(), ["dma_alloc [128, 4096]", "dma_free [1]"]);
    }
}
