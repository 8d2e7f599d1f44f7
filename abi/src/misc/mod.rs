//! The misc class: a device does named operations, which take bytes and give bytes. For every device without a
//! separate class.
//!
//! There are no rings: an operation begins with the entry `invoke` and ends with the hostcall `misc_complete`, each of
//! which finds its bytes in the mailbox. So input and output have at most [`MAILBOX_BYTES`](crate::MAILBOX_BYTES).

mod fault;
mod manifest;
mod operations;
mod table;

pub use fault::MiscFault;
pub use manifest::MiscKeys;
pub use operations::{Bytes, MOST_OPERATIONS, Operation, OperationError, operations};

/// The most operations that are open at a time: accepted and not completed.
pub const MOST_OPEN: usize = 8;
