//! What a disk is plugged into: a server of the network block device protocol (NBD), to which Linux, QEMU and libnbd's
//! tools connect.
//!
//! It knows no driver and no device: the runtime's block class asks it, through
//! [`BlockBackend`](nook_block_api::BlockBackend), what is wanted of the disk, and says what came of it. It has no
//! thread and no clock, and nothing in it waits: sockets are asked when
//! [`service`](nook_block_api::BlockBackend::service) or [`next`](nook_block_api::BlockBackend::next) is called, and
//! one descriptor becomes readable when there is something to ask. What a client can make it hold is bounded, for each
//! client by itself (`limits.rs`).
//!
//! **What it speaks** (doc/proto.md of the NBD project): the fixed newstyle handshake, structured and simple replies,
//! FLUSH, FUA, TRIM, WRITE_ZEROES with FAST_ZERO and NO_HOLE, block sizes, several connections. There is one export. It
//! answers only after the disk did, and keeps no cache; so a flush on one connection covers every write that was
//! answered on any. TRIM becomes zeroes, because some clients take it for that. Metadata contexts are answered with an
//! empty list.
//! **There is no TLS**: a tunnel (ssh, stunnel, WireGuard) does that for a Unix socket or for TCP on loopback, which is
//! where it listens unless another address is written.
//!
//! Instead of listening it can serve the kernel alone, through one of its block devices (`kernel.rs`). That has one
//! thread, when it ends: the kernel then writes what it has cached, to this server.
//!
//! **Why it is not somebody's crate.** Looked at were `nbd` 0.3.1 (blocking, a thread for each client, no INFO or GO,
//! no structured replies, allocates what a client says), `tokio-nbd` 0.3.0 (GPL, tokio, panics at options that it does
//! not have, structured replies among them) and `nbd-async` 0.6.0 (tokio; for the kernel's device in the same machine,
//! without a handshake). None fits a loop without threads, and none bounds what a client can make it keep.
//!
//! Where to start reading: [`NbdServer`], then `session.rs` (one client, without its socket) and `protocol.rs`.
#![deny(unsafe_code)]

mod activation;
mod buffers;
mod export;
mod handshake;
mod kernel;
mod limits;
mod listen;
mod netlink;
mod pieces;
mod protocol;
mod server;
mod session;
#[cfg(test)]
mod session_tests;
mod task;

pub use kernel::{AttachError, KernelDevice};
pub use listen::{ListenError, Listener, NbdAddress};
pub use server::{NbdOptions, NbdServer};
