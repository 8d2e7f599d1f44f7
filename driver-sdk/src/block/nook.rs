//! What a disk's driver asks of its host.

use nook_abi::Status;
use nook_abi::block::Disk;

use crate::nook::status;
use crate::{Kernel, Nook};

impl<K: Kernel> Nook<K> {
    /// Says what the disk is.
    pub(super) fn attach_disk(&self, disk: &Disk) -> Result<(), Status> {
        let bytes = disk.to_bytes();
        self.page().mailbox().write_bytes(0, &bytes)?;
        status(self.calls().block_attach(bytes.len() as u32))
    }

    /// Returns the most requests that the host gives at a time; their ids are below it. A disk's driver, to size its
    /// queues.
    pub fn most_requests(&self) -> u32 {
        self.page().block().most_requests
    }

    /// Returns the room for the data of a request, in bytes: no read or write moves more. A disk's driver.
    pub fn transfer_bytes(&self) -> u32 {
        self.page().block().transfer_bytes
    }

    /// Returns which disk of the device the operator wants, by the device's own number; 0 leaves it to the driver. A
    /// disk's driver refuses one that is not there.
    pub fn disk_number(&self) -> u32 {
        self.page().block().disk_number
    }

    /// Returns how many pairs of queues towards the device the operator wants, at most; 0 leaves it to the driver.
    pub fn queue_pairs(&self) -> u32 {
        self.page().block().queue_pairs
    }
}
