//! Offsets in PCI configuration space (PCI Local Bus Specification 3.0, section 6.1) that more than one device needs.

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
