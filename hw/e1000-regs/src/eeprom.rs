//! The EEPROM's words (section 5.6), read through [`EERD`](const@crate::EERD), or over its pins, which are bits of
//! [`EECD`](const@crate::EECD).

use nook_regs::{Bits, Guard, GuardRule, GuardState, Never, Then};

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
    /// Returns the [`EERD`](const@crate::EERD) value that starts a read of `word`.
    pub const fn command(self, word: u32) -> u32 {
        crate::EERD::START | self.word.put(word)
    }
}

/// Returns the Ethernet address in words 0 to 2.
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

/// The longest address of a Microwire chip that these controllers take (256 words), and a word (section 5.6).
const ADDRESS_AND_WORD_BITS: u32 = 8 + 16;

const CS: u64 = crate::EECD::CS as u64;
const SK: u64 = crate::EECD::SK as u64;
const DI: u64 = crate::EECD::DI as u64;

/// The chip is let go: the next command begins when it is selected.
const LET_GO: GuardRule = GuardRule::when(Bits::new(CS, &[0]), Then::To(1));
/// The clock is low, or rises no more: no bit goes in.
const CLOCK_LOW: GuardRule = GuardRule::when(Bits::new(SK, &[0]), Then::Stay);
const CLOCK_STAYS_HIGH: GuardRule = GuardRule::otherwise(Then::Stay).after(Bits::new(SK, &[SK]));
const CHANGES: GuardRule =
    GuardRule::otherwise(Then::Refuse("a bit of the EEPROM's command changes while it is clocked"));

/// A state in which a bit of [`MICROWIRE_READ`] is expected: this one, and not the other, and it stands before the
/// clock rises.
macro_rules! command_bit {
    ($name:literal, $bit:expr, $other:expr) => {
        GuardState {
            name: $name,
            count: 1,
            rules: &[
                LET_GO,
                CLOCK_LOW,
                CLOCK_STAYS_HIGH,
                GuardRule::when(Bits::new(DI, &[$bit]), Then::Next).after(Bits::new(DI, &[$bit])),
                GuardRule::when(Bits::new(DI, &[$other]), Then::Refuse("a command to the EEPROM that is not a read"))
                    .after(Bits::new(DI, &[$other])),
                CHANGES,
            ],
        }
    };
}

/// What a driver may write to [`EECD`](const@crate::EECD): what reads words, and nothing that writes or erases them.
///
/// The chip is off until it is selected, and then takes one command, bit by bit, with each rising edge of its clock
/// (section 13.4.3; the data sheet above). So the first three bits after it was selected decide: they must be
/// [`MICROWIRE_READ`], without the idle bits that the chip would allow before them. An SPI chip on the same pins (a
/// board may have one) has no command before which it could be written that begins so. After a word the chip must be
/// let go, because some chips would then take the next command.
pub const GUARD: Guard = Guard {
    never: &[
        // The field's value is 2 or 3.
        Never { now: Bits::new(0x20, &[0x20]), why: "it would let the flash be written" },
        Never { now: Bits::new(FLUPD, &[FLUPD]), why: "it would write the flash" },
        Never { now: Bits::new(AUPDEN, &[AUPDEN]), why: "it would write the flash" },
    ],
    states: &[
        GuardState {
            name: "unknown",
            count: 1,
            rules: &[
                LET_GO,
                CLOCK_LOW,
                // Part of a command may be in the chip already, and this may be one more bit of it.
                GuardRule::otherwise(Then::Refuse("the EEPROM is clocked before it was seen unselected")),
            ],
        },
        command_bit!("start bit", DI, 0),
        command_bit!("opcode, high bit", DI, 0),
        command_bit!("opcode, low bit", 0, DI),
        GuardState {
            name: "address and word",
            count: ADDRESS_AND_WORD_BITS,
            rules: &[LET_GO, CLOCK_LOW, CLOCK_STAYS_HIGH, GuardRule::otherwise(Then::Next)],
        },
        GuardState {
            name: "after a word",
            count: 1,
            rules: &[
                LET_GO,
                CLOCK_LOW,
                CLOCK_STAYS_HIGH,
                GuardRule::otherwise(Then::Refuse("the EEPROM is clocked on after a word; let it go first")),
            ],
        },
    ],
    busy: SK | CS | DI | crate::EECD::EE_REQ as u64,
};

const FLUPD: u64 = crate::EECD::FLUPD as u64;
const AUPDEN: u64 = crate::EECD::AUPDEN as u64;

#[cfg(test)]
mod tests {
    use nook_regs::GuardPosition;
    use std::vec::Vec;

    use super::GUARD;
    use crate::EECD::{AUPDEN, CS, DI, EE_REQ, FLUPD, FWE, SK};

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

    fn played(position: GuardPosition, writes: &[u32]) -> Result<GuardPosition, &'static str> {
        let mut values = writes.iter().map(|value| u64::from(*value | EE_REQ | FWE.put(1)));
        values.try_fold(position, |position, value| GUARD.step(position, value))
    }

    /// Returns the state at the beginning.
    fn first(writes: &[u32]) -> Result<GuardPosition, &'static str> {
        played(GuardPosition::default(), writes)
    }

    #[test]
    fn a_word_can_be_read_and_then_another_one() {
        for address_bits in [6, 8] {
            let mut bits = std::vec![1, 1, 0];
            bits.extend((0..address_bits).map(|bit| bit & 1));
            bits.extend([0; 16]);
            let writes = command(&bits);
            let state = first(&writes).unwrap();
            let state = played(state, &[CS, 0]).unwrap();
            assert!(played(state, &writes).is_ok());
        }
    }

    #[test]
    fn every_other_command_is_refused_before_its_third_bit_is_in() {
        for bits in [[1, 0, 1], [1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]] {
            let refused = first(&command(&bits));
            assert_eq!(refused, Err("a command to the EEPROM that is not a read"), "{bits:?}");
        }
    }

    #[test]
    fn what_an_spi_chip_takes_before_a_write_is_refused() {
        // Write enable, write status, write, write disable.
        for opcode in [0x06u32, 0x01, 0x02, 0x04] {
            let bits: Vec<u32> = (0..8).rev().map(|bit| opcode >> bit & 1).collect();
            assert!(first(&command(&bits)).is_err(), "{opcode:#x}");
        }
    }

    #[test]
    fn a_second_command_needs_the_chip_to_be_let_go() {
        let mut bits = std::vec![1, 1, 0];
        bits.extend([0; 24]);
        let state = first(&command(&bits)).unwrap();
        assert!(played(state, &[CS | SK]).is_err());
        assert!(played(state, &[0, CS, CS | DI, CS | DI | SK]).is_ok());
    }

    #[test]
    fn a_command_that_was_begun_by_somebody_else_is_not_carried_on() {
        assert!(first(&[CS | SK]).is_err());
        assert!(first(&[CS, CS | DI, CS | DI | SK]).is_err());
        assert!(first(&[CS, 0, SK, 0, CS | DI, CS | DI | SK]).is_ok());
    }

    #[test]
    fn a_bit_must_stand_before_it_is_clocked() {
        assert!(first(&[0, CS, CS | DI | SK]).is_err());
        assert!(first(&[0, CS | DI | SK]).is_err());
    }

    #[test]
    fn the_flash_is_not_to_be_written() {
        for value in [FWE.put(2), FWE.put(3), FLUPD, AUPDEN] {
            assert!(GUARD.step(GuardPosition::default(), value.into()).is_err(), "{value:#x}");
        }
        assert!(GUARD.step(GuardPosition::default(), FWE.put(0).into()).is_ok());
    }

    /// What the guard says, as a few lines of arithmetic: the levels that the pins had, and how many bits went in.
    struct Pins {
        levels: Option<u32>,
        clocked: u32,
    }

    impl Pins {
        fn allows(&mut self, value: u32) -> bool {
            if FWE.get(value) > 1 || value & (FLUPD | AUPDEN) != 0 {
                return false;
            }
            let edge = value & SK != 0 && self.levels.is_none_or(|levels| levels & SK == 0);
            let bit = u32::from(value & DI != 0);
            if value & CS == 0 {
                self.clocked = 0;
            } else if let Some(levels) = self.levels
                && edge
            {
                let expected = [1, 1, 0].get(self.clocked as usize);
                let stood = (levels & DI != 0) == (value & DI != 0);
                if self.clocked >= 27 || expected.is_some_and(|expected| !stood || *expected != bit) {
                    return false;
                }
                self.clocked += 1;
            } else if self.levels.is_none() {
                return !edge;
            }
            self.levels = Some(value);
            true
        }
    }

    #[test]
    fn the_rules_say_what_the_arithmetic_says() {
        let mut rng = nook_seed::Rng::new(0x5eed);
        for _ in 0..2_000 {
            let (mut pins, mut position) = (Pins { levels: None, clocked: 0 }, GuardPosition::default());
            for _ in 0..200 {
                let choice = rng.word() as u32;
                // Mostly what a driver does next, else anything.
                let (select, clock) = (choice >> 3 & 0xf != 0, choice & 1 != 0);
                let data = match [1, 1, 0].get(pins.clocked as usize) {
                    Some(expected) if choice >> 8 & 0xf != 0 => *expected,
                    _ => choice >> 1 & 1,
                };
                let pin = |set: bool, pin: u32| if set { pin } else { 0 };
                let value = pin(select, CS) | pin(clock, SK) | pin(data != 0, DI);
                let value = value | if choice >> 12 & 0x3f == 0 { FWE.put(choice >> 20) } else { EE_REQ };
                let step = GUARD.step(position, value.into());
                assert_eq!(step.is_ok(), pins.allows(value), "{value:#x} after {} bits", pins.clocked);
                position = step.unwrap_or(position);
            }
        }
    }

    #[test]
    fn an_address_survives_its_words() {
        let address = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
        assert_eq!(super::address_words(address), [0x5452, 0x1200, 0x5634]);
        assert_eq!(super::address(super::address_words(address)), address);
    }
}
