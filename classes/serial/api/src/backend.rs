//! What a serial line's driver is plugged into.

use std::io;
use std::os::fd::RawFd;

use nook_abi::serial::LineSettings;

/// How the line is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortSettings {
    /// How bytes look on it.
    pub line: LineSettings,
    /// The lines towards the other side, and what else [`control`](nook_abi::serial::control) names.
    pub control: u32,
    /// The lines "request to send" and "clear to send" say whether bytes are taken: the host drops the one while it has
    /// no room, and sends nothing while the other is down.
    pub flow: bool,
}

/// A byte that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The byte: 0 of a break.
    pub byte: u8,
    /// What is wrong with it: bits of [`received`](nook_abi::serial::received).
    pub errors: u32,
}

/// The side of a serial line's driver that faces those who use the line.
///
/// Implemented by `classes/serial/`; used by the serial class, on the nook's thread. Nothing in it waits.
pub trait SerialBackend: Send {
    /// Puts bytes that are to be sent into `into`, and says how many: 0 if there are none now.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes what was received, in order, and says how many: the rest is offered again.
    fn write(&mut self, received: &[Received]) -> io::Result<usize>;

    /// Returns how the line is to be, as far as [`read`](Self::read) and [`service`](Self::service) have found out.
    fn wanted(&self) -> PortSettings;

    /// Takes how the lines from the other side are: bits of [`modem`](nook_abi::serial::modem).
    fn modem(&mut self, lines: u32) -> io::Result<()> {
        let _ = lines;
        Ok(())
    }

    /// Lets it work, and says when it wants to be called again even if nothing happens (nanoseconds of the nook's
    /// clock).
    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        let _ = now_ns;
        Ok(None)
    }

    /// Adds descriptors that become readable when [`read`](Self::read) or [`service`](Self::service) has something to
    /// do.
    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        let _ = fds;
    }
}
