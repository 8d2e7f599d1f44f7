//! [`DescriptorRing`]: the driver fills slots, and the device gives them back.
//!
//! Who owns a slot is decided by three free-running counters, `reaped <= published <= filled <= reaped + N - 1`:
//! the device owns the slots from `reaped` to `published`, the driver the others. The types allow filling only the
//! driver's, and reading one of the device's only after the device was seen to be done with it.
//!
//! What a call fills is [scratch](crate::raw) as far as it was free when the call began, and so is what the SDK's loops
//! keep beside it: nobody reads a slot that is not filled, or what is kept there, and a rollback puts the counters
//! back. A slot that the same call has reclaimed is not: the call may be made again, and needs what the device wrote
//! there. So such slots are filled with stores that are logged, and so are all of a device that may look at any slot at
//! any time ([`OwnBit`]). With twice as many slots as are ever in use no call needs one that it has reclaimed.
//!
//! [`OwnBit`]: crate::OwnBit

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, compiler_fence};

use nook_abi::Status;

use super::{Announced, Done, Finished, InSlot, finished, look, next};
use crate::raw::{self, QueueMemory, Slots, Words};
use crate::{DmaRegion, Kernel, Nook};

/// A ring of `N` (a power of two, 2 to 65,536) descriptors of `SLOT` bytes, and a `T` that the driver keeps beside each
/// while the device has it. At most `N - 1` are in use, because devices take equal head and tail for an empty ring. `D`
/// is how the device says that it is done with one.
///
/// ```
/// # use nook_sdk::{ByIndex, DescriptorRing, DoneBit, OwnBit};
/// # struct Buffer;
/// # struct Request;
/// /// 16 bytes; the device sets bit 0 of the last word.
/// type Receive<K> = DescriptorRing<K, Buffer, 256, 16, DoneBit<3, 1>>;
/// /// 16 bytes; the highest bit of the first word says that the device has it.
/// type Owned<K> = DescriptorRing<K, Buffer, 64, 16, OwnBit<0, 0x8000_0000>>;
/// /// Commands of 64 bytes, of which another ring says how many were taken.
/// type Submit<K> = DescriptorRing<K, Request, 1024, 64, ByIndex>;
/// ```
///
/// Slot by slot:
///
/// ```
/// # use nook_sdk::{DescriptorRing, DoneBit, Kernel, Register, Regs};
/// type Ring<K> = DescriptorRing<K, u32, 256, 16, DoneBit<3, 1>>;
///
/// /// Gives the device a buffer, if there is a slot. What is kept is its number.
/// fn give<K: Kernel>(ring: &mut Ring<K>, regs: &Regs<K>, tail: Register<u32>, iova: u64, number: u32) -> bool {
///     let mut fill = ring.fill();
///     let Some(slot) = fill.vacant() else { return false };
///     slot.put([iova, 2048], number);
///     drop(fill);
///     if let Some(at) = ring.publish() {
///         regs.write(tail, at);
///     }
///     true
/// }
///
/// /// Reclaims what the device is done with; `each` gets a buffer's number and its length, as the device has it.
/// fn reclaim<K: Kernel>(ring: &mut Ring<K>, mut each: impl FnMut(u32, u32)) {
///     let mut reap = ring.reap();
///     while let Some(done) = reap.next() {
///         each(done.kept, done.word(2));
///     }
/// }
/// ```
pub struct DescriptorRing<K: Kernel, T, const N: usize, const SLOT: usize, D> {
    memory: DmaRegion<K>,
    slots: Slots<SLOT, N>,
    kept: [T; N],
    filled: u32,
    published: u32,
    reaped: u32,
    /// The last call that used the ring, and where the slots end that were free when it began.
    call: u32,
    free_end: u32,
    done: PhantomData<D>,
}

/// Returns where counter `at` points.
#[inline(always)]
const fn index<const N: usize>(at: u32) -> usize {
    at as usize & (N - 1)
}

impl<K: Kernel, T: Copy + Default, const N: usize, const SLOT: usize, D: Done> DescriptorRing<K, T, N, SLOT, D> {
    /// Creates an empty ring in fresh DMA memory, aligned to 4096 bytes. Process context only.
    pub fn new(nook: Nook<K>) -> Result<Self, Status> {
        let memory = nook.dma_alloc(Slots::<SLOT, N>::LEN_BYTES, 4096)?;
        let slots = Slots::new(memory.span())?;
        let kept = [T::default(); N];
        let (call, free_end) = (raw::call(), N as u32 - 1);
        Ok(DescriptorRing {
            memory,
            slots,
            kept,
            filled: 0,
            published: 0,
            reaped: 0,
            call,
            free_end,
            done: PhantomData,
        })
    }

    /// Returns where the device finds it.
    pub fn iova(&self) -> u64 {
        self.memory.iova()
    }

    /// Returns how long it is.
    pub fn len_bytes(&self) -> u32 {
        self.memory.len_bytes()
    }

    /// Returns how many descriptors the device has.
    pub fn in_flight(&self) -> u32 {
        self.published.wrapping_sub(self.reaped)
    }

    /// Returns how many were ever reclaimed: moves while the device makes progress.
    pub fn reaped(&self) -> u32 {
        self.reaped
    }

    /// Notes which slots were free when this call began, if it has not used the ring yet.
    #[inline(always)]
    fn note_free(&mut self, call: u32) {
        if self.call != call {
            (self.call, self.free_end) = (call, self.reaped.wrapping_add(N as u32 - 1));
        }
    }

    /// Begins a batch of filling. The batch ends, and counts, when the result is dropped.
    #[inline(always)]
    pub fn fill(&mut self) -> Fill<'_, T, N, SLOT> {
        self.note_free(raw::call());
        let end = self.reaped.wrapping_add(N as u32 - 1);
        // Natively nothing is rolled back.
        let free_end = if cfg!(not(target_arch = "wasm32")) {
            end
        } else if D::TOLD {
            self.free_end
        } else {
            self.filled
        };
        Fill { slots: self.slots, at: self.filled, end, free_end, kept: &mut self.kept, filled: &mut self.filled }
    }

    /// Hands everything that was filled to the device. The result is the new tail, from 0 to N - 1, for the doorbell,
    /// which must be written next; `None` if nothing is new.
    #[inline(always)]
    pub fn publish(&mut self) -> Option<u32> {
        if self.filled == self.published {
            return None;
        }
        self.published = self.filled;
        // Why this is enough: see the documentation of `ring`.
        #[cfg(any(target_arch = "wasm32", target_arch = "x86_64"))]
        compiler_fence(Ordering::Release);
        #[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
        core::sync::atomic::fence(Ordering::Release);
        Some(index::<N>(self.filled) as u32)
    }

    #[inline(always)]
    fn reap_until(&mut self, end: u32) -> Reap<'_, T, N, SLOT, D> {
        self.note_free(raw::call());
        Reap { slots: self.slots, at: self.reaped, end, kept: &self.kept, reaped: &mut self.reaped, done: PhantomData }
    }

    /// Reclaims everything, done or not, and empties the ring, whose next slot is slot 0. The device must be quiet.
    /// `each` gets what was kept, oldest first.
    pub fn clear(&mut self, mut each: impl FnMut(T)) {
        let mut at = self.reaped;
        while at != self.filled {
            each(self.kept[index::<N>(at)]);
            at = at.wrapping_add(1);
        }
        (self.filled, self.published, self.reaped) = (0, 0, 0);
        // A rollback of this call needs all of it again.
        (self.call, self.free_end) = (raw::call(), 0);
    }
}

impl<K: Kernel, T: Copy + Default, const N: usize, const SLOT: usize, D: InSlot> DescriptorRing<K, T, N, SLOT, D> {
    /// Begins a batch of reclaiming what the device is done with, as the slots say. The batch ends, and counts, when
    /// the result is dropped.
    #[inline(always)]
    pub fn reap(&mut self) -> Reap<'_, T, N, SLOT, D> {
        self.reap_until(self.published)
    }
}

impl<K: Kernel, T: Copy + Default, const N: usize, const SLOT: usize, D: Announced> DescriptorRing<K, T, N, SLOT, D> {
    /// Begins a batch of reclaiming what the device is done with: up to where it `announced` to be, which is checked.
    /// [`Status::DeviceFailed`] if the device does not have that many. The batch ends, and counts, when the result is
    /// dropped.
    #[inline(always)]
    pub fn reap_to(&mut self, announced: u32) -> Result<Reap<'_, T, N, SLOT, D>, Status> {
        let done = D::distance(announced, self.reaped, N as u32).filter(|done| *done <= self.in_flight());
        let end = self.reaped.wrapping_add(done.ok_or(Status::DeviceFailed)?);
        Ok(self.reap_until(end))
    }
}

/// A batch of filling.
pub struct Fill<'a, T, const N: usize, const SLOT: usize> {
    slots: Slots<SLOT, N>,
    kept: &'a mut [T; N],
    at: u32,
    end: u32,
    /// Where the slots end that were free when the call began.
    free_end: u32,
    filled: &'a mut u32,
}

impl<'a, T: Copy, const N: usize, const SLOT: usize> Fill<'a, T, N, SLOT> {
    /// Returns the next slot, if the driver owns one.
    #[inline(always)]
    pub fn vacant(&mut self) -> Option<Vacant<'_, 'a, T, N, SLOT>> {
        (self.at != self.end).then_some(Vacant(self))
    }

    /// Returns how many slots the driver owns.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }

    /// Returns how many of them were the driver's when the call began.
    #[inline(always)]
    fn free(&self) -> u32 {
        // Those of the same call that were filled beyond are less than half of all counters.
        self.room().min((self.free_end.wrapping_sub(self.at) as i32).max(0) as u32)
    }

    /// Fills up to `most` slots that were the driver's when the call began with what `plain` makes of the queue's
    /// entries from counter `from` on, and keeps beside each what it says; ends at the first entry of which it makes
    /// nothing. Returns how many it filled.
    #[inline(always)]
    pub(crate) fn transfer<const ENTRY: usize, const WORDS: usize, const KEPT: usize>(
        &mut self,
        queue: &QueueMemory<ENTRY>,
        from: u32,
        most: u32,
        plain: impl Fn([u64; ENTRY]) -> Option<([u64; WORDS], T)>,
    ) -> u32
    where
        T: Words<KEPT>,
    {
        let most = most.min(self.free());
        let filled = raw::fill((queue, from), (self.slots, self.kept, self.at), most, plain);
        self.at = self.at.wrapping_add(filled);
        filled
    }
}

impl<T, const N: usize, const SLOT: usize> Drop for Fill<'_, T, N, SLOT> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.filled = self.at;
    }
}

/// A slot that the driver owns; nothing happens if it is not used.
pub struct Vacant<'f, 'a, T, const N: usize, const SLOT: usize>(&'f mut Fill<'a, T, N, SLOT>);

impl<T: Copy, const N: usize, const SLOT: usize> Vacant<'_, '_, T, N, SLOT> {
    /// Returns where in the ring it is, from 0 to N - 1.
    #[inline(always)]
    pub fn index(&self) -> u32 {
        index::<N>(self.0.at) as u32
    }

    /// Fills the whole slot, 8 bytes a word, little endian, so `WORDS` is `SLOT / 8`: anything else does not compile.
    /// If a bit in the slot says whose it is, it must say the device's.
    #[inline(always)]
    pub fn put<const WORDS: usize>(self, words: [u64; WORDS], kept: T) {
        let Vacant(fill) = self;
        fill.kept[index::<N>(fill.at)] = kept;
        if fill.free() > 0 {
            fill.slots.put_free(fill.at, words);
        } else {
            fill.slots.put(fill.at, words);
        }
        fill.at = fill.at.wrapping_add(1);
    }
}

/// A batch of reclaiming.
pub struct Reap<'a, T, const N: usize, const SLOT: usize, D> {
    slots: Slots<SLOT, N>,
    kept: &'a [T; N],
    at: u32,
    end: u32,
    reaped: &'a mut u32,
    done: PhantomData<D>,
}

impl<T: Copy, const N: usize, const SLOT: usize, D: Done> Reap<'_, T, N, SLOT, D> {
    /// Takes the oldest descriptor, if the device is done with it.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // It lends: the slot may be filled again once the batch is over.
    pub fn next(&mut self) -> Option<Finished<'_, T, SLOT, N>> {
        let kept = self.kept;
        next::<D, T, SLOT, N>(self.slots, &mut self.at, self.end, |at| kept[index::<N>(at)])
    }

    /// Looks at the descriptor that comes `ahead` places after the oldest, if the device is done with it, and takes
    /// nothing.
    #[inline]
    pub fn peek(&self, ahead: u32) -> Option<Finished<'_, T, SLOT, N>> {
        let (kept, at) = (self.kept, self.at.wrapping_add(ahead));
        let is_there = ahead < self.end.wrapping_sub(self.at);
        is_there.then(|| look::<D, T, SLOT, N>(self.slots, at, |at| kept[index::<N>(at)])).flatten()
    }

    /// Takes up to `most` descriptors that the device is done with, and puts what `plain` makes of them into the queue
    /// from counter `to` on; ends at the first one of which it makes nothing. Returns how many it took.
    #[inline(always)]
    pub(crate) fn transfer<const ENTRY: usize>(
        &mut self,
        queue: &QueueMemory<ENTRY>,
        to: u32,
        most: u32,
        plain: impl Fn(&Finished<'_, T, SLOT, N>) -> Option<[u64; ENTRY]>,
    ) -> u32 {
        let (slots, most) = (self.slots, most.min(self.end.wrapping_sub(self.at)));
        let pair = D::WORD.map(|word| word / 2);
        let reaped = raw::reap((slots, self.kept, self.at), (queue, to), most, pair, |pair, at, kept| {
            plain(&finished::<D, T, SLOT, N>(slots, at, pair, kept)?)
        });
        self.at = self.at.wrapping_add(reaped);
        reaped
    }
}

impl<T, const N: usize, const SLOT: usize, D> Drop for Reap<'_, T, N, SLOT, D> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.reaped = self.at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::DoneBit;
    use crate::testing::{TestHost, TestKernel};
    use std::vec::Vec;

    const DONE: u32 = 1;
    type Ring = DescriptorRing<TestKernel, u32, 8, 16, DoneBit<3, DONE>>;

    fn ring(host: &TestHost) -> Ring {
        Ring::new(host.nook()).unwrap()
    }

    fn push(ring: &mut Ring, kept: u32) -> bool {
        let mut fill = ring.fill();
        let Some(slot) = fill.vacant() else { return false };
        slot.put([u64::from(kept) << 32, 0], kept);
        true
    }

    fn device_writes(host: &TestHost, ring: &Ring, slot: u32, words: [u32; 4]) {
        let at = ring.iova() + u64::from(slot) * 16;
        (at..).step_by(4).zip(words).for_each(|(at, word)| host.window().write(at, word));
    }

    fn slot(host: &TestHost, ring: &Ring, slot: u32) -> [u32; 4] {
        let at = ring.iova() + u64::from(slot) * 16;
        [0, 4, 8, 12].map(|word| host.window().read(at + word))
    }

    #[test]
    fn one_slot_stays_empty_so_that_full_is_not_taken_for_empty() {
        let host = TestHost::new();
        let mut ring = ring(&host);
        assert_eq!((0..20).filter(|&i| push(&mut ring, i)).count(), 7);
        assert_eq!(ring.publish(), Some(7));
        assert_eq!(ring.publish(), None);
        assert_eq!(ring.in_flight(), 7);
    }

    #[test]
    fn a_slot_is_reclaimed_only_after_its_done_bit() {
        let host = TestHost::new();
        let mut ring = ring(&host);
        (0..3).for_each(|i| assert!(push(&mut ring, i)));
        ring.publish();
        assert!(ring.reap().next().is_none());
        // The device is done with the second one only: order is kept.
        device_writes(&host, &ring, 1, [5, 6, 7, DONE | 8]);
        assert!(ring.reap().next().is_none());
        device_writes(&host, &ring, 0, [1, 2, 3, DONE]);
        let mut reap = ring.reap();
        let first = reap.next().unwrap();
        assert_eq!((first.kept, first.word(2), first.done_word()), (0, 3, DONE));
        let second = reap.next().unwrap();
        assert_eq!((second.kept, second.word(0), second.done_word()), (1, 5, DONE | 8));
        assert!(reap.next().is_none());
        drop(reap);
        assert_eq!((ring.in_flight(), ring.reaped()), (1, 2));
    }

    #[test]
    fn what_was_filled_but_not_published_is_not_reclaimed() {
        let host = TestHost::new();
        let mut ring = ring(&host);
        assert!(push(&mut ring, 9));
        device_writes(&host, &ring, 0, [0, 0, 0, DONE]);
        assert!(ring.reap().next().is_none());
        ring.publish();
        assert!(ring.reap().next().is_some());
    }

    #[test]
    fn slots_hold_what_was_put_and_wrap_around() {
        let host = TestHost::new();
        let mut ring = ring(&host);
        for round in 0..100 {
            assert!(push(&mut ring, round));
            assert_eq!(ring.publish(), Some((round + 1) % 8));
            assert_eq!(slot(&host, &ring, round % 8), [0, round, 0, 0]);
            device_writes(&host, &ring, round % 8, [0, 0, 0, DONE]);
            assert_eq!(ring.reap().next().map(|done| done.kept), Some(round));
        }
    }

    #[test]
    fn clearing_gives_everything_back_in_order_and_starts_at_slot_0() {
        let host = TestHost::new();
        let mut ring = ring(&host);
        (0..5).for_each(|i| assert!(push(&mut ring, i)));
        ring.publish();
        device_writes(&host, &ring, 0, [0, 0, 0, DONE]);
        assert!(ring.reap().next().is_some());
        let mut kept = Vec::new();
        ring.clear(|item| kept.push(item));
        assert_eq!(kept, [1, 2, 3, 4]);
        assert_eq!(ring.in_flight(), 0);
        push(&mut ring, 0);
        assert_eq!(ring.publish(), Some(1));
    }

    #[test]
    fn what_a_call_has_reclaimed_is_not_what_was_free_when_it_began() {
        let host = TestHost::new();
        let mut ring = ring(&host);
        (0..5).for_each(|i| assert!(push(&mut ring, i)));
        ring.publish();
        // Natively all calls have one number, which is 0.
        let call_begins = |ring: &mut Ring| {
            ring.note_free(1);
            ring.call = 0;
        };
        let free = |ring: &mut Ring| {
            let free_end = ring.free_end;
            let mut fill = ring.fill();
            fill.free_end = free_end;
            (fill.free(), fill.room())
        };
        call_begins(&mut ring);
        device_writes(&host, &ring, 0, [0, 0, 0, DONE]);
        device_writes(&host, &ring, 1, [0, 0, 0, DONE]);
        let mut reap = ring.reap();
        assert!(reap.next().is_some() && reap.next().is_some());
        drop(reap);
        assert_eq!(free(&mut ring), (2, 4));
        (0..3).for_each(|i| assert!(push(&mut ring, i)));
        assert_eq!(free(&mut ring), (0, 1));
        call_begins(&mut ring);
        assert_eq!(free(&mut ring), (1, 1));
        ring.clear(drop);
        assert_eq!(free(&mut ring), (0, 7));
    }

    #[test]
    fn dropping_a_ring_frees_its_memory() {
        let host = TestHost::new();
        drop(ring(&host));
        assert_eq!(host.calls(), ["dma_alloc [128, 4096]", "dma_free [1]"]);
    }
}
