//! What is counted about a disk.

crate::counters::counters! {
    /// Counts since the nook was made; they survive the driver's restarts.
    pub struct BlockCounters {
        /// Reads that were done.
        pub reads: u64,
        /// Bytes in them.
        pub read_bytes: u64,
        /// Writes that were done.
        pub writes: u64,
        /// Bytes in them.
        pub written_bytes: u64,
        /// Flushes that were done.
        pub flushes: u64,
        /// Discards that were done.
        pub discards: u64,
        /// Zeroes that were done.
        pub zeroes: u64,
        /// Requests that were answered with an error, those below included.
        pub errors: u64,
        /// Requests that the device failed at.
        pub device_errors: u64,
        /// Requests that were answered with an error because drivers ended at them.
        pub poison: u64,
        /// Reads that were answered with an error because they were not what was written (`block.verify`).
        pub differing: u64,
        /// Requests that were answered with an error because there was no driver any more, or none may do them again.
        pub abandoned: u64,
        /// Requests outside the disk, or that it does not take: they never reached the driver.
        pub refused: u64,
        /// Requests that were given to a driver again, because the one before ended.
        pub given_again: u64,
        /// Times that a driver ended, or a call of it was rolled back, while it had requests.
        pub faults_at_work: u64,
        /// Blocks that were read and compared with what was written (`block.verify`).
        pub compared_blocks: u64,
        /// Sums of blocks that were written and that are not known any more, because there was no room.
        pub sums_given_up: u64,
    }
}
