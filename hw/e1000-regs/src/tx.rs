//! Transmit descriptors (sections 3.3.3 to 3.3.7).
//!
//! A descriptor is four little-endian words of 32 bits. Legacy and data descriptors have the buffer's address in
//! words 0 and 1, length and command in word 2, and status in word 3. A context descriptor holds offsets instead of an
//! address. [`DD`](status::DD) is in word 3.

/// Bytes in a descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;
/// The word that holds length and command.
pub const COMMAND_WORD: usize = 2;
/// The word that holds the status.
pub const STATUS_WORD: usize = 3;
/// The most bytes that a legacy descriptor's buffer may have (section 3.3.3).
pub const LEGACY_MAX_BYTES: u32 = 16288;

/// Bits of word 2, by the field that they belong to in the manual (DCMD: sections 3.3.3.1, 3.3.6.1 and 3.3.7.1).
pub mod command {
    /// The packet ends with this descriptor.
    pub const EOP: u32 = 1 << 24;
    /// Appends the frame check sequence.
    pub const IFCS: u32 = 1 << 25;
    /// Legacy: inserts a checksum.
    pub const IC: u32 = 1 << 26;
    /// Context and data: TCP segmentation.
    pub const TSE: u32 = 1 << 26;
    /// Sets [`DD`](super::status::DD) when done.
    pub const RS: u32 = 1 << 27;
    /// Sets DD when the packet has left (82544 only; elsewhere reserved).
    pub const RPS: u32 = 1 << 28;
    /// Not a legacy descriptor.
    pub const DEXT: u32 = 1 << 29;
    /// Inserts the VLAN tag.
    pub const VLE: u32 = 1 << 30;
    /// Delays the interrupt.
    pub const IDE: u32 = 1 << 31;
    /// Context: the packet is IPv4.
    pub const IP: u32 = 1 << 25;
    /// Context: the packet is TCP, not UDP.
    pub const TCP: u32 = 1 << 24;
    /// With [`DEXT`]: which type.
    pub const DTYP: nook_regs::Field = nook_regs::Field::new(20, 4);
    /// [`DTYP`] of a context descriptor.
    pub const DTYP_CONTEXT: u32 = 0;
    /// [`DTYP`] of a data descriptor.
    pub const DTYP_DATA: u32 = 1;
}

/// Bits of word 3 (sections 3.3.3.2 and 3.3.7.2).
pub mod status {
    /// Descriptor done.
    pub const DD: u32 = 1 << 0;
    /// Given up after too many collisions.
    pub const EC: u32 = 1 << 1;
    /// Late collision.
    pub const LC: u32 = 1 << 2;
    /// Data descriptor option: insert the IP checksum.
    pub const IXSM: u32 = 1 << 8;
    /// Data descriptor option: insert the TCP or UDP checksum.
    pub const TXSM: u32 = 1 << 9;
}

/// Returns a legacy descriptor for `length_bytes` at `address`, with bits of [`command`].
pub const fn legacy(address: u64, length_bytes: u16, command: u32) -> [u32; 4] {
    [address as u32, (address >> 32) as u32, length_bytes as u32 | command, 0]
}

/// Returns a legacy descriptor whose packet gets a checksum ([`command::IC`]): over everything from `start`, put at
/// `put` (both in bytes from the packet's first).
pub const fn legacy_checksum(address: u64, length_bytes: u16, command: u32, start: u8, put: u8) -> [u32; 4] {
    let word2 = length_bytes as u32 | (put as u32) << 16 | command | command::IC;
    [address as u32, (address >> 32) as u32, word2, (start as u32) << 8]
}

/// Returns the number of bytes in the buffer of a legacy descriptor, from word 2.
pub const fn legacy_length_bytes(word2: u32) -> u32 {
    word2 & 0xffff
}

/// Returns the number of bytes in the buffer of a data descriptor, or in the payload that a context describes, from
/// word 2.
pub const fn data_length_bytes(word2: u32) -> u32 {
    word2 & 0xf_ffff
}

/// Returns where a legacy descriptor's checksum is put, from word 2.
pub const fn legacy_checksum_put(word2: u32) -> usize {
    (word2 >> 16 & 0xff) as usize
}

/// Returns where a legacy descriptor's checksum starts, from word 3.
pub const fn legacy_checksum_start(word3: u32) -> usize {
    (word3 >> 8 & 0xff) as usize
}

/// Returns the VLAN tag to insert, from word 3; counts with [`command::VLE`].
pub const fn vlan_tag(word3: u32) -> u16 {
    (word3 >> 16) as u16
}

/// What a context descriptor says (section 3.3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Where the IP header starts.
    pub ip_start: u8,
    /// Where the IP checksum is put.
    pub ip_put: u8,
    /// The last byte of the IP header.
    pub ip_end: u16,
    /// Where the TCP or UDP header starts.
    pub l4_start: u8,
    /// Where the TCP or UDP checksum is put.
    pub l4_put: u8,
    /// The last byte that is summed; 0 is the packet's end.
    pub l4_end: u16,
    /// Bytes of payload to segment.
    pub payload_bytes: u32,
    /// Bytes of header that every segment repeats.
    pub header_bytes: u8,
    /// Bytes of payload in each segment.
    pub mss: u16,
    /// The bits of [`command`].
    pub command: u32,
}

impl Context {
    /// Decodes a descriptor's words.
    pub const fn from_words(words: [u32; 4]) -> Self {
        Context {
            ip_start: words[0] as u8,
            ip_put: (words[0] >> 8) as u8,
            ip_end: (words[0] >> 16) as u16,
            l4_start: words[1] as u8,
            l4_put: (words[1] >> 8) as u8,
            l4_end: (words[1] >> 16) as u16,
            payload_bytes: data_length_bytes(words[2]),
            header_bytes: (words[3] >> 8) as u8,
            mss: (words[3] >> 16) as u16,
            command: words[2] & 0xff00_0000,
        }
    }

    /// Encodes it as a descriptor's words.
    pub const fn to_words(self) -> [u32; 4] {
        [
            self.ip_start as u32 | (self.ip_put as u32) << 8 | (self.ip_end as u32) << 16,
            self.l4_start as u32 | (self.l4_put as u32) << 8 | (self.l4_end as u32) << 16,
            data_length_bytes(self.payload_bytes)
                | command::DTYP.put(command::DTYP_CONTEXT)
                | self.command
                | command::DEXT,
            (self.header_bytes as u32) << 8 | (self.mss as u32) << 16,
        ]
    }
}

/// Returns a data descriptor for `length_bytes` at `address`, with bits of [`command`] and the options
/// [`status::IXSM`] and [`status::TXSM`] (section 3.3.7).
pub const fn data(address: u64, length_bytes: u32, command: u32, options: u32) -> [u32; 4] {
    let word2 = data_length_bytes(length_bytes) | command::DTYP.put(command::DTYP_DATA) | command | command::DEXT;
    [address as u32, (address >> 32) as u32, word2, options]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_its_words() {
        let context = Context {
            ip_start: 14,
            ip_put: 24,
            ip_end: 33,
            l4_start: 34,
            l4_put: 50,
            l4_end: 0,
            payload_bytes: 64_000,
            header_bytes: 54,
            mss: 1460,
            command: command::TSE | command::IP | command::TCP | command::DEXT,
        };
        assert_eq!(Context::from_words(context.to_words()), context);
    }
}
