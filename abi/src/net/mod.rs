//! The network class: what it adds to the contract.

pub mod filter;
mod page;
mod queue;
mod settings;
mod table;

pub use filter::{FILTER_ENTRIES, FilterEntryInfo, filter_direction, filter_verdict};
pub use page::{NetStats, PoolLayout};
pub use queue::{Item, NetMeta, PacketStatus, Queue, QueueEntry, RING_BYTES, gso, item_flags, meta_flags, rx_checksum};
pub use settings::{LinkState, loopback_mode, poll_flags, rx_mode};
