//! Which chips there are, and how they differ.

use e1000_regs::eeprom::{READ_8254X, READ_82574, ReadLayout};
use e1000_regs::{
    CTRL, CTRL_EXT, DEVICE_82540EM, DEVICE_82545EM, DEVICE_82574L, GCR, GCR2, IAM, MRQC, RCTL, RFCTL, TARC0, TIPG,
    TXDCTL, VENDOR,
};
use nook_sdk::{Register, offload};

use crate::verbs::LONGEST_BYTES;
use crate::{jumbo, offloads};

/// What differs from chip to chip.
#[derive(Debug)]
pub(crate) struct Chip {
    device: u16,
    /// Text to read.
    pub(crate) name: &'static str,
    /// How long a reset takes, in nanoseconds, with the EEPROM's content that is loaded after it.
    pub(crate) reset_ns: u64,
    /// It sits on PCI Express and shares its PHY with firmware: see `express.rs`.
    pub(crate) express: bool,
    /// It has a second receive queue: see `spread.rs`.
    pub(crate) two_queues: bool,
    /// How EERD is laid out.
    pub(crate) eerd: ReadLayout,
    /// Bits of CTRL that are always set.
    pub(crate) ctrl: u32,
    /// The longest frame each way, with its check sequence.
    longest_bytes: u32,
    /// How much of the packet buffer is for receiving, in KiB: with frames of Ethernet's length, and with longer ones.
    rx_buffer_kib: [u32; 2],
    /// Gaps between frames on copper.
    pub(crate) tipg: u32,
    /// When transmit descriptors are written back: at once.
    pub(crate) txdctl: u32,
    /// Bits that are set or cleared once after a reset.
    pub(crate) tuning: &'static [Tuning],
    /// Where frames turn round in loopback.
    pub(crate) loopback: Loopback,
    /// Emulations that are wrong about something.
    wrong: &'static [Wrong],
}

/// An emulation of a chip, known by its subsystem.
#[derive(Debug)]
struct Wrong {
    subsystem: (u16, u16),
    /// Offloads that are not to be used of it.
    offloads: u32,
    /// Its counters of missed frames stay as they are when they are read, and when it is reset.
    keeps_misses: bool,
}

/// Bits of one register: those to clear, then those to set.
#[derive(Debug)]
pub(crate) struct Tuning(pub(crate) Register<u32>, pub(crate) u32, pub(crate) u32);

/// Where frames turn round in loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loopback {
    /// In the PHY (IEEE 802.3, 22.2.4.1.2). RCTL.LBM stays 0: section 13.4.22 has a value for it, but drivers that are
    /// known to work on these chips (Linux's) leave it.
    Phy,
    /// In the MAC, which the 82574 can (82574, section 10.2.5.1).
    Mac,
}

impl Loopback {
    /// Returns the value of RCTL.LBM.
    pub(crate) const fn rctl(self) -> u32 {
        match self {
            Loopback::Phy => 0,
            Loopback::Mac => RCTL::LBM.put(1),
        }
    }

    /// Returns what CTRL has besides a forced mode. The PHY's signal is lost in its loopback, so its sense is turned
    /// round.
    pub(crate) const fn ctrl(self) -> u32 {
        match self {
            Loopback::Phy => CTRL::ILOS,
            Loopback::Mac => 0,
        }
    }
}

/// What all chips on PCI have in common. TIPG is what section 13.4.34 recommends for all of the family but the 82544,
/// in byte times; TXDCTL 0 writes descriptors back at once (section 3.4.2). Of 64 KiB a reset gives 48 to what is
/// received (section 13.4.16), which leaves room for one of the longest frames to be sent and for no other behind it. A
/// frame that is received has 16,384 bytes at most (section 13.4.22), and one that is sent 16,288 (section 3.3.3);
/// 16,128 is what Linux's driver of these chips stays below.
const PCI: Chip = Chip {
    device: 0,
    name: "",
    reset_ns: 5_000_000,
    express: false,
    two_queues: false,
    eerd: READ_8254X,
    ctrl: 0,
    longest_bytes: 16_128,
    rx_buffer_kib: [48, 40],
    tipg: TIPG::IPGT.put(10) | TIPG::IPGR1.put(8) | TIPG::IPGR2.put(6),
    txdctl: 0,
    tuning: &[],
    loopback: Loopback::Phy,
    wrong: &[],
};

/// Bits 3 and 20 of the 82574's CTRL are reserved and must be set (82574, section 10.2.2.1); TIPG and TXDCTL are what
/// its section 4.6.6 suggests, with bit 22, which Linux's and DPDK's drivers set on the whole generation. Of its 40 KiB
/// of packet buffer a reset gives 20 to what is received.
static CHIPS: [Chip; 3] = [
    Chip { device: DEVICE_82540EM, name: "82540EM", wrong: &QEMU_PCI, ..PCI },
    Chip { device: DEVICE_82545EM, name: "82545EM", wrong: &QEMU_PCI, ..PCI },
    Chip {
        device: DEVICE_82574L,
        name: "82574L",
        reset_ns: 25_000_000,
        express: true,
        two_queues: true,
        eerd: READ_82574,
        ctrl: CTRL::LRST | CTRL::ADVD3WUC,
        longest_bytes: 9234,
        rx_buffer_kib: [20, 20],
        tipg: TIPG::IPGT.put(8) | TIPG::IPGR1.put(2) | TIPG::IPGR2.put(10),
        txdctl: TXDCTL::GRAN | TXDCTL::WTHRESH.put(1) | 1 << 22,
        tuning: &EXPRESS_TUNING,
        loopback: Loopback::Mac,
        wrong: &QEMU_EXPRESS,
    },
];

/// QEMU's e1000 says in each segment of IPv6 that its payload is 40 bytes longer than it is (7.2 and 10.0), and never
/// clears its counters of missed frames (findings/qemu-e1000-missed-packets.sh).
static QEMU_PCI: [Wrong; 1] =
    [Wrong { subsystem: (0x1af4, 0x1100), offloads: offload::SEGMENT_V6, keeps_misses: true }];

/// QEMU's e1000e, on a back end that takes frames only, sends one long packet in fragments of IPv4 (7.2), which is
/// nothing for IPv6, or segments that have lost FIN and PSH (10.0).
static QEMU_EXPRESS: [Wrong; 1] =
    [Wrong { subsystem: (VENDOR, 0), offloads: offload::SEGMENT_V4 | offload::SEGMENT_V6, keeps_misses: false }];

/// Legacy descriptors, one queue (`spread.rs` has it otherwise afterwards), and interrupts that nothing masks but the
/// driver, no matter what used the chip before; the firmware is informed; and the reserved bits that public drivers
/// set.
static EXPRESS_TUNING: [Tuning; 7] = [
    Tuning(RFCTL, u32::MAX, 0),
    Tuning(MRQC, u32::MAX, 0),
    Tuning(IAM, u32::MAX, 0),
    Tuning(CTRL_EXT, CTRL_EXT::IAME | 1 << 23, CTRL_EXT::DRV_LOAD | 1 << 22),
    Tuning(TARC0, TARC0::CLEAR.mask(), TARC0::SET),
    Tuning(GCR, 0, GCR::SET),
    Tuning(GCR2, 0, GCR2::SET),
];

impl Chip {
    /// Finds the chip with these PCI ids.
    pub(crate) fn find(vendor: u16, device: u16) -> Option<&'static Chip> {
        CHIPS.iter().find(|chip| vendor == VENDOR && chip.device == device)
    }

    /// Returns how long a frame is at most, with its check sequence.
    pub(crate) const fn longest_bytes(&self, jumbo: bool) -> u32 {
        if jumbo { self.longest_bytes } else { LONGEST_BYTES }
    }

    /// Returns how much of the packet buffer is for receiving, in KiB.
    pub(crate) const fn rx_buffer_kib(&self, jumbo: bool) -> u32 {
        self.rx_buffer_kib[jumbo as usize]
    }

    /// Returns the largest payload of a frame.
    pub(crate) const fn max_mtu_bytes(&self) -> u32 {
        self.longest_bytes - jumbo::AROUND_BYTES
    }

    /// Returns what this one does to frames in the host's place: bits of [`offload`].
    pub(crate) fn offloads(&self, subsystem: (u16, u16)) -> u32 {
        offloads::ALL & !self.wrong(subsystem).map_or(0, |wrong| wrong.offloads)
    }

    /// Returns whether reading leaves this one's counters of missed frames as they are.
    pub(crate) fn keeps_misses(&self, subsystem: (u16, u16)) -> bool {
        self.wrong(subsystem).is_some_and(|wrong| wrong.keeps_misses)
    }

    fn wrong(&self, subsystem: (u16, u16)) -> Option<&Wrong> {
        self.wrong.iter().find(|wrong| wrong.subsystem == subsystem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_of_the_manifest_is_known() {
        let manifest = nook_sdk::abi::Manifest::parse(crate::MANIFEST.as_bytes()).unwrap();
        assert_eq!((manifest.name, manifest.registers), ("e1000", e1000_regs::MAP.name()));
        assert_eq!(manifest.pci_ids().count(), CHIPS.len());
        assert!(manifest.pci_ids().all(|(vendor, device)| Chip::find(vendor, device).is_some()));
        assert!(Chip::find(0x8087, DEVICE_82540EM).is_none());
    }
}
