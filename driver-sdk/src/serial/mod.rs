//! The serial class: bytes each way, and how the line is set.

mod driver;
#[cfg_attr(test, expect(unsafe_code, reason = "the tests probe a driver, whose memory is leaked"))]
mod instance;
mod nook;

pub use author::*;
pub use instance::Running;

/// What an author of such a driver uses.
pub(crate) mod author {
    pub use super::driver::{SerialDriver, SerialPort};
    pub use nook_abi::serial::{LineSettings, Parity, control, modem, received};
}
