//! The driver @NAME@: it finds its device and has an interface without a link.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use nook_sdk::{
    Irq, Kernel, NetDriver, NetQueues, Nook, Packet, PacketStatus, Poll, ProbeReason, Regs, Status, error, info,
};

/// The device's registers, made of @NAME@.regs.toml: see README.md.
pub mod registers;

use registers::FIRST;

/// What the interface is called on the wire until the device's own address is read.
const ADDRESS: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const MTU_BYTES: u32 = 1500;

/// The device.
pub struct Driver<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    queues: NetQueues,
}

impl<K: Kernel> NetDriver<K> for Driver<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(@BAR@);
        // After a fault the device may be in any state: reset it here.
        let first = regs.read(FIRST);
        if first == u32::MAX {
            error!(nook, "the device does not answer");
            return Err(Status::NoDevice);
        }
        info!(nook, "the first register holds {first:#010x}");
        nook.net_attach(ADDRESS, MTU_BYTES)?;
        Ok(Driver { nook, regs, queues: nook.queues() })
    }

    fn remove(self) {}

    /// Rings, DMA and interrupts are turned on here, and `net_link` says that there is a link.
    fn open(&mut self) -> Result<(), Status> {
        info!(self.nook, "open; the first register holds {:#010x}", self.regs.read(FIRST));
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }

    /// Frames to be sent go into a ring of the device here, and come back when it is done with them; until then they
    /// come back as not sent.
    fn poll(&mut self, _queue: u32, budget: u32) -> Poll {
        let NetQueues { tx_provide, tx_return, .. } = &mut self.queues;
        let (mut frames, mut returning) = (tx_provide.begin(), tx_return.begin());
        for _ in 0..budget.min(returning.room()) {
            let Some(entry) = frames.next() else { return Poll::Idle };
            if let Some(place) = returning.vacant() {
                place.put(Packet::from(&entry).returned(0, PacketStatus::Failed));
            }
        }
        Poll::Again
    }

    /// The next received frame comes back as failed here, without a look at it, once there are any.
    fn discard_rx(&mut self, _queue: u32) {}

    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::NotMine
    }
}

nook_sdk::nook_driver! {
    Driver,
    class: net,
    name: "@NAME@",
    pci: "@PCI@",
    registers: "@NAME@",
    dma_bytes: 4096,
    dma_mask_bits: 32,
}
