//! The block class: a disk, which takes requests for blocks.
//!
//! Requests go to the driver and completions to the host through two rings in the driver's memory. The data of a
//! request lies in a buffer of the DMA window, which begins on a page, so that a device can be pointed at it as it is.
//! A request is the driver's from when it took the entry until it put the completion; its buffer is the device's
//! meanwhile.

mod disk;
mod fault;
mod manifest;
mod page;
mod queue;
mod table;

pub use disk::{Disk, disk_flags};
pub use fault::{BlockFault, RequestOwner};
pub use manifest::BlockKeys;
pub use page::BlockPage;
pub use queue::{
    BlockCompletion, BlockOp, BlockQueue, BlockRequest, BlockStatus, CompletionWords, RequestWords, request_flags,
};
