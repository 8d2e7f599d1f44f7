//! The network class: what it adds to the contract.

mod counters;
mod fault;
pub mod filter;
mod manifest;
mod page;
mod queue;
mod settings;
mod side;
mod table;

pub use counters::{COUNTER_NAME_BYTES, MOST_COUNTERS, counter_rule};
pub use fault::{NetFault, Owner};
pub use filter::{FILTER_ENTRIES, FilterEntryInfo, filter_direction, filter_verdict};
pub use manifest::NetKeys;
pub use page::{NetPage, NetStats, PoolLayout};
pub use queue::{EntryWords, PacketStatus, Queue, QueueEntry, RING_BYTES, SIDES_BYTES, entry_flags};
pub use settings::{LinkState, MOST_MULTICAST, loopback_mode, poll_flags, rx_mode};
pub use side::{Side, SideWords, offload, offload_rule, side_flags};
