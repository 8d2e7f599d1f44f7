//! The command `nook-run`, as a library with a thin binary: it puts the pieces together and knows every one of them.
//!
//! Nothing is decided here that a piece could decide: this is where options become a device, a driver and an
//! interface, and the report of a run. The binary and the tests call it.
#![deny(unsafe_code)]

mod block;
pub mod build;
pub mod call;
mod campaign;
pub mod cli;
mod device;
mod drivers;
mod exercise;
mod files;
mod frames;
pub mod inspect;
pub mod logging;
pub mod maps;
mod misc;
mod net;
pub mod new;
mod nooks;
pub mod output;
pub mod pci;
pub mod postmortem;
pub mod registers;
pub mod replay;
mod report;
mod run;
mod selftest;
mod serial;
mod signals;
mod state;
pub mod trace;

pub use campaign::campaign;
pub use report::Report;
pub use run::{Ended, RunOutcome, run};
pub use selftest::selftest;
