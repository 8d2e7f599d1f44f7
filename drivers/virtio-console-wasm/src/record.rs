//! [`Memory`]: the driver's own memory, with a buffer each way and a record of whose their bytes are.
//!
//! A byte that the device has written into a buffer is in no chip where the next driver would find it, and neither is
//! one that was taken of the host and not yet announced. But the window keeps its contents over a restart, so the
//! record lies there too. Each of its words is written at once, so that a driver may end anywhere.

use nook_sdk::{DmaBytes, DmaRegion, Kernel, Nook, Status};
use nook_virtio::Left;
use virtio_regs::console::queue;

/// Bytes of a buffer, each way.
pub(crate) const RECEIVE_BYTES: usize = 1024;
pub(crate) const SEND_BYTES: usize = 64;

/// Says that there is a record: it is the first that the driver allocates, and so where its window begins.
const MARK_AT: u32 = 0;
const MARK: u64 = u64::from_le_bytes(*b"console1");
const RECEIVED_AT: u32 = 8;
const SENT_AT: u32 = 16;
/// Where the device sees it.
const IOVA_AT: u32 = 24;
const RECEIVE_AT: u32 = 64;
const SEND_AT: u32 = RECEIVE_AT + RECEIVE_BYTES as u32;
const OWN_BYTES: u32 = SEND_AT + SEND_BYTES as u32;

/// What is known of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// How many chains of its queue were reclaimed since the device was reset, in 16 bits.
    pub(crate) taken: u16,
    /// How many of its bytes count. None of what is received while the device has it, and none of what is sent while
    /// it is free.
    pub(crate) len: u16,
    /// How many of them were handed over.
    pub(crate) at: u16,
}

impl Buffer {
    fn to_word(self) -> u64 {
        u64::from(self.taken) | u64::from(self.len) << 16 | u64::from(self.at) << 32
    }

    fn from_word(word: u64) -> Self {
        Buffer { taken: word as u16, len: (word >> 16) as u16, at: (word >> 32) as u16 }
    }
}

/// What a driver that ended has left: bytes, and how many.
struct Rest<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Rest<N> {
    const NONE: Self = Rest { bytes: [0; N], len: 0 };

    fn of(memory: DmaBytes<'_>, offset: u32, from: usize, to: usize) -> Option<Self> {
        let mut rest = Self::NONE;
        rest.len = to.checked_sub(from)?;
        memory.read_bytes(offset + from as u32, rest.bytes.get_mut(..rest.len)?).ok()?;
        Some(rest)
    }
}

/// The driver's own memory.
pub(crate) struct Memory<K: Kernel> {
    own: DmaRegion<K>,
}

impl<K: Kernel> Memory<K> {
    /// Allocates it, first of all. If a driver before this one has left bytes, they are in it: received ones, and those
    /// to be sent. Returns what is known of both buffers. Before the device is reset.
    pub(crate) fn new(nook: Nook<K>, after_another: bool) -> Result<(Self, Buffer, Buffer), Status> {
        let left = if after_another { rests(nook) } else { None };
        let (received, sent) = left.unwrap_or((Rest::NONE, Rest::NONE));
        let memory = Memory { own: nook.dma_alloc(OWN_BYTES, 4096)? };
        memory.receive_buffer().write_bytes(0, &received.bytes[..received.len])?;
        memory.send_buffer().write_bytes(0, &sent.bytes[..sent.len])?;
        let received = Buffer { len: received.len as u16, ..Buffer::default() };
        let sent = Buffer { len: sent.len as u16, ..Buffer::default() };
        memory.note_received(received);
        memory.note_sent(sent);
        memory.own.bytes().write(IOVA_AT, memory.own.iova())?;
        memory.own.bytes().write(MARK_AT, MARK)?;
        Ok((memory, received, sent))
    }

    pub(crate) fn receive_buffer(&self) -> DmaBytes<'_> {
        self.part(RECEIVE_AT, RECEIVE_BYTES)
    }

    pub(crate) fn send_buffer(&self) -> DmaBytes<'_> {
        self.part(SEND_AT, SEND_BYTES)
    }

    fn part(&self, at: u32, len_bytes: usize) -> DmaBytes<'_> {
        self.own.bytes().part(at, len_bytes as u32).expect("its own memory")
    }

    #[inline]
    pub(crate) fn note_received(&self, buffer: Buffer) {
        self.own.bytes().write(RECEIVED_AT, buffer.to_word()).expect("its own memory");
    }

    #[inline]
    pub(crate) fn note_sent(&self, buffer: Buffer) {
        self.own.bytes().write(SENT_AT, buffer.to_word()).expect("its own memory");
    }
}

/// Returns what a driver before this one has left of both, if there was one.
fn rests<K: Kernel>(nook: Nook<K>) -> Option<(Rest<RECEIVE_BYTES>, Rest<SEND_BYTES>)> {
    let (window, _) = nook.window().ok()?;
    if window.read::<u64>(MARK_AT).ok()? != MARK {
        return None;
    }
    let received = Buffer::from_word(window.read(RECEIVED_AT).ok()?);
    let sent = Buffer::from_word(window.read(SENT_AT).ok()?);
    let iova = window.read(IOVA_AT).ok()?;
    // What the device has used and nobody has reclaimed. Without it, what the record says.
    let used = |number, taken: u16| Left::of(nook, number, iova).filter(|left| left.used == taken.wrapping_add(1));
    let to = match received.len {
        0 => used(queue::RECEIVE, received.taken).map_or(0, |left| left.written as usize),
        len => len.into(),
    };
    let received = Rest::of(window, RECEIVE_AT, received.at.into(), to).unwrap_or(Rest::NONE);
    let has_left = used(queue::TRANSMIT, sent.taken).is_some();
    let sent = Rest::of(window, SEND_AT, 0, if has_left { 0 } else { sent.len.into() }).unwrap_or(Rest::NONE);
    Some((received, sent))
}
