//! What isolation costs: measurements of every level in one process, and the report of them.
//!
//! Two ways lead here. `cargo xtask bench` runs `nook-bench`, which measures all levels interleaved and writes the
//! report ([`Report`]) with plots, ratios and cross-over points; the benchmarks in `benches/` are for developers who
//! change one thing and want to see it in seconds.
//!
//! What is measured of a network card's driver runs on [`ImmediateDevice`], a device that costs next to nothing, so
//! that the driver and the boundary are what one sees. It is no model: it answers an e1000's doorbells at once and has
//! no other behaviour. A disk's driver runs on the embedded model, which is calm: it works between the driver's calls.
//! Nothing here is part of nook.
#![deny(unsafe_code)]

pub mod against;
pub mod compare;
mod cpus;
pub mod crossover;
mod disk_rig;
pub mod docs;
pub mod goals;
#[expect(unsafe_code, reason = "descriptors in the window are reached by atomics at their address")]
mod immediate_device;
pub mod levels;
pub mod nbd;
pub mod overview;
pub mod page;
pub mod paper;
mod plots;
mod processes;
mod report;
pub mod rig;
pub mod sample;
pub mod stats;
mod stores;
mod suites;
pub mod tables;
pub mod ticks;

pub use immediate_device::ImmediateDevice;
pub use report::{Curve, Figure, Machine, Report, Spread, Sweep};
pub use suites::{Extent, OF_DISKS, measure, measure_suites, names};
