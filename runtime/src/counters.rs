//! What is counted about a nook, whatever it drives; and how counters are declared.

/// Counters that tell their names.
pub trait Named {
    /// Returns every counter by its name, in the order of the declaration.
    fn named(&self) -> Vec<(&'static str, u64)>;
}

/// Declares counters: a struct of `u64`s whose names come from the declaration, so that no report has a separate list
/// that could miss one.
macro_rules! counters {
    ($(#[$meta:meta])* pub struct $struct:ident { $($(#[$doc:meta])* pub $name:ident: u64,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $struct { $($(#[$doc])* pub $name: u64,)* }

        impl $crate::Named for $struct {
            fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

pub(crate) use counters;

counters! {
    /// Counts since the nook was made; they survive the driver's restarts.
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
        /// Times the driver was started.
        pub starts: u64,
        /// Times an instance ended, in whatever way: each that was started ends once.
        pub ends: u64,
        /// Nanoseconds that a driver was made to rest that makes long calls, or asks for calls in which nothing
        /// happens.
        pub throttled_ns: u64,
    }
}

impl Counters {
    /// Times the boundary was crossed, either way.
    pub fn crossings(&self) -> u64 {
        self.hostcalls + self.entries
    }
}
