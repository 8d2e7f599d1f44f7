//! The embedded disk: a model of an NVM Express controller with one disk, made to be driven by drivers that have
//! mistakes.
//!
//! It is a [`PciDevice`](nook_bus::PciDevice) whose medium is a [`Disk`], in memory or in a file. It answers by the map
//! in `nvme-regs` and does what the *NVM Express Base Specification* 2.0 says (sections in comments are its, unless NVM
//! or PCIe is named), but not in the way that is convenient for a driver: it takes commands in its own order, completes
//! them late and in batches, interrupts when nothing happened, asks for commands to be sent again, and answers an Abort
//! in each way that the specification has. How much of that, is its [`Behaviour`]. All of it comes from one seed and
//! the times given to [`service`](nook_bus::PciDevice::service), so that a run can be repeated.
//!
//! [`Disk::cut_power`] takes its power away: what was not durable is then there, or not, or partly.
//!
//! What it is not: a model of timing, of flash memory or of the PCI bus. It has no metadata, no SGLs, no fused commands
//! and no reservations. It knows neither driver nor host; the code that owns a nook calls it.
#![forbid(unsafe_code)]

mod admin;
mod behaviour;
mod cache;
mod disk;
mod events;
mod identify;
mod io;
mod irq;
mod model;
mod namespaces;
mod prp;
mod queues;
mod registers;
mod work;

pub use behaviour::Behaviour;
pub use disk::{ATOMIC_BLOCKS, Disk, DiskError};
pub use model::{Model, ModelConfig};
pub use namespaces::OtherNamespace;

/// A time that does not come.
const NEVER: u64 = u64::MAX;
