//! The network class's part of the command: its options, what the interface is plugged into, exercises, the self-test,
//! and their report.

pub mod args;
mod backend;
mod report;
mod run;
mod selftest;

pub use report::NetReport;
pub(crate) use run::run;
pub(crate) use selftest::selftest;
