//! The receive FIFO: frames that have arrived and not yet reached memory (section 3.2.2).

use std::collections::VecDeque;

/// What the MAC found out about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Bits of `rx::status` and `rx::error` for its last descriptor.
    pub(crate) bits: u32,
    /// Its length in the FIFO; with the frame check sequence, if that is stored.
    pub(crate) len: usize,
    /// It is a PAUSE frame: those are no good frames to the counters (section 13.7.27).
    pub(crate) pause: bool,
}

#[derive(Debug)]
pub(crate) struct Fifo {
    bytes: VecDeque<u8>,
    frames: VecDeque<Verdict>,
    limit: usize,
}

impl Fifo {
    /// The whole packet buffer (section 13.4.16).
    const PACKET_BUFFER: usize = 64 << 10;
    /// A frame takes at least this much: no more of them fit.
    const SMALLEST: usize = 64;

    pub(crate) fn new() -> Self {
        Fifo {
            bytes: VecDeque::with_capacity(Self::PACKET_BUFFER),
            frames: VecDeque::with_capacity(Self::PACKET_BUFFER / Self::SMALLEST),
            limit: 0,
        }
    }

    /// Gives it `kib` KiB of the packet buffer.
    pub(crate) fn set_size(&mut self, kib: u32) {
        self.limit = Self::PACKET_BUFFER.min(kib as usize * 1024);
    }

    /// Returns how full it is.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.bytes.len() + len <= self.limit && self.frames.len() < Self::PACKET_BUFFER / Self::SMALLEST
    }

    pub(crate) fn push(&mut self, frame: &[u8], verdict: Verdict) {
        self.bytes.extend(frame);
        self.frames.push_back(verdict);
    }

    /// Copies the oldest frame into `frame`; it stays until [`pop`](Self::pop).
    pub(crate) fn peek(&mut self, frame: &mut [u8]) -> Option<Verdict> {
        let verdict = *self.frames.front()?;
        let (first, second) = self.bytes.as_slices();
        let split = first.len().min(verdict.len);
        frame[..split].copy_from_slice(&first[..split]);
        frame[split..verdict.len].copy_from_slice(&second[..verdict.len - split]);
        Some(verdict)
    }

    pub(crate) fn pop(&mut self) {
        if let Some(verdict) = self.frames.pop_front() {
            self.bytes.drain(..verdict.len);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }
}
