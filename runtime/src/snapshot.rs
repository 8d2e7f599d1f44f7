//! A committed state of a nook, and back to it: the host's share.

use nook_abi::Entry;
use nook_bus::DeviceError;

use crate::device::DeviceImage;
use crate::netif::NetImage;
use crate::wanted::Wanted;
use crate::{Host, Image, Settings};

/// A nook at a moment at which nothing moved: all that a call had to do was done, the driver had no frame to send, and
/// its device did nothing. Packets and the frames in them are no part of it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) driver: Image,
    pub(crate) host: HostImage,
    /// What the interface was set to.
    pub(crate) settings: Settings,
    /// When it was taken, in nanoseconds of the nook's clock.
    pub(crate) at_ns: u64,
}

impl Snapshot {
    /// When it was taken, in nanoseconds of the nook's clock.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// What it holds of the driver's memory, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.driver.len_bytes()
    }
}

/// What the host had at such a moment.
#[derive(Clone, Debug)]
pub(crate) struct HostImage {
    device: DeviceImage,
    net: NetImage,
    /// What was due, and `poll`, which finds what came since.
    wanted: Wanted,
    /// Frames that the instance had moved.
    moved: (u64, u64),
    /// Which instance it was.
    start: u64,
}

impl Host {
    /// What there is to be brought back; `None` if this device or its driver cannot be.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(crate) fn keep(&mut self) -> Result<Option<HostImage>, DeviceError> {
        let Some((device, net)) = self.device.keep()?.zip(self.net.keep()) else { return Ok(None) };
        Ok(Some(HostImage {
            device,
            net,
            wanted: self.call.wanted.owing(Entry::Poll),
            moved: self.watch.moved(&self.counters),
            start: self.counters.starts,
        }))
    }

    /// A number that changes whenever packets change hands; `None` while a call is not final or the driver has frames
    /// to send.
    pub(crate) fn settled(&self) -> Option<u64> {
        self.net.stillness().filter(|_| !self.call.transaction.is_open())
    }

    /// A number that changes whenever something moves; `None` while something does.
    pub(crate) fn stillness(&self) -> Option<u64> {
        self.settled().filter(|_| self.device.pending_irqs() == 0)
    }

    /// Whether this is of the instance that runs.
    pub(crate) fn is_of_now(&self, image: &HostImage) -> bool {
        self.space.is_some() && image.start == self.counters.starts
    }

    /// The first half of bringing it back: the device does nothing any more, and what the last call did is forgotten.
    ///
    /// # Errors
    /// If the device does not become silent.
    pub(crate) fn silence(&mut self, image: &HostImage) -> Result<(), DeviceError> {
        self.forget_transaction();
        self.device.silence(&image.device)
    }

    /// The second half, once the driver's memory is as it was.
    ///
    /// # Errors
    /// If the device does not go on.
    pub(crate) fn bring_back(&mut self, image: &HostImage) -> Result<(), DeviceError> {
        self.counters.tx_given_up += self.net.bring_back(&image.net);
        self.call.wanted = image.wanted;
        self.watch = crate::watch::Watch::moved_before(image.moved, &self.counters);
        self.call.trail.begin();
        self.counters.brought_back += 1;
        self.device.bring_back(&image.device)
    }
}
