//! The device of a recorded run, when that is run again: what it was, and nothing of what it did.

use nook_bus::{BarInfo, DeviceError, DmaWindow, IovaRange, PciDevice, PciIdentity, Result};
use nook_regs::Width;

use super::file::Device;

/// Has the identity of a recorded device. Nothing reaches it: hostcalls are answered from the recording.
pub struct RecordedDevice {
    name: String,
    identity: PciIdentity,
    bars: Vec<BarInfo>,
}

impl RecordedDevice {
    /// Creates one.
    pub fn of(device: &Device) -> Self {
        let name = format!("{}, recorded", device.name);
        RecordedDevice { name, identity: device.identity(), bars: device.bars() }
    }

    fn absent(&self) -> DeviceError {
        DeviceError::Unsupported(format!("{}: it is not here", self.name))
    }
}

impl PciDevice for RecordedDevice {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn identity(&self) -> PciIdentity {
        self.identity
    }

    fn bars(&self) -> &[BarInfo] {
        &self.bars
    }

    fn bar_read(&mut self, _: u8, _: u32, _: Width) -> Result<u64> {
        Err(self.absent())
    }

    fn bar_write(&mut self, _: u8, _: u32, _: Width, _: u64) -> Result<()> {
        Err(self.absent())
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![IovaRange { first: 0, last: u64::MAX >> 16 }]
    }

    fn dma_map(&mut self, _: &DmaWindow, _: u64) -> Result<()> {
        Ok(())
    }
}
