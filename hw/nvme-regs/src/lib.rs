//! The one map of NVM Express controllers on PCI Express: registers, commands, completions and what controllers say of
//! themselves.
//!
//! The driver programs a controller with these constants, the host checks the driver against [`MAP`], and the embedded
//! model answers by them: a number stands here once. It holds facts and pure functions over words; it touches no
//! device and knows neither driver nor host. `no_std`, no `unsafe`.
//!
//! Sections are those of the *NVM Express Base Specification*, revision 2.0, unless "NVM" (*NVM Command Set
//! Specification* 1.0) or "PCIe" (*NVMe over PCIe Transport Specification* 1.0) is named.
//!
//! What the map cannot check: addresses in commands (queues, buffers) and how long the admin queues are. What keeps
//! those in the window is the IOMMU.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod admin;
pub mod command;
pub mod completion;
pub mod identify;
pub mod nvm;
mod properties;
pub mod status;

pub use properties::*;

/// PCI class, subclass and interface of every controller with I/O queues (PCIe 3.8).
pub const CLASS: u32 = 0x01_0802;
/// Red Hat's PCI vendor id, under which QEMU's `nvme` comes.
pub const VENDOR_QEMU: u16 = 0x1b36;
/// Its device id.
pub const DEVICE_QEMU: u16 = 0x0010;
/// A vendor id that no maker has: what the embedded model says.
pub const VENDOR_MODEL: u16 = 0x1234;
/// Its device id.
pub const DEVICE_MODEL: u16 = 0x0108;

/// Bytes in a page of the host, as this map's users program `CC.MPS`: 0.
pub const PAGE_BYTES: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Access, ReadEffect, Restore, Width, WriteEffect};

    #[test]
    fn what_moves_memory_says_so() {
        for (register, effect) in [
            ("ASQ", WriteEffect::DmaBase),
            ("ACQ", WriteEffect::DmaBase),
            ("SQTDBL", WriteEffect::Doorbell),
            ("CQHDBL", WriteEffect::Doorbell),
        ] {
            assert_eq!(MAP.named(register).unwrap().write, effect, "{register}");
        }
    }

    #[test]
    fn what_reaches_other_memory_or_other_controllers_is_nobodys() {
        let boot = ["BPINFO", "BPRSEL", "BPMBL"];
        let memory = ["CMBLOC", "CMBSZ", "CMBMSC", "CMBSTS", "CMBEBS", "CMBSWTP"];
        let persistent = ["PMRCAP", "PMRCTL", "PMRSTS", "PMREBS", "PMRSWTP", "PMRMSCL", "PMRMSCU"];
        let subsystem = ["NSSR", "NSSD"];
        for register in boot.into_iter().chain(memory).chain(persistent).chain(subsystem) {
            assert_eq!(MAP.named(register).unwrap().access, Access::Forbidden, "{register}");
        }
    }

    #[test]
    fn no_register_is_restored_by_a_reset_so_there_is_no_snapshot_of_a_controller() {
        // Queues, features and requests for events are made by commands: registers alone restore nothing.
        let resets = |info: &&nook_regs::RegisterInfo| matches!(info.restore, Restore::ResetBy(_));
        assert_eq!(MAP.registers().iter().filter(resets).count(), 0);
    }

    #[test]
    fn reading_changes_nothing() {
        assert!(MAP.registers().iter().all(|info| info.read == ReadEffect::None));
    }

    #[test]
    fn doorbells_alternate_between_tails_and_heads() {
        assert_eq!((SQTDBL.get(0).offset(), CQHDBL.get(0).offset()), (0x1000, 0x1004));
        assert_eq!((SQTDBL.get(1).offset(), CQHDBL.get(1).offset()), (0x1008, 0x100c));
        assert_eq!(CQHDBL.get(511).offset(), 0x1ffc);
        assert_eq!((CAP.width(), ASQ.width(), CC.width()), (Width::B8, Width::B8, Width::B4));
    }
}
