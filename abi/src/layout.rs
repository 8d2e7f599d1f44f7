//! The host page: what the host tells a driver without being asked.

/// Bytes of the host page, mailbox included.
pub const HOST_PAGE_BYTES: usize = 4096;

/// Bytes of the mailbox in the host page.
pub const MAILBOX_BYTES: usize = 2048;

/// [`HostPage::magic`].
pub const HOST_PAGE_MAGIC: u32 = u32::from_le_bytes(*b"nook");

/// Words of [`HostPage::class`].
pub const CLASS_WORDS: usize = 32;

/// Doorbells that can be left in [`HostPage::doorbells`].
pub const DOORBELLS: usize = 14;

/// Written by the host, read by the driver; the host never reads back what it wrote here, so a driver that scribbles
/// on it fools only itself. (The exceptions are `stats_written`, the doorbells, the counters in `class` and the
/// mailbox, which are mail to the host, and are checked.) Addresses are in the driver's own memory.
///
/// A driver leaves a doorbell instead of calling `mmio_write32` by writing it to `doorbells[doorbell_count]` and adding
/// 1 to `doorbell_count`, while that is below `doorbell_room`. The host makes these writes in order, and sets
/// `doorbell_count` to 0: when the call returns, or earlier in a hostcall that reaches the device, waits, or tells the
/// time. Each is checked as a call of `mmio_write32` would be, and the register must be 32 bits wide and one that the
/// register map calls a doorbell. A call that ends in a fault loses what it left.
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
    /// How many interrupt vectors the driver asked for. `irq_enable` answers `Unsupported` for those that the device
    /// lacks.
    pub irq_vectors: u32,
    /// Mail to the host: 1 is added each time that the `stats` entry has written the class's counters.
    pub stats_written: u32,
    /// How many doorbells may be left: [`DOORBELLS`], or 0 where a doorbell is a hostcall.
    pub doorbell_room: u32,
    /// Mail to the host: how many were left.
    pub doorbell_count: u32,
    /// Mail to the host: the value in the high half, the register's offset in the lowest 24 bits, its BAR above them.
    pub doorbells: [u64; DOORBELLS],
    /// What the driver's class has here.
    pub class: [u64; CLASS_WORDS],
}

const _: () = assert!(size_of::<HostPage>() + MAILBOX_BYTES <= HOST_PAGE_BYTES);

/// A register write as a word of [`HostPage::doorbells`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The register's BAR.
    pub bar: u8,
    /// Bytes from its start: less than 16 MiB.
    pub offset: u32,
    /// What is written.
    pub value: u32,
}

impl Doorbell {
    /// Where `bar` begins in the word.
    pub const BAR_SHIFT: u32 = 24;
    /// Where `value` begins in the word.
    pub const VALUE_SHIFT: u32 = 32;

    /// Returns the word; `None` if BAR or offset have no place in it.
    #[inline(always)]
    pub const fn word(bar: u32, offset: u32, value: u32) -> Option<u64> {
        if bar > u8::MAX as u32 || offset as u64 > Self::OFFSETS {
            return None;
        }
        Some((value as u64) << Self::VALUE_SHIFT | (bar as u64) << Self::BAR_SHIFT | offset as u64)
    }

    /// Returns what a word says.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Doorbell {
            bar: (word >> Self::BAR_SHIFT) as u8,
            offset: (word & Self::OFFSETS) as u32,
            value: (word >> Self::VALUE_SHIFT) as u32,
        }
    }

    const OFFSETS: u64 = (1 << Self::BAR_SHIFT) - 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doorbell_survives_being_a_word() {
        let word = 0x89ab_cdef_a512_3458;
        assert_eq!(Doorbell::word(0xa5, 0x12_3458, 0x89ab_cdef), Some(word));
        assert_eq!(Doorbell::from_word(word), Doorbell { bar: 0xa5, offset: 0x12_3458, value: 0x89ab_cdef });
        assert_eq!(Doorbell::word(0, 0x100_0000, 0), None);
        assert_eq!(Doorbell::word(0x100, 0, 0), None);
    }
}
