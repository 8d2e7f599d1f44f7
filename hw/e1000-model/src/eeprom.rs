//! The EEPROM, read word by word through EERD (sections 5.6 and 13.4.4), or bit by bit over its pins (section 13.4.3).

use e1000_regs::{EECD, EERD, eeprom};

/// Bits of a word's address: 64 words.
const ADDRESS_BITS: u32 = 6;

#[derive(Debug)]
pub(crate) struct Eeprom {
    words: [u16; eeprom::WORDS as usize],
    eerd: u32,
    /// Reads of EERD until it is done.
    busy: u32,
    pins: Pins,
}

/// The serial chip's side of its pins. It can only be read: it takes other commands and does nothing.
#[derive(Debug, Default)]
struct Pins {
    /// EECD as it was written.
    written: u32,
    /// Reads of EECD until the pins are software's.
    waits: u32,
    /// Bits that came in since the chip was selected, the last one in bit 0, and how many.
    bits: u32,
    count: u32,
    /// What goes out with the next rising edges: bit 15 first.
    out: Option<u16>,
    /// The level of the data line.
    data: bool,
}

impl Eeprom {
    /// Creates the content that a card with this address and PCI id has.
    pub(crate) fn new(mac: [u8; 6], device: u16) -> Self {
        let mut words = [0xffff; eeprom::WORDS as usize];
        for (at, word) in (eeprom::ADDRESS..).zip(eeprom::address_words(mac)) {
            words[at as usize] = word;
        }
        words[eeprom::CONTROL1 as usize] = eeprom::CONTROL1_SIGNATURE | 0x0408;
        words[eeprom::SUBSYSTEM as usize] = device;
        words[eeprom::SUBSYSTEM_VENDOR as usize] = e1000_regs::VENDOR;
        words[eeprom::DEVICE as usize] = device;
        words[eeprom::VENDOR as usize] = e1000_regs::VENDOR;
        words[eeprom::CONTROL2 as usize] = 0x3040;
        words[eeprom::CHECKSUM as usize] = 0;
        let sum = words.iter().fold(0u16, |sum, &word| sum.wrapping_add(word));
        words[eeprom::CHECKSUM as usize] = eeprom::SUM.wrapping_sub(sum);
        Eeprom { words, eerd: EERD::DONE, busy: 0, pins: Pins::default() }
    }

    pub(crate) fn address(&self) -> [u8; 6] {
        let at = eeprom::ADDRESS as usize;
        eeprom::address([self.words[at], self.words[at + 1], self.words[at + 2]])
    }

    /// Begins a read if START is set; it takes `busy` reads of EERD.
    pub(crate) fn write(&mut self, value: u32, busy: u32) {
        self.eerd = value & (EERD::START | EERD::ADDR.mask());
        self.busy = busy;
    }

    pub(crate) fn read(&mut self) -> u32 {
        if self.eerd & EERD::START != 0 {
            if self.busy > 0 {
                self.busy -= 1;
                return self.eerd;
            }
            // A word past the end: the data line stays high.
            let word = self.words.get(EERD::ADDR.get(self.eerd) as usize).copied().unwrap_or(0xffff);
            self.eerd = self.eerd & EERD::ADDR.mask() | EERD::DONE | EERD::DATA.put(u32::from(word));
        }
        self.eerd
    }

    /// Resets it: nobody has the pins, and the chip is not selected.
    pub(crate) fn reset(&mut self) {
        self.pins = Pins::default();
    }

    pub(crate) fn read_pins(&mut self) -> u32 {
        let pins = &mut self.pins;
        let mut value = pins.written | EECD::EE_PRES | EECD::FWE.put(1);
        if pins.written & EECD::EE_REQ != 0 {
            if pins.waits == 0 {
                value |= EECD::EE_GNT;
            } else {
                pins.waits -= 1;
            }
        }
        // Nobody pulls the line down but a chip that was asked something.
        if pins.data { value | EECD::DO } else { value }
    }

    /// Writes the pins. A driver that asks for them gets them after `waits` reads; without them, the chip notices
    /// nothing.
    pub(crate) fn write_pins(&mut self, value: u32, waits: u32) {
        let Eeprom { words, pins, .. } = self;
        let value = value & (EECD::SK | EECD::CS | EECD::DI | EECD::EE_REQ);
        let before = std::mem::replace(&mut pins.written, value);
        if before & EECD::EE_REQ == 0 {
            pins.waits = waits;
        }
        if value & EECD::EE_REQ == 0 || pins.waits > 0 || value & EECD::CS == 0 {
            *pins = Pins { written: value, waits: pins.waits, data: true, ..Pins::default() };
            return;
        }
        if value & EECD::SK == 0 || before & EECD::SK != 0 {
            return;
        }
        match &mut pins.out {
            Some(out) => {
                pins.data = *out >> 15 != 0;
                *out <<= 1;
            }
            None => {
                let bit = u32::from(value & EECD::DI != 0);
                if pins.count == 0 && bit == 0 {
                    return;
                }
                pins.bits = pins.bits << 1 | bit;
                pins.count += 1;
                if pins.count == eeprom::MICROWIRE_READ_BITS + ADDRESS_BITS
                    && pins.bits >> ADDRESS_BITS == eeprom::MICROWIRE_READ
                {
                    let address = pins.bits & ((1 << ADDRESS_BITS) - 1);
                    pins.out = words.get(address as usize).copied();
                    // A zero precedes the word.
                    pins.data = false;
                }
            }
        }
    }
}
