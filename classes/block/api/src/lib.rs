//! What both ends of a disk agree on: a trait only, for what is plugged in above a driver of class `block`.
//!
//! [`BlockBackend`] is the other side of a disk: who reads and writes it. The runtime's block class calls it,
//! `classes/block` and the command's exercise implement it. There is no implementation here, and neither a device, a
//! driver nor the runtime is known.
#![forbid(unsafe_code)]

mod backend;

pub use backend::{BlockBackend, Geometry, Op, Outcome, Request};
