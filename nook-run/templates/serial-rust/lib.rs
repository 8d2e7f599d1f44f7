//! The driver @NAME@: it finds its device and has a line on which nothing comes or goes yet.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use nook_sdk::{
    Irq, Kernel, LineSettings, Nook, Poll, ProbeReason, Regs, SerialDriver, SerialPort, Status, error, info,
};

/// The device's registers, made of @NAME@.regs.toml: see README.md.
pub mod registers;

use registers::SCRATCH;

/// The device.
pub struct Driver<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
}

impl<K: Kernel> SerialDriver<K> for Driver<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(@BAR@);
        // After a fault the device may be in any state: turn its interrupts off here, and leave what its FIFOs hold.
        for pattern in [0x55, 0xaa] {
            regs.write(SCRATCH, pattern);
            let found = regs.read(SCRATCH);
            if found != pattern {
                error!(nook, "the device holds {found:#04x} where {pattern:#04x} was written");
                return Err(Status::NoDevice);
            }
        }
        info!(nook, "the device holds what is written");
        Ok(Driver { nook, regs })
    }

    fn port(&self) -> SerialPort {
        SerialPort { fifo_bytes: 16, most_baud: 115_200 }
    }

    fn remove(self) {}

    /// Interrupts are turned on here.
    fn open(&mut self) -> Result<(), Status> {
        info!(self.nook, "open; the scratch register holds {:#04x}", self.regs.read(SCRATCH));
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }

    /// Rate and format go into the device here. `Status::Unsupported` refuses what it cannot do.
    fn set_line(&mut self, _line: LineSettings) -> Result<(), Status> {
        Ok(())
    }

    /// The lines towards the other side, and a break: bits of `nook_sdk::control`.
    fn set_control(&mut self, _lines: u32) -> Result<(), Status> {
        Ok(())
    }

    /// What was received is handed over with `received` here, and if `send` is set, the device is given what
    /// `next_byte` has, as much as it takes; until then what is to be sent waits.
    fn poll(&mut self, _budget: u32, _send: bool) -> Poll {
        Poll::Idle
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::NotMine
    }
}

nook_sdk::nook_driver! {
    Driver,
    class: serial,
    name: "@NAME@",
    pci: "@PCI@",
    registers: "@NAME@",
    dma_bytes: 4096,
    dma_mask_bits: 32,
}
