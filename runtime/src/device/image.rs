//! The device at a moment at which it does nothing, and back to it.

use nook_bus::{DeviceError, IrqKind, Lack, PciDevice, Programmed, RegisterAddr};
use nook_regs::RegisterInfo;

use super::DeviceState;
use crate::dma::DmaRegions;

/// What the driver had of its device, and had made of it.
#[derive(Clone, Debug)]
pub(crate) struct DeviceImage {
    programmed: Programmed,
    regions: DmaRegions,
    /// What was in them: with its device at rest, a driver's descriptors are a part of what it believes.
    memory: Vec<u8>,
    irq: Option<(IrqKind, u32)>,
    irq_enabled: u32,
}

/// What has to stay as it is for a while, so that it is known that the device does nothing: where it is in its rings,
/// and what is in them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeviceFingerprint {
    held: Vec<(RegisterAddr, u64)>,
    memory: Vec<u8>,
}

impl DeviceState {
    /// Takes a fingerprint of the device, to be compared with a later one.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn fingerprint(&mut self) -> Result<DeviceFingerprint, DeviceError> {
        Ok(DeviceFingerprint { held: self.device.device_mut().held()?, memory: self.region_memory() })
    }

    /// Returns whether the device is where the driver told it to begin, and has done nothing since; `false` also if
    /// that cannot be said.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn has_not_moved(&mut self) -> Result<bool, DeviceError> {
        self.device.device_mut().has_not_moved()
    }

    /// Returns whether something outside keeps the device from working; `None` if that cannot be said.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn is_held_up(&mut self) -> Result<Option<bool>, DeviceError> {
        self.device.device_mut().is_held_up()
    }

    /// Returns whether the device has registers in which something must be set.
    pub(crate) fn has_needs(&mut self) -> bool {
        self.device.device_mut().has_needs()
    }

    /// Returns the first register that lacks what must be set in it, with the link up or not.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn lacks(&mut self, link_is_up: bool) -> Result<Option<Lack>, DeviceError> {
        self.device.device_mut().lacks(link_is_up)
    }

    /// Returns whether the device has a link, and which register says so; `None` if that cannot be said.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn has_link(&mut self) -> Result<Option<(bool, &'static RegisterInfo)>, DeviceError> {
        self.device.device_mut().has_link()
    }

    /// Returns what there is to be restored; `None` if this device cannot be.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn capture(&mut self) -> Result<Option<DeviceImage>, DeviceError> {
        let Some(programmed) = self.device.device_mut().capture()? else { return Ok(None) };
        Ok(Some(DeviceImage {
            programmed,
            regions: self.regions.clone(),
            memory: self.region_memory(),
            irq: self.irq,
            irq_enabled: self.irq_enabled,
        }))
    }

    fn region_memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.regions.end() as usize];
        let slice = self.window.slice().subslice(0, bytes.len());
        slice.expect("regions lie inside the window").copy_to(&mut bytes);
        bytes
    }

    /// Returns the device does nothing any more; it is about to be restored to `image`.
    ///
    /// # Errors
    /// If it does not become silent.
    pub(crate) fn silence(&mut self, image: &DeviceImage) -> Result<(), DeviceError> {
        self.device.forget();
        self.device.device_mut().silence(&image.programmed)
    }

    /// Restores a device that was [silenced](Self::silence).
    ///
    /// # Errors
    /// The first thing that it refused.
    pub(crate) fn restore(&mut self, image: &DeviceImage) -> Result<(), DeviceError> {
        let slice = self.window.slice().subslice(0, image.memory.len());
        slice.expect("regions lie inside the window").copy_from(&image.memory);
        self.regions = image.regions.clone();
        match (self.irq, image.irq) {
            (None, Some((_, vectors))) => self.irq = Some(self.device.irq_enable(vectors)?),
            (Some(_), None) => {
                self.irq = None;
                self.device.irq_disable()?;
            }
            _ => {}
        }
        self.irq_enabled = image.irq_enabled;
        self.device.device_mut().restore(&image.programmed)?;
        // Whatever was under way is looked for, on a line that may have been left masked.
        self.irq_pending = self.irq_enabled;
        for vector in (0..u32::BITS).filter(|vector| self.irq_enabled & 1 << vector != 0) {
            self.device.irq_unmask(vector)?;
        }
        Ok(())
    }
}
