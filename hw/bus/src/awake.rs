//! Time in which this process runs: CLOCK_MONOTONIC, without what passed while nobody ran it.
//!
//! A process that was stopped (SIGSTOP, a debugger), or whose machine slept or stood still, finds that seconds have
//! passed in which none of its threads could do anything. Whatever is to be done by a certain time would be late then,
//! through nobody's fault. So this clock stands still meanwhile. A thread looks at it every [`LOOK`], and so does each
//! reader; if nobody has looked for longer than [`MOST_NS`], nobody ran, and what is beyond that is taken off for good.
//! The first reader afterwards does that, so none sees the leap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the clock's thread looks.
const LOOK: Duration = Duration::from_millis(20);
/// The most time that can be between two looks; the rest of it is nobody's. Several looks may come late on a busy
/// machine without the clock noticing.
const MOST_NS: u64 = 100_000_000;
/// Readers note that they have looked when the last look is this long ago.
const NOTE_NS: u64 = 1_000_000;
/// In place of the last look: no thread looks, and time passes as it does for the machine.
const NOBODY: u64 = u64::MAX;

/// A clock that somebody looks at.
struct Awake {
    /// The machine's time at the last look, or [`NOBODY`].
    looked_ns: AtomicU64,
    /// Time that was taken off.
    lost_ns: AtomicU64,
    /// The number of [`Ticker`]s, and whether the thread is there. Locked also by who takes time off.
    state: Mutex<(u32, bool)>,
}

static AWAKE: Awake =
    Awake { looked_ns: AtomicU64::new(NOBODY), lost_ns: AtomicU64::new(0), state: Mutex::new((0, false)) };

impl Awake {
    fn lock(&self) -> MutexGuard<'_, (u32, bool)> {
        // Both are right between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time; `machine` reads the machine's.
    #[inline]
    fn now_ns(&self, machine: impl Fn() -> u64) -> u64 {
        let lost_ns = self.lost_ns.load(Ordering::Acquire);
        let now = machine();
        let since_ns = now.saturating_sub(self.looked_ns.load(Ordering::Acquire));
        // Time is taken off before the look is noted: who sees that look sees a different amount here.
        if since_ns > MOST_NS || self.lost_ns.load(Ordering::Relaxed) != lost_ns {
            return self.take_off(machine);
        }
        if since_ns > NOTE_NS {
            // A reader that was held up since it read the time notes it late: the latest look stays.
            self.looked_ns.fetch_max(now, Ordering::Release);
        }
        now - lost_ns
    }

    /// Takes off what nobody ran, if nobody has yet, and returns the time.
    #[cold]
    fn take_off(&self, machine: impl Fn() -> u64) -> u64 {
        let _one_at_a_time = self.lock();
        let now = machine();
        let since_ns = now.saturating_sub(self.looked_ns.load(Ordering::Acquire));
        let lost_ns = self.lost_ns.load(Ordering::Relaxed) + since_ns.saturating_sub(MOST_NS);
        self.lost_ns.store(lost_ns, Ordering::Release);
        self.looked_ns.fetch_max(now, Ordering::Release);
        now - lost_ns
    }
}

/// Returns the time in nanoseconds.
#[inline]
pub(crate) fn now_ns() -> u64 {
    AWAKE.now_ns(machine_ns)
}

fn machine_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// While one exists, time that nobody ran does not pass.
#[derive(Debug)]
pub struct Ticker(());

impl Ticker {
    /// Starts the clock's thread, which all of them share and which ends some time after the last one. Without it time
    /// passes as it does for the machine.
    pub(crate) fn start() -> Self {
        let mut state = AWAKE.lock();
        state.0 += 1;
        if !state.1 {
            match std::thread::Builder::new().name("nook-awake".into()).spawn(tick) {
                Ok(_) => {
                    AWAKE.looked_ns.store(machine_ns(), Ordering::Release);
                    state.1 = true;
                }
                Err(error) => tracing::warn!(
                    "cannot start the clock's thread ({error}): if this process is stopped, its drivers are charged \
                     for that time"
                ),
            }
        }
        Ticker(())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        AWAKE.lock().0 -= 1;
    }
}

/// Looks at the clock as long as there is a [`Ticker`].
fn tick() {
    loop {
        {
            let mut state = AWAKE.lock();
            if state.0 == 0 {
                state.1 = false;
                return AWAKE.looked_ns.store(NOBODY, Ordering::Release);
            }
        }
        now_ns();
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn awake(looked_ns: u64) -> Awake {
        Awake { looked_ns: AtomicU64::new(looked_ns), lost_ns: AtomicU64::new(0), state: Mutex::new((1, true)) }
    }

    #[test]
    fn time_that_nobody_ran_is_taken_off_once() {
        let clock = awake(SECOND);
        let at = |machine| clock.now_ns(|| machine);
        assert_eq!(at(SECOND + MOST_NS), SECOND + MOST_NS, "late, and no more than that");
        let stopped = SECOND + MOST_NS;
        let begin = stopped + 13 * SECOND;
        assert_eq!(at(begin), stopped + MOST_NS);
        assert_eq!(at(begin + 5), stopped + MOST_NS + 5);
        assert_eq!(at(begin + 60 * SECOND), stopped + 2 * MOST_NS, "again");
    }

    #[test]
    fn without_a_thread_that_looks_no_time_is_taken_off() {
        let clock = awake(NOBODY);
        assert_eq!(clock.now_ns(|| SECOND), SECOND);
        assert_eq!(clock.now_ns(|| 100 * SECOND), 100 * SECOND);
    }

    #[test]
    fn no_reader_sees_the_leap_and_for_none_time_runs_backwards() {
        let clock = awake(SECOND);
        let machine = AtomicU64::new(SECOND);
        // Each leap is nobody's; what passes besides is what the readers add.
        let leaps = 200;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = 0;
                    while machine.load(Ordering::Relaxed) < SECOND + leaps * 13 * SECOND {
                        let now = clock.now_ns(|| machine.fetch_add(1, Ordering::Relaxed));
                        assert!(now >= last, "{last} {now}");
                        last = now;
                    }
                });
            }
            for _ in 0..leaps {
                machine.fetch_add(13 * SECOND, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let passed = clock.now_ns(|| machine.load(Ordering::Relaxed)) - SECOND;
        assert!(passed <= leaps * 2 * MOST_NS, "{passed}");
    }

    #[test]
    fn the_clock_runs_with_and_without_its_thread() {
        let begin = now_ns();
        let ticker = Ticker::start();
        let other = Ticker::start();
        drop(ticker);
        let with = now_ns();
        std::thread::sleep(Duration::from_millis(50));
        assert!(with >= begin && now_ns() >= with + 50_000_000);
        drop(other);
        std::thread::sleep(Duration::from_millis(50));
        assert!(now_ns() >= with + 100_000_000);
    }
}
