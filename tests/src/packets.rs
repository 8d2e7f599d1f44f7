//! Packets of TCP and UDP as the kernel leaves them to a device, and what is right of the frames that come of them.

use nook_abi::net::{Side, side_flags};
use nook_seed::Rng;

const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 1 << 0;
const PSH: u8 = 1 << 3;
const ACK: u8 = 1 << 4;

/// What a packet is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// IPv6, not IPv4.
    pub ipv6: bool,
    /// VLAN tags in front of IP.
    pub tags: usize,
    /// Bytes of IPv4's options, or of an extension header of IPv6: a multiple of 8, 40 at most.
    pub options: usize,
    /// TCP, not UDP.
    pub tcp: bool,
    /// Bytes of payload.
    pub payload: usize,
    /// Payload of each segment; 0 if the packet is one frame.
    pub segment: usize,
    /// From which bytes come.
    pub seed: u64,
}

/// The sum that the Internet's checksums are made of (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u64 = bytes.chunks(2).map(|two| u64::from(two[0]) << 8 | two.get(1).map_or(0, |&b| b.into())).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

impl Packet {
    /// Returns one of any kind, which may be cut.
    pub fn any(rng: &mut Rng) -> Packet {
        let tcp = rng.one_in(2);
        let cut = tcp && rng.one_in(2);
        let payload = if cut { 1461 + rng.below(62_000) as usize } else { rng.below(1200) as usize };
        let segment = if cut { 500 + rng.below(900) as usize } else { 0 };
        let (ipv6, tags, options) = (rng.one_in(2), rng.below(2) as usize, rng.below(4) as usize * 8);
        Packet { ipv6, tags, options, tcp, payload, segment, seed: rng.word() }
    }

    fn ip(&self) -> usize {
        14 + 4 * self.tags
    }

    fn upper(&self) -> usize {
        self.ip() + if self.ipv6 { 40 } else { 20 } + self.options
    }

    fn header_bytes(&self) -> usize {
        self.upper() + if self.tcp { 32 } else { 8 }
    }

    fn checksum_offset(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    /// Returns the packet as a device begins with it, and what is to be done to it.
    pub fn left(&self) -> (Vec<u8>, Side) {
        let mut rng = Rng::new(self.seed);
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 1]);
        bytes.extend([0x81, 0, 0, 7].repeat(self.tags));
        let protocol = if self.tcp { TCP } else { UDP };
        let upper_bytes = self.header_bytes() - self.upper() + self.payload;
        let cut = self.segment > 0;
        let ip = self.ip();
        if self.ipv6 {
            let carried = if cut { 0 } else { self.options + upper_bytes } as u16;
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(carried.to_be_bytes());
            bytes.extend([if self.options > 0 { 60 } else { protocol }, 64]);
            bytes.extend((0..32).map(|_| rng.word() as u8));
            if self.options > 0 {
                bytes.extend([protocol, (self.options / 8 - 1) as u8]);
                bytes.resize(self.upper(), 0);
            }
        } else {
            let total = if cut { 0 } else { 20 + self.options + upper_bytes } as u16;
            bytes.extend([0x08, 0x00, 0x45 + (self.options / 4) as u8, 0]);
            bytes.extend(total.to_be_bytes());
            bytes.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0]);
            bytes.extend((0..8).map(|_| rng.word() as u8));
            bytes.resize(self.upper(), 1);
            if !cut {
                let checksum = !sum(&[&bytes[ip..]]);
                put(&mut bytes, ip + 10, checksum);
            }
        }
        let pseudo_bytes = if cut { 0 } else { upper_bytes as u16 };
        let pseudo = sum(&[self.addresses(&bytes), &[0, protocol], &pseudo_bytes.to_be_bytes()]);
        if self.tcp {
            bytes.extend([0x14, 0x51, 0, 80]);
            bytes.extend((rng.word() as u32).to_be_bytes());
            bytes.extend([0, 0, 0, 99, 0x80, ACK | PSH | FIN, 2, 0, 0, 0, 0, 0]);
            bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        } else {
            bytes.extend([0x14, 0x51, 0, 80]);
            bytes.extend((upper_bytes as u16).to_be_bytes());
            bytes.extend([0, 0]);
        }
        let upper = self.upper();
        put(&mut bytes, upper + self.checksum_offset(), pseudo);
        bytes.extend((0..self.payload).map(|_| rng.word() as u8));
        let flags = side_flags::CHECKSUM
            | if cut { side_flags::SEGMENT } else { 0 }
            | if self.ipv6 { side_flags::IPV6 } else { 0 };
        let side = Side {
            flags,
            network_start: ip as u16,
            checksum_start: upper as u16,
            checksum_offset: self.checksum_offset() as u16,
            header_bytes: if cut { self.header_bytes() as u16 } else { 0 },
            segment_bytes: self.segment as u16,
            frame_bytes: bytes.len() as u32,
        };
        (bytes, side)
    }

    fn addresses<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        if self.ipv6 { &bytes[self.ip() + 8..self.ip() + 40] } else { &bytes[self.ip() + 12..self.ip() + 20] }
    }

    /// Returns how many frames come of it.
    pub fn frames(&self) -> usize {
        if self.segment > 0 { self.payload.div_ceil(self.segment) } else { 1 }
    }

    /// Says what is wrong with the frames that came of it, if something is. Padding behind IP's packet is not.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge(&self, frames: &[Vec<u8>]) -> Result<(), String> {
        let (whole, _) = self.left();
        let (ip, upper, header) = (self.ip(), self.upper(), self.header_bytes());
        let mut stream: Vec<u8> = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            let wrong = |what: &str| Err(format!("frame {at} of {}: {what}", frames.len()));
            if frame.len() < header {
                return wrong("too short");
            }
            let end = if self.ipv6 {
                ip + 40 + usize::from(word(frame, ip + 4))
            } else {
                ip + usize::from(word(frame, ip + 2))
            };
            if end > frame.len() || end < header || frame.len() > end.max(60) {
                return wrong("IP gives another length than it has");
            }
            if !self.ipv6 && sum(&[&frame[ip..upper]]) != 0xffff {
                return wrong("IP's checksum");
            }
            let protocol = if self.tcp { TCP } else { UDP };
            let length = ((end - upper) as u16).to_be_bytes();
            if sum(&[self.addresses(frame), &[0, protocol], &length, &frame[upper..end]]) != 0xffff {
                return wrong("the checksum");
            }
            if frame[..ip] != whole[..ip] || self.addresses(frame) != self.addresses(&whole) {
                return wrong("addresses or tags");
            }
            if self.tcp {
                let sequence = |bytes: &[u8]| u32::from_be_bytes(std::array::from_fn(|i| bytes[upper + 4 + i]));
                if sequence(frame) != sequence(&whole).wrapping_add(stream.len() as u32) {
                    return wrong("the sequence number");
                }
                let last = at + 1 == frames.len();
                if frame[upper + 13] != if last { ACK | PSH | FIN } else { ACK } {
                    return wrong("TCP's flags");
                }
                if !last && end - header != self.segment {
                    return wrong("a segment of another length");
                }
            }
            stream.extend(&frame[header..end]);
        }
        if stream == whole[header..] { Ok(()) } else { Err(format!("{} frames: another stream", frames.len())) }
    }
}
