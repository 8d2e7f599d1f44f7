//! Memory by address: the window, the host page and the queues. The only module of this crate that touches any of them.
//!
//! What is safe here is safe for any caller: a [`Span`] checks each place, [`Slots`] and a [`QueueMemory`] mask each
//! index, and a loop over both ([`fill`], [`reap`]) ends where one of them wraps. The code that makes one of them
//! vouches for the address, once.

mod page;
mod queue;
mod scratch;
mod transfer;
mod window;

pub(crate) use page::Page;
pub(crate) use queue::{QueueMemory, SideMemory};
pub(crate) use scratch::{Words, begin_call, call, write_free};
pub(crate) use transfer::{fill, reap};
pub(crate) use window::{Slots, Span, View};
