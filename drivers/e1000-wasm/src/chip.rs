//! The controller as such: which one it is, reset, EEPROM.

use e1000_regs::{CTRL, CTRL_EXT, EERD, ICR, IMC, MANC, RCTL, STATUS, TCTL, eeprom};
use nook_sdk::{Kernel, MacAddress, Nook, Regs, Status, error};

/// What differs from one chip to the next.
pub(crate) struct Chip {
    /// PCI device id.
    device: u16,
    /// For people.
    pub(crate) name: &'static str,
}

static CHIPS: [Chip; 2] = [
    Chip { device: e1000_regs::DEVICE_82540EM, name: "Intel 82540EM" },
    Chip { device: e1000_regs::DEVICE_82545EM, name: "Intel 82545EM" },
];

/// Where the device id is in configuration space (PCI 3.0, section 6.1).
const CONFIG_DEVICE: u32 = 0x02;

impl Chip {
    /// The chip that the device says it is; `NoDevice` if it is none of ours.
    pub(crate) fn of<K: Kernel>(nook: &Nook<K>) -> Result<&'static Chip, Status> {
        let device = nook.config_read16(CONFIG_DEVICE);
        CHIPS.iter().find(|chip| u32::from(chip.device) == device).ok_or(Status::NoDevice)
    }
}

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// DMA that is under way when receiver and transmitter are turned off ends within this.
const DMA_ENDS_NS: u64 = 2 * MS;
/// The reset bit clears itself within this (section 13.4.1 says 1 µs).
const RESET_NS: u64 = 10 * MS;
/// After a reset the controller loads its configuration from the EEPROM by itself (section 5.6).
const EEPROM_LOADS_NS: u64 = 5 * MS;
/// One word of the EEPROM takes some 70 µs to read.
const EEPROM_READ_NS: u64 = 10 * MS;

/// Resets everything but PCI configuration and the PHY, from any state, and leaves interrupts, receiver and
/// transmitter off (section 14.3). `Timeout` if the controller does not come back.
pub(crate) fn reset<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>) -> Result<(), Status> {
    regs.write(IMC, u32::MAX);
    regs.write(RCTL, 0);
    regs.write(TCTL, TCTL::PSP);
    regs.read(STATUS);
    // A reset in the middle of a transfer can leave the bus hanging.
    nook.sleep_ns(DMA_ENDS_NS);
    regs.write(CTRL, CTRL::RST);
    nook.poll_until(RESET_NS, MS / 10, || regs.read(CTRL) & CTRL::RST == 0).inspect_err(|_| {
        error!(nook, "the controller does not come out of reset");
    })?;
    nook.sleep_ns(EEPROM_LOADS_NS);
    // Answering ARP requests by itself is on after a reset on some boards.
    regs.modify(MANC, |value| value & !MANC::ARP_EN);
    regs.write(IMC, u32::MAX);
    regs.read(ICR);
    // The MAC follows the PHY's speed and duplex by itself (section 8.5.4); no forcing, no VLAN, no flow control.
    regs.write(CTRL, CTRL::SLU | CTRL::ASDE);
    regs.modify(CTRL_EXT, |value| value & !CTRL_EXT::LINK_MODE.mask());
    Ok(())
}

fn read_word<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, word: u32) -> Result<u16, Status> {
    regs.write(EERD, eeprom::read_command(word));
    let mut value = 0;
    nook.poll_until(EEPROM_READ_NS, MS / 20, || {
        value = regs.read(EERD);
        value & EERD::DONE != 0
    })?;
    Ok(EERD::DATA.get(value) as u16)
}

/// The controller's own address. `Corrupt` if the EEPROM's checksum is wrong (section 5.6.35).
pub(crate) fn read_mac<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>) -> Result<MacAddress, Status> {
    let mut address = [0; 3];
    let mut sum = 0u16;
    for word in 0..eeprom::WORDS {
        let value = read_word(nook, regs, word)?;
        sum = sum.wrapping_add(value);
        if let Some(slot) = address.get_mut((word - eeprom::ADDRESS) as usize) {
            *slot = value;
        }
    }
    if sum != eeprom::SUM {
        error!(nook, "the EEPROM's words add up to {sum:#06x}, not {:#06x}", eeprom::SUM);
        return Err(Status::Corrupt);
    }
    Ok(eeprom::address(address))
}
