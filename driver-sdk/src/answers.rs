//! What a driver of any class answers.

use nook_abi::{Status, irq_result, poll_result};

/// What `poll` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Poll {
    /// Nothing is left, and the device's interrupt is unmasked.
    Idle = poll_result::IDLE,
    /// The budget was used up: call again. The device's interrupt is still masked.
    Again = poll_result::AGAIN,
}

/// What `irq` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Irq {
    /// Another device's, on a shared line.
    NotMine = 0,
    /// Dealt with.
    Handled = irq_result::HANDLED,
    /// Dealt with, and `poll` is wanted; the device's interrupt is masked until it says [`Poll::Idle`].
    HandledPoll = irq_result::HANDLED | irq_result::POLL,
}

/// Converts a result to what the table returns.
pub(crate) fn code(result: Result<(), Status>) -> i32 {
    result.map_or_else(Status::code, |()| 0)
}
