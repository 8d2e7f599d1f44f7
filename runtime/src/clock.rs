//! Clocks that are the same for all nooks, beside each nook's own [`Clock`].

use nook_bus::Clock;

/// CLOCK_MONOTONIC in nanoseconds: for those who wait in real time, such as tests.
pub fn now_ns() -> u64 {
    Clock::Monotonic.now_ns()
}

/// CPU time that the calling thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a timespec that we own; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
