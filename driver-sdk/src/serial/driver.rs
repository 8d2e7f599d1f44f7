//! [`SerialDriver`]: what a serial line's driver is.

use nook_abi::serial::LineSettings;
use nook_abi::{ProbeReason, Status};

use crate::{Irq, Kernel, Nook, Poll};

/// What a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPort {
    /// The most bytes that its chip holds each way: 1 to 65536.
    pub fifo_bytes: u32,
    /// The highest rate, in baud.
    pub most_baud: u32,
}

/// A driver of a serial line, generic over what answers its hostcalls. The methods are the entries of the contract's
/// table; the table says in which context each runs. They never overlap.
///
/// What moves bytes, of a chip that holds one each way. All is read before something is written, so that the call can
/// be rolled back:
///
/// ```
/// # use nook_sdk::{Irq, Kernel, LineSettings, Nook, Poll, ProbeReason, Regs, SerialDriver, SerialPort, Status};
/// nook_regs::registers! {
///     /// The chip.
///     static MAP = "uart", bar 0, 8 ports;
///     /// The byte that came, or the byte to be sent.
///     DATA: u8 at 0, Rw, "1", read(Pops), ready(nook_regs::Ready { register: "LINE", bits: 1 });
///     /// What it may interrupt for.
///     ENABLE: u8 at 1, Rw, "2" {
///         /// There is a byte.
///         CAME = 0,
///         /// There is room for one.
///         ROOM = 1,
///     }
///     /// How it stands.
///     LINE: u8 at 5, Ro, "3" {
///         /// There is a byte.
///         CAME = 0,
///         /// There is room for one.
///         ROOM = 5,
///     }
/// }
///
/// struct Uart<K: Kernel> {
///     nook: Nook<K>,
///     regs: Regs<K>,
/// }
///
/// impl<K: Kernel> SerialDriver<K> for Uart<K> {
///     fn poll(&mut self, budget: u32, send: bool) -> Poll {
///         let line = self.regs.read(LINE);
///         let came = line & LINE::CAME != 0;
///         if came && budget > 0 {
///             self.nook.received(self.regs.read(DATA), 0);
///         }
///         let has_room = line & LINE::ROOM != 0;
///         if send && has_room && let Some(byte) = self.nook.next_byte() {
///             self.regs.write(DATA, byte);
///         }
///         // What nobody takes stays in the chip, which says nothing meanwhile.
///         let mut enable = if came && budget == 0 { 0 } else { ENABLE::CAME };
///         enable |= if send { ENABLE::ROOM } else { 0 };
///         self.regs.write(ENABLE, enable);
///         Poll::Idle
///     }
///
///     fn port(&self) -> SerialPort {
///         SerialPort { fifo_bytes: 1, most_baud: 115_200 }
///     }
///
///     // probe, remove, open, stop, set_line, set_control, irq …
/// #     fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> { Ok(Uart { nook, regs: nook.regs(0) }) }
/// #     fn remove(self) {}
/// #     fn open(&mut self) -> Result<(), Status> { self.nook.irq_enable(0) }
/// #     fn stop(&mut self) -> Result<(), Status> { self.nook.irq_disable(0) }
/// #     fn set_line(&mut self, _: LineSettings) -> Result<(), Status> { Ok(()) }
/// #     fn set_control(&mut self, _: u32) -> Result<(), Status> { Ok(()) }
/// #     fn irq(&mut self, _: u32) -> Irq { Irq::HandledPoll }
/// }
/// ```
pub trait SerialDriver<K: Kernel>: Sized {
    /// Finds out what the device is and brings it to a known state. After [`ProbeReason::Restart`] the device may be in
    /// any state; what its chip holds each way is the line's, and is left in it.
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status>;

    /// Returns what the port is: asked once, when `probe` has succeeded.
    fn port(&self) -> SerialPort;

    /// Removes the driver. The device must be quiet when this returns.
    fn remove(self);

    /// Bytes may come and go: interrupts. How the line is set was said before.
    fn open(&mut self) -> Result<(), Status>;

    /// Stops the driver: no more bytes come and go; interrupts stop. What the chip was given leaves it before.
    fn stop(&mut self) -> Result<(), Status>;

    /// Has bytes look like this on the line, once what the chip was given before has left it. [`Status::Unsupported`]
    /// if it cannot be set so, and then nothing has changed. Before `open` for the first time.
    fn set_line(&mut self, line: LineSettings) -> Result<(), Status>;

    /// Sets the lines towards the other side: bits of [`control`](nook_abi::serial::control). Before `open` for the
    /// first time.
    fn set_control(&mut self, lines: u32) -> Result<(), Status>;

    /// Hands over what was received, with [`Nook::received`], at most `budget` bytes: [`Poll::Again`] if there may be
    /// more. If `send` is set, gives the chip what [`Nook::next_byte`] has, as much as it takes, and has it interrupt
    /// when it takes more. Reads first and writes last: then the call can be rolled back.
    fn poll(&mut self, budget: u32, send: bool) -> Poll;

    /// Handles an interrupt on `vector`, perhaps another device's. Bytes are moved in `poll`, which it asks for.
    fn irq(&mut self, vector: u32) -> Irq;

    /// Runs when the time asked for by [`Nook::timer_set`] has come. Must not sleep.
    fn timer(&mut self) {}

    /// Does what [`Nook::work_schedule`] asked for. May sleep.
    fn work(&mut self) {}
}
