//! The register map of VMware's paravirtual network card, vmxnet3.
//!
//! The host checks drivers of the card against [`MAP`], and reports name registers by it. There is no public manual.
//! What stands here are facts that were read off what is public: offsets, and numbers of commands, of DPDK 22.11's
//! `drivers/net/vmxnet3/base/vmxnet3_defs.h` (Linux has the same in `drivers/net/vmxnet3/vmxnet3_defs.h`), called
//! *defs* below; what the accesses do, of QEMU's model of the card, `hw/net/vmxnet3.c`, called *QEMU*.
//!
//! **What this map cannot do.** Of the addresses that the card uses, one passes through a register: that of the area
//! which driver and device share. All others, of rings and of frames, stand in that area and in descriptors, where no
//! register policy sees them. So that the card stays inside the window rests on the IOMMU alone (with QEMU's model: on
//! the window being all of its memory that is ours).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod command;

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

/// VMware's PCI vendor id.
pub const VENDOR: u16 = 0x15ad;
/// PCI device id of the vmxnet3.
pub const DEVICE: u16 = 0x07b0;

nook_regs::registers! {
    /// BAR 0: what a virtual machine may be given without its host in between.
    pub(crate) static PASS_THROUGH = "vmxnet3: pass-through", bar 0, 0x1000 bytes;

    /// Masks an interrupt while it is 1: one for each vector. With automatic masking the device writes 1 when it
    /// interrupts.
    IMR: [u32; 25; 8] at 0x000, Rw, "defs, VMXNET3_REG_IMR, VMXNET3_MAX_INTRS";
    /// Producer index of each transmit queue.
    TXPROD: [u32; 8; 8] at 0x600, Wo, "defs, VMXNET3_REG_TXPROD", write(Doorbell);
    /// Producer index of the first ring of each receive queue.
    RXPROD: [u32; 16; 8] at 0x800, Wo, "defs, VMXNET3_REG_RXPROD", write(Doorbell);
    /// Producer index of the second ring of each receive queue.
    RXPROD2: [u32; 16; 8] at 0xa00, Wo, "defs, VMXNET3_REG_RXPROD2", write(Doorbell);
}

nook_regs::registers! {
    /// BAR 1: the virtual device.
    pub(crate) static VIRTUAL_DEVICE = "vmxnet3: virtual device", bar 1, 0x1000 bytes;

    /// Reads as the revisions that there are, one bit each; the driver writes the bit of the one that it wants.
    VRRS: u32 at 0x00, Rw, "defs, VMXNET3_REG_VRRS";
    /// The same for the version of the interface to pass-through.
    UVRS: u32 at 0x08, Rw, "defs, VMXNET3_REG_UVRS";
    /// Address of the area that driver and device share, low half. 0 takes it away; that ends the device's work (QEMU).
    DSAL: u32 at 0x10, Wo, "defs, VMXNET3_REG_DSAL", write(DmaBaseOrZero);
    /// The same, high half; it is written after the low one, and counts then (QEMU).
    DSAH: u32 at 0x18, Wo, "defs, VMXNET3_REG_DSAH", write(DmaBaseHigh);
    /// Takes a [command](crate::command), and reads as the answer to the last one.
    CMD: u32 at 0x20, Rw, "defs, VMXNET3_REG_CMD, Vmxnet3_Cmd", write(Command), guard(crate::command::GUARD);
    /// The first four bytes of the interface's address; they count when MACH is written (QEMU).
    MACL: u32 at 0x28, Rw, "defs, VMXNET3_REG_MACL";
    /// The other two.
    MACH: u32 at 0x30, Rw, "defs, VMXNET3_REG_MACH";
    /// Whether the interrupt line is asserted; reading it lets the line go (QEMU). Nothing with messages.
    ICR: u32 at 0x38, Ro, "defs, VMXNET3_REG_ICR", read(ClearsOr);
    /// Events; the shared area has them too. QEMU's model reads as 0 here.
    ECR: u32 at 0x40, Rw, "defs, VMXNET3_REG_ECR", write(OneClears) {
        /// A receive queue stopped.
        RQERR = 0,
        /// A transmit queue stopped.
        TQERR = 1,
        /// The link changed.
        LINK = 2,
        /// Another implementation took over.
        DIC = 3,
        /// For debugging.
        DEBUG = 4,
    }
    /// Address of a second shared area, for wireless. Forbidden: nobody needs it.
    WSAL: u32 at 0xf00, Forbidden, "defs, VMXNET3_REG_WSAL";
    /// The same, high half.
    WSAH: u32 at 0xf08, Forbidden, "defs, VMXNET3_REG_WSAH";
    /// Commands for it.
    WCMD: u32 at 0xf18, Forbidden, "defs, VMXNET3_REG_WCMD";
}

const PARTS: [&RegisterMap; 2] = [&PASS_THROUGH, &VIRTUAL_DEVICE];
const COUNT: usize = PARTS[0].registers().len() + PARTS[1].registers().len();
static REGISTERS: [RegisterInfo; COUNT] = RegisterMap::joined(PARTS);

/// Every register that a driver, a tracer or a report may meet. BAR 2, which holds the interrupt table, is the host's.
///
/// It does not say how the device is restored to an earlier state: what there is to restore stands in memory,
/// and the device has read it when it was activated. So there are no snapshots, and a driver is restarted instead.
pub static MAP: RegisterMap =
    RegisterMap::checked("vmxnet3", &[Bar::memory(0, 0x1000), Bar::memory(1, 0x1000)], &REGISTERS)
        .for_devices(&[PciId { vendor: VENDOR, device: DEVICE }]);

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Access, Width, WriteEffect};

    #[test]
    fn all_registers_are_32_bits_wide_and_8_bytes_apart() {
        for info in MAP.registers() {
            assert_eq!((info.width, info.offset % 8), (Width::B4, 0), "{}", info.name);
            assert!(info.count == 1 || info.stride == 8, "{}", info.name);
        }
    }

    #[test]
    fn the_registers_that_move_memory_say_so() {
        for (register, bar, effect) in [
            ("TXPROD", 0, WriteEffect::Doorbell),
            ("RXPROD", 0, WriteEffect::Doorbell),
            ("RXPROD2", 0, WriteEffect::Doorbell),
            ("DSAL", 1, WriteEffect::DmaBaseOrZero),
            ("DSAH", 1, WriteEffect::DmaBaseHigh),
            ("CMD", 1, WriteEffect::Command),
        ] {
            let info = MAP.named(register).unwrap();
            assert_eq!((info.bar, info.write), (bar, effect), "{register}");
        }
    }

    #[test]
    fn the_second_shared_area_and_the_interrupt_table_are_nobodys() {
        for register in ["WSAL", "WSAH", "WCMD"] {
            assert_eq!(MAP.named(register).unwrap().access, Access::Forbidden, "{register}");
        }
        assert_eq!(MAP.len_bytes(2), None);
    }

    #[test]
    fn the_same_offset_is_another_register_in_each_bar() {
        let name = |bar, offset| MAP.find(bar, offset).map(|(info, index)| (info.name, index));
        assert_eq!([name(0, 0x20), name(1, 0x20)], [Some(("IMR", 4)), Some(("CMD", 0))]);
        assert_eq!([name(0, 0x4), name(1, 0x4), name(2, 0)], [None; 3]);
    }
}
