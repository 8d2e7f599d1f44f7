//! Which chips there are, and how they differ.

use e1000_regs::{DEVICE_82540EM, DEVICE_82545EM, TIPG, VENDOR};

/// What differs from chip to chip.
#[derive(Debug)]
pub(crate) struct Chip {
    device: u16,
    /// For people.
    pub(crate) name: &'static str,
    /// How long a reset takes, in nanoseconds, with the EEPROM's content that is loaded after it.
    pub(crate) reset_ns: u64,
    /// Gaps between frames on copper (section 13.4.34).
    pub(crate) tipg: u32,
}

/// What section 13.4.34 recommends for all of the family but the 82544, in byte times.
const COPPER_TIPG: u32 = TIPG::IPGT.put(10) | TIPG::IPGR1.put(8) | TIPG::IPGR2.put(6);

static CHIPS: [Chip; 2] = [
    Chip { device: DEVICE_82540EM, name: "82540EM", reset_ns: 5_000_000, tipg: COPPER_TIPG },
    Chip { device: DEVICE_82545EM, name: "82545EM", reset_ns: 5_000_000, tipg: COPPER_TIPG },
];

impl Chip {
    /// The chip with these PCI ids.
    pub(crate) fn find(vendor: u16, device: u16) -> Option<&'static Chip> {
        CHIPS.iter().find(|chip| vendor == VENDOR && chip.device == device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_of_the_manifest_is_known() {
        let manifest = nook_sdk::abi::Manifest::parse(crate::MANIFEST.as_bytes()).unwrap();
        assert_eq!((manifest.name, manifest.registers), ("e1000", e1000_regs::MAP.name));
        assert_eq!(manifest.pci_ids().count(), CHIPS.len());
        assert!(manifest.pci_ids().all(|(vendor, device)| Chip::find(vendor, device).is_some()));
        assert!(Chip::find(0x8087, DEVICE_82540EM).is_none());
    }
}
