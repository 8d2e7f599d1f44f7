//! What clients may take of this process. Each client is bounded by itself, so that one that reads nothing, sends
//! nothing, or asks for more than it takes has its own share in use and no other's.

/// Clients at the same time; more wait in the kernel's queue until one ends.
pub const CLIENTS: usize = 32;

/// Requests of a client that have no reply yet; more stay in its socket. Linux's client has at most 128 under way.
pub const REQUESTS: usize = 128;

/// Data of a client's writes that the disk has not taken yet, in bytes.
pub const HELD_BYTES: usize = 4 << 20;

/// Replies to a client that were not sent yet, with the data of reads that are under way, in bytes.
pub const REPLY_BYTES: usize = 4 << 20;

/// The longest payload that is announced, in bytes. Longer writes, and longer reads by clients with structured replies,
/// are served all the same, in pieces; a simple reply cannot be sent in pieces, so longer reads with these are refused.
pub const MAX_PAYLOAD: u32 = 4 << 20;

/// The longest piece in which a request is passed on, in bytes, if the disk takes such long ones.
pub const PIECE_BYTES: u32 = 512 << 10;

/// The longest piece in which zeroes are passed on, in bytes, so that a disk which takes its time with them does other
/// requests between.
pub const ZEROES_BYTES: u32 = 32 << 20;

/// What is read of a client ahead of its parsing, in bytes.
pub const INBOX_BYTES: usize = 64 << 10;

/// The longest data of an option that is looked at, in bytes. A longer one is skipped and refused.
pub const OPTION_BYTES: usize = 16 << 10;

/// A client that is in the handshake for longer than this gives way if others wait.
pub const HANDSHAKE_NS: u64 = 10_000_000_000;
