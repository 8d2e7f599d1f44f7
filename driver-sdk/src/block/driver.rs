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
///
/// A disk in memory, which has no device to wait for:
///
/// ```
/// use nook_sdk::{
///     BlockDriver, BlockOp, Completing, Disk, DmaRegion, Irq, Kernel, Nook, Poll, ProbeReason, Request, Requested,
///     Status,
/// };
///
/// struct Memory<K: Kernel> {
///     nook: Nook<K>,
///     content: DmaRegion<K>,
/// }
///
/// impl<K: Kernel> Memory<K> {
///     fn serve(&self, request: &Request<'_>) -> Result<(), Status> {
///         let at = request.first as u32 * 512;
///         match request.op {
///             BlockOp::Read => request.data.copy(0, self.content.bytes().part(at, request.data.len_bytes())?),
///             BlockOp::Write => self.content.bytes().copy(at, request.data),
///             BlockOp::Flush => Ok(()),
///             // What the disk's flags do not have is not asked for.
///             _ => Err(Status::Unsupported),
///         }
///     }
/// }
///
/// impl<K: Kernel> BlockDriver<K> for Memory<K> {
///     fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
///         Ok(Memory { nook, content: nook.dma_alloc(1024 * 512, 4096)? })
///     }
///
///     fn disk(&self) -> Disk {
///         Disk { blocks: 1024, block_bytes: 512, max_blocks: self.nook.transfer_bytes() / 512, ..Disk::default() }
///     }
///
///     fn poll(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> Poll {
///         while let Some(place) = completing.vacant() {
///             let Some(request) = requested.next() else { return Poll::Idle };
///             match self.serve(&request) {
///                 Ok(()) => place.done(request.ticket),
///                 Err(status) => place.failed(request.ticket, status.code().unsigned_abs()),
///             }
///         }
///         Poll::Again
///     }
///
///     // remove, open, stop, irq …
/// #     fn remove(self) {}
/// #     fn open(&mut self) -> Result<(), Status> { Ok(()) }
/// #     fn stop(&mut self, _: &mut Completing<'_>) -> Result<(), Status> { Ok(()) }
/// #     fn irq(&mut self, _: u32) -> Irq { Irq::NotMine }
/// }
/// ```
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
