//! What a serial line's driver is plugged into: a pseudo-terminal, which terminal programs open like a port.
//!
//! It builds without runtime and engine, nothing in it waits, and it keeps no bytes.
#![deny(unsafe_code)]

mod pty;
#[expect(unsafe_code, reason = "a slave side is unlocked and named by the C library")]
mod raw;

pub use pty::{PtyError, Terminal};
