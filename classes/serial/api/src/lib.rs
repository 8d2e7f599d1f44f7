//! What both ends of a serial line's driver agree on: a trait only, for what is plugged in above a driver of class
//! `serial`.
//!
//! [`SerialBackend`] is the other side of the driver: a terminal, an exercise. The runtime's serial class calls it,
//! `classes/serial` and the command's exercise implement it. There is no implementation here, and neither a device, a
//! driver nor the runtime is known.
#![forbid(unsafe_code)]

mod backend;

pub use backend::{PortSettings, Received, SerialBackend};
