//! The register map of QEMU's educational device, `edu`.
//!
//! The host checks drivers of it against [`MAP`], and reports name registers by it. What stands here is in QEMU's
//! documentation of the device, docs/specs/edu, whose sections are named; what it does besides was seen, by
//! findings/qemu-edu-busy-write.sh.
//!
//! Its DMA: which of the two addresses lies in memory, and which in the device, depends on a bit of the register that
//! starts it, and the host checks them when it does ([`TRANSFER`]). QEMU 7.2 ends its whole process when a transfer
//! touches the last byte of the device's memory, so that byte is left out here.
#![no_std]
#![forbid(unsafe_code)]

use nook_regs::{Bits, Direction, Place, Transfer};

/// QEMU's PCI vendor id for the device.
pub const VENDOR: u16 = 0x1234;
/// Its device id.
pub const DEVICE: u16 = 0x11e8;
/// What `IDENTIFICATION` reads as in the one version that there is.
pub const VERSION_1_0: u32 = 0x0100_00ed;

/// Where the device's own memory begins, as its DMA addresses it.
pub const MEMORY: u64 = 0x4_0000;
/// How many bytes of it a transfer may touch: all but the last of 4096.
pub const MEMORY_BYTES: u32 = 4095;
/// How many bits of an address in memory the device has, unless QEMU is given another `dma_mask` for it.
pub const ADDRESS_BITS: u32 = 28;

/// What `DMA_COMMAND` starts ("DMA controller").
pub const TRANSFER: Transfer = {
    const fn device(register: &'static str) -> Place {
        Place::device(register, MEMORY, MEMORY + MEMORY_BYTES as u64 - 1)
    }
    const FROM_MEMORY: &[Place] = &[Place::window("DMA_SOURCE"), device("DMA_DESTINATION")];
    const TO_MEMORY: &[Place] = &[device("DMA_SOURCE"), Place::window("DMA_DESTINATION")];
    Transfer {
        start: DMA_COMMAND::RUNS,
        length: "DMA_COUNT",
        address_bits: ADDRESS_BITS,
        directions: &[
            Direction { now: Bits::new(DMA_COMMAND::TO_MEMORY, &[0]), places: FROM_MEMORY },
            Direction { now: Bits::new(DMA_COMMAND::TO_MEMORY, &[DMA_COMMAND::TO_MEMORY]), places: TO_MEMORY },
        ],
    }
};

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
    /// DMA: source address.
    DMA_SOURCE: u64 at 0x80, Rw, "MMIO area spec, 0x80";
    /// DMA: destination address.
    DMA_DESTINATION: u64 at 0x88, Rw, "MMIO area spec, 0x88";
    /// DMA: bytes to be moved.
    DMA_COUNT: u64 at 0x90, Rw, "MMIO area spec, 0x90";
    /// DMA: command. What is written to the four registers while `RUNS` is set is lost, and it takes 100 ms.
    DMA_COMMAND: u64 at 0x98, Rw, "MMIO area spec, 0x98", transfer(TRANSFER) {
        /// Starts a transfer; clear once it is over.
        RUNS = 0,
        /// It goes from the device to memory, and not from memory to the device.
        TO_MEMORY = 1,
        /// Interrupts when it is over.
        INTERRUPTS = 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Restore, Width};

    #[test]
    fn the_lower_registers_are_32_bits_wide_and_those_of_dma_64() {
        for info in MAP.registers() {
            let width = if info.offset < 0x80 { Width::B4 } else { Width::B8 };
            assert_eq!(info.width, width, "{}", info.name);
        }
    }

    #[test]
    fn restoring_a_snapshot_starts_no_dma() {
        for name in ["DMA_SOURCE", "DMA_DESTINATION", "DMA_COUNT", "DMA_COMMAND"] {
            assert_eq!(MAP.named(name).unwrap().restore, Restore::Nothing, "{name}");
        }
    }

    #[test]
    fn restoring_a_snapshot_asks_for_no_factorial() {
        assert_eq!(MAP.named("FACTORIAL").unwrap().restore, Restore::Nothing);
        assert_eq!(MAP.named("ACKNOWLEDGE").unwrap().restore, Restore::Quiet(0xffff_ffff));
    }
}
