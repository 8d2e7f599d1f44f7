//! The host page: what the host tells a driver without being asked.

/// Bytes of the host page, mailbox included.
pub const HOST_PAGE_BYTES: usize = 4096;

/// Bytes of the mailbox in the host page.
pub const MAILBOX_BYTES: usize = 2048;

/// [`HostPage::magic`].
pub const HOST_PAGE_MAGIC: u32 = u32::from_le_bytes(*b"nook");

/// Words of [`HostPage::class`].
pub const CLASS_WORDS: usize = 32;

/// Written by the host, read by the driver; the host never reads back what it wrote here, so a driver that scribbles
/// on it fools only itself. (The exceptions are `stats_written`, the counters in `class` and the mailbox, which are
/// mail to the host, and are checked.) Addresses are in the driver's own memory.
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
    /// The mailbox, [`MAILBOX_BYTES`] long.
    pub mailbox_addr: u64,
    /// The monotonic clock shortly before the call, in nanoseconds: read once for all calls that follow one event.
    pub now_ns: u64,
    /// How many interrupt vectors the driver has.
    pub irq_vectors: u32,
    /// Mail to the host: 1 is added each time that the `stats` entry has written the class's counters.
    pub stats_written: u32,
    /// What the driver's class has here.
    pub class: [u64; CLASS_WORDS],
}

const _: () = assert!(size_of::<HostPage>() + MAILBOX_BYTES <= HOST_PAGE_BYTES);
