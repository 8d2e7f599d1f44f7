//! Until when QEMU is waited for: time in which nobody ran this process does not count.

use std::time::Duration;

use nook_bus::Clock;

/// Another process works in real time, whatever a nook's clock says.
const REAL: Clock = Clock::Monotonic;

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at_ns: u64,
}

impl Deadline {
    /// Returns the one at the end of `limit`, from now.
    pub(crate) fn after(limit: Duration) -> Self {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Deadline { at_ns: REAL.now_ns().saturating_add(limit_ns) }
    }

    /// Returns the time that is left, as long as there is some: a millisecond at least, which is what `poll` can wait.
    pub(crate) fn left(self) -> Option<Duration> {
        let left_ns = self.at_ns.checked_sub(REAL.now_ns()).filter(|&left_ns| left_ns > 0)?;
        Some(Duration::from_nanos(left_ns).max(Duration::from_millis(1)))
    }
}
