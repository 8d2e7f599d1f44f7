//! The misc class's part of the command: a driver's examples are tried, and what comes of them is told.

mod report;
mod run;

pub use report::MiscReport;
pub(crate) use run::run;
