//! The misc class's part of the command: its options; a driver's examples, or
//! what is asked for, are tried, and their results are reported; or they are served to clients.

pub mod args;
mod report;
mod run;
mod server;

pub use report::MiscReport;
pub(crate) use run::run;
