//! Rings between host and driver: a header and entries of one size, which a class defines.

/// Entries of a ring; the largest batch of one `poll`. A power of two.
pub const QUEUE_CAPACITY: u32 = 256;

/// The start of a ring; [`QUEUE_CAPACITY`] entries follow. Counters run free and are taken modulo the capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct RingHeader {
    /// Entries ever put in.
    pub produced: u32,
    /// Entries ever taken out.
    pub consumed: u32,
}

/// Returns the length in bytes of a ring whose entries have `entry_bytes`, with its header.
pub const fn ring_bytes(entry_bytes: usize) -> usize {
    size_of::<RingHeader>() + QUEUE_CAPACITY as usize * entry_bytes
}

const _: () = assert!(QUEUE_CAPACITY.is_power_of_two());
