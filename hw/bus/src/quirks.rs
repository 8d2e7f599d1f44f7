//! What devices of some identities do otherwise than their manual says, where those who drive them must know.

use crate::PciIdentity;

/// The subsystem (vendor, id) of what QEMU emulates (QEMU's documentation, PCI IDs).
const QEMU: (u16, u16) = (0x1af4, 0x1100);
const INTEL: u16 = 0x8086;

impl PciIdentity {
    /// Returns whether a network card never clears its count of frames that it had no room for, though its manual says
    /// that reading does. A driver that adds up what it reads then adds the same again each time. QEMU's `e1000` and
    /// its kin do this, whose subsystem is QEMU's (docs/hardware.md, missed frames).
    pub fn keeps_misses(self) -> bool {
        self.vendor == INTEL && (self.subsystem_vendor, self.subsystem) == QEMU
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulated_card_of_intels_keeps_its_misses_and_a_real_one_does_not() {
        let card =
            PciIdentity { subsystem_vendor: 0x1af4, subsystem: 0x1100, ..PciIdentity::new(INTEL, 0x100e, 0x02_0000) };
        assert!(card.keeps_misses());
        assert!(!PciIdentity { subsystem_vendor: INTEL, subsystem: 0x001e, ..card }.keeps_misses());
        assert!(!PciIdentity { vendor: 0x1af4, ..card }.keeps_misses(), "another maker's");
    }
}
