//! Faults for a campaign, and the oracle that judges what came of them.
//!
//! - [`Campaign`]: which fault a trial has, from the campaign's seed and the trial's number;
//! - [`Sites`]: mistakes in a driver's code, hundreds in one module;
//! - [`MachineSites`]: mistakes in machine code, for levels without WebAssembly;
//! - [`FaultWorld`], [`Injection`]: when a fault is there, and whether it was;
//! - [`FaultyDevice`], [`BackendFault`]: devices and operating systems that fail;
//! - [`Oracle`], [`DiskOracle`]: [`Traffic`] of which each byte is known;
//! - [`Record`], [`Summary`], [`page`](page()): what came of a trial, and of all of them.
//!
//! It runs no driver and starts no process: the command does (`nook-run/src/campaign`), and it alone calls this.
//! Nothing that runs a driver otherwise knows of it.
#![forbid(unsafe_code)]

mod code;
mod device;
mod disk_oracle;
mod machine;
mod oracle;
mod outcome;
mod page;
mod plan;
mod summary;
mod traffic;
mod world;

pub use code::{CodeClass, PlantError, Planted, Sites};
pub use device::{BackendFault, DeviceClass, Extent, Failure, FaultyDevice, KernelClass};
pub use disk_oracle::{DiskEnd, DiskOracle, Medium};
pub use machine::{MachineMistake, MachineSites, ObjectForm};
pub use oracle::{CableEnd, HostEnd, Oracle, Way};
pub use outcome::{Death, Level, Outcome, Record, Run};
pub use page::page;
pub use plan::{BATCH, Begin, Campaign, Kind, Trial};
pub use summary::{Case, Counts, Summary, Table, Times};
pub use traffic::{Flow, Tally, Traffic};
pub use world::{FaultWorld, Injection, NEVER, with_injection};
