//! From many frames, one packet: what the kernel calls generic receive offload, before the kernel.

use nook_net_api::Incoming;

use super::checksum::{add, sum};
use super::headers::{ACK, Headers, MOST_BYTES, PSH, Version};
use super::{Gso, LONGEST_BYTES, VnetHeader};

/// Connections whose segments are collected at a time.
const CONNECTIONS: usize = 8;

/// Collects TCP segments that follow each other.
///
/// A segment is taken if the packet that comes of it, cut up again, would give the same frames: headers alike, sequence
/// numbers without a gap, all of one length but the last, checksums right. Order within a connection stays.
#[derive(Default)]
pub(crate) struct Merger {
    packets: Vec<Packet>,
    /// Empty buffers, to be used again.
    spare: Vec<Vec<u8>>,
}

/// One connection's segments. `bytes` has room for the header before them.
struct Packet {
    bytes: Vec<u8>,
    headers: Headers,
    next_sequence: u32,
    gso_bytes: usize,
    segments: u16,
    /// Takes no more.
    whole: bool,
}

impl Packet {
    fn frame(&self) -> &[u8] {
        &self.bytes[VnetHeader::BYTES..]
    }

    fn is_of(&self, headers: Headers, head: &[u8]) -> bool {
        // Ethernet's addresses, VLAN tags and type, IP's addresses, TCP's ports.
        let same = |from: usize, to: usize| self.frame()[from..to] == head[from..to];
        let addresses = match headers.version {
            Version::V4 => 12..20,
            Version::V6 => 8..40,
        };
        let ip = headers.ip;
        self.headers.version == headers.version
            && self.headers.ip == ip
            && same(0, ip)
            && same(ip + addresses.start, ip + addresses.end)
            && same(headers.tcp(), headers.tcp() + 4)
    }

    /// Returns whether the segment continues this packet.
    fn is_continued_by(&self, headers: Headers, head: &[u8]) -> bool {
        let (tcp, ip) = (headers.tcp(), headers.ip);
        let same = |from: usize, to: usize| self.frame()[from..to] == head[from..to];
        let ip_is_alike = match headers.version {
            // Type of service; flags; time to live.
            Version::V4 => same(ip, ip + 2) && same(ip + 6, ip + 7) && same(ip + 8, ip + 9),
            // Traffic class and flow label; hop limit.
            Version::V6 => same(ip, ip + 4) && same(ip + 7, ip + 8),
        };
        let follows = match (self.headers.identification(self.frame()), headers.identification(head)) {
            (Some(first), Some(this)) => this == first.wrapping_add(self.segments),
            (first, this) => first == this,
        };
        let payload = headers.end - headers.len;
        !self.whole
            && headers.len == self.headers.len
            && headers.sequence(head) == self.next_sequence
            && ip_is_alike
            && follows
            // Acknowledgement and header length; window; options.
            && same(tcp + 8, tcp + 13)
            && same(tcp + 14, tcp + 16)
            && same(tcp + 18, headers.len)
            && payload <= self.gso_bytes
            && self.frame().len() + payload <= LONGEST_BYTES
    }

    /// Returns the packet as the kernel is to have it, with the header before it.
    fn finish(&mut self) -> &[u8] {
        let headers = self.headers;
        let mut vnet = VnetHeader::default();
        if self.segments > 1 {
            let payload = self.frame().len() - headers.len;
            let frame = &mut self.bytes[VnetHeader::BYTES..];
            headers.set_payload_bytes(frame, payload);
            // The kernel adds the rest, or takes it to be right.
            let pseudo = headers.pseudo_sum(frame, headers.len - headers.tcp() + payload);
            headers.set_checksum(frame, pseudo);
            vnet = VnetHeader {
                needs_checksum: true,
                checked: false,
                gso: if headers.version == Version::V4 { Gso::TcpV4 } else { Gso::TcpV6 },
                header_bytes: headers.len as u16,
                gso_bytes: self.gso_bytes as u16,
                csum_start: headers.tcp() as u16,
                csum_offset: (headers.checksum_at() - headers.tcp()) as u16,
            };
        }
        self.bytes[..VnetHeader::BYTES].copy_from_slice(&vnet.to_bytes());
        &self.bytes
    }
}

impl Merger {
    /// Looks at a frame and says whether it was collected; if not, it is to go by itself, now. `write` is given packets
    /// that are whole, with the header before them, and how many frames each is; it is called for what must go before
    /// this frame.
    pub(crate) fn take<E>(
        &mut self,
        frame: &Incoming<'_>,
        mut write: impl FnMut(&[u8], u16) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut head = [0; MOST_BYTES];
        let head = &mut head[..frame.len_bytes().min(MOST_BYTES)];
        frame.copy_to(&mut *head);
        let Some(headers) = Headers::of(head, frame.len_bytes()) else { return Ok(false) };
        let collecting = self.packets.iter().position(|packet| packet.is_of(headers, head));
        let flags = head[headers.flags_at()];
        let plain = flags & !PSH == ACK && headers.end > headers.len && headers.ip_is_intact(head);
        if let Some(at) = collecting {
            let continues = plain && self.packets[at].is_continued_by(headers, head);
            if continues && self.append(at, frame, headers, head) {
                return Ok(true);
            }
            self.write(at, &mut write)?;
        }
        if !plain {
            return Ok(false);
        }
        if self.packets.len() == CONNECTIONS {
            self.write(0, &mut write)?;
        }
        Ok(self.begin(frame, headers, head))
    }

    /// Passes everything that was collected to `write`.
    pub(crate) fn flush<E>(&mut self, mut write: impl FnMut(&[u8], u16) -> Result<(), E>) -> Result<(), E> {
        while !self.packets.is_empty() {
            self.write(0, &mut write)?;
        }
        Ok(())
    }

    fn write<E>(&mut self, at: usize, write: &mut impl FnMut(&[u8], u16) -> Result<(), E>) -> Result<(), E> {
        let mut packet = self.packets.remove(at);
        let segments = packet.segments;
        let outcome = write(packet.finish(), segments);
        packet.bytes.clear();
        self.spare.push(packet.bytes);
        outcome
    }

    fn begin(&mut self, frame: &Incoming<'_>, headers: Headers, head: &[u8]) -> bool {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.reserve(VnetHeader::BYTES + LONGEST_BYTES);
        bytes.resize(VnetHeader::BYTES, 0);
        bytes.extend_from_slice(&head[..headers.len]);
        let gso_bytes = headers.end - headers.len;
        if !append_payload(&mut bytes, frame, headers, head) {
            bytes.clear();
            self.spare.push(bytes);
            return false;
        }
        let next_sequence = headers.sequence(head).wrapping_add(gso_bytes as u32);
        let whole = head[headers.flags_at()] & PSH != 0;
        self.packets.push(Packet { bytes, headers, next_sequence, gso_bytes, segments: 1, whole });
        true
    }

    fn append(&mut self, at: usize, frame: &Incoming<'_>, headers: Headers, head: &[u8]) -> bool {
        let packet = &mut self.packets[at];
        if !append_payload(&mut packet.bytes, frame, headers, head) {
            return false;
        }
        let (flags_at, payload) = (headers.flags_at(), headers.end - headers.len);
        packet.bytes[VnetHeader::BYTES + flags_at] |= head[flags_at];
        packet.next_sequence = packet.next_sequence.wrapping_add(payload as u32);
        packet.segments += 1;
        packet.whole = payload < packet.gso_bytes || head[flags_at] & PSH != 0;
        true
    }
}

/// Copies the payload, and looks at the copy: whether TCP's checksum is right, unless the device has. If not, nothing
/// was appended.
fn append_payload(bytes: &mut Vec<u8>, frame: &Incoming<'_>, headers: Headers, head: &[u8]) -> bool {
    let (at, payload) = (bytes.len(), headers.end - headers.len);
    bytes.resize(at + payload, 0);
    frame.copy_from(headers.len, &mut bytes[at..]);
    if frame.checked {
        return true;
    }
    let tcp = &head[headers.tcp()..headers.len];
    let pseudo = headers.pseudo_sum(head, tcp.len() + payload);
    let right = add(add(pseudo, sum(tcp)), sum(&bytes[at..])) == 0xffff;
    if !right {
        bytes.truncate(at);
    }
    right
}
