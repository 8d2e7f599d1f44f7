//! What a serial line's driver asks of its host.

use nook_abi::Status;
use nook_abi::serial::NOTHING;

use super::driver::SerialPort;
use crate::nook::status;
use crate::{Kernel, Nook};

impl<K: Kernel> Nook<K> {
    /// Says what the port is.
    pub(super) fn attach_port(&self, port: SerialPort) -> Result<(), Status> {
        status(self.calls().serial_attach(port.fifo_bytes, port.most_baud))
    }

    /// Takes the next byte that is to be sent, in `poll`: the chip is given it at once.
    #[inline]
    pub fn next_byte(&self) -> Option<u8> {
        let value = self.calls().serial_next();
        (value < NOTHING).then_some(value as u8)
    }

    /// Hands over a byte that was received, in `poll`, with bits of [`received`](nook_abi::serial::received).
    #[inline]
    pub fn received(&self, byte: u8, errors: u32) {
        self.calls().serial_received(u32::from(byte) | errors);
    }

    /// Reports how the lines from the other side are: bits of [`modem`](nook_abi::serial::modem).
    pub fn modem(&self, lines: u32) {
        self.calls().serial_modem(lines);
    }
}
