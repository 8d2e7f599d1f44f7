//! The misc class's part of the command: its options; a driver's examples, or
//! what is asked for, are tried, and what comes of them is told.

pub mod args;
mod report;
mod run;

pub use report::MiscReport;
pub(crate) use run::run;
