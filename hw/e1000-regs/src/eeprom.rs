//! The EEPROM's words (section 5.6), read through [`EERD`](const@crate::EERD), or over its pins, which are bits of
//! [`EECD`](const@crate::EECD).

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
pub const READ_82574: ReadLayout = ReadLayout { word: nook_regs::Field::new(2, 14), done: 1 << 1 };

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

/// The first bit of a Microwire command and its operation: read. Write is 101, erase 111, and 100 begins those that
/// act on the whole chip (Microchip, *93C46B* data sheet, DS21794, table 2-1).
pub const MICROWIRE_READ: u32 = 0b110;
/// Bits of [`MICROWIRE_READ`].
pub const MICROWIRE_READ_BITS: u32 = 3;

/// Bits of [`guard`]'s state: the level of chip select, clock and data in, as the pins have them.
const LEVELS: u64 = (crate::EECD::CS | crate::EECD::SK | crate::EECD::DI) as u64;
/// Bit of [`guard`]'s state: the levels are known.
const KNOWN: u64 = 1 << 31;
/// From here on: bits clocked in since the chip was selected.
const CLOCKED: u32 = 32;
/// The longest address of a Microwire chip that these controllers take (256 words), and a word (section 5.6).
const ADDRESS_AND_WORD_BITS: u64 = 8 + 16;

/// What a driver may write to [`EECD`](const@crate::EECD): what reads words, and nothing that writes or erases them.
///
/// The chip is off until it is selected, and then takes one command, bit by bit, with each rising edge of its clock
/// (section 13.4.3; the data sheet above). So the first three bits after it was selected decide: they must be
/// [`MICROWIRE_READ`], without the idle bits that the chip would allow before them. An SPI chip on the same pins (a
/// board may have one) has no command before which it could be written that begins so. After a word the chip must be
/// let go, because some chips would then take the next command.
pub fn guard(state: u64, value: u64) -> Result<u64, &'static str> {
    use crate::EECD;
    let value = value as u32;
    if EECD::FWE.get(value) > 1 {
        return Err("it would let the flash be written");
    }
    if value & (EECD::FLUPD | EECD::AUPDEN) != 0 {
        return Err("it would write the flash");
    }
    let pins = u64::from(value) & LEVELS;
    let (select, clock) = (value & EECD::CS != 0, value & EECD::SK != 0);
    if !select {
        return Ok(KNOWN | pins);
    }
    if state & KNOWN == 0 {
        // Part of a command may be in the chip already, and this may be one more bit of it.
        return if clock { Err("the EEPROM is clocked before it was seen unselected") } else { Ok(0) };
    }
    let clocked = state >> CLOCKED;
    if !clock || state & u64::from(EECD::SK) != 0 {
        return Ok(KNOWN | pins | clocked << CLOCKED);
    }
    let data = u32::from(value & EECD::DI != 0);
    match u32::try_from(clocked) {
        Ok(bit) if bit < MICROWIRE_READ_BITS => {
            if (state & u64::from(EECD::DI) != 0) != (data != 0) {
                return Err("a bit of the EEPROM's command changes while it is clocked");
            }
            if MICROWIRE_READ >> (MICROWIRE_READ_BITS - 1 - bit) & 1 != data {
                return Err("a command to the EEPROM that is not a read");
            }
        }
        _ if clocked >= u64::from(MICROWIRE_READ_BITS) + ADDRESS_AND_WORD_BITS => {
            return Err("the EEPROM is clocked on after a word; let it go first");
        }
        _ => {}
    }
    Ok(KNOWN | pins | (clocked + 1) << CLOCKED)
}

#[cfg(test)]
mod tests {
    use super::guard;
    use crate::EECD::{AUPDEN, CS, DI, EE_REQ, FLUPD, FWE, SK};
    use std::vec::Vec;

    /// Writes to EECD that play a command on the pins, as a driver does it: select, then for each bit data, clock up,
    /// clock down.
    fn command(bits: &[u32]) -> Vec<u32> {
        let mut writes = std::vec![0, CS];
        for bit in bits {
            let data = if *bit != 0 { DI } else { 0 };
            writes.extend([CS | data, CS | data | SK, CS | data]);
        }
        writes
    }

    fn played(state: u64, writes: &[u32]) -> Result<u64, &'static str> {
        writes.iter().try_fold(state, |state, value| guard(state, u64::from(*value | EE_REQ | FWE.put(1))))
    }

    #[test]
    fn a_word_can_be_read_and_then_another_one() {
        for address_bits in [6, 8] {
            let mut bits = std::vec![1, 1, 0];
            bits.extend((0..address_bits).map(|bit| bit & 1));
            bits.extend([0; 16]);
            let writes = command(&bits);
            let state = played(0, &writes).unwrap();
            let state = played(state, &[CS, 0]).unwrap();
            assert!(played(state, &writes).is_ok());
        }
    }

    #[test]
    fn every_other_command_is_refused_before_its_third_bit_is_in() {
        for bits in [[1, 0, 1], [1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]] {
            let refused = played(0, &command(&bits));
            assert_eq!(refused, Err("a command to the EEPROM that is not a read"), "{bits:?}");
        }
    }

    #[test]
    fn what_an_spi_chip_takes_before_a_write_is_refused() {
        // Write enable, write status, write, write disable.
        for opcode in [0x06u32, 0x01, 0x02, 0x04] {
            let bits: Vec<u32> = (0..8).rev().map(|bit| opcode >> bit & 1).collect();
            assert!(played(0, &command(&bits)).is_err(), "{opcode:#x}");
        }
    }

    #[test]
    fn a_second_command_needs_the_chip_to_be_let_go() {
        let mut bits = std::vec![1, 1, 0];
        bits.extend([0; 24]);
        let state = played(0, &command(&bits)).unwrap();
        assert!(played(state, &[CS | SK]).is_err());
        assert!(played(state, &[0, CS, CS | DI, CS | DI | SK]).is_ok());
    }

    #[test]
    fn a_command_that_was_begun_by_somebody_else_is_not_carried_on() {
        assert!(played(0, &[CS | SK]).is_err());
        assert!(played(0, &[CS, CS | DI, CS | DI | SK]).is_err());
        assert!(played(0, &[CS, 0, SK, 0, CS | DI, CS | DI | SK]).is_ok());
    }

    #[test]
    fn a_bit_must_stand_before_it_is_clocked() {
        assert!(played(0, &[0, CS, CS | DI | SK]).is_err());
        assert!(played(0, &[0, CS | DI | SK]).is_err());
    }

    #[test]
    fn the_flash_is_not_to_be_written() {
        for value in [FWE.put(2), FWE.put(3), FLUPD, AUPDEN] {
            assert!(guard(0, value.into()).is_err(), "{value:#x}");
        }
        assert!(guard(0, FWE.put(0).into()).is_ok());
    }

    #[test]
    fn an_address_survives_its_words() {
        let address = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
        assert_eq!(super::address_words(address), [0x5452, 0x1200, 0x5634]);
        assert_eq!(super::address(super::address_words(address)), address);
    }
}
