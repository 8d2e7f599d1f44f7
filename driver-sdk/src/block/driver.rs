//! [`BlockDriver`]: what a disk's driver is.

use nook_abi::block::Disk;
use nook_abi::{ProbeReason, Status};

use super::queues::{Completing, Requested};
use crate::{Irq, Kernel, Nook, Poll};

/// A driver of a disk, generic over what answers its hostcalls. The methods are the entries of the contract's table;
/// the table says in which context each runs. They never overlap.
///
/// A request that was taken is the driver's until it is completed, once, as [`BlockStatus`](super::BlockStatus) says.
/// Its buffer is the device's meanwhile: it is completed only when the device will not touch it any more.
pub trait BlockDriver<K: Kernel>: Sized {
    /// Finds out what the device is and brings it to a known state. After [`ProbeReason::Restart`] the device may be in
    /// any state, and DMA is off.
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status>;

    /// Returns what the disk is: asked once, when `probe` has succeeded. After a restart it has to be the same.
    fn disk(&self) -> Disk;

    /// Removes the driver. The device must be quiet when this returns; DMA memory that the driver holds is freed
    /// as it is dropped.
    fn remove(self);

    /// Requests may come: queues, interrupts, DMA.
    fn open(&mut self) -> Result<(), Status>;

    /// Stops the driver: no more requests come. What it has is completed, as
    /// [`Unused`](super::BlockStatus::Unused) if it was not done; DMA and interrupts stop.
    fn stop(&mut self, completing: &mut Completing<'_>) -> Result<(), Status>;

    /// Takes requests to the device and completes what it has done. Both batches are as large as the budget of the
    /// call: what does not fit waits for the next one.
    fn poll(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> Poll;

    /// Handles an interrupt on `vector`, perhaps another device's.
    fn irq(&mut self, vector: u32) -> Irq;

    /// Runs when the time asked for by [`Nook::timer_set`] has come. Must not sleep.
    fn timer(&mut self) {}

    /// Does what [`Nook::work_schedule`] asked for. May sleep.
    fn work(&mut self) {}
}
