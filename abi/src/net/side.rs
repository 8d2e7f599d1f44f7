//! Offloads: what a device can do to frames in the host's place, and what is said beside a frame about it.

use core::mem::offset_of;

/// Bits of `net_offloads`: what the driver's device does if the host leaves it to it. Without a bit the host does the
/// work, or does without.
pub mod offload {
    /// Completes the checksum of a TCP or UDP frame to be sent, over IPv4 or IPv6.
    pub const TX_CHECKSUM: u32 = 1 << 0;
    /// Cuts a frame of TCP over IPv4 into segments. Only with `TX_CHECKSUM` and `SEVERAL_BUFFERS`.
    pub const SEGMENT_V4: u32 = 1 << 1;
    /// The same over IPv6.
    pub const SEGMENT_V6: u32 = 1 << 2;
    /// A frame to be sent may lie in several buffers.
    pub const SEVERAL_BUFFERS: u32 = 1 << 3;
    /// Looks at checksums of TCP and UDP as frames are received: the driver says so of a frame whose checksum is right
    /// (`entry_flags::CHECKED`).
    pub const RX_CHECKSUM: u32 = 1 << 4;
    /// A received frame may come in several buffers: parts that follow each other in `rx_return`, all of them returned
    /// by one call, and together no longer than an Ethernet header, a VLAN tag and the largest payload that
    /// `net_attach` named. Without it a received frame is in one.
    pub const RX_SEVERAL_BUFFERS: u32 = 1 << 5;
    /// Every bit that may be set.
    pub const ALL: u32 = TX_CHECKSUM | SEGMENT_V4 | SEGMENT_V6 | SEVERAL_BUFFERS | RX_CHECKSUM | RX_SEVERAL_BUFFERS;
}

/// Returns which rule bits of [`offload`] break, if they break one.
pub const fn offload_rule(bits: u32) -> Option<&'static str> {
    const NEEDED: u32 = offload::TX_CHECKSUM | offload::SEVERAL_BUFFERS;
    if bits & !offload::ALL != 0 {
        Some("unknown bits are set")
    } else if bits & (offload::SEGMENT_V4 | offload::SEGMENT_V6) != 0 && bits & NEEDED != NEEDED {
        Some("who segments completes checksums, and takes frames in several buffers")
    } else {
        None
    }
}

/// What is to be done to a frame to be sent, beside its first entry in the side array of `tx_provide`. Places count in
/// bytes from the frame's first, VLAN tags and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Side {
    /// `side_flags`.
    pub flags: u16,
    /// Where the IP header begins: at most 127.
    pub network_start: u16,
    /// Where the header of TCP or UDP begins, and with it what the checksum is of: all that follows in the frame.
    pub checksum_start: u16,
    /// Where the checksum stands, from there: 16 of TCP, 6 of UDP. It is among the frame's first 256 bytes.
    pub checksum_offset: u16,
    /// Of a frame to be cut: bytes of header, which each segment repeats, at most 255. Else 0.
    pub header_bytes: u16,
    /// Of a frame to be cut: bytes of payload of each segment but the last. Else 0.
    pub segment_bytes: u16,
    /// Bytes of the frame in all its buffers.
    pub frame_bytes: u32,
}

/// Bits of [`Side::flags`].
pub mod side_flags {
    /// Completes the checksum: its place holds the sum of the pseudo header, which counts with the rest.
    pub const CHECKSUM: u16 = 1 << 0;
    /// Cuts the frame into segments of TCP, each with its own lengths, sequence number, flags and checksums. Always
    /// with `CHECKSUM`; the sum of the pseudo header is without the length then, and IPv4's total length and checksum,
    /// or IPv6's payload length, are 0.
    pub const SEGMENT: u16 = 1 << 1;
    /// The IP header is IPv6's, not IPv4's.
    pub const IPV6: u16 = 1 << 2;
    /// Every bit that may be set.
    pub const ALL: u16 = CHECKSUM | SEGMENT | IPV6;
}

/// A [`Side`] as it is copied.
pub type SideWords = [u64; 2];

impl Side {
    /// The largest [`network_start`](Self::network_start).
    pub const MOST_NETWORK_START: usize = 127;
    /// The largest [`header_bytes`](Self::header_bytes).
    pub const MOST_HEADER_BYTES: usize = 255;

    /// Returns the words as they lie in the memory of a little-endian machine.
    #[inline]
    pub const fn to_words(self) -> SideWords {
        let Side { flags, network_start, checksum_start, checksum_offset, header_bytes, segment_bytes, frame_bytes } =
            self;
        [
            flags as u64
                | (network_start as u64) << 16
                | (checksum_start as u64) << 32
                | (checksum_offset as u64) << 48,
            header_bytes as u64 | (segment_bytes as u64) << 16 | (frame_bytes as u64) << 32,
        ]
    }

    /// Undoes [`to_words`](Self::to_words).
    #[inline]
    pub const fn from_words([first, second]: SideWords) -> Self {
        Side {
            flags: first as u16,
            network_start: (first >> 16) as u16,
            checksum_start: (first >> 32) as u16,
            checksum_offset: (first >> 48) as u16,
            header_bytes: second as u16,
            segment_bytes: (second >> 16) as u16,
            frame_bytes: (second >> 32) as u32,
        }
    }

    /// Returns whether the frame is to be cut into segments.
    #[inline]
    pub const fn is_segmented(&self) -> bool {
        self.flags & side_flags::SEGMENT != 0
    }

    /// Returns whether the IP header is IPv6's.
    #[inline]
    pub const fn is_ipv6(&self) -> bool {
        self.flags & side_flags::IPV6 != 0
    }
}

const _: () = {
    assert!(size_of::<Side>() == size_of::<SideWords>());
    assert!(offset_of!(Side, network_start) == 2 && offset_of!(Side, checksum_start) == 4);
    assert!(offset_of!(Side, checksum_offset) == 6 && offset_of!(Side, header_bytes) == 8);
    assert!(offset_of!(Side, segment_bytes) == 10 && offset_of!(Side, frame_bytes) == 12);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_beside_a_frame_survives_being_words() {
        let words = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
        let side = Side::from_words(words);
        assert_eq!((side.flags, side.network_start), (0x0708, 0x0506));
        assert_eq!((side.checksum_start, side.checksum_offset), (0x0304, 0x0102));
        assert_eq!((side.header_bytes, side.segment_bytes, side.frame_bytes), (0x1718, 0x1516, 0x1112_1314));
        assert_eq!(side.to_words(), words);
    }

    #[test]
    fn who_segments_has_what_that_takes() {
        let most = offload::TX_CHECKSUM | offload::SEVERAL_BUFFERS;
        for segments in [offload::SEGMENT_V4, offload::SEGMENT_V6, offload::SEGMENT_V4 | offload::SEGMENT_V6] {
            assert_eq!(offload_rule(segments | most), None);
            for lacking in [offload::TX_CHECKSUM, offload::SEVERAL_BUFFERS] {
                assert!(offload_rule(segments | most & !lacking).is_some());
            }
        }
        assert!(offload_rule(offload::ALL + 1).is_some());
        assert_eq!(offload_rule(0), None);
    }
}
