//! What the driver said of its disk.

use nook_abi::block::Disk;

/// What the operator wants of a device that has more than one disk, or more than one way to it: as the driver finds it
/// in [`BlockPage`](nook_abi::block::BlockPage). Zeros leave it to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskChoice {
    /// Which disk, by the device's own number: of an NVM Express controller the namespace.
    pub number: u32,
    /// Pairs of queues towards the device, at most.
    pub queue_pairs: u32,
}

/// The host's part of the class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Port {
    /// The disk of the instance that runs.
    pub(crate) disk: Option<Disk>,
    /// The disk of the first instance: each later one has to find it again.
    pub(super) first: Option<Disk>,
    /// Of every instance.
    pub(super) choice: DiskChoice,
}

impl Port {
    pub(crate) fn begin(&mut self) {
        self.disk = None;
    }

    pub(crate) fn end(&mut self) {}

    #[inline]
    pub(crate) fn begin_call(&mut self) {}

    #[inline]
    pub(crate) fn commit(&mut self) {}

    /// Nothing that can be rolled back changes it: a disk is attached in `probe`.
    pub(crate) fn abort(&mut self) {}
}
