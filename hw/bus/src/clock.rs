//! [`Clock`]: what time it is for a nook.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When virtual time begins: not at zero, which some keep as "never yet".
const BEGIN_NS: u64 = 1_000_000_000;

/// A nook's clock. Clones tell the same time, in nanoseconds from a moment in the past.
///
/// Everything of a nook that decides by time asks this and no other clock; what gets a time passed (a device, a
/// backend) gets this one's. So a run on virtual time can be repeated to the byte.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's CLOCK_MONOTONIC.
    #[default]
    Monotonic,
    /// Time that passes only by request.
    Virtual(VirtualTime),
}

/// Shared by the clones of a clock.
#[derive(Clone, Debug)]
pub struct VirtualTime(Arc<AtomicU64>);

impl Clock {
    /// Creates a clock that stands still.
    pub fn new_virtual() -> Self {
        Clock::Virtual(VirtualTime(Arc::new(AtomicU64::new(BEGIN_NS))))
    }

    /// Returns the time.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match self {
            Clock::Monotonic => monotonic_ns(),
            Clock::Virtual(time) => time.0.load(Ordering::Relaxed),
        }
    }

    /// Returns whether time is virtual.
    #[inline]
    pub fn is_virtual(&self) -> bool {
        matches!(self, Clock::Virtual(_))
    }

    /// Charges for work that is taken to last `ns`. Real time has passed meanwhile, virtual time does now.
    #[inline]
    pub fn charge(&self, ns: u64) {
        if let Clock::Virtual(time) = self {
            // One thread moves a nook's time.
            time.0.store(time.0.load(Ordering::Relaxed).saturating_add(ns), Ordering::Relaxed);
        }
    }

    /// Returns when it is `due_ns`: asleep until then, or at once and virtual time has jumped.
    pub fn sleep_until(&self, due_ns: u64) {
        let left_ns = due_ns.saturating_sub(self.now_ns());
        match self {
            Clock::Monotonic => std::thread::sleep(Duration::from_nanos(left_ns)),
            Clock::Virtual(_) => self.charge(left_ns),
        }
    }

    /// Waits awake, for waits that a sleep would be too coarse for.
    pub fn spin_until(&self, due_ns: u64) {
        if self.is_virtual() {
            return self.sleep_until(due_ns);
        }
        while self.now_ns() < due_ns {
            std::hint::spin_loop();
        }
    }
}

fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_passes_by_request_and_for_all_clones() {
        let clock = Clock::new_virtual();
        let other = clock.clone();
        let begin = clock.now_ns();
        assert_eq!(other.now_ns(), begin);
        other.charge(5);
        clock.sleep_until(begin + 1_000_000_000_000);
        clock.spin_until(begin);
        assert_eq!(other.now_ns(), begin + 1_000_000_000_000);
    }

    #[test]
    fn real_time_passes_by_itself_and_only_forwards() {
        let clock = Clock::Monotonic;
        let begin = clock.now_ns();
        clock.charge(1 << 60);
        clock.sleep_until(begin + 2_000_000);
        let slept = clock.now_ns();
        clock.spin_until(slept + 10_000);
        assert!(slept >= begin + 2_000_000 && clock.now_ns() >= slept + 10_000);
        assert!(clock.now_ns() < begin + (1 << 60));
    }
}
