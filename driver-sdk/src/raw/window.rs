//! Memory of the window, which a device writes while the driver looks at it.
//!
//! WebAssembly has no volatile access. The compiler of the module (LLVM) and the host's (Cranelift) merge plain loads
//! of one address, answer a load with what was stored before, and drop a store that another overwrites. So:
//! - Single values are atomic: `i32.atomic.load` and its like. Neither compiler merges, moves or drops one, and each is
//!   a barrier for plain accesses in Cranelift (`has_memory_fence_semantics` in its alias analysis). A load costs 0.8
//!   ns (a plain one 0.6), a store 15 ns, because it is also a fence for the processor.
//! - Bytes in bulk are `memory.copy` and `memory.fill` of a length that the compilers do not know. With a known one
//!   both write plain loads and stores in their place; without it is a call of the host's, which is a barrier.
//! - Descriptors are filled with plain stores, which are cheap, and made visible by what follows: the doorbell's
//!   hostcall or an atomic store.

use core::hint::black_box;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, compiler_fence};

use nook_abi::{Addr, Status};
use nook_regs::{Value, Width};

use super::scratch;

/// Memory of the window, from an address on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    addr: Addr,
    len_bytes: u32,
}

impl Span {
    /// No memory.
    pub(crate) const EMPTY: Span = Span { addr: 0, len_bytes: 0 };

    /// # Safety
    /// `len` bytes at `addr` are valid for reads and writes while the result, a copy of it or what was made from it
    /// is used, and no Rust reference to them exists in that time.
    pub(crate) const unsafe fn new(addr: Addr, len_bytes: u32) -> Self {
        Span { addr, len_bytes }
    }

    pub(crate) const fn len_bytes(self) -> u32 {
        self.len_bytes
    }

    /// Returns the part of `len_bytes` at `offset`; `Invalid` if it is not inside.
    #[inline(always)]
    pub(crate) fn part(self, offset: u32, len_bytes: u32) -> Result<Span, Status> {
        if offset <= self.len_bytes && len_bytes <= self.len_bytes - offset {
            Ok(Span { addr: self.addr + offset as usize, len_bytes })
        } else {
            Err(Status::Invalid)
        }
    }

    /// Returns where `len` bytes at `offset` are, for as long as the span may be used.
    #[inline(always)]
    fn bytes(self, offset: u32, len: usize) -> Result<*mut u8, Status> {
        let len_bytes = u32::try_from(len).map_err(|_| Status::Invalid)?;
        Ok(self.part(offset, len_bytes)?.addr as *mut u8)
    }

    /// Returns where a `V` at `offset` is; `Invalid` too if it is not aligned to its size.
    #[inline(always)]
    fn place<V: Value>(self, offset: u32) -> Result<*mut u8, Status> {
        let place = self.bytes(offset, size_of::<V>())?;
        if (place as usize).is_multiple_of(size_of::<V>()) { Ok(place) } else { Err(Status::Invalid) }
    }

    /// Reads with one atomic load.
    #[inline(always)]
    pub(crate) fn read<V: Value>(self, offset: u32) -> Result<V, Status> {
        let place = self.place::<V>(offset)?;
        // SAFETY: `place` gives a place inside the span, aligned to the size of V, which each arm has by V's width.
        // The span is valid (`Span::new`), and no reference to it outlives this line.
        let value = unsafe {
            match V::WIDTH {
                Width::B1 => AtomicU8::from_ptr(place).load(Ordering::SeqCst).into(),
                Width::B2 => u16::from_le(AtomicU16::from_ptr(place.cast()).load(Ordering::SeqCst)).into(),
                Width::B4 => u32::from_le(AtomicU32::from_ptr(place.cast()).load(Ordering::SeqCst)).into(),
                Width::B8 => u64::from_le(AtomicU64::from_ptr(place.cast()).load(Ordering::SeqCst)),
            }
        };
        Ok(V::from_u64(value))
    }

    /// Writes with one atomic store.
    #[inline(always)]
    pub(crate) fn write<V: Value>(self, offset: u32, value: V) -> Result<(), Status> {
        let (place, value) = (self.place::<V>(offset)?, value.to_u64());
        // SAFETY: `place` gives a place inside the span, aligned to the size of V, which each arm has by V's width.
        // The span is valid (`Span::new`), and no reference to it outlives this line.
        unsafe {
            match V::WIDTH {
                Width::B1 => AtomicU8::from_ptr(place).store(value as u8, Ordering::SeqCst),
                Width::B2 => AtomicU16::from_ptr(place.cast()).store((value as u16).to_le(), Ordering::SeqCst),
                Width::B4 => AtomicU32::from_ptr(place.cast()).store((value as u32).to_le(), Ordering::SeqCst),
                Width::B8 => AtomicU64::from_ptr(place.cast()).store(value.to_le(), Ordering::SeqCst),
            }
        }
        Ok(())
    }

    /// Writes a word with a plain store, which a rollback leaves; see [`scratch`].
    #[inline(always)]
    pub(crate) fn write_for_good(self, offset: u32, word: u64) -> Result<(), Status> {
        let place = self.place::<u64>(offset)?.cast::<[u64; 1]>();
        // SAFETY: `place` gives a place inside the span, aligned to a word; the span is valid (`Span::new`), and no
        // reference to it exists.
        unsafe { scratch::write(place, 0, [word.to_le()]) }
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Returns where it is.
    pub(crate) fn as_ptr(self) -> NonNull<[u8]> {
        let addr = NonNull::new(self.addr as *mut u8).unwrap_or(NonNull::dangling());
        NonNull::slice_from_raw_parts(addr, self.len_bytes as usize)
    }

    /// Copies out, in bulk.
    #[inline]
    pub(crate) fn read_bytes(self, offset: u32, into: &mut [u8]) -> Result<(), Status> {
        let from = self.bytes(offset, into.len())?;
        // SAFETY: this many bytes at `from` lie in the span, which is valid (`Span::new`), and `into` is a slice of as
        // many.
        unsafe { move_bytes(from, into.as_mut_ptr(), into.len()) }
        Ok(())
    }

    /// Copies in, in bulk.
    #[inline]
    pub(crate) fn write_bytes(self, offset: u32, from: &[u8]) -> Result<(), Status> {
        let to = self.bytes(offset, from.len())?;
        // SAFETY: this many bytes at `to` lie in the span, which is valid (`Span::new`), and `from` is a slice of as
        // many.
        unsafe { move_bytes(from.as_ptr(), to, from.len()) }
        Ok(())
    }

    /// Copies what `from` has to `offset`, in bulk. The two may overlap.
    #[inline]
    pub(crate) fn copy(self, offset: u32, from: Span) -> Result<(), Status> {
        let to = self.part(offset, from.len_bytes)?;
        // SAFETY: both spans are valid (`Span::new`) and have this many bytes.
        unsafe { move_bytes(from.addr as *const u8, to.addr as *mut u8, from.len_bytes as usize) }
        Ok(())
    }

    /// Returns a view of all of it, byte by byte.
    pub(crate) fn view<'a>(self) -> View<'a> {
        View { at: self.addr as *const u8, len: self.len_bytes as usize, memory: PhantomData }
    }

    /// Sets `len_bytes` bytes at `offset`, in bulk.
    #[inline]
    pub(crate) fn fill(self, offset: u32, len_bytes: u32, byte: u8) -> Result<(), Status> {
        let to = self.part(offset, len_bytes)?;
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the part lies in the span, which is valid (`Span::new`).
        unsafe { (to.addr as *mut u8).write_bytes(byte, black_box(len_bytes as usize)) }
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }
}

/// Copies bytes as a whole, which no compiler merges with another copy or drops.
///
/// # Safety
/// `len` bytes are valid for reads at `from` and for writes at `to`.
#[inline]
unsafe fn move_bytes(from: *const u8, to: *mut u8, len: usize) {
    // For LLVM, which may see memory that only this copy is known to write.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller vouches for both. The length is what it was: `black_box` hides it from the compilers, so that
    // they write no plain accesses in place of the copy.
    unsafe { to.copy_from(from, black_box(len)) }
    compiler_fence(Ordering::SeqCst);
}

/// Bytes to be looked at, by plain loads: for content that nobody is to write now. If a device does all the same, what
/// is read is what was there at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    at: *const u8,
    len: usize,
    memory: PhantomData<&'a u8>,
}

impl<'a> View<'a> {
    /// Creates a view of a slice.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        View { at: bytes.as_ptr(), len: bytes.len(), memory: PhantomData }
    }

    /// Returns how many there are.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the byte at `at`, if there is one.
    #[inline(always)]
    pub(crate) fn byte(&self, at: usize) -> Option<u8> {
        // SAFETY: below the length of what a slice or a valid span (`Span::new`) had at this address; both outlive the
        // view. No reference is made, because a device may write.
        (at < self.len).then(|| unsafe { self.at.add(at).read() })
    }
}

/// `N` slots of `SLOT` bytes in the window. A slot's index is taken modulo N.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<const SLOT: usize, const N: usize>(*mut [u8; SLOT]);

impl<const SLOT: usize, const N: usize> Slots<SLOT, N> {
    /// How long they are together.
    pub(crate) const LEN_BYTES: u32 = {
        assert!(N.is_power_of_two() && N >= 2 && N <= 1 << 16, "a ring has a power of two of slots, 2 to 65536");
        assert!(SLOT >= 8 && SLOT <= 1 << 12 && SLOT.is_multiple_of(8), "a slot has a multiple of 8 bytes, to 4096");
        (N * SLOT) as u32
    };

    /// Creates the slots in `span`; `Invalid` if it is too short for them or not aligned to 8 bytes.
    pub(crate) fn new(span: Span) -> Result<Self, Status> {
        let span = span.part(0, Self::LEN_BYTES)?;
        if span.addr.is_multiple_of(8) { Ok(Slots(span.addr as *mut [u8; SLOT])) } else { Err(Status::Invalid) }
    }

    #[inline(always)]
    fn slot(self, at: u32) -> *mut [u8; SLOT] {
        // SAFETY: the span had N slots (`new`), and the index is masked to be below N.
        unsafe { self.0.add(at as usize & (N - 1)) }
    }

    /// Returns where the slot at counter `at` is, and how many lie one after the other from there on.
    #[inline(always)]
    pub(super) fn run(self, at: u32) -> (*mut [u8; SLOT], u32) {
        (self.slot(at), N as u32 - (at & (N as u32 - 1)))
    }

    /// Fills a slot with plain stores.
    #[inline(always)]
    pub(crate) fn put<const WORDS: usize>(self, at: u32, words: [u64; WORDS]) {
        const { assert!(WORDS * 8 == SLOT, "a slot is filled as a whole") };
        let slot = self.slot(at).cast::<u64>();
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: a slot has WORDS words and is aligned to them, because the first is (`new`) and its length is a
            // multiple of 8. Volatile, so that natively the stores are made as they stand.
            unsafe { slot.add(index).write_volatile(word.to_le()) }
        }
    }

    /// Fills a whole slot that was free when the call began: a rollback leaves it, see [`scratch`].
    #[inline(always)]
    pub(crate) fn put_free<const WORDS: usize>(self, at: u32, words: [u64; WORDS]) {
        const { assert!(WORDS * 8 == SLOT, "a slot is filled as a whole") };
        // SAFETY: a slot has WORDS words and is aligned to them, because the first is (`new`) and its length is a
        // multiple of 8. No reference to it exists.
        unsafe { scratch::write(self.slot(at).cast::<[u64; WORDS]>(), 0, words.map(u64::to_le)) }
    }

    /// Reads a word of a slot with one atomic load, modulo the number of its words.
    #[inline(always)]
    pub(crate) fn word(self, at: u32, index: usize) -> u32 {
        // SAFETY: a slot has SLOT / 4 words and is aligned to them, because the first is (`new`) and its length is a
        // multiple of 8. Nothing but such loads touches one that was handed over; no reference outlives this line.
        u32::from_le(unsafe {
            let word = self.slot(at).cast::<u32>().add(index % (SLOT / 4));
            AtomicU32::from_ptr(word).load(Ordering::Acquire)
        })
    }

    /// Reads two words of a slot, of which the first is word `2 * index`, with one atomic load, modulo their number.
    #[inline(always)]
    pub(crate) fn pair(self, at: u32, index: usize) -> u64 {
        // SAFETY: a slot has SLOT / 8 pairs and is aligned to them, because the first is (`new`) and its length is a
        // multiple of 8. Nothing but atomic loads touches one that was handed over; no reference outlives this line.
        u64::from_le(unsafe {
            let pair = self.slot(at).cast::<u64>().add(index % (SLOT / 8));
            AtomicU64::from_ptr(pair).load(Ordering::Acquire)
        })
    }
}
