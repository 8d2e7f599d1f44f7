//! Bad news that ends a call of a misc driver.

use core::fmt;

use crate::class::{Part, Tell};

/// What only a misc driver can be guilty of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiscFault {
    /// An operation was completed that is not open: it never was, or was completed before.
    NotOpen {
        /// The ticket that was named.
        ticket: u32,
    },
    /// Operations were accepted and not completed in time.
    NotCompleted {
        /// How many are overdue.
        operations: u32,
        /// For how long one may be open, in nanoseconds.
        limit_ns: u64,
    },
}

impl MiscFault {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            MiscFault::NotOpen { .. } => "NotOpen",
            MiscFault::NotCompleted { .. } => "NotCompleted",
        }
    }

    pub(crate) fn parts(&self, tell: Tell<'_>) {
        match *self {
            MiscFault::NotOpen { ticket } => tell("ticket", Part::Number(ticket.into())),
            MiscFault::NotCompleted { operations, limit_ns } => {
                tell("operations", Part::Number(operations.into()));
                tell("limit_ns", Part::Number(limit_ns));
            }
        }
    }
}

impl fmt::Display for MiscFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            MiscFault::NotOpen { ticket } => {
                write!(f, "misc_complete: no operation is open under ticket {ticket}")
            }
            MiscFault::NotCompleted { operations, limit_ns } => {
                write!(f, "{operations} operations were accepted and not completed within {} ms", limit_ns / 1_000_000)
            }
        }
    }
}
