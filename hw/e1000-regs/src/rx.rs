//! Receive descriptors (section 3.2.3).
//!
//! A descriptor is four little-endian words of 32 bits: the buffer's address in words 0 and 1, then what hardware
//! writes: length and packet checksum in word 2, status, errors and VLAN tag in word 3. [`DD`](status::DD) is in word
//! 3, which is therefore the word to look at first and the one that hardware writes last.

/// Bytes in a descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;
/// The word that holds length and packet checksum.
pub const LENGTH_WORD: usize = 2;
/// The word that holds status, errors and VLAN tag.
pub const STATUS_WORD: usize = 3;

/// Returns a descriptor that gives the buffer at `address` to hardware.
pub const fn fresh(address: u64) -> [u32; 4] {
    [address as u32, (address >> 32) as u32, 0, 0]
}

/// Returns the number of bytes that were written to this buffer, from word 2.
pub const fn length_bytes(word2: u32) -> u32 {
    word2 & 0xffff
}

/// Returns the packet checksum, from word 2.
pub const fn checksum(word2: u32) -> u16 {
    (word2 >> 16) as u16
}

/// Returns the VLAN tag, from word 3; valid with [`status::VP`].
pub const fn vlan_tag(word3: u32) -> u16 {
    (word3 >> 16) as u16
}

/// Returns word 2 as hardware writes it.
pub const fn written_length(length_bytes: u16, checksum: u16) -> u32 {
    length_bytes as u32 | (checksum as u32) << 16
}

/// Receive descriptors of the extended layout, which the 82574 has with RFCTL.EXSTEN (82574, section 7.1.4). The driver
/// writes the same as of the others; hardware writes all four words, and [`DD`](status::DD) is in word 2.
pub mod extended {
    /// The word that holds status and errors.
    pub const STATUS_WORD: usize = 2;
    /// The word that holds length and VLAN tag.
    pub const LENGTH_WORD: usize = 3;
    /// The word that holds the RSS hash, with RXCSUM.PCSD.
    pub const HASH_WORD: usize = 1;

    /// Returns status and errors as word 3 of the other layout has them, from word 2: the status is in its lowest 8
    /// bits, and the errors in its highest.
    pub const fn legacy_status(word2: u32) -> u32 {
        word2 & 0xff | word2 >> 24 << 8
    }
}

/// Bits 0 to 7 of word 3 (section 3.2.3.1).
pub mod status {
    /// Descriptor done: hardware has written it.
    pub const DD: u32 = 1 << 0;
    /// The packet ends in this buffer.
    pub const EOP: u32 = 1 << 1;
    /// The checksum bits say nothing.
    pub const IXSM: u32 = 1 << 2;
    /// It was a VLAN packet; the tag is in the descriptor.
    pub const VP: u32 = 1 << 3;
    /// The TCP or UDP checksum was checked.
    pub const TCPCS: u32 = 1 << 5;
    /// The IP header checksum was checked.
    pub const IPCS: u32 = 1 << 6;
    /// Passed only the inexact (multicast hash) filter.
    pub const PIF: u32 = 1 << 7;
}

/// Bits 8 to 15 of word 3 (section 3.2.3.2): valid in the last descriptor of a packet.
pub mod error {
    /// Bad frame check sequence, or alignment error.
    pub const CE: u32 = 1 << 8;
    /// Symbol error.
    pub const SE: u32 = 1 << 9;
    /// Sequence error.
    pub const SEQ: u32 = 1 << 10;
    /// Carrier extension error.
    pub const CXE: u32 = 1 << 12;
    /// TCP or UDP checksum is wrong.
    pub const TCPE: u32 = 1 << 13;
    /// IP header checksum is wrong.
    pub const IPE: u32 = 1 << 14;
    /// The PHY signalled an error.
    pub const RXE: u32 = 1 << 15;
    /// Those that say that the frame itself is damaged.
    pub const FRAME: u32 = CE | SE | SEQ | CXE | RXE;
}
