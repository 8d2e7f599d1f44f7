//! The misc class's part of the command: which operations are called, and what came of them.

pub mod args;
mod report;
mod run;

pub use report::MiscReport;
pub(crate) use run::run;
