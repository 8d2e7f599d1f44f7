//! What a TAP interface can spare its two sides: TCP segments of one connection go to the kernel as one packet
//! ([`Merger`]), and come from it as one ([`Splitter`]), which goes on to the driver's device if that can cut it, and
//! is cut here else.
//!
//! The kernel's network stack, its system call and its locks are paid once for some forty frames then. What says how
//! such a packet is to be understood is the header of `virtio_net` (VIRTIO 1.2, section 5.1.6), which precedes each
//! packet on a TAP interface that was opened with IFF_VNET_HDR.

mod chain;
mod checksum;
mod collect;
#[cfg(test)]
mod cut_tests;
mod headers;
mod leave;
#[cfg(test)]
mod leave_tests;
mod merge;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use collect::{Collector, Written};
use merge::Merger;
pub(crate) use split::{Next, Splitter};

/// The longest packet that passes between a TAP interface and us: what IP can say of itself, and an Ethernet header.
const LONGEST_BYTES: usize = 65535 + headers::ETHERNET_BYTES;

/// What precedes each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VnetHeader {
    /// The checksum at `csum_start + csum_offset` is of the pseudo header only.
    needs_checksum: bool,
    /// The checksum was found right.
    checked: bool,
    gso: Gso,
    header_bytes: u16,
    /// Payload of each frame but the last.
    gso_bytes: u16,
    csum_start: u16,
    csum_offset: u16,
}

/// Why no frame, or not all of them, could be made of a packet from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A frame is longer than what the driver takes.
    TooLong,
    /// It is to be cut up in a way that was not asked for.
    Kind,
    /// It is to be cut up, and there is a header in it that is not known, or it is a fragment.
    Headers,
    /// What the kernel says in front of it does not agree with its headers.
    Offsets,
    /// Its headers say that it is shorter than they are, or longer than it is.
    Length,
}

impl Unfit {
    /// Says it, after "a packet from the kernel".
    pub(crate) fn text(self) -> &'static str {
        match self {
            Unfit::TooLong => "is longer than the driver's frames: its MTU is too large",
            Unfit::Kind => "is to be cut up in a way that this program did not ask for",
            Unfit::Headers => "is to be cut up, and has headers that are not known here",
            Unfit::Offsets => "says in front where its TCP header is, and that is not so",
            Unfit::Length => "has headers that give it another length than it has",
        }
    }
}

/// How many frames a packet stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gso {
    #[default]
    One,
    TcpV4,
    TcpV6,
    /// Nothing that was asked for.
    Other(u8),
}

impl VnetHeader {
    /// Returns the header of a frame by itself, whose checksum was found right or was not looked at.
    pub(crate) fn of_frame(checked: bool) -> Self {
        VnetHeader { checked, ..VnetHeader::default() }
    }

    /// Its length.
    pub(crate) const BYTES: usize = 10;
    const NEEDS_CHECKSUM: u8 = 1;
    const CHECKED: u8 = 2;

    /// Encodes it in the byte order of this machine, which is a TAP interface's default.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let gso = match self.gso {
            Gso::One => 0,
            Gso::TcpV4 => 1,
            Gso::TcpV6 => 4,
            Gso::Other(kind) => kind,
        };
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.needs_checksum, Self::NEEDS_CHECKSUM) | flag(self.checked, Self::CHECKED);
        let mut bytes = [flags, gso, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.header_bytes, self.gso_bytes, self.csum_start, self.csum_offset];
        for (to, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] {
            0 => Gso::One,
            1 => Gso::TcpV4,
            4 => Gso::TcpV6,
            kind => Gso::Other(kind),
        };
        VnetHeader {
            needs_checksum: bytes[0] & Self::NEEDS_CHECKSUM != 0,
            checked: bytes[0] & Self::CHECKED != 0,
            gso,
            header_bytes: word(2),
            gso_bytes: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        }
    }
}
