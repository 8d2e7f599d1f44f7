//! What was received and not looked at yet, and what is to be sent.

use nook_bus::VolatileSlice;

use crate::limits::INBOX_BYTES;

/// Received bytes, at most [`INBOX_BYTES`].
pub struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub fn new() -> Self {
        Inbox { bytes: vec![0; INBOX_BYTES].into(), start: 0, end: 0 }
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns the room for more.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            // A header at most, unless parsing waits for the disk or the client.
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Says how much was put into the room.
    pub fn added(&mut self, len: usize) {
        self.end = (self.end + len).min(self.bytes.len());
    }

    /// Takes this many bytes, if they are there.
    pub fn take(&mut self, len: usize) -> Option<&[u8]> {
        if self.len() < len {
            return None;
        }
        self.start += len;
        Some(&self.bytes[self.start - len..self.start])
    }

    /// Takes bytes of a fixed length, if they are there.
    pub fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|bytes| bytes.try_into().ok())
    }

    /// Takes at most this many bytes.
    pub fn take_up_to(&mut self, len: u64) -> &[u8] {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(self.len());
        self.take(len).unwrap_or_default()
    }
}

/// Bytes to be sent.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

/// A buffer that grew beyond this is given back once it is empty.
const KEPT_BYTES: usize = 1 << 20;

impl Outbox {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what is to be added to.
    pub fn end(&mut self) -> &mut Vec<u8> {
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// Adds memory that others may be writing: each byte is read once.
    pub fn push(&mut self, data: &VolatileSlice<'_>) {
        let bytes = self.end();
        let start = bytes.len();
        bytes.resize(start + data.len(), 0);
        data.copy_to(&mut bytes[start..]);
    }

    pub fn to_send(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Says how much was sent.
    pub fn sent(&mut self, len: usize) {
        self.sent = (self.sent + len).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.sent = 0;
        }
    }
}
