//! The register map of QEMU's educational device, `edu`.
//!
//! The host checks drivers of it against [`MAP`], and reports name registers by it. What stands here is in QEMU's
//! documentation of the device, docs/specs/edu, whose sections are named; what it does besides was seen, by
//! findings/qemu-edu-busy-write.sh.
//!
//! The registers of its DMA are forbidden. Which of the two addresses lies in memory, and which in the device, depends
//! on a bit of a third register: the map cannot say which one must lie in the window.
#![no_std]
#![forbid(unsafe_code)]

/// QEMU's PCI vendor id for the device.
pub const VENDOR: u16 = 0x1234;
/// Its device id.
pub const DEVICE: u16 = 0x11e8;
/// What `IDENTIFICATION` reads as in the one version that there is.
pub const VERSION_1_0: u32 = 0x0100_00ed;

nook_regs::registers! {
    /// Every register that a driver, a tracer or a report may meet. Those below 0x80 answer accesses of 32 bits only.
    pub static MAP = "edu" for &[nook_regs::PciId { vendor: VENDOR, device: DEVICE }], bar 0, 0x10_0000 bytes;

    /// Version of the device: major and minor number in the upper half, 0xed in the lowest byte.
    IDENTIFICATION: u32 at 0x00, Ro, "MMIO area spec, 0x00" {
        /// Lowest byte of every version.
        EDU = 0..=7,
        /// Minor number.
        MINOR = 16..=23,
        /// Major number.
        MAJOR = 24..=31,
    }
    /// Liveness check: reads as the inverse of what was written.
    LIVENESS: u32 at 0x04, Rw, "MMIO area spec, 0x04", restore(Nothing);
    /// Factorial: takes a number, and holds its factorial (modulo 2^32) once `STATUS::COMPUTING` is clear. What is
    /// written while it is set is lost.
    FACTORIAL: u32 at 0x08, Rw, "MMIO area spec, 0x08", restore(Nothing);
    /// Status.
    STATUS: u32 at 0x20, Rw, "MMIO area spec, 0x20", restore(Switch) {
        /// A factorial is being computed. Read only.
        COMPUTING = 0,
        /// Interrupts when a factorial was computed.
        INTERRUPTS = 7,
    }
    /// Causes of interrupts that were not acknowledged.
    CAUSES: u32 at 0x24, Ro, "MMIO area spec, 0x24" {
        /// A factorial was computed.
        COMPUTED = 0,
        /// DMA is over.
        MOVED = 8,
    }
    /// Raises an interrupt with these causes.
    RAISE: u32 at 0x60, Wo, "MMIO area spec, 0x60", restore(Nothing);
    /// Acknowledges causes: the line goes down when none is left.
    ACKNOWLEDGE: u32 at 0x64, Wo, "MMIO area spec, 0x64", restore(Quiet(0xffff_ffff));
    /// DMA: source address. Forbidden, as the three that follow: see above.
    DMA_SOURCE: u64 at 0x80, Forbidden, "MMIO area spec, 0x80";
    /// DMA: destination address.
    DMA_DESTINATION: u64 at 0x88, Forbidden, "MMIO area spec, 0x88";
    /// DMA: transfer count.
    DMA_COUNT: u64 at 0x90, Forbidden, "MMIO area spec, 0x90";
    /// DMA: command.
    DMA_COMMAND: u64 at 0x98, Forbidden, "MMIO area spec, 0x98";
}

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Access, Restore, Width};

    #[test]
    fn the_lower_registers_are_32_bits_wide_and_those_of_dma_nobodys() {
        for info in MAP.registers() {
            let lower = info.offset < 0x80;
            assert_eq!(info.width, if lower { Width::B4 } else { Width::B8 }, "{}", info.name);
            assert_eq!(info.access == Access::Forbidden, !lower, "{}", info.name);
        }
    }

    #[test]
    fn restoring_a_snapshot_asks_for_no_factorial() {
        assert_eq!(MAP.named("FACTORIAL").unwrap().restore, Restore::Nothing);
        assert_eq!(MAP.named("ACKNOWLEDGE").unwrap().restore, Restore::Quiet(0xffff_ffff));
    }
}
