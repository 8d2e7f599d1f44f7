//! A console (5.3), with one port: what it has of others takes a feature that no driver here agrees on.

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

use crate::{BAR, BAR_BYTES, VENDOR, common};

/// Device id of one that is of this standard alone (4.1.2).
pub const DEVICE: u16 = 0x1043;
/// Of one that can also be driven as an older one.
pub const DEVICE_TRANSITIONAL: u16 = 0x1003;

/// Numbers of queues, of the first port (5.3.2).
pub mod queue {
    /// Buffers to receive into.
    pub const RECEIVE: u16 = 0;
    /// Bytes to send.
    pub const TRANSMIT: u16 = 1;
}

nook_regs::registers! {
    /// What a console has besides.
    static OWN = "virtio: console", bar 4, 0x4000 bytes;

    /// Columns of its screen, if it has one.
    COLS: u16 at 0x2000, Ro, "5.3.4, cols";
    /// Rows of it.
    ROWS: u16 at 0x2002, Ro, "5.3.4, rows";
    /// How many ports it has at most.
    MAX_NR_PORTS: u32 at 0x2004, Ro, "5.3.4, max_nr_ports";
}

const COUNT: usize = common::COUNT + OWN.registers().len();
static REGISTERS: [RegisterInfo; COUNT] = RegisterMap::joined([&common::COMMON, &OWN]);

/// Every register that the driver of a console, a tracer or a report may meet.
pub static MAP: RegisterMap = RegisterMap::checked("virtio-console", &[Bar::memory(BAR, BAR_BYTES)], &REGISTERS)
    .for_devices(&[PciId { vendor: VENDOR, device: DEVICE }, PciId { vendor: VENDOR, device: DEVICE_TRANSITIONAL }]);
