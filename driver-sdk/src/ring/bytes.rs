//! [`ByteRing`]: the device writes bytes one after the other, and begins again at the start where the ring ends.

use nook_abi::Status;
use nook_regs::Value;

use crate::{DmaBytes, DmaRegion, Kernel, Nook};

/// A ring of bytes that the device writes: messages with a header each, characters, a log. The device tells its
/// position, and gets the driver's; equal positions mean that nothing is there. A message that reaches the ring's end
/// goes on at its start: a device that can be set to write it past the end in one piece is set not to.
///
/// ```
/// # use nook_sdk::{ByteRing, Kernel, Register, Regs, Status};
/// /// Takes messages that begin with their length. Returns how many there were.
/// fn take<K: Kernel>(ring: &mut ByteRing<K>, regs: &Regs<K>, at: [Register<u32>; 2]) -> Result<u32, Status> {
///     let [head, tail] = at;
///     // The device's word, which is checked.
///     ring.written_to(regs.read(head))?;
///     let mut messages = 0;
///     while ring.available_bytes() >= 4 {
///         let len_bytes: u32 = ring.read(0)?;
///         let mut message = [0; 256];
///         let place = message.get_mut(..len_bytes as usize).ok_or(Status::DeviceFailed)?;
///         ring.read_bytes(4, place)?;
///         ring.consume(4 + len_bytes.next_multiple_of(4))?;
///         messages += 1;
///     }
///     regs.write(tail, ring.position());
///     Ok(messages)
/// }
/// ```
pub struct ByteRing<K: Kernel> {
    memory: DmaRegion<K>,
    len_bytes: u32,
    /// Bytes that were ever consumed, and that the device has ever written, as far as it has told.
    consumed: u32,
    written: u32,
}

impl<K: Kernel> ByteRing<K> {
    /// Creates an empty ring in fresh DMA memory, aligned to 4096 bytes. Its length is a power of two, 16 bytes to 16
    /// MiB, and `beyond_bytes` of memory lie after it, for devices that write past the end before they begin again.
    /// Process context only.
    pub fn new(nook: Nook<K>, len_bytes: u32, beyond_bytes: u32) -> Result<Self, Status> {
        if !len_bytes.is_power_of_two() || !(16..=16 << 20).contains(&len_bytes) {
            return Err(Status::Invalid);
        }
        let memory = nook.dma_alloc(len_bytes.checked_add(beyond_bytes).ok_or(Status::Invalid)?, 4096)?;
        Ok(ByteRing { memory, len_bytes, consumed: 0, written: 0 })
    }

    /// Returns where the device finds it.
    pub fn iova(&self) -> u64 {
        self.memory.iova()
    }

    /// Returns how long it is, without what lies beyond.
    pub fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    /// Returns where the driver reads next, from 0 to the length less 1.
    #[inline(always)]
    pub fn position(&self) -> u32 {
        self.consumed & (self.len_bytes - 1)
    }

    /// Returns how many bytes are there to be read.
    #[inline(always)]
    pub fn available_bytes(&self) -> u32 {
        self.written.wrapping_sub(self.consumed)
    }

    /// Notes that the device writes next at `position`, from 0 to the length less 1. [`Status::DeviceFailed`] if that
    /// is outside, or less than it had already written.
    #[inline(always)]
    pub fn written_to(&mut self, position: u32) -> Result<(), Status> {
        let available = position.wrapping_sub(self.consumed) & (self.len_bytes - 1);
        if position >= self.len_bytes || available < self.available_bytes() {
            return Err(Status::DeviceFailed);
        }
        self.written = self.consumed.wrapping_add(available);
        Ok(())
    }

    fn bytes(&self) -> DmaBytes<'_> {
        self.memory.bytes()
    }

    /// Returns where in memory the byte `offset` after the driver's position is, if `len_bytes` from there on were
    /// written.
    #[inline(always)]
    fn place(&self, offset: u32, len_bytes: u32) -> Result<u32, Status> {
        if offset.checked_add(len_bytes).is_none_or(|end| end > self.available_bytes()) {
            return Err(Status::Invalid);
        }
        Ok(self.consumed.wrapping_add(offset) & (self.len_bytes - 1))
    }

    /// Reads the value `offset` bytes after the driver's position. [`Status::Invalid`] if it was not written whole, or
    /// is not aligned to its size in the ring: what is aligned never lies across the ring's end.
    #[inline(always)]
    pub fn read<V: Value>(&self, offset: u32) -> Result<V, Status> {
        let place = self.place(offset, size_of::<V>() as u32)?;
        self.bytes().read(place)
    }

    /// Copies out what begins `offset` bytes after the driver's position, across the ring's end if need be.
    /// [`Status::Invalid`] if that much was not written.
    pub fn read_bytes(&self, offset: u32, into: &mut [u8]) -> Result<(), Status> {
        let len_bytes = u32::try_from(into.len()).map_err(|_| Status::Invalid)?;
        let place = self.place(offset, len_bytes)?;
        let (first, second) = into.split_at_mut((self.len_bytes - place).min(len_bytes) as usize);
        self.bytes().read_bytes(place, first)?;
        self.bytes().read_bytes(0, second)
    }

    /// Gives `len_bytes` bytes back to the device. Returns the driver's new position, for the device.
    /// [`Status::Invalid`], and nothing moves, if fewer are there.
    #[inline(always)]
    pub fn consume(&mut self, len_bytes: u32) -> Result<u32, Status> {
        if len_bytes > self.available_bytes() {
            return Err(Status::Invalid);
        }
        self.consumed = self.consumed.wrapping_add(len_bytes);
        Ok(self.position())
    }

    /// Forgets what is there and begins at position 0, as a device that was reset does. The device must be quiet.
    pub fn clear(&mut self) {
        (self.consumed, self.written) = (0, 0);
    }
}
