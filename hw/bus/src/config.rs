//! Offsets in PCI configuration space (PCI Local Bus Specification 3.0, section 6.1) that more than one device needs.

use nook_regs::Width;

use crate::PciIdentity;

/// Vendor id (16 bit).
pub const VENDOR: u16 = 0x00;
/// Device id (16 bit).
pub const DEVICE: u16 = 0x02;
/// Command (16 bit).
pub const COMMAND: u16 = 0x04;
/// Status (16 bit).
pub const STATUS: u16 = 0x06;
/// Revision (8 bit), then class (24 bit).
pub const REVISION: u16 = 0x08;
/// Header type (8 bit): 0 is a device, 1 a bridge; bit 7 says that there are more functions.
pub const HEADER_TYPE: u16 = 0x0e;
/// The first of six base address registers (32 bit each).
pub const BAR0: u16 = 0x10;
/// Subsystem vendor id (16 bit).
pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
/// Subsystem id (16 bit).
pub const SUBSYSTEM: u16 = 0x2e;
/// The first capability (8 bit).
pub const CAPABILITIES: u16 = 0x34;
/// Interrupt pin (8 bit): 1 is INTA.
pub const INTERRUPT_PIN: u16 = 0x3d;

/// [`COMMAND`]: answers in I/O space.
pub const COMMAND_IO: u16 = 1 << 0;
/// [`COMMAND`]: answers in memory space.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// [`COMMAND`]: may start DMA.
pub const COMMAND_BUS_MASTER: u16 = 1 << 2;
/// [`COMMAND`]: its INTx line is off.
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;

/// Reads a configuration space that holds an identity and is zero elsewhere.
pub fn of_identity(identity: PciIdentity, offset: u16, width: Width) -> u32 {
    let PciIdentity { vendor, device, subsystem_vendor, subsystem, class, revision } = identity;
    let pair = |low: u16, high: u16| u32::from(high) << 16 | u32::from(low);
    let word = match offset & !3 {
        VENDOR => pair(vendor, device),
        REVISION => class << 8 | u32::from(revision),
        SUBSYSTEM_VENDOR => pair(subsystem_vendor, subsystem),
        _ => 0,
    };
    word >> (8 * (offset & 3)) & width.all_ones() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_at_every_width() {
        let identity = PciIdentity { subsystem: 0x1234, revision: 7, ..PciIdentity::new(0x8086, 0x100e, 0x02_0000) };
        for (offset, width, value) in [
            (VENDOR, Width::B4, 0x100e_8086),
            (VENDOR, Width::B2, 0x8086),
            (DEVICE, Width::B2, 0x100e),
            (DEVICE + 1, Width::B1, 0x10),
            (REVISION, Width::B1, 7),
            (REVISION, Width::B4, 0x0200_0007),
            (SUBSYSTEM, Width::B2, 0x1234),
            (COMMAND, Width::B4, 0),
            (0xfffc, Width::B4, 0),
        ] {
            assert_eq!(of_identity(identity, offset, width), value, "{offset:#x} {width}");
        }
    }
}
