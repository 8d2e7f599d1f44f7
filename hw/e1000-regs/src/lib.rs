//! The one map of the Ethernet controllers 82540EM, 82545EM and 82574L: registers, descriptors, PHY and EEPROM.
//!
//! The driver programs the chip with these constants, the host checks the driver against [`MAP`], and the embedded
//! model answers by them: a number stands here once. It holds facts and pure functions over words; it touches no
//! device and knows neither driver nor host. `no_std`, no `unsafe`.
//!
//! Sections are those of Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual*,
//! revision 4.0 (317453-006), unless another source is named.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod eeprom;
mod express;
mod general;
pub mod phy;
mod rss;
pub mod rx;
mod statistics;
mod transfer;
pub mod tx;

pub use express::*;
pub use general::*;
pub use rss::*;
pub use statistics::*;
pub use transfer::*;

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

/// How long BAR 0 is (section 4.1).
pub const BAR0_LEN_BYTES: u32 = 0x2_0000;

/// Intel's PCI vendor id.
pub const VENDOR: u16 = 0x8086;
/// PCI device id of the 82540EM (section 5.2).
pub const DEVICE_82540EM: u16 = 0x100e;
/// PCI device id of the 82545EM, copper (section 5.2).
pub const DEVICE_82545EM: u16 = 0x100f;
/// PCI device id of the 82574L (82574 datasheet, section 9).
pub const DEVICE_82574L: u16 = 0x10d3;
/// PCI class, subclass and interface: Ethernet controller.
pub const CLASS: u32 = 0x02_0000;

const PARTS: [&RegisterMap; 4] = [&general::GENERAL, &transfer::TRANSFER, &statistics::STATISTICS, &express::EXPRESS];
const COUNT: usize = {
    let mut count = 0;
    let mut part = 0;
    while part < PARTS.len() {
        count += PARTS[part].registers().len();
        part += 1;
    }
    count
};
static REGISTERS: [RegisterInfo; COUNT] = RegisterMap::joined(PARTS);

/// Every register that a driver, a tracer or a report may meet. What is not in it is nobody's to touch.
pub static MAP: RegisterMap =
    RegisterMap::checked("e1000", &[Bar::memory(0, BAR0_LEN_BYTES)], &REGISTERS).for_devices(&[
        PciId { vendor: VENDOR, device: DEVICE_82540EM },
        PciId { vendor: VENDOR, device: DEVICE_82545EM },
        PciId { vendor: VENDOR, device: DEVICE_82574L },
    ]);

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Access, ReadEffect, Restore, WriteEffect};

    #[test]
    fn ways_to_write_non_volatile_memory_are_forbidden() {
        let express = ["EEMNGCTL", "EEWR", "FLASHT", "FLSWCTL", "FLSWDATA", "FLSWCNT", "FLOP"];
        for register in ["FLA"].into_iter().chain(express) {
            assert_eq!(MAP.named(register).unwrap().access, Access::Forbidden, "{register}");
        }
        let guard = MAP.named("EECD").unwrap().guard.unwrap();
        assert!(guard.step(Default::default(), EECD::FWE.put(2).into()).is_err());
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
    }

    #[test]
    fn what_can_be_written_is_restored_unless_it_is_a_command_or_not_the_drivers_alone() {
        let commands = ["EECD", "EERD", "MDIC", "ICR", "ICS"];
        let shared = ["EXTCNF_CTRL", "SWSM"];
        for info in MAP.registers().iter().filter(|info| info.access.writes()) {
            let left_alone = commands.into_iter().chain(shared).any(|name| name == info.name);
            assert_eq!(info.restore == Restore::Nothing, left_alone, "{}", info.name);
        }
        for (register, restore) in [
            ("CTRL", Restore::ResetBy(CTRL::RST.into())),
            ("IMC", Restore::Quiet(0xffff_ffff)),
            ("RDH", Restore::Held),
            ("RCTL", Restore::Switch),
            ("TCTL", Restore::Switch),
        ] {
            assert_eq!(MAP.named(register).unwrap().restore, restore, "{register}");
        }
    }

    #[test]
    fn every_counter_gives_back_what_it_cleared() {
        for info in MAP.registers().iter().filter(|info| info.section.starts_with("13.7.")) {
            let lower = MAP.find(0, info.offset + 4).is_some_and(|(upper, _)| upper.read == ReadEffect::ClearsPair);
            let expected = match info.name {
                "GORCH" | "GOTCH" | "TORH" | "TOTH" => ReadEffect::ClearsPair,
                _ if lower => ReadEffect::None,
                _ => ReadEffect::ClearsAdd,
            };
            assert_eq!(info.read, expected, "{}", info.name);
        }
    }

    #[test]
    fn no_alias_of_a_register_that_resets_is_anybodys() {
        // The 82574 has CTRL again at 4.
        assert!(MAP.find(0, CTRL.offset() + 4).is_none());
    }

    #[test]
    fn buffer_sizes_round_trip() {
        for bytes in [256, 512, 1024, 2048, 4096, 8192, 16384] {
            assert_eq!(rctl_buffer_bytes(rctl_buffer_size(bytes).unwrap()), bytes);
        }
        assert_eq!(rctl_buffer_size(1500), None);
    }

    #[test]
    fn the_multicast_hash_takes_the_twelve_bits_that_mo_says() {
        // The manual's example in section 13.5.1: the address 12:34:56:78:9a:bc.
        let address = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc];
        for (mo, hash) in [(0, 0xbc9), (1, 0x793), (2, 0xf26), (3, 0xc9a)] {
            assert_eq!(multicast_hash(address, mo), (hash >> 5, 1 << (hash & 31)), "MO {mo}");
        }
    }
}
