//! A source of random bytes (5.4). It has one queue, of buffers to be filled, and no registers of its kind.

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

use crate::{BAR, BAR_BYTES, VENDOR, common};

/// Device id of one that is of this standard alone (4.1.2).
pub const DEVICE: u16 = 0x1044;
/// Of one that can also be driven as an older one.
pub const DEVICE_TRANSITIONAL: u16 = 0x1005;

static REGISTERS: [RegisterInfo; common::COUNT] = RegisterMap::joined([&common::COMMON]);

/// Every register that its driver, a tracer or a report may meet.
pub static MAP: RegisterMap = RegisterMap::checked("virtio-rng", &[Bar::memory(BAR, BAR_BYTES)], &REGISTERS)
    .for_devices(&[PciId { vendor: VENDOR, device: DEVICE }, PciId { vendor: VENDOR, device: DEVICE_TRANSITIONAL }]);
