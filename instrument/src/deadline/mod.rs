//! Deadline checks: what ends a call that does not end by itself.
//!
//! Each branch back to a loop's beginning, and each function that may execute much without a loop, looks at a cell in a
//! second memory, which driver code cannot name. Who runs the module sets it from another thread when it is time. That
//! is what the engine's epochs are for, at less cost: one load that shares its address with all others, and nothing in
//! a register. There are two kinds of check:
//!
//! - In functions that only calls in interrupt or atomic context reach (`poll`, `irq`, `timer`), it **traps**: the cell
//!   is set only when the call's time is up. Nothing is called, so a loop's values stay in registers; that call was the
//!   largest single cost of the sandbox.
//! - In all others it **asks**: it calls the host, which may end the call or let it go on.
//!
//! Both look at one bit, [`DUE`]; the rest of the cell is the host's. [`with_deadline_checks`] adds them to a module
//! that needs nothing else; [`undo`](crate::undo) adds them together with its log.

mod code;
mod cost;
mod placed;
mod plain;
mod reach;

pub(crate) use code::{Check, Question};
pub(crate) use cost::{Cost, settle};
pub(crate) use placed::{Placed, offset_map};
#[cfg(test)]
pub(crate) use plain::with_flaw;
pub use plain::{Timed, with_deadline_checks};
pub(crate) use reach::asking;

/// The memory with the cell.
pub(crate) const CELL_MEMORY: u32 = 1;
/// Where in its memory the cell is: an `i32`, which the module loads in each round of a loop. It has a cache line to
/// itself.
pub const TIME_CELL: u32 = 0;
/// In the cell: the call that runs is to check its deadline; where deadline checks trap, its time is up.
pub const DUE: u32 = 1;
/// The export of the cell's memory, in a module that has no undo log. One with a log has its cell there.
pub const CELL_EXPORT: &str = "nook_time_cell";
/// A table of one: the function that is called when the cell is set. What it returns is the cell's new value.
pub const ASK_EXPORT: &str = "nook_time_ask";
