//! The register maps of virtio devices on PCI, in the layout that QEMU gives them.
//!
//! Sections are those of *Virtual I/O Device (VIRTIO) Version 1.2*. It leaves open where in which BAR a device has its
//! structures, and capabilities in configuration space say it; a map is laid down. QEMU has them all in BAR 4 at the
//! places below ([`LAYOUT`]; its `hw/virtio/virtio-pci.c`, 7.2 to 10.0), and a driver compares the capabilities with
//! that before it touches a register. The host's maps do so for each kind of device by itself, so that a disk's driver
//! has no network card: [`blk`], [`console`],
//! [`net`], [`rng`].
//!
//! **What a map cannot do.** The addresses of a queue pass through registers, and are checked when they do; how long
//! the queue is, is not, and the addresses of buffers stand in descriptors, which no register policy sees. That the
//! device stays in the window rests on the IOMMU, and on the device asking it: see `docs/virtio.md`.
#![no_std]
#![forbid(unsafe_code)]

pub mod blk;
mod common;
pub mod console;
pub mod net;
pub mod rng;

pub use common::*;

/// PCI vendor id of virtio devices (4.1.2).
pub const VENDOR: u16 = 0x1af4;
/// Bytes of the BAR: four structures of a page each.
pub const BAR_BYTES: u32 = 0x4000;
/// The BAR that they are in.
pub const BAR: u8 = 4;

/// What a capability of a device says: where in [`BAR`] a structure is, by `cfg_type` (4.1.4).
pub const LAYOUT: [(u8, u32); 4] = [
    (cfg_type::COMMON, 0),
    (cfg_type::NOTIFY, NOTIFY.get(0).offset()),
    (cfg_type::ISR, ISR_STATUS.offset()),
    (cfg_type::DEVICE, DEVICE_CONFIG),
];
/// Where the registers of the kind begin.
pub const DEVICE_CONFIG: u32 = 0x2000;
/// `notify_off_multiplier` (4.1.4.4): bytes from one [`NOTIFY`] to the next.
pub const NOTIFY_MULTIPLIER: u32 = 4;

/// A capability of a virtio device in configuration space (4.1.4).
pub mod cap {
    /// `cap_vndr` of every one: vendor specific (PCI 3.0, appendix H).
    pub const ID: u32 = 0x09;
    /// Offset of `cfg_type`, 8 bits.
    pub const CFG_TYPE: u32 = 3;
    /// Offset of `bar`, 8 bits.
    pub const BAR: u32 = 4;
    /// Offset of `offset`, 32 bits.
    pub const OFFSET: u32 = 8;
    /// Offset of `notify_off_multiplier`, 32 bits, in that of the notify structure (4.1.4.4).
    pub const MULTIPLIER: u32 = 16;
}

/// Values of `cfg_type` (4.1.4).
pub mod cfg_type {
    /// The common configuration.
    pub const COMMON: u8 = 1;
    /// Notifications.
    pub const NOTIFY: u8 = 2;
    /// The ISR status.
    pub const ISR: u8 = 3;
    /// The configuration of the kind.
    pub const DEVICE: u8 = 4;
}

/// Feature bits that are not of a kind (6).
pub mod feature {
    /// Requests may name a table of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Interrupts and notifications are asked for by index.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device is one of this standard, and no older one.
    pub const VERSION_1: u64 = 1 << 32;
    /// The device goes to memory as the platform has it: through an IOMMU, if there is one.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
}

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Access, ReadEffect, RegisterMap, Restore, WriteEffect};

    const MAPS: [&RegisterMap; 4] = [&blk::MAP, &console::MAP, &net::MAP, &rng::MAP];

    #[test]
    fn what_moves_memory_says_so() {
        for map in MAPS {
            for (register, effect) in [
                ("QUEUE_DESC_LOW", WriteEffect::DmaBase),
                ("QUEUE_DESC_HIGH", WriteEffect::DmaBaseHigh),
                ("QUEUE_DRIVER_LOW", WriteEffect::DmaBase),
                ("QUEUE_DRIVER_HIGH", WriteEffect::DmaBaseHigh),
                ("QUEUE_DEVICE_LOW", WriteEffect::DmaBase),
                ("QUEUE_DEVICE_HIGH", WriteEffect::DmaBaseHigh),
                ("NOTIFY", WriteEffect::Doorbell),
            ] {
                assert_eq!(map.named(register).unwrap().write, effect, "{register}");
            }
        }
    }

    #[test]
    fn reading_clears_the_causes_of_interrupts_and_nothing_else() {
        for map in MAPS {
            let clears = map.registers().iter().filter(|info| info.read != ReadEffect::None);
            assert_eq!(
                clears.map(|info| (info.name, info.read)).collect::<std::vec::Vec<_>>(),
                [("ISR_STATUS", ReadEffect::ClearsOr)]
            );
        }
    }

    #[test]
    fn no_register_is_restored_because_one_place_holds_those_of_each_queue() {
        let all = MAPS.iter().flat_map(|map| map.registers());
        assert!(all.into_iter().all(|info| info.restore == Restore::Nothing));
    }

    #[test]
    fn what_a_device_says_of_itself_is_not_written() {
        for map in MAPS {
            let own = map.registers().iter().filter(|info| (DEVICE_CONFIG..0x3000).contains(&info.offset));
            assert!(own.into_iter().all(|info| info.access == Access::Ro), "{}", map.name());
        }
    }

    extern crate std;
}
