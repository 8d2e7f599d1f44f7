//! The block class: a disk, which takes requests for blocks.

mod driver;
mod instance;
mod nook;
#[expect(unsafe_code, reason = "the host page says where the rings are")]
mod queues;
#[cfg(test)]
mod scripted;
mod table;

pub use author::*;
pub use instance::Running;

/// What an author of such a driver uses.
pub(crate) mod author {
    pub use super::driver::BlockDriver;
    pub use super::queues::{Completing, CompletionPlace, Request, RequestTicket, Requested};
    pub use super::table::{Record, RequestTable};
    pub use nook_abi::block::{BlockOp, BlockStatus, Disk, disk_flags};
}
