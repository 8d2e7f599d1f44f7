//! The headers of a TCP segment that may be collected: where they are in its frame, and how they are changed.

use super::checksum::{add, sum};

pub(super) const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
pub(super) const IPV6_BYTES: usize = 40;
pub(super) const TCP_BYTES: usize = 20;
/// Ethernet types of IP.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
/// Ethernet types of VLAN tags: 802.1Q, 802.1ad, and the one that was usual before the latter.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const TAG_BYTES: usize = 4;
/// VLAN tags of a segment that may be collected.
const MOST_TAGS: usize = 2;
/// Ethernet with tags, the longer IP header, the longest TCP header.
pub(super) const MOST_BYTES: usize = ETHERNET_BYTES + MOST_TAGS * TAG_BYTES + IPV6_BYTES + 60;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

pub(super) const FIN: u8 = 1 << 0;
pub(super) const PSH: u8 = 1 << 3;
pub(super) const ACK: u8 = 1 << 4;
pub(super) const CWR: u8 = 1 << 7;

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// Returns where the headers behind Ethernet's and its VLAN tags begin, and of what type they are; `None` if the frame
/// ends before.
pub(super) fn behind_tags(bytes: &[u8]) -> Option<(usize, u16)> {
    let mut at = ETHERNET_BYTES;
    loop {
        let kind = bytes.get(at - 2..at).map(|kind| word(kind, 0))?;
        if !TAGS.contains(&kind) {
            return Some((at, kind));
        }
        at += TAG_BYTES;
    }
}

/// Where the parts of a TCP segment are in its frame, behind VLAN tags if it has some. IP headers have no options and
/// no extensions, and fragments are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) version: Version,
    /// Where the IP header begins.
    pub(super) ip: usize,
    /// Where the payload begins.
    pub(super) len: usize,
    /// Where the payload ends: what follows is padding.
    pub(super) end: usize,
}

/// Returns the 16-bit big-endian word at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn put_word(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

impl Headers {
    /// Reads a frame of `frame_bytes`, of which `bytes` is the beginning: all headers, if it is a TCP segment.
    pub(super) fn of(bytes: &[u8], frame_bytes: usize) -> Option<Headers> {
        let (ip, kind) = behind_tags(bytes)?;
        let (version, tcp, end) = match (kind, bytes.get(ip)?) {
            (IPV4, 0x45) if bytes.len() >= ip + IPV4_BYTES => {
                let fragment = word(bytes, ip + 6) & 0x3fff;
                let end = ip + usize::from(word(bytes, ip + 2));
                if fragment != 0 || bytes[ip + 9] != TCP {
                    return None;
                }
                (Version::V4, ip + IPV4_BYTES, end)
            }
            (IPV6, first) if first >> 4 == 6 && bytes.len() >= ip + IPV6_BYTES => {
                let end = ip + IPV6_BYTES + usize::from(word(bytes, ip + 4));
                if bytes[ip + 6] != TCP {
                    return None;
                }
                (Version::V6, ip + IPV6_BYTES, end)
            }
            _ => return None,
        };
        let tcp_bytes = usize::from(bytes.get(tcp + 12)? >> 4) * 4;
        let len = tcp + tcp_bytes;
        (tcp_bytes >= TCP_BYTES && len <= bytes.len() && len <= end && end <= frame_bytes).then_some(Headers {
            version,
            ip,
            len,
            end,
        })
    }

    /// Returns where the TCP header begins.
    pub(super) fn tcp(self) -> usize {
        self.ip
            + match self.version {
                Version::V4 => IPV4_BYTES,
                Version::V6 => IPV6_BYTES,
            }
    }

    /// Returns the sequence number.
    pub(super) fn sequence(self, bytes: &[u8]) -> u32 {
        let at = self.tcp() + 4;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// Returns where TCP's flags are.
    pub(super) fn flags_at(self) -> usize {
        self.tcp() + 13
    }

    /// Returns where TCP's checksum is.
    pub(super) fn checksum_at(self) -> usize {
        self.tcp() + 16
    }

    /// Returns whether the IPv4 header's checksum is right. IPv6 has none.
    pub(super) fn ip_is_intact(self, bytes: &[u8]) -> bool {
        self.version == Version::V6 || sum(&bytes[self.ip..self.ip + IPV4_BYTES]) == 0xffff
    }

    /// Returns the sum of TCP's pseudo header (RFC 9293, 3.1) for this many bytes of TCP header and payload.
    pub(super) fn pseudo_sum(self, bytes: &[u8], tcp_bytes: usize) -> u16 {
        let addresses = match self.version {
            Version::V4 => &bytes[self.ip + 12..self.ip + 20],
            Version::V6 => &bytes[self.ip + 8..self.ip + 40],
        };
        // Longer ones do not occur: a packet has at most 65,535 bytes.
        add(add(sum(addresses), u16::from(TCP)), tcp_bytes as u16)
    }

    /// Sets what IP says of the packet's length, for this many bytes of payload, and IPv4's checksum.
    pub(super) fn set_payload_bytes(self, bytes: &mut [u8], payload_bytes: usize) {
        let ip = self.ip;
        match self.version {
            Version::V4 => {
                put_word(bytes, ip + 2, (self.len - ip + payload_bytes) as u16);
                put_word(bytes, ip + 10, 0);
                let checksum = !sum(&bytes[ip..ip + IPV4_BYTES]);
                put_word(bytes, ip + 10, checksum);
            }
            Version::V6 => put_word(bytes, ip + 4, (self.len - ip - IPV6_BYTES + payload_bytes) as u16),
        }
    }

    /// Returns IPv4's identification; none if it has no meaning, because the packet is never fragmented.
    pub(super) fn identification(self, bytes: &[u8]) -> Option<u16> {
        let may_fragment = self.version == Version::V4 && bytes[self.ip + 6] & 0x40 == 0;
        may_fragment.then(|| word(bytes, self.ip + 4))
    }

    pub(super) fn set_checksum(self, bytes: &mut [u8], checksum: u16) {
        put_word(bytes, self.checksum_at(), checksum);
    }
}
