//! A scripted chip: a file of registers that does what a test tells it, and no more.

use std::collections::BTreeMap;

use e1000_regs::phy::{BMCR, PHYID1, PHYID2, bmcr};
use e1000_regs::tx::command;
use e1000_regs::*;
use nook_sdk::Register;
use nook_sdk::testing::{Device, Window};

/// The address in the EEPROM.
pub const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// The chip.
pub struct Chip {
    window: Window,
    pub vendor: u16,
    pub device: u16,
    pub subsystem: (u16, u16),
    pub eeprom: [u16; eeprom::WORDS as usize],
    pub eeprom_answers: bool,
    pub phy: [u16; 32],
    pub phy_fails: bool,
    /// What was written to BMCR.
    pub bmcr_writes: Vec<u16>,
    /// The 82574's firmware keeps the PHY to itself.
    pub firmware_has_phy: bool,
    /// Whether CTRL.RST does anything, and whether it ends.
    pub resets: bool,
    pub reset_ends: bool,
    /// Counters of missed frames stay as they are when they are read, as QEMU's do.
    pub keeps_misses: bool,
    registers: BTreeMap<u32, u32>,
    pub causes: u32,
    pub mask: u32,
    /// What was sent: address, length and command.
    pub sent: Vec<(u64, u32, u32)>,
    /// How often RCTL was written.
    pub rctl_writes: u32,
    reads: u32,
}

/// Returns an EEPROM with this address and a right checksum.
fn image(mac: [u8; 6]) -> [u16; 64] {
    let mut words = [0; 64];
    words[..3].copy_from_slice(&eeprom::address_words(mac));
    let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
    words[eeprom::CHECKSUM as usize] = eeprom::SUM.wrapping_sub(sum);
    words
}

impl Chip {
    pub fn new(window: Window) -> Self {
        let mut phy = [0; 32];
        phy[PHYID1 as usize] = (phy::ID_82540 >> 16) as u16;
        phy[PHYID2 as usize] = phy::ID_82540 as u16;
        Chip {
            window,
            vendor: VENDOR,
            device: DEVICE_82540EM,
            subsystem: (0x8086, 0x1e),
            eeprom: image(MAC),
            eeprom_answers: true,
            phy,
            phy_fails: false,
            firmware_has_phy: false,
            bmcr_writes: Vec::new(),
            resets: true,
            reset_ends: true,
            keeps_misses: false,
            registers: BTreeMap::new(),
            causes: 0,
            mask: 0,
            sent: Vec::new(),
            rctl_writes: 0,
            reads: 0,
        }
    }

    /// Another address in the EEPROM.
    pub fn set_address(&mut self, mac: [u8; 6]) {
        self.eeprom = image(mac);
    }

    pub fn get(&self, register: Register<u32>) -> u32 {
        self.registers.get(&register.offset()).copied().unwrap_or(0)
    }

    pub fn set(&mut self, register: Register<u32>, value: u32) {
        self.set_offset(register.offset(), value);
    }

    /// The same for the register at an offset.
    pub fn set_offset(&mut self, offset: u32, value: u32) {
        self.registers.insert(offset, value);
    }

    /// Returns every register with its value, for comparisons.
    pub fn registers(&self) -> BTreeMap<u32, u32> {
        self.registers.clone()
    }

    /// Returns how often a register was read since the last time.
    pub fn take_reads(&mut self) -> u32 {
        std::mem::take(&mut self.reads)
    }

    /// Returns whether the interrupt line is asserted.
    pub fn interrupts(&self) -> bool {
        self.causes & self.mask != 0
    }

    fn base(&self, low: Register<u32>, high: Register<u32>) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(high)) << 32
    }

    fn advance(&mut self, head: Register<u32>, len: Register<u32>) {
        let next = (self.get(head) + 1) % (self.get(len) / 16);
        self.set(head, next);
    }

    /// Receives into the next buffer: `len` bytes, and these bits of word 3 besides DD. False if there is no buffer.
    pub fn receive(&mut self, len: u32, word3: u32) -> bool {
        if self.get(RCTL) & RCTL::EN == 0 || self.get(RDH) == self.get(RDT) {
            return false;
        }
        let at = self.base(RDBAL, RDBAH) + u64::from(self.get(RDH)) * 16;
        assert_eq!(self.window.read(at + 12) & rx::status::DD, 0, "the chip owns a descriptor that is done");
        self.window.write(at + 8, len);
        self.window.write(at + 12, word3 | rx::status::DD);
        self.advance(RDH, RDLEN);
        self.causes |= ICR::RXT0;
        true
    }

    /// Receives `count` good frames, as far as there are buffers.
    pub fn receive_frames(&mut self, count: u32) -> u32 {
        (0..count).take_while(|_| self.receive(60, rx::status::EOP)).count() as u32
    }

    /// Returns how many descriptors wait to be sent.
    pub fn to_send(&self) -> u32 {
        let count = (self.get(TDLEN) / 16).max(1);
        (self.get(TDT) + count - self.get(TDH)) % count
    }

    /// Sends `count` descriptors, as far as there are any; each ends with these bits of word 3 besides DD.
    pub fn send(&mut self, count: u32, word3: u32) -> u32 {
        let count = if self.get(TCTL) & TCTL::EN == 0 { 0 } else { count.min(self.to_send()) };
        for _ in 0..count {
            let at = self.base(TDBAL, TDBAH) + u64::from(self.get(TDH)) * 16;
            let address = u64::from(self.window.read(at)) | u64::from(self.window.read(at + 4)) << 32;
            let word2 = self.window.read(at + 8);
            self.sent.push((address, tx::legacy_length_bytes(word2), word2 & 0xff00_0000));
            assert_ne!(word2 & command::RS, 0, "nobody would learn that this one is done");
            self.window.write(at + 12, word3 | tx::status::DD);
            self.advance(TDH, TDLEN);
            self.causes |= ICR::TXDW;
        }
        count
    }

    fn mdic(&mut self, value: u32) -> u32 {
        let owned = self.get(EXTCNF_CTRL) & EXTCNF_CTRL::MDIO_SW != 0;
        assert!(owned || !self.is_express(), "the PHY may be the firmware's");
        let register = MDIC::REGADD.get(value);
        if self.phy_fails || MDIC::PHYADD.get(value) != MDIC_PHY {
            return value | MDIC::R | MDIC::E;
        }
        if MDIC::OP.get(value) == MDIC_OP_READ {
            return value & !MDIC::DATA.mask() | MDIC::R | u32::from(self.phy[register as usize]);
        }
        let mut data = MDIC::DATA.get(value) as u16;
        if register == BMCR {
            self.bmcr_writes.push(data);
            data &= !(bmcr::RESET | bmcr::AN_RESTART);
        }
        self.phy[register as usize] = data;
        value | MDIC::R
    }

    fn is_express(&self) -> bool {
        self.device == DEVICE_82574L
    }

    fn eerd(&self) -> eeprom::ReadLayout {
        if self.is_express() { eeprom::READ_82574 } else { eeprom::READ_8254X }
    }

    fn reset(&mut self) {
        assert!(
            !self.is_express() || self.get(CTRL) & CTRL::GIO_MASTER_DISABLE != 0,
            "the chip may be in the middle of a transfer"
        );
        let ctrl = if self.reset_ends { 0 } else { CTRL::RST };
        if self.resets {
            self.registers.clear();
            (self.causes, self.mask) = (0, 0);
        }
        self.set(CTRL, ctrl);
    }
}

fn is_counter(offset: u32) -> bool {
    (CRCERRS.offset()..=TSCTFC.offset()).contains(&offset)
}

impl Device for Chip {
    fn config_read(&mut self, offset: u32, width_bytes: u32) -> u32 {
        assert_eq!(width_bytes, 2);
        match offset {
            0 => self.vendor.into(),
            2 => self.device.into(),
            0x2c => self.subsystem.0.into(),
            0x2e => self.subsystem.1.into(),
            _ => panic!("configuration space at {offset}"),
        }
    }

    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64 {
        assert_eq!((bar, width_bytes), (0, 4));
        let (info, _) = MAP.find(0, offset).expect("only registers of the map are read");
        assert!(info.access.reads(), "{} cannot be read", info.name);
        self.reads += 1;
        let value = self.registers.get(&offset).copied().unwrap_or(0);
        u64::from(match offset {
            _ if offset == ICR.offset() => std::mem::take(&mut self.causes),
            _ if offset == EERD.offset() && self.eeprom_answers => {
                let word = self.eeprom[self.eerd().word.get(value) as usize];
                value & !EERD::START | self.eerd().done | EERD::DATA.put(word.into())
            }
            // The lower half of a pair stays until the upper one is read.
            _ if [GORCL, GOTCL].iter().any(|low| low.offset() == offset) => value,
            _ if self.keeps_misses && [MPC, RNBC].iter().any(|kept| kept.offset() == offset) => value,
            _ if is_counter(offset) => {
                if [GORCH, GOTCH].iter().any(|high| high.offset() == offset) {
                    self.registers.remove(&(offset - 4));
                }
                self.registers.remove(&offset).unwrap_or(0)
            }
            _ => value,
        })
    }

    fn write(&mut self, bar: u32, offset: u32, width_bytes: u32, value: u64) {
        assert_eq!((bar, width_bytes), (0, 4));
        let (info, _) = MAP.find(0, offset).expect("only registers of the map are written");
        assert!(info.access.writes(), "{} cannot be written", info.name);
        let value = value as u32;
        match offset {
            _ if offset == IMS.offset() => self.mask |= value,
            _ if offset == IMC.offset() => self.mask &= !value,
            _ if offset == CTRL.offset() && value & CTRL::RST != 0 => self.reset(),
            _ if offset == EXTCNF_CTRL.offset() && self.firmware_has_phy => {}
            _ if offset == MDIC.offset() => {
                let answer = self.mdic(value);
                self.set(MDIC, answer);
            }
            _ => {
                self.rctl_writes += u32::from(offset == RCTL.offset());
                self.registers.insert(offset, value);
            }
        }
    }
}
