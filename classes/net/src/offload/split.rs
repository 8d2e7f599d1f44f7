//! From one packet, many frames: what the kernel calls generic segmentation offload, after the kernel.

use nook_bus::VolatileSlice;

use super::checksum::{add, sum};
use super::headers::{CWR, FIN, Headers, MOST_BYTES, PSH};
use super::{Gso, LONGEST_BYTES, VnetHeader};

/// Cuts a packet of TCP into frames, one each time that it is asked.
pub(crate) struct Splitter {
    packet: Box<[u8]>,
    /// Of the packet that is being cut up.
    cut: Option<Cut>,
}

#[derive(Clone, Copy)]
struct Cut {
    headers: Headers,
    gso_bytes: usize,
    /// Payload that was given out.
    done: usize,
    frames: u16,
}

/// What a packet came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame of this length is in the buffer.
    Frame(usize),
    /// Nothing that can be sent: longer than a frame, or not what was asked for.
    Nothing,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Splitter { packet: vec![0; LONGEST_BYTES].into_boxed_slice(), cut: None }
    }

    /// Returns where the rest of a packet goes whose first `buffer_bytes` are in a frame's buffer.
    pub(crate) fn rest(&mut self, buffer_bytes: usize) -> &mut [u8] {
        &mut self.packet[buffer_bytes.min(LONGEST_BYTES)..]
    }

    /// Begins with a packet of `len` bytes that was read: its beginning into `buffer`, the rest to where
    /// [`rest`](Self::rest) says. Its first frame, or all of it, is put in place.
    pub(crate) fn begin(&mut self, vnet: VnetHeader, buffer: &VolatileSlice<'_>, len: usize) -> Next {
        if vnet.gso == Gso::One {
            if len > buffer.len() {
                return Next::Nothing;
            }
            if vnet.needs_checksum && !self.complete(vnet, buffer, len) {
                return Next::Nothing;
            }
            return Next::Frame(len);
        }
        let first = len.min(buffer.len());
        if len > LONGEST_BYTES || buffer.copy_to(&mut self.packet[..first]) < first {
            return Next::Nothing;
        }
        let headers = Headers::of(&self.packet[..len.min(MOST_BYTES)], len);
        let gso_bytes = usize::from(vnet.gso_bytes);
        let (Some(headers), false, Gso::TcpV4 | Gso::TcpV6) = (headers, gso_bytes == 0, vnet.gso) else {
            return Next::Nothing;
        };
        self.cut = Some(Cut { headers, gso_bytes, done: 0, frames: 0 });
        self.next(buffer).unwrap_or(Next::Nothing)
    }

    /// Returns the next frame of the packet that is being cut up; `None` if there is none.
    pub(crate) fn next(&mut self, buffer: &VolatileSlice<'_>) -> Option<Next> {
        let Cut { headers, gso_bytes, done, frames } = self.cut.take()?;
        let payload = gso_bytes.min(headers.end - headers.len - done);
        let len = headers.len + payload;
        if len > buffer.len() || payload == 0 {
            return Some(Next::Nothing);
        }
        let last = headers.len + done + payload == headers.end;
        let mut head = [0; MOST_BYTES];
        let head = &mut head[..headers.len];
        head.copy_from_slice(&self.packet[..headers.len]);
        let gone = if last { 0 } else { FIN | PSH } | if frames == 0 { 0 } else { CWR };
        head[headers.flags_at()] &= !gone;
        headers.set_sequence(head, headers.sequence(head).wrapping_add(done as u32));
        headers.add_to_identification(head, frames);
        headers.set_payload_bytes(head, payload);
        let bytes = &self.packet[headers.len + done..][..payload];
        headers.set_checksum(head, 0);
        let tcp = &head[headers.tcp()..];
        let pseudo = headers.pseudo_sum(head, tcp.len() + payload);
        let checksum = !add(add(pseudo, sum(tcp)), sum(bytes));
        headers.set_checksum(head, checksum);
        buffer.copy_from(&*head);
        let Ok(to) = buffer.subslice(headers.len, payload) else { return Some(Next::Nothing) };
        to.copy_from(bytes);
        if !last {
            self.cut = Some(Cut { headers, gso_bytes, done: done + payload, frames: frames + 1 });
        }
        Some(Next::Frame(len))
    }

    /// Completes a checksum of which only the pseudo header's part is there.
    fn complete(&mut self, vnet: VnetHeader, buffer: &VolatileSlice<'_>, len: usize) -> bool {
        let start = usize::from(vnet.csum_start);
        let at = start + usize::from(vnet.csum_offset);
        if at + 2 > len {
            return false;
        }
        let Some(bytes) = self.packet.get_mut(..len - start) else { return false };
        let Ok(from) = buffer.subslice(start, len - start) else { return false };
        from.copy_to(&mut *bytes);
        let checksum = match !sum(bytes) {
            // For UDP, zero means that there is none; the other zero says the same to all.
            0 => 0xffff,
            checksum => checksum,
        };
        buffer.subslice(at, 2).is_ok_and(|to| {
            to.copy_from(&checksum.to_be_bytes());
            true
        })
    }
}
