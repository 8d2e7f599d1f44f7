//! The EEPROM, read word by word through EERD (sections 5.6 and 13.4.4).

use e1000_regs::{EERD, eeprom};

#[derive(Debug)]
pub(crate) struct Eeprom {
    words: [u16; eeprom::WORDS as usize],
    eerd: u32,
    /// Reads of EERD until it is done.
    busy: u32,
}

impl Eeprom {
    /// The content that a card with this address and PCI id has.
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
        Eeprom { words, eerd: EERD::DONE, busy: 0 }
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
}
