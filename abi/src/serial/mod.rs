//! The serial class: bytes each way, the line's settings, the lines beside the data.
//!
//! There are no rings and no buffers: a driver moves bytes in `poll` alone, each by one hostcall, at most `budget` that
//! were received and as many as its chip takes of those that are to be sent. So each byte is the host's or the chip's,
//! and a driver keeps none.

mod fault;
mod line;
mod manifest;
mod table;

pub use fault::SerialFault;
pub use line::{LineSettings, Parity, control, modem, received, serial_poll};
pub use manifest::SerialKeys;

/// What `serial_next` answers if there is nothing to be sent.
pub const NOTHING: u32 = 0x100;
