//! The driver @NAME@: it finds its device and has a disk in its own memory, until requests go to the device.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use nook_sdk::{
    BlockDriver, BlockOp, Completing, Disk, DmaRegion, Irq, Kernel, Nook, Poll, ProbeReason, Regs, Request, Requested,
    Status, disk_flags, error, info, warn,
};

/// The device's registers, made of @NAME@.regs.toml: see README.md.
pub mod registers;

use registers::FIRST;

/// The disk, until the device says what it is.
pub const BLOCK_BYTES: u32 = 512;
const BLOCKS: u32 = 1024;

/// The device.
pub struct Driver<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    /// What the disk holds. It is gone when the driver ends, as no driver's disk should be.
    content: DmaRegion<K>,
}

impl<K: Kernel> BlockDriver<K> for Driver<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(@BAR@);
        // After a fault the device may be in any state: reset it here, and ask it what disk it has.
        let first = regs.read(FIRST);
        if first == u32::MAX {
            error!(nook, "the device does not answer");
            return Err(Status::NoDevice);
        }
        info!(nook, "the first register holds {first:#010x}");
        warn!(nook, "the disk is memory of the driver's: nothing reaches the device, and nothing lasts");
        Ok(Driver { nook, regs, content: nook.dma_alloc(BLOCKS * BLOCK_BYTES, 4096)? })
    }

    fn disk(&self) -> Disk {
        Disk {
            blocks: BLOCKS.into(),
            block_bytes: BLOCK_BYTES,
            max_blocks: self.nook.transfer_bytes() / BLOCK_BYTES,
            // What it cannot do is not asked: discards and zeroes, writes that are durable when they are done.
            max_zeroes: 0,
            flags: disk_flags::VOLATILE_CACHE,
            serial: [0; 40],
        }
    }

    fn remove(self) {}

    /// Queues, DMA and interrupts are turned on here.
    fn open(&mut self) -> Result<(), Status> {
        info!(self.nook, "open; the first register holds {:#010x}", self.regs.read(FIRST));
        Ok(())
    }

    /// What the device still has is completed here, as `unused` if it was not done.
    fn stop(&mut self, _completing: &mut Completing<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Requests go to a queue of the device here: their tickets are kept (`RequestTable`), and completed when the
    /// device is done with them. Until then each is done at once.
    fn poll(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> Poll {
        while let Some(place) = completing.vacant() {
            let Some(request) = requested.next() else { return Poll::Idle };
            match self.serve(&request) {
                Ok(()) => place.done(request.ticket),
                Err(status) => place.failed(request.ticket, status.code().unsigned_abs()),
            }
        }
        Poll::Again
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::NotMine
    }
}

impl<K: Kernel> Driver<K> {
    fn serve(&self, request: &Request<'_>) -> Result<(), Status> {
        // The host asks for blocks that are there, for as many as the disk says, and `data` is as long as these.
        let at = request.first as u32 * BLOCK_BYTES;
        match request.op {
            BlockOp::Read => request.data.copy(0, self.content.bytes().part(at, request.data.len_bytes())?),
            BlockOp::Write => self.content.bytes().copy(at, request.data),
            BlockOp::Flush => Ok(()),
            _ => Err(Status::Unsupported),
        }
    }
}

nook_sdk::nook_driver! {
    Driver,
    class: block,
    name: "@NAME@",
    pci: "@PCI@",
    registers: "@NAME@",
    dma_bytes: 524288,
    dma_mask_bits: 32,
    requests: 16,
    transfer_bytes: 32768,
}
