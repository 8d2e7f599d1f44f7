//! What a network interface is plugged into: on the kernel's side a TAP interface or a host in this process, at the
//! far end of an embedded device's cable a TAP interface, a peer in this process, or nothing; and a capture between.
//!
//! It is not a network stack (smoltcp is), and it knows no driver and no device. `nook-run` chooses the pieces and
//! plugs them together; the nook's loop drives them: [`NetBackend::service`](nook_net_api::NetBackend::service) and
//! [`Wire::due_ns`](nook_net_api::Wire::due_ns) bring the time, nothing here looks at a clock but the capture's stamps
//! and the server for QEMU's user network, which has its own threads.
//!
//! Where to start reading: [`Tap`], [`IpHost`] with the exercises it runs ([`Plan`], [`ExerciseReport`]), [`Peer`] and
//! the protocol that both speak ([`protocol`]), [`Captured`].
#![deny(unsafe_code)]

mod captured;
mod exercise;
mod frames;
mod host;
mod neighbours;
mod offload;
mod pcap;
mod peer;
pub mod protocol;
mod server;
mod stack;
mod stream;
mod tap;
mod unplugged;

pub use captured::Captured;
pub use exercise::{
    ExerciseReport, PingPlan, PingReport, Plan, RrPlan, RrReport, TcpDirectionReport, TcpPlan, TcpReport,
};
pub use host::{IpHost, IpHostConfig};
pub use pcap::{Passed, Pcap, PcapTotals};
pub use peer::{Peer, PeerConfig};
pub use protocol::{Content, EXERCISE_PORT};
pub use server::Server;
pub use tap::{FarEnd, Tap, TapError};
pub use unplugged::Unplugged;
