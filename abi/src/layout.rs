//! The host page: what the host tells a driver without being asked.

use crate::net::{NetStats, PoolLayout};

/// Bytes of the host page, mailbox included.
pub const HOST_PAGE_BYTES: usize = 4096;

/// Bytes of the mailbox at the end of the host page: 256 multicast addresses.
pub const MAILBOX_BYTES: usize = 1536;

/// [`HostPage::magic`].
pub const HOST_PAGE_MAGIC: u32 = u32::from_le_bytes(*b"nook");

/// Written by the host, read by the driver; the host never reads back what it wrote here, so a driver that scribbles
/// on it fools only itself. (The exceptions are `stats` and the mailbox, which are mail to the host, and are checked.)
/// Addresses are in the driver's own memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HostPage {
    /// [`HOST_PAGE_MAGIC`].
    pub magic: u32,
    /// The host's ABI version.
    pub abi_major: u16,
    /// The host's ABI version.
    pub abi_minor: u16,
    /// The DMA window.
    pub window_addr: u64,
    /// Its length.
    pub window_len_bytes: u64,
    /// Where the device sees it.
    pub window_iova: u64,
    /// The heap that the manifest asked for.
    pub heap_addr: u64,
    /// Its length.
    pub heap_len_bytes: u64,
    /// The rings, in the order of [`Queue::ALL`](crate::net::Queue::ALL).
    pub rings: [u64; 4],
    /// The packet buffers.
    pub pool: PoolLayout,
    /// The mailbox, [`MAILBOX_BYTES`] long.
    pub mailbox_addr: u64,
    /// How many interrupt vectors the driver has.
    pub irq_vectors: u32,
    /// 1 if a filter is to be asked about each frame (`net_filter`), else 0.
    pub filters: u32,
    /// The monotonic clock shortly before the call, in nanoseconds: read once for all calls that follow one event.
    pub now_ns: u64,
    /// Mail to the host: filled by the `stats` entry.
    pub stats: NetStats,
}

const _: () = assert!(size_of::<HostPage>() + MAILBOX_BYTES <= HOST_PAGE_BYTES);
