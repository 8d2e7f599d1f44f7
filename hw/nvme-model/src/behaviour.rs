//! How difficult the device is.

/// What the device makes of the freedom that the specification leaves it. Numbers are limits: what happens below them
/// is drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long it leaves work lying before it does the next part of it: taking a command, doing it, completing it. 0
    /// is none: work is done, in order, in the next call of `service`.
    pub late_ns: u64,
    /// How long it takes to become ready, and to be reset. What it does meanwhile may still reach memory.
    pub settle_ns: u64,
    /// Whether it has MSI-X; its line is all that there is otherwise.
    pub messages: bool,
    /// An interrupt without a cause comes in one of this many calls of `service`; 0 is never.
    pub spurious_one_in: u32,
    /// Commands of a million that fail with a status that asks for the command again, some after they were done.
    pub transient_errors_ppm: u32,
    /// One I/O command of this many is never completed, unless it is aborted; 0 is none.
    pub stuck_one_in: u32,
    /// One I/O command of this many makes the controller fail (`CSTS::CFS`) until it is reset; 0 is none.
    pub fatal_one_in: u32,
}

impl Behaviour {
    /// Returns the behaviour of a device that does everything at once and in order, for measurements.
    pub const fn calm() -> Self {
        Behaviour {
            late_ns: 0,
            settle_ns: 0,
            messages: true,
            spurious_one_in: 0,
            transient_errors_ppm: 0,
            stuck_one_in: 0,
            fatal_one_in: 0,
        }
    }

    /// Returns the behaviour of a device that uses what the specification allows it, and completes every command.
    pub const fn adversarial() -> Self {
        Behaviour {
            late_ns: 40_000,
            settle_ns: 2_000_000,
            messages: true,
            spurious_one_in: 200,
            transient_errors_ppm: 500,
            stuck_one_in: 0,
            fatal_one_in: 0,
        }
    }
}
