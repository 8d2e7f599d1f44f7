//! The EEPROM's words (section 5.6), read through [`EERD`](const@crate::EERD).

/// Words that the checksum covers, itself among them.
pub const WORDS: u32 = 64;
/// The Ethernet address: three words, the first byte on the wire in the low byte of the first.
pub const ADDRESS: u32 = 0x00;
/// Initialization control word 1; its bits 15:14 are the signature 01.
pub const CONTROL1: u32 = 0x0a;
/// Subsystem id.
pub const SUBSYSTEM: u32 = 0x0b;
/// Subsystem vendor id.
pub const SUBSYSTEM_VENDOR: u32 = 0x0c;
/// Device id.
pub const DEVICE: u32 = 0x0d;
/// Vendor id.
pub const VENDOR: u32 = 0x0e;
/// Initialization control word 2.
pub const CONTROL2: u32 = 0x0f;
/// The word that makes the sum right.
pub const CHECKSUM: u32 = 0x3f;
/// What words 0 to [`CHECKSUM`] add up to, in 16 bits (section 5.6.35).
pub const SUM: u16 = 0xbaba;
/// [`CONTROL1`] of a valid image.
pub const CONTROL1_SIGNATURE: u16 = 0x4000;

/// How the read register is laid out. The chips share its place, its `START` and its `DATA`, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLayout {
    /// Which word.
    pub word: nook_regs::Field,
    /// The read is done.
    pub done: u32,
}

/// Up to the 82545: as the map has it (section 13.4.4).
pub const READ_8254X: ReadLayout = ReadLayout { word: crate::EERD::ADDR, done: crate::EERD::DONE };
/// The 82574's (82574, section 10.2.2.4).
pub const READ_82574: ReadLayout = ReadLayout { word: nook_regs::Field { shift: 2, bits: 14 }, done: 1 << 1 };

impl ReadLayout {
    /// The [`EERD`](const@crate::EERD) value that starts a read of `word`.
    pub const fn command(self, word: u32) -> u32 {
        crate::EERD::START | self.word.put(word)
    }
}

/// The Ethernet address in words 0 to 2.
pub const fn address(words: [u16; 3]) -> [u8; 6] {
    let [a, b] = words[0].to_le_bytes();
    let [c, d] = words[1].to_le_bytes();
    let [e, f] = words[2].to_le_bytes();
    [a, b, c, d, e, f]
}

/// Words 0 to 2 for an Ethernet address.
pub const fn address_words(address: [u8; 6]) -> [u16; 3] {
    [
        u16::from_le_bytes([address[0], address[1]]),
        u16::from_le_bytes([address[2], address[3]]),
        u16::from_le_bytes([address[4], address[5]]),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_survives_its_words() {
        let address = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
        assert_eq!(super::address_words(address), [0x5452, 0x1200, 0x5634]);
        assert_eq!(super::address(super::address_words(address)), address);
    }
}
