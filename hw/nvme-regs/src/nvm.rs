//! I/O commands of the NVM command set.

use nook_regs::Field;

/// Makes what was written before durable (NVM 3.2, base section 7.1).
pub const FLUSH: u8 = 0x00;
/// Writes (NVM 3.2.6).
pub const WRITE: u8 = 0x01;
/// Reads (NVM 3.2.4).
pub const READ: u8 = 0x02;
/// Makes blocks read as zero (NVM 3.2.8).
pub const WRITE_ZEROES: u8 = 0x08;
/// Says what ranges are for: whether they are still needed (NVM 3.2.3).
pub const DATASET_MANAGEMENT: u8 = 0x09;

/// Dword 12: blocks, less one.
pub const BLOCKS: Field = Field::new(0, 16);
/// Dword 12, write zeroes: deallocates, if what reads as zero afterwards.
pub const DEALLOCATE: u32 = 1 << 25;
/// Dword 12: durable before it is complete.
pub const FUA: u32 = 1 << 30;
/// Blocks of one command at most.
pub const MAX_BLOCKS: u32 = 1 << 16;

/// Dataset management, dword 10: ranges, less one.
pub const RANGES: Field = Field::new(0, 8);
/// Dataset management, dword 11: the ranges' content is not needed any more.
pub const DISCARD: u32 = 1 << 2;
/// Bytes of a range: attributes (4), blocks (4), first block (8).
pub const RANGE_BYTES: usize = 16;

/// Returns a range of dataset management, in words.
pub const fn range(first_block: u64, blocks: u32) -> [u32; 4] {
    [0, blocks, first_block as u32, (first_block >> 32) as u32]
}
