//! Clocks that are the same for all nooks, beside each nook's own [`Clock`].

use nook_bus::Clock;
use rustix::time::{ClockId, clock_gettime};

/// Returns the real time in nanoseconds, as [`Clock::Monotonic`] has it: for waits such as those of tests.
pub fn now_ns() -> u64 {
    Clock::Monotonic.now_ns()
}

/// Returns the CPU time that the calling thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Returns for how long the calling thread has ever waited for a processor, in nanoseconds, by the second number of
/// /proc/thread-self/schedstat (Linux, Documentation/scheduler/sched-stats.rst); 0 where that is not to be had. It
/// costs a few system calls.
pub(crate) fn thread_waited_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
