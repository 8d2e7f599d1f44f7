//! Bad news that ends a call of a serial driver.

use core::fmt;

use crate::class::{Part, Tell};

/// What only a serial driver can be guilty of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialFault {
    /// More bytes were handed over than the host has room for.
    BeyondBudget {
        /// How many the call might have handed over.
        budget: u32,
    },
    /// Bytes wait to be sent, nothing keeps them, and the driver takes none.
    NotSent {
        /// How many wait.
        bytes: u32,
        /// For how long, in nanoseconds.
        limit_ns: u64,
    },
}

impl SerialFault {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            SerialFault::BeyondBudget { .. } => "BeyondBudget",
            SerialFault::NotSent { .. } => "NotSent",
        }
    }

    pub(crate) fn parts(&self, tell: Tell<'_>) {
        match *self {
            SerialFault::BeyondBudget { budget } => tell("budget", Part::Number(budget.into())),
            SerialFault::NotSent { bytes, limit_ns } => {
                tell("bytes", Part::Number(bytes.into()));
                tell("limit_ns", Part::Number(limit_ns));
            }
        }
    }
}

impl fmt::Display for SerialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SerialFault::BeyondBudget { budget } => {
                write!(f, "serial_received: more than {budget} bytes, which the host asked for at most")
            }
            SerialFault::NotSent { bytes, limit_ns } => {
                write!(f, "{bytes} bytes are to be sent, and none was taken within {} ms", limit_ns / 1_000_000)
            }
        }
    }
}
