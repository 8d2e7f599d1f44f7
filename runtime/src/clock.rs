//! Clocks that are the same for all nooks, beside each nook's own [`Clock`].

use nook_bus::Clock;
use rustix::time::{ClockId, clock_gettime};

/// Returns CLOCK_MONOTONIC in nanoseconds: for waits in real time, such as those of tests.
pub fn now_ns() -> u64 {
    Clock::Monotonic.now_ns()
}

/// Returns the CPU time that the calling thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
