//! Rings in DMA memory, shared with a device that may write at any time.
//!
//! Which one a chip needs is decided by what fills its slots, and by how the device says that it is done with one:
//!
//! - [`DescriptorRing`]: the driver fills slots, and the device gives them back. It sets a bit in the slot
//!   ([`DoneBit`]), or clears one ([`OwnBit`]), or an index that it writes elsewhere passes the slot ([`ByIndex`],
//!   [`ByCounter`]).
//! - [`CompletionRing`]: the device fills slots, and the driver gives them back. A bit in the slot has the phase of
//!   this lap ([`Phase`]), or an index passes it.
//! - [`ByteRing`]: the device writes bytes, and says by its position how far.
//!
//! Slots have any multiple of 8 bytes, rings any power of two of them up to 65,536; both are constants, so that an
//! index is masked and not checked.
//!
//! How a slot changes hands, and why it is enough:
//!
//! - *To the device.* A slot is filled with plain stores, and [`DescriptorRing::publish`] orders them before what the
//!   caller writes next. If that is a doorbell, it is an import call in wasm, which neither LLVM nor Cranelift moves a
//!   store across, so a compiler fence is all that is needed (`atomic.fence` would cost 13 ns). The host makes the real
//!   register access with the ordering that its bus needs. Natively on x86-64, stores are seen in program order, so a
//!   compiler fence is enough there too; other architectures get a real release fence. If it is a word in memory that
//!   the device polls, it goes there by [`DmaBytes::write`](crate::DmaBytes::write), which is a fence by itself.
//! - *To the driver.* The word that says so is read by an acquire load, together with the other word of its 8 bytes:
//!   `i64.atomic.load` in wasm. Wasm has no volatile: a plain load in a loop may be merged with the one before and then
//!   never sees the device's write. All other words that the device writes are read after it, by atomic loads for the
//!   same reason.

mod bytes;
mod completions;
mod descriptors;
#[cfg(test)]
mod scripted;

pub use bytes::ByteRing;
pub use completions::{CompletionRing, Taken};
pub use descriptors::{DescriptorRing, Fill, Reap, Vacant};

use core::marker::PhantomData;

use crate::raw::Slots;

mod sealed {
    pub trait Sealed {}
}

/// How a device says that it is done with a slot.
pub trait Done: sealed::Sealed {
    /// The word of the slot that says so, if one does.
    #[doc(hidden)]
    const WORD: Option<usize>;

    /// Whether the device looks at no slot before a doorbell or an index says that it is there.
    #[doc(hidden)]
    const TOLD: bool = true;

    /// Returns whether that word says so with this value, on this lap of the ring.
    #[doc(hidden)]
    fn says(word: u32, odd_lap: bool) -> bool;
}

/// A bit in the slot says so; filling the slot clears it.
pub trait InSlot: Done {}

/// An index that the device writes elsewhere (a register, a word of memory, another ring) says so.
pub trait Announced: Done {
    /// Returns how many slots lie between the one at `from` and the announced one; `None` for what is no index.
    #[doc(hidden)]
    fn distance(announced: u32, from: u32, slots: u32) -> Option<u32>;
}

/// The device sets a bit of word `WORD` (32 bits, little endian, counted from 0) when it is done: `MASK` has the bit.
/// The driver fills a slot with the bit clear.
pub struct DoneBit<const WORD: usize, const MASK: u32>;

/// The device clears a bit of word `WORD` when it is done; the driver fills a slot with the bit set.
pub struct OwnBit<const WORD: usize, const MASK: u32>;

/// The device writes a bit of word `WORD` with each slot that it fills: set on the first lap of the ring, clear on the
/// second, and so on (the phase tag of NVM Express, base specification 2.0, section 3.3.3.2; other chips call it
/// generation). So nothing has to be cleared.
pub struct Phase<const WORD: usize, const MASK: u32>;

/// The device says at which slot it is, from 0 to N - 1. Equal means none, so it has at most N - 1 slots to say it of.
pub struct ByIndex;

/// The device counts slots and says the lowest `BITS` bits of it (16: the used ring of a split
/// virtqueue, OASIS 1.2, section 2.7.8).
pub struct ByCounter<const BITS: u32>;

impl<const WORD: usize, const MASK: u32> sealed::Sealed for DoneBit<WORD, MASK> {}
impl<const WORD: usize, const MASK: u32> sealed::Sealed for OwnBit<WORD, MASK> {}
impl<const WORD: usize, const MASK: u32> sealed::Sealed for Phase<WORD, MASK> {}
impl sealed::Sealed for ByIndex {}
impl<const BITS: u32> sealed::Sealed for ByCounter<BITS> {}

impl<const WORD: usize, const MASK: u32> Done for DoneBit<WORD, MASK> {
    const WORD: Option<usize> = Some(WORD);

    #[inline(always)]
    fn says(word: u32, _odd_lap: bool) -> bool {
        word & MASK != 0
    }
}

impl<const WORD: usize, const MASK: u32> InSlot for DoneBit<WORD, MASK> {}

impl<const WORD: usize, const MASK: u32> Done for OwnBit<WORD, MASK> {
    const WORD: Option<usize> = Some(WORD);
    /// It may take a slot as soon as the bit is there.
    const TOLD: bool = false;

    #[inline(always)]
    fn says(word: u32, _odd_lap: bool) -> bool {
        word & MASK == 0
    }
}

impl<const WORD: usize, const MASK: u32> InSlot for OwnBit<WORD, MASK> {}

impl<const WORD: usize, const MASK: u32> Done for Phase<WORD, MASK> {
    const WORD: Option<usize> = Some(WORD);

    #[inline(always)]
    fn says(word: u32, odd_lap: bool) -> bool {
        (word & MASK != 0) != odd_lap
    }
}

impl Done for ByIndex {
    const WORD: Option<usize> = None;

    #[inline(always)]
    fn says(_word: u32, _odd_lap: bool) -> bool {
        true
    }
}

impl Announced for ByIndex {
    #[inline(always)]
    fn distance(announced: u32, from: u32, slots: u32) -> Option<u32> {
        (announced < slots).then(|| announced.wrapping_sub(from) & (slots - 1))
    }
}

impl<const BITS: u32> Done for ByCounter<BITS> {
    const WORD: Option<usize> = None;

    #[inline(always)]
    fn says(_word: u32, _odd_lap: bool) -> bool {
        true
    }
}

impl<const BITS: u32> Announced for ByCounter<BITS> {
    #[inline(always)]
    fn distance(announced: u32, from: u32, slots: u32) -> Option<u32> {
        let mask = const {
            assert!(BITS > 0 && BITS <= 32, "a counter has 1 to 32 bits");
            u32::MAX >> (32 - BITS)
        };
        // A counter that cannot tell a full ring from an empty one is no counter of this ring.
        (announced <= mask && slots <= mask).then(|| announced.wrapping_sub(from) & mask)
    }
}

/// Returns which half of the pair that has it word `index` is.
#[inline(always)]
const fn half(pair: u64, index: usize) -> u32 {
    (pair >> (index % 2 * 32)) as u32
}

/// A slot that the device is done with, for as long as the batch lends it.
pub struct Finished<'a, T, const SLOT: usize, const N: usize> {
    slots: Slots<SLOT, N>,
    at: u32,
    /// The word that said so, and the other one of its pair, which were read together.
    pair: u64,
    /// Which word that is.
    done: Option<usize>,
    /// What the driver kept beside it.
    pub kept: T,
    batch: PhantomData<&'a ()>,
}

impl<T, const SLOT: usize, const N: usize> Finished<'_, T, SLOT, N> {
    /// Returns the word that said that the device is done; 0 if an index said so.
    #[inline(always)]
    pub fn done_word(&self) -> u32 {
        self.done.map_or(0, |done| half(self.pair, done))
    }

    /// Returns word `index` (32 bits, little endian) of the slot, modulo the number of its words, read after the device
    /// was done, or with the word that said so.
    #[inline(always)]
    pub fn word(&self, index: usize) -> u32 {
        match self.done {
            Some(done) if index / 2 % (SLOT / 8) == done / 2 % (SLOT / 8) => half(self.pair, index),
            _ => self.slots.word(self.at, index),
        }
    }
}

/// Makes of a pair of words that was read what the driver gets, if it says that the device is done.
#[inline(always)]
fn finished<'a, D: Done, T, const SLOT: usize, const N: usize>(
    slots: Slots<SLOT, N>,
    at: u32,
    pair: u64,
    kept: T,
) -> Option<Finished<'a, T, SLOT, N>> {
    let done = D::says(D::WORD.map_or(0, |word| half(pair, word)), at & N as u32 != 0);
    done.then_some(Finished { slots, at, pair, done: D::WORD, kept, batch: PhantomData })
}

/// Takes the slot at `at`, if there is one before `end` and the device is done with it.
#[inline(always)]
fn next<'a, D: Done, T, const SLOT: usize, const N: usize>(
    slots: Slots<SLOT, N>,
    at: &mut u32,
    end: u32,
    kept: impl FnOnce(u32) -> T,
) -> Option<Finished<'a, T, SLOT, N>> {
    if *at == end {
        return None;
    }
    let finished = look::<D, T, SLOT, N>(slots, *at, kept)?;
    *at = at.wrapping_add(1);
    Some(finished)
}

/// Looks at the slot at `at`, which is there, if the device is done with it.
#[inline(always)]
fn look<'a, D: Done, T, const SLOT: usize, const N: usize>(
    slots: Slots<SLOT, N>,
    at: u32,
    kept: impl FnOnce(u32) -> T,
) -> Option<Finished<'a, T, SLOT, N>> {
    let pair = D::WORD.map_or(0, |word| slots.pair(at, word / 2));
    finished::<D, T, SLOT, N>(slots, at, pair, kept(at))
}
