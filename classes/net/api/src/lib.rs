//! What both ends of a network connection agree on: traits only, for what is plugged in and what it is
//! plugged into.
//!
//! [`Wire`] is the cable of an embedded card: device models (`hw/e1000-model`, `hw/qemu`) call it, `classes/net` and
//! the tests implement it. [`NetBackend`] is the other side of an interface, towards the operating system: the
//! runtime's network class calls it, `classes/net` implements it. There is no implementation here, and neither a
//! device, a driver nor the runtime is known.
#![forbid(unsafe_code)]

mod backend;
mod frames;
mod wire;

pub use backend::{KernelSettings, NetBackend};
pub use frames::{Incoming, Outgoing, Room};
pub use wire::Wire;
