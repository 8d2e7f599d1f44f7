//! What the driver said of its disk.

use nook_abi::block::Disk;

/// The host's part of the class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Port {
    /// The disk of the instance that runs.
    pub(crate) disk: Option<Disk>,
    /// The disk of the first instance: each later one has to find it again.
    pub(super) first: Option<Disk>,
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
