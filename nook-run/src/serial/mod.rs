//! The serial class's part of the command: its options, a pseudo-terminal, or an exercise through the chip's loopback.

pub mod args;
mod backend;
mod report;
mod run;

pub use report::SerialReport;
pub(crate) use run::run;
