//! The network class: what a driver of a network interface sees besides, and filters, which stand beside one.

#[cfg_attr(
    any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128")),
    expect(unsafe_code, reason = "vector instructions take vectors, which are made of bytes as they lie in memory")
)]
mod checksum;
mod driver;
#[expect(unsafe_code, reason = "the entry that begins a filter is given the host page's address")]
mod filter;
mod filter_hook;
mod instance;
mod nook;
#[expect(unsafe_code, reason = "the host page says where the queues are, and what a packet is in memory is said here")]
mod queues;
mod transfer;

pub use author::*;
pub use instance::Running;

/// What an author of such a driver uses.
pub(crate) mod author {
    pub use super::checksum::checksum;
    pub use super::driver::{MacAddress, NetDriver, RxMode};
    pub use super::filter::{Direction, Filter, FilterInstance, Frame, Verdict};
    pub use super::queues::{NetQueues, Packet, Pool, ProvideQueue, Provided, ReturnPlace, ReturnQueue, Returning};
    pub use nook_abi::net::{LinkState, NetStats, PacketStatus, QueueEntry, Side, entry_flags, offload};
}
