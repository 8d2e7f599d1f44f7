//! The block class: its options, its exercise, and its runs.

pub mod args;
mod backend;
mod exercise;
mod report;
mod run;
mod selftest;

pub use report::BlockReport;
pub(crate) use run::{run, set_up};
pub(crate) use selftest::selftest;
