//! The register map of Intel's Ethernet controller 82576, for DPDK's driver of it (`igb`).
//!
//! The host checks drivers of the card against [`MAP`], and reports name registers by it. It holds facts; it touches no
//! device, and no driver of this repository is written with it.
//!
//! Sections are those of chapter 8 (programming interface) of Intel's *82576EB Gigabit Ethernet Controller Datasheet*;
//! "8.1.3" is its summary of all registers. Offsets were compared with DPDK 22.11's
//! `drivers/net/e1000/base/e1000_regs.h`. Rings and their registers are described for the first four of the chip's 16
//! queues, at the addresses that the 82575 has, too; the same registers once more at 0xC000 and 0xE000, the other
//! queues, and what belongs to virtual functions, to management, to encryption and to time are named nowhere and so
//! are nobody's.
//!
//! **What this map cannot do.** Addresses of frames stand in descriptors, where no register policy sees them; that the
//! card stays inside the window rests on the IOMMU, as with the other network cards.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod general;
mod statistics;
mod transfer;

pub use general::*;
pub use statistics::*;
pub use transfer::*;

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

/// Intel's PCI vendor id.
pub const VENDOR: u16 = 0x8086;
/// PCI device id of the 82576, copper.
pub const DEVICE: u16 = 0x10c9;
/// How long BAR 0 is.
pub const BAR0_LEN_BYTES: u32 = 0x2_0000;

const PARTS: [&RegisterMap; 3] = [&general::GENERAL, &transfer::TRANSFER, &statistics::STATISTICS];
const COUNT: usize = PARTS[0].registers().len() + PARTS[1].registers().len() + PARTS[2].registers().len();
static REGISTERS: [RegisterInfo; COUNT] = RegisterMap::joined(PARTS);

/// Every register that a driver, a tracer or a report may meet. What is not in it is nobody's to touch. BAR 3, which
/// holds the interrupt table, is the host's, and so is the flash in BAR 1.
///
/// It does not say how the device is restored to an earlier state: after a reset the link needs the PHY's
/// auto-negotiation, which is begun through MDIC and stands in no register of the map. So there are no snapshots, and a
/// driver is restarted instead.
pub static MAP: RegisterMap = RegisterMap::checked("igb", &[Bar::memory(0, BAR0_LEN_BYTES)], &REGISTERS)
    .for_devices(&[PciId { vendor: VENDOR, device: DEVICE }]);

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Access, ReadEffect, WriteEffect};

    #[test]
    fn ways_to_write_non_volatile_memory_are_forbidden() {
        for register in ["FLA", "I2CCMD", "I2CPARAMS"] {
            assert_eq!(MAP.named(register).unwrap().access, Access::Forbidden, "{register}");
        }
        // Their bits are pins of the memory's, or start a write.
        for register in ["EECD", "EEMNGCTL"] {
            assert_eq!(MAP.named(register).unwrap().access, Access::Ro, "{register}");
        }
    }

    #[test]
    fn the_registers_that_move_memory_say_so() {
        for (register, effect) in [
            ("RDBAL", WriteEffect::DmaBase),
            ("TDBAL", WriteEffect::DmaBase),
            ("RDBAH", WriteEffect::DmaBaseHigh),
            ("TDBAH", WriteEffect::DmaBaseHigh),
            ("RDT", WriteEffect::Doorbell),
            ("TDT", WriteEffect::Doorbell),
            ("CTRL", WriteEffect::Reset((CTRL::RST | CTRL::PHY_RST).into())),
        ] {
            assert_eq!(MAP.named(register).unwrap().write, effect, "{register}");
        }
        // The card would write its head there.
        for register in ["TDWBAL", "TDWBAH"] {
            assert_eq!(MAP.named(register).unwrap().access, Access::Forbidden, "{register}");
        }
    }

    #[test]
    fn no_alias_of_a_register_with_an_effect_is_anybodys() {
        // CTRL again, and the first queue's registers again.
        for offset in [0x0004, 0xc000, 0xc018, 0xe000, 0xe018] {
            assert!(MAP.find(0, offset).is_none(), "{offset:#x}");
        }
        // The causes and masks of interrupts again.
        assert!((0x1500..0x1514).step_by(4).all(|offset| MAP.find(0, offset).is_none()));
    }

    #[test]
    fn every_counter_gives_back_what_it_cleared() {
        for info in MAP.registers().iter().filter(|info| info.section == "8.18") {
            let upper = ["GORCH", "GOTCH", "TORH", "TOTH", "HGORCH", "HGOTCH"].contains(&info.name);
            let lower = MAP.find(0, info.offset + 4).is_some_and(|(upper, _)| upper.read == ReadEffect::ClearsPair);
            let expected = match (upper, lower) {
                (true, _) => ReadEffect::ClearsPair,
                (_, true) => ReadEffect::None,
                _ => ReadEffect::ClearsAdd,
            };
            assert_eq!(info.read, expected, "{}", info.name);
        }
    }
}
