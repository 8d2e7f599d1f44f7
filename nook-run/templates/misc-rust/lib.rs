//! The driver @NAME@.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use nook_sdk::{Input, Kernel, MiscDriver, Nook, ProbeReason, Regs, Status, Ticket, error, info};

/// The device's registers, made of @NAME@.regs.toml: see README.md.
pub mod registers;

use registers::FIRST;

/// The device.
pub struct Driver<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
}

impl<K: Kernel> MiscDriver<K> for Driver<K> {
    /// Its operations, one a line: a name, and an example with input and output, if they are the same for every device.
    const OPERATIONS: &'static str = "first -";

    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(@BAR@);
        // After a fault the device may be in any state: reset it here.
        let first = regs.read(FIRST);
        if first == u32::MAX {
            error!(nook, "the device does not answer");
            return Err(Status::NoDevice);
        }
        info!(nook, "the first register holds {first:#010x}");
        Ok(Driver { nook, regs })
    }

    fn remove(self) {}

    fn open(&mut self) -> Result<(), Status> {
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }

    fn invoke(&mut self, ticket: Ticket, operation: u32, input: Input<'_>) -> Result<(), Status> {
        match operation {
            0 => {
                input.array::<0>()?;
                self.nook.complete(ticket, Ok(&self.regs.read(FIRST).to_le_bytes()));
                Ok(())
            }
            _ => Err(Status::Unsupported),
        }
    }
}

nook_sdk::nook_driver! {
    Driver,
    class: misc,
    name: "@NAME@",
    pci: "@PCI@",
    registers: "@NAME@",
    dma_bytes: 4096,
    dma_mask_bits: 32,
}
