//! DMA memory as a driver reads and writes it: [`DmaRegion`], which it owns, and [`DmaBytes`], bounded access to a
//! region, or to a buffer of the class's.

use core::marker::PhantomData;
use core::ptr::NonNull;

use nook_abi::Status;
use nook_regs::Value;

use crate::raw::Span;
use crate::{Kernel, Nook};

/// DMA memory that the driver owns, in the window. Freed when it is dropped, which is a hostcall that only process
/// context allows: the device must no longer use it then.
pub struct DmaRegion<K: Kernel> {
    nook: Nook<K>,
    handle: u32,
    iova: u64,
    span: Span,
}

impl<K: Kernel> DmaRegion<K> {
    pub(crate) fn new(nook: Nook<K>, handle: u32, iova: u64, span: Span) -> Self {
        DmaRegion { nook, handle, iova, span }
    }

    /// Returns where the device sees it.
    pub fn iova(&self) -> u64 {
        self.iova
    }

    /// Returns how long it is.
    pub fn len_bytes(&self) -> u32 {
        self.span.len_bytes()
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Returns what is in it.
    #[inline(always)]
    pub fn bytes(&self) -> DmaBytes<'_> {
        DmaBytes::new(self.span)
    }
}

impl<K: Kernel> Drop for DmaRegion<K> {
    fn drop(&mut self) {
        self.nook.dma_free(self.handle);
    }
}

/// Bounded access to memory that a device reads and writes at any time.
///
/// Each access is made, once, whatever the compilers know of the memory, and in the order of the program with the
/// others and with registers. Values are little endian, as devices have them; a [`Value`] is `u8`, `u16`, `u32` or
/// `u64`.
///
/// Which one to use:
/// - [`read`](Self::read) and [`write`](Self::write) are for words by which driver and device hand something over: a
///   done bit, an index, a flag. They are atomic: a device never sees half of one.
/// - [`read_bytes`](Self::read_bytes), [`write_bytes`](Self::write_bytes), [`copy`](Self::copy) and
///   [`fill`](Self::fill) are for content: what has been handed over, or will be. They touch bytes in no certain order
///   and not as wholes.
///
/// Each access outside the memory, and a value that is not aligned to its size, is [`Status::Invalid`] and touches
/// nothing: a place that the device named can be tried.
///
/// ```
/// # use nook_sdk::{Kernel, Nook, Status};
/// /// Writes a message for the device and hands it over: the length goes last.
/// fn tell<K: Kernel>(nook: Nook<K>, text: &[u8]) -> Result<(), Status> {
///     let mailbox = nook.dma_alloc(4096, 4096)?;
///     let bytes = mailbox.bytes();
///     bytes.write_bytes(4, text)?;
///     bytes.write(0, text.len() as u32)?;
///     nook.poll_until(1_000_000, 10_000, || bytes.read::<u32>(0) == Ok(0))
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DmaBytes<'a> {
    span: Span,
    memory: PhantomData<&'a ()>,
}

impl<'a> DmaBytes<'a> {
    #[inline(always)]
    pub(crate) fn new(span: Span) -> Self {
        DmaBytes { span, memory: PhantomData }
    }

    /// Returns how many there are.
    #[inline(always)]
    pub fn len_bytes(&self) -> u32 {
        self.span.len_bytes()
    }

    /// Returns `len_bytes` of them, at `offset`.
    #[inline(always)]
    pub fn part(&self, offset: u32, len_bytes: u32) -> Result<DmaBytes<'a>, Status> {
        Ok(DmaBytes::new(self.span.part(offset, len_bytes)?))
    }

    /// Reads the value at `offset`. What is read after it is at least as new. As cheap as a plain load.
    #[inline(always)]
    pub fn read<V: Value>(&self, offset: u32) -> Result<V, Status> {
        self.span.read(offset)
    }

    /// Writes the value at `offset`. A device that sees it sees all that was written before it, by any of these methods
    /// or into a ring; and what is read after it was not read before it. That takes some 15 ns: for content there is
    /// [`write_bytes`](Self::write_bytes).
    #[inline(always)]
    pub fn write<V: Value>(&self, offset: u32, value: V) -> Result<(), Status> {
        self.span.write(offset, value)
    }

    /// Writes the word at `offset` so that a rollback of this call leaves it: for an index in memory by which a device
    /// sees, at any time, how far it may look. What it says must have been decided, and written, in earlier calls: then
    /// the same call made again says the same, and the device never sees an index become smaller.
    #[inline(always)]
    pub fn write_for_good(&self, offset: u32, word: u64) -> Result<(), Status> {
        self.span.write_for_good(offset, word)
    }

    /// Returns where it is in the driver's own memory, for code of others that goes by addresses. Who reads or writes
    /// there does without the promises above; what the device may touch meanwhile is nothing for Rust's references.
    pub fn as_ptr(&self) -> NonNull<[u8]> {
        self.span.as_ptr()
    }

    /// Copies from `offset` into `into`.
    #[inline]
    pub fn read_bytes(&self, offset: u32, into: &mut [u8]) -> Result<(), Status> {
        self.span.read_bytes(offset, into)
    }

    /// Copies `from` to `offset`. The device sees it before what a later [`write`](Self::write) or register access
    /// tells it; without one it may see it at any time.
    #[inline]
    pub fn write_bytes(&self, offset: u32, from: &[u8]) -> Result<(), Status> {
        self.span.write_bytes(offset, from)
    }

    /// Copies all of `from` to `offset`, as [`write_bytes`](Self::write_bytes) does. The two may overlap.
    #[inline]
    pub fn copy(&self, offset: u32, from: DmaBytes<'_>) -> Result<(), Status> {
        self.span.copy(offset, from.span)
    }

    /// Sets `len_bytes` bytes at `offset` to `byte`, as [`write_bytes`](Self::write_bytes) does.
    #[inline]
    pub fn fill(&self, offset: u32, len_bytes: u32, byte: u8) -> Result<(), Status> {
        self.span.fill(offset, len_bytes, byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;
    use std::vec;

    #[test]
    fn values_of_each_width_lie_little_endian_where_the_device_sees_them() {
        let host = TestHost::new();
        let region = host.nook().dma_alloc(64, 64).unwrap();
        let bytes = region.bytes();
        assert_eq!(bytes.write(0, 0x12u8), Ok(()));
        assert_eq!(bytes.write(2, 0x3456u16), Ok(()));
        assert_eq!(bytes.write(4, 0x789a_bcdeu32), Ok(()));
        assert_eq!(bytes.write(8, 0x0102_0304_0506_0708u64), Ok(()));
        let seen = [0, 4, 8, 12].map(|at| host.window().read(region.iova() + at));
        assert_eq!(seen, [0x3456_0012, 0x789a_bcde, 0x0506_0708, 0x0102_0304]);
        host.window().write(region.iova() + 16, 0x8899_aabb);
        assert_eq!(bytes.read(16), Ok(0xbbu8));
        assert_eq!(bytes.read(18), Ok(0x8899u16));
        assert_eq!(bytes.read(16), Ok(0x8899_aabbu32));
        assert_eq!(bytes.read(16), Ok(0x8899_aabbu64));
    }

    #[test]
    fn nothing_outside_a_region_is_touched() {
        let host = TestHost::new();
        let nook = host.nook();
        let (region, beside) = (nook.dma_alloc(16, 16).unwrap(), nook.dma_alloc(16, 16).unwrap());
        let bytes = region.bytes();
        for offset in [9, 15, 16, 17, u32::MAX - 3, u32::MAX] {
            assert_eq!(bytes.read::<u64>(offset), Err(Status::Invalid), "{offset}");
            assert_eq!(bytes.write(offset, u64::MAX), Err(Status::Invalid), "{offset}");
            assert_eq!(bytes.read_bytes(offset, &mut [0; 8]), Err(Status::Invalid), "{offset}");
            assert_eq!(bytes.write_bytes(offset, &[0xff; 8]), Err(Status::Invalid), "{offset}");
            assert_eq!(bytes.fill(offset, 8, 0xff), Err(Status::Invalid), "{offset}");
            assert_eq!(bytes.copy(offset, beside.bytes().part(0, 8).unwrap()), Err(Status::Invalid), "{offset}");
            assert!(bytes.part(offset, 8).is_err(), "{offset}");
        }
        assert_eq!(bytes.fill(0, u32::MAX, 0xff), Err(Status::Invalid));
        assert_eq!(bytes.write_bytes(16, &[]), Ok(()));
        assert_eq!((bytes.read(0), bytes.read(8)), (Ok(0u64), Ok(0u64)));
        assert_eq!((beside.bytes().read(0), beside.bytes().read(8)), (Ok(0u64), Ok(0u64)));
    }

    #[test]
    fn a_value_that_is_not_aligned_to_its_size_is_refused() {
        let host = TestHost::new();
        let region = host.nook().dma_alloc(64, 64).unwrap();
        let bytes = region.bytes();
        for offset in 0..16 {
            let (halves, words) = (offset % 2 == 0, offset % 4 == 0);
            assert!(bytes.read::<u8>(offset).is_ok());
            assert_eq!(bytes.read::<u16>(offset).is_ok(), halves, "{offset}");
            assert_eq!(bytes.write(offset, 1u16).is_ok(), halves, "{offset}");
            assert_eq!(bytes.read::<u32>(offset).is_ok(), words, "{offset}");
            assert_eq!(bytes.write(offset, 1u64).is_ok(), offset % 8 == 0, "{offset}");
        }
        // What counts is where the device sees it, not where a part begins.
        let part = bytes.part(2, 30).unwrap();
        assert_eq!((part.read::<u32>(0), part.read::<u32>(2).is_ok()), (Err(Status::Invalid), true));
    }

    #[test]
    fn a_word_that_is_written_for_good_lies_where_the_address_says() {
        let host = TestHost::new();
        let region = host.nook().dma_alloc(64, 64).unwrap();
        assert_eq!(region.bytes().write_for_good(8, 0x0102_0304_0506_0708), Ok(()));
        assert_eq!([8, 12].map(|at| host.window().read(region.iova() + at)), [0x0506_0708, 0x0102_0304]);
        for offset in [4, 60, 64, u32::MAX] {
            assert_eq!(region.bytes().write_for_good(offset, 1), Err(Status::Invalid), "{offset}");
        }
        let nook = host.nook();
        let (window, iova) = nook.window().unwrap();
        let (all, part) = (window.as_ptr(), region.bytes().part(8, 4).unwrap().as_ptr());
        let distance = part.addr().get() - all.addr().get();
        assert_eq!((distance as u64, part.len()), (region.iova() + 8 - iova, 4));
        assert_eq!(all.len() as u64, host.page_now().window_len_bytes);
    }

    #[test]
    fn bytes_pass_in_and_out_and_from_one_place_to_another() {
        let host = TestHost::new();
        let nook = host.nook();
        let (region, other) = (nook.dma_alloc(256, 64).unwrap(), nook.dma_alloc(256, 64).unwrap());
        let text = b"what the device is to read";
        assert_eq!(region.bytes().write_bytes(3, text), Ok(()));
        let part = region.bytes().part(3, text.len() as u32).unwrap();
        assert_eq!(other.bytes().copy(100, part), Ok(()));
        // Onto itself, further back: as if it had been taken out as a whole first.
        assert_eq!(region.bytes().copy(5, part), Ok(()));
        let mut out = vec![0; text.len()];
        assert_eq!(other.bytes().read_bytes(100, &mut out), Ok(()));
        assert_eq!(out, text);
        assert_eq!(region.bytes().read_bytes(5, &mut out), Ok(()));
        assert_eq!(out, text);
        assert_eq!(other.bytes().fill(100, 8, 0x5a), Ok(()));
        assert_eq!(other.bytes().read(100), Ok(0x5a5a_5a5au32));
        assert_eq!(other.bytes().read(99), Ok(0u8));
        assert_eq!(other.bytes().read(108), Ok(text[8]));
    }
}
