//! Clocks that are the same for all nooks, beside each nook's own [`Clock`].

use std::cell::Cell;

use nook_bus::Clock;
use rustix::time::{ClockId, clock_gettime};

use crate::watch::Thread;

/// Returns the real time in nanoseconds, as [`Clock::Monotonic`] has it: for waits such as those of tests.
pub fn now_ns() -> u64 {
    Clock::Monotonic.now_ns()
}

/// Returns the CPU time that the calling thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A thread of this process, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadId(pub(crate) u32);

impl ThreadId {
    /// Returns the calling thread's, at the price of a load but for the first time.
    #[inline]
    pub(crate) fn current() -> Self {
        thread_local!(static THREAD: Cell<u32> = const { Cell::new(0) });
        match THREAD.get() {
            0 => {
                #[expect(unsafe_code, reason = "a feature of rustix that nothing else needs")]
                // SAFETY: it takes nothing, changes nothing and cannot fail.
                let id = unsafe { libc::gettid() }.cast_unsigned();
                THREAD.set(id);
                ThreadId(id)
            }
            id => ThreadId(id),
        }
    }
}

impl Thread for ThreadId {
    fn cpu_ns(&self) -> Option<u64> {
        // CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED (Linux, include/linux/posix-timers.h); pthread_getcpuclockid gives the
        // same, but needs a handle of the thread that no dead thread has.
        let clock = (!self.0.cast_signed()) << 3 | 6;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        #[expect(unsafe_code, reason = "a clock that rustix has no name for")]
        // SAFETY: it writes to `time` only, which is there; of a thread that has ended it answers with an error.
        let answer = unsafe { libc::clock_gettime(clock, &mut time) };
        (answer == 0).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    fn waited_ns(&self) -> u64 {
        waited_ns(&format!("/proc/self/task/{}/schedstat", self.0))
    }
}

/// Returns for how long the calling thread has ever waited for a processor, in nanoseconds, by the second number of
/// /proc/thread-self/schedstat (Linux, Documentation/scheduler/sched-stats.rst); 0 where that is not to be had. It
/// costs a few system calls.
pub(crate) fn thread_waited_ns() -> u64 {
    waited_ns("/proc/thread-self/schedstat")
}

fn waited_ns(path: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
