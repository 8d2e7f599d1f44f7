//! PCI configuration space (section 4.1): a function with one memory BAR, one I/O BAR and pin INTA, without
//! capabilities.

use nook_bus::config::{
    BAR0, COMMAND, COMMAND_IO, COMMAND_MEMORY, DEVICE, INTERRUPT_PIN, REVISION, STATUS, SUBSYSTEM, SUBSYSTEM_VENDOR,
    VENDOR,
};
use nook_bus::{BarInfo, BarSpace, DeviceError, PciIdentity, Result, Width};

const BYTES: usize = 256;
/// The BAR of the registers.
pub(crate) const MEMORY_BAR: u8 = 0;
/// The BAR of [`IOADDR`] and [`IODATA`] (section 13.2.2).
pub(crate) const IO_BAR: u8 = 2;
/// In the I/O BAR: which register.
pub(crate) const IOADDR: u32 = 0;
/// In the I/O BAR: its value.
pub(crate) const IODATA: u32 = 4;

/// As a driver sees them, in order.
pub(crate) const BARS: [BarInfo; 2] = [
    BarInfo { index: MEMORY_BAR, space: BarSpace::Memory, len_bytes: e1000_regs::BAR0_LEN_BYTES as u64 },
    BarInfo { index: IO_BAR, space: BarSpace::Io, len_bytes: 8 },
];

/// Where a firmware would have placed them: the addresses mean nothing here, and a driver must not use them.
const PLACED: [(u8, u32); 2] = [(MEMORY_BAR, 0xfeb8_0000), (IO_BAR, 0xc000 | 1)];

/// Status: a transaction of this device ended with a master abort.
const RECEIVED_MASTER_ABORT: u16 = 1 << 13;
/// Status: 66 MHz capable and medium timing, as the 82540EM says.
const STATUS_BITS: u16 = 1 << 5 | 1 << 9;

#[derive(Debug)]
pub(crate) struct ConfigSpace {
    bytes: [u8; BYTES],
}

impl ConfigSpace {
    pub(crate) fn new(identity: PciIdentity) -> Self {
        let mut config = ConfigSpace { bytes: [0; BYTES] };
        config.put16(VENDOR, identity.vendor);
        config.put16(DEVICE, identity.device);
        config.put16(COMMAND, COMMAND_IO | COMMAND_MEMORY);
        config.put16(STATUS, STATUS_BITS);
        config.put32(REVISION, identity.class << 8 | u32::from(identity.revision));
        config.put16(SUBSYSTEM_VENDOR, identity.subsystem_vendor);
        config.put16(SUBSYSTEM, identity.subsystem);
        for (bar, address) in PLACED {
            config.put32(BAR0 + 4 * u16::from(bar), address);
        }
        config.bytes[usize::from(INTERRUPT_PIN)] = 1;
        config
    }

    fn put16(&mut self, offset: u16, value: u16) {
        self.bytes[usize::from(offset)..][..2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, offset: u16, value: u32) {
        self.bytes[usize::from(offset)..][..4].copy_from_slice(&value.to_le_bytes());
    }

    fn get16(&self, offset: u16) -> u16 {
        u16::from_le_bytes([self.bytes[usize::from(offset)], self.bytes[usize::from(offset) + 1]])
    }

    fn check(offset: u16, width: Width) -> Result<usize> {
        if width == Width::B8 || usize::from(offset) + width.bytes() as usize > BYTES {
            return Err(DeviceError::Unsupported(format!(
                "configuration space at {offset:#x} ({width}): this function has {BYTES} bytes, in up to 32 bit"
            )));
        }
        Ok(usize::from(offset))
    }

    pub(crate) fn read(&self, offset: u16, width: Width) -> Result<u32> {
        let at = Self::check(offset, width)?;
        let mut value = [0; 4];
        let len = width.bytes() as usize;
        value[..len].copy_from_slice(&self.bytes[at..at + len]);
        Ok(u32::from_le_bytes(value))
    }

    /// Turns one of the host's bits of the command register on or off.
    pub(crate) fn set_command(&mut self, bit: u16, on: bool) {
        let command = self.get16(COMMAND);
        self.put16(COMMAND, if on { command | bit } else { command & !bit });
    }

    pub(crate) fn master_abort(&mut self) {
        self.put16(STATUS, self.get16(STATUS) | RECEIVED_MASTER_ABORT);
    }
}
