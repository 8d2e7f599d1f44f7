//! A committed state of a nook, and back to it: the host's share.

use nook_bus::DeviceError;

use crate::device::DeviceImage;
use crate::due_calls::DueCalls;
use crate::{Host, Image, Life};

/// A nook at a moment at which nothing moved: all that a call had to do was done, the driver had no work, and
/// its device did nothing. What passes between host and driver is no part of it.
#[derive(Clone, Debug)]
pub struct Snapshot<I> {
    pub(crate) driver: Image,
    pub(crate) host: HostImage,
    /// What its class had.
    pub(crate) class: I,
    /// When it was taken, in nanoseconds of the nook's clock.
    pub(crate) at_ns: u64,
}

impl<I> Snapshot<I> {
    /// Returns when it was taken, in nanoseconds of the nook's clock.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// Returns how much of the driver's memory it holds, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.driver.len_bytes()
    }
}

/// What the host had at such a moment.
#[derive(Clone, Debug)]
pub(crate) struct HostImage {
    device: DeviceImage,
    /// What was due, and `poll`, which finds what came since.
    due: DueCalls,
    /// Which instance it was.
    start: u64,
}

impl Host {
    /// Returns what there is to be restored; `None` if this device or its driver cannot be.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn capture(&mut self) -> Result<Option<HostImage>, DeviceError> {
        let Some(device) = self.device.capture()? else { return Ok(None) };
        Ok(Some(HostImage { device, due: self.call.due.with_polls(), start: self.counters.starts }))
    }

    /// Returns whether this is of the instance that runs.
    pub(crate) fn is_of_now(&self, image: &HostImage) -> bool {
        self.space.is_some() && image.start == self.counters.starts
    }

    /// Does the first half of a restore: the device does nothing any more, and what the last call did is forgotten.
    ///
    /// # Errors
    /// If the device does not become silent.
    pub(crate) fn silence(&mut self, image: &HostImage) -> Result<(), DeviceError> {
        self.forget_transaction();
        self.device.silence(&image.device)
    }

    /// Does the second half of a restore, once the driver's memory is restored.
    ///
    /// # Errors
    /// If the device does not go on.
    pub(crate) fn restore(&mut self, image: &HostImage) -> Result<(), DeviceError> {
        self.call.due = image.due;
        self.monitor = crate::loop_monitor::LoopMonitor::default();
        self.call.trace.begin();
        self.call.trace.lived(Life::Restored);
        self.device.restore(&image.device)
    }
}
