//! The register map of a 16550, the universal asynchronous receiver and transmitter, on a PCI card that has its
//! registers in I/O space: QEMU's `pci-serial`.
//!
//! The host checks drivers of it against [`MAP`], and reports name registers by it. What stands here is in the data
//! sheet of National's PC16550D, chapter 8, whose registers are named, and in Linux's `linux/serial_reg.h`. Of the
//! registers that share an offset, by direction or by `LCR::DIVISOR_LATCH`, there is one here, with the names of both.
//!
//! Reading `RBR_THR` takes a byte out of the receiver's FIFO, and what a call that is rolled back had taken is read
//! again: `LSR::DATA_READY` is set meanwhile. `LSR` clears its errors when it is read, which are owed once, to the next
//! read, with the first of those bytes. Nothing is kept for those who read the divisor while the latch is open, nor of
//! `MSR`'s changes and `IIR_FCR`'s transmitter interrupt, which reading clears too: a driver goes by levels.
#![no_std]
#![forbid(unsafe_code)]

use nook_regs::Ready;

/// Red Hat's PCI vendor id, which QEMU's own devices have.
pub const VENDOR: u16 = 0x1b36;
/// The device id of QEMU's `pci-serial` (QEMU, docs/specs/pci-ids).
pub const DEVICE: u16 = 0x0002;
/// PCI class of a serial controller that is compatible with a 16550 (PCI 3.0, appendix D).
pub const CLASS: u32 = 0x07_0002;
/// Bytes that each FIFO holds.
pub const FIFO_BYTES: u32 = 16;
/// The rate at a divisor of 1, in baud: a clock of 1.8432 MHz, by 16.
pub const BASE_BAUD: u32 = 115_200;

/// What is written to the register `IIR_FCR`.
pub mod fcr {
    /// Turns both FIFOs on. Changing it clears both.
    pub const ENABLE: u8 = 1 << 0;
    /// Clears the receiver's FIFO. Clears itself.
    pub const CLEAR_RECEIVER: u8 = 1 << 1;
    /// Clears the transmitter's FIFO. Clears itself.
    pub const CLEAR_TRANSMITTER: u8 = 1 << 2;
    /// Interrupts when the receiver's FIFO holds 8 bytes.
    pub const TRIGGER_8: u8 = 0b10 << 6;
}

nook_regs::registers! {
    /// Every register that a driver, a tracer or a report may meet. All are 8 bits wide.
    pub static MAP = "uart16550" for &[nook_regs::PciId { vendor: VENDOR, device: DEVICE }], bar 0, 8 ports;

    /// Read: the oldest byte received. Written: a byte to be sent. With the divisor latch open, the divisor's low half.
    RBR_THR: u8 at 0x0, Rw, "PC16550D 8.0, Receiver Buffer and Transmitter Holding", read(Pops),
        ready(Ready { register: "LSR", bits: LSR::DATA_READY as u64 });
    /// Which interrupts there are. With the divisor latch open, the divisor's high half.
    IER: u8 at 0x1, Rw, "PC16550D 8.0, Interrupt Enable" {
        /// Bytes were received: as many as the trigger says, or some and none since for the time of four.
        RECEIVED = 0,
        /// The transmitter takes bytes.
        TRANSMITTER_EMPTY = 1,
        /// An error, or a break.
        LINE_STATUS = 2,
        /// A modem line changed.
        MODEM_STATUS = 3,
    }
    /// Read: which interrupt is pending, the most urgent first. Written: [`fcr`].
    IIR_FCR: u8 at 0x2, Rw, "PC16550D 8.0, Interrupt Identification and FIFO Control", write(Reset(fcr::CLEAR_RECEIVER)) {
        /// None is.
        NONE = 0,
        /// Which it is.
        SOURCE = 1..=3,
        /// 3 if the FIFOs are on.
        FIFOS = 6..=7,
    }
    /// How bytes look on the line.
    LCR: u8 at 0x3, Rw, "PC16550D 8.0, Line Control" {
        /// Data bits, less 5.
        DATA_BITS = 0..=1,
        /// Two stop bits: one and a half with five data bits.
        STOP_BITS = 2,
        /// There is a parity bit.
        PARITY = 3,
        /// It makes the number of ones even.
        EVEN = 4,
        /// It is always what `EVEN` is not.
        STICK = 5,
        /// The line is held at a break.
        BREAK = 6,
        /// The divisor is at offsets 0 and 1.
        DIVISOR_LATCH = 7,
    }
    /// The lines towards the modem.
    MCR: u8 at 0x4, Rw, "PC16550D 8.0, Modem Control" {
        /// Data terminal ready.
        DTR = 0,
        /// Request to send.
        RTS = 1,
        /// An output without a name.
        OUT1 = 2,
        /// On PCs it lets interrupts through.
        OUT2 = 3,
        /// What is sent is received, and the line is left alone.
        LOOPBACK = 4,
    }
    /// How the line is.
    LSR: u8 at 0x5, Ro, "PC16550D 8.0, Line Status", read(ClearsOr) {
        /// There is a byte to be read.
        DATA_READY = 0,
        /// A byte was lost, because the FIFO was full.
        OVERRUN = 1,
        /// The byte that is read next has the wrong parity.
        PARITY = 2,
        /// It has no stop bit.
        FRAMING = 3,
        /// It is a break, and reads as 0.
        BREAK = 4,
        /// The transmitter's FIFO is empty.
        TRANSMITTER_EMPTY = 5,
        /// Nothing is being sent.
        IDLE = 6,
        /// One of the bytes in the FIFO has an error.
        ANY_ERROR = 7,
    }
    /// The lines from the modem: as they are, and which have changed since this was read.
    MSR: u8 at 0x6, Ro, "PC16550D 8.0, Modem Status" {
        /// `CTS` changed.
        CTS_CHANGED = 0,
        /// `DSR` changed.
        DSR_CHANGED = 1,
        /// A ring ended.
        RING_ENDED = 2,
        /// `CARRIER` changed.
        CARRIER_CHANGED = 3,
        /// Clear to send.
        CTS = 4,
        /// Data set ready.
        DSR = 5,
        /// It rings.
        RING = 6,
        /// Data carrier detect.
        CARRIER = 7,
    }
    /// Holds what is written, and does nothing.
    SCR: u8 at 0x7, Rw, "PC16550D 8.0, Scratch";
}

#[cfg(test)]
mod tests {
    use super::*;
    use nook_regs::{Restore, Width};

    #[test]
    fn each_of_the_eight_ports_is_a_register_of_eight_bits() {
        let all = MAP.registers().iter().map(|info| (info.offset, info.width));
        assert!(all.eq((0..8).map(|offset| (offset, Width::B1))));
    }

    #[test]
    fn no_state_is_written_back_that_the_divisor_latch_would_take_for_another() {
        assert!(MAP.registers().iter().all(|info| info.restore == Restore::Nothing));
    }
}
