//! A disk (5.2).

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

use crate::{BAR, BAR_BYTES, VENDOR, common};

/// Device id of one that is of this standard alone (4.1.2).
pub const DEVICE: u16 = 0x1042;
/// Of one that can also be driven as an older one.
pub const DEVICE_TRANSITIONAL: u16 = 0x1001;
/// Bytes of a sector: what requests count in, whatever a block is (5.2.6).
pub const SECTOR_BYTES: u32 = 512;

/// Feature bits (5.2.3).
pub mod feature {
    /// SIZE_MAX holds.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// It is read only.
    pub const RO: u64 = 1 << 5;
    /// BLK_SIZE holds.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// It has a cache, which a flush makes durable.
    pub const FLUSH: u64 = 1 << 9;
    /// It takes discards.
    pub const DISCARD: u64 = 1 << 13;
    /// It takes zeroes.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Types of requests (5.2.6).
pub mod request {
    /// Reads.
    pub const IN: u32 = 0;
    /// Writes.
    pub const OUT: u32 = 1;
    /// Makes durable what was written.
    pub const FLUSH: u32 = 4;
    /// Asks for the serial number, of [`ID_BYTES`].
    pub const GET_ID: u32 = 8;
    /// Discards.
    pub const DISCARD: u32 = 11;
    /// Writes zeroes.
    pub const WRITE_ZEROES: u32 = 13;
    /// Bytes of the header: type, nothing, and the first sector.
    pub const HEADER_BYTES: u32 = 16;
    /// Bytes of the segment of a discard or of zeroes: the first sector, how many, and flags.
    pub const SEGMENT_BYTES: u32 = 16;
    /// Bytes of a serial number.
    pub const ID_BYTES: u32 = 20;
    /// The status of a request that was done.
    pub const OK: u8 = 0;
}

nook_regs::registers! {
    /// What a disk has besides.
    static OWN = "virtio: blk", bar 4, 0x4000 bytes;

    /// Sectors, low half.
    CAPACITY_LOW: u32 at 0x2000, Ro, "5.2.4, capacity";
    /// The same, high half.
    CAPACITY_HIGH: u32 at 0x2004, Ro, "5.2.4, capacity";
    /// The most bytes of a buffer.
    SIZE_MAX: u32 at 0x2008, Ro, "5.2.4, size_max";
    /// The most buffers of a request.
    SEG_MAX: u32 at 0x200c, Ro, "5.2.4, seg_max";
    /// Bytes of a block: requests are whole blocks.
    BLK_SIZE: u32 at 0x2014, Ro, "5.2.4, blk_size";
    /// The most sectors of a discard.
    MAX_DISCARD_SECTORS: u32 at 0x2024, Ro, "5.2.4, max_discard_sectors";
    /// The most segments of one.
    MAX_DISCARD_SEG: u32 at 0x2028, Ro, "5.2.4, max_discard_seg";
    /// What its segments should be multiples of, in sectors.
    DISCARD_SECTOR_ALIGNMENT: u32 at 0x202c, Ro, "5.2.4, discard_sector_alignment";
    /// The most sectors of zeroes.
    MAX_WRITE_ZEROES_SECTORS: u32 at 0x2030, Ro, "5.2.4, max_write_zeroes_sectors";
    /// The most segments of them.
    MAX_WRITE_ZEROES_SEG: u32 at 0x2034, Ro, "5.2.4, max_write_zeroes_seg";
}

const COUNT: usize = common::COUNT + OWN.registers().len();
static REGISTERS: [RegisterInfo; COUNT] = RegisterMap::joined([&common::COMMON, &OWN]);

/// Every register that the driver of a disk, a tracer or a report may meet.
pub static MAP: RegisterMap = RegisterMap::checked("virtio-blk", &[Bar::memory(BAR, BAR_BYTES)], &REGISTERS)
    .for_devices(&[PciId { vendor: VENDOR, device: DEVICE }, PciId { vendor: VENDOR, device: DEVICE_TRANSITIONAL }]);
