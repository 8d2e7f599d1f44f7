//! [`Clock`]: what time it is for a nook.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::awake::{self, Ticker};

/// When virtual time begins: not at zero, which some keep as "never yet".
const BEGIN_NS: u64 = 1_000_000_000;

/// A nook's clock. Clones tell the same time, in nanoseconds from a moment in the past.
///
/// Everything of a nook that decides by time asks this and no other clock; what gets a time passed (a device, a
/// backend) gets this one's. So a run on virtual time can be repeated to the byte.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's CLOCK_MONOTONIC, without the time that nobody ran: see [`keep`](Clock::keep).
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
            Clock::Monotonic => awake::now_ns(),
            Clock::Virtual(time) => time.0.load(Ordering::Relaxed),
        }
    }

    /// Makes real time stand still while this process is stopped, as by SIGSTOP, a debugger or a machine that sleeps,
    /// for as long as the answer lives: what happens late then is nobody's fault, and every deadline moves by as much.
    /// That holds for all clocks of the process. To 100 ms of each such time it passes all the same.
    pub fn keep(&self) -> Option<Ticker> {
        (!self.is_virtual()).then(Ticker::start)
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
            Clock::Monotonic => {
                // What passes of it while nobody runs does not count.
                let mut left_ns = left_ns;
                while left_ns > 0 {
                    std::thread::sleep(Duration::from_nanos(left_ns));
                    left_ns = due_ns.saturating_sub(self.now_ns());
                }
            }
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
