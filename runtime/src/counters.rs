//! What is counted about a nook, whatever it drives.

/// Counts since the nook was made; they survive the driver's restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Register reads, configuration space included.
    pub reg_reads: u64,
    /// Register writes.
    pub reg_writes: u64,
    /// Calls from the driver to the host, of every kind.
    pub hostcalls: u64,
    /// Calls from the host into the driver.
    pub entries: u64,
    /// Of those, calls of `poll`.
    pub polls: u64,
    /// Interrupts delivered.
    pub irqs: u64,
    /// Interrupts that the driver said were not its device's.
    pub irqs_not_mine: u64,
    /// Calls that were transactions and were committed.
    pub transactions: u64,
    /// Of those, calls that could have been rolled back until then.
    pub rollback_possible: u64,
    /// Snapshots that were taken.
    pub snapshots: u64,
    /// Times the driver was restored from a snapshot.
    pub snapshot_restores: u64,
    /// Calls that faulted and were rolled back.
    pub rollbacks: u64,
    /// Times the driver was started.
    pub starts: u64,
    /// Times an instance ended, in whatever way: each that was started ends once.
    pub ends: u64,
    /// Nanoseconds that a driver was made to rest that makes long calls, or asks for calls in which nothing happens.
    pub throttled_ns: u64,
}

impl Counters {
    /// Times the boundary was crossed, either way.
    pub fn crossings(&self) -> u64 {
        self.hostcalls + self.entries
    }
}
