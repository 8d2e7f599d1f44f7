//! The CPU's time stamp counter, which is read in a few nanoseconds, and in whose units the literature counts.
#![expect(unsafe_code, reason = "the time stamp counter is an instruction")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Returns the counter. It counts on while this thread does not run.
#[inline(always)]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, and it has no effect but its result.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    nook_runtime::now_ns()
}

/// Returns how often it counts in a nanosecond.
pub fn per_ns() -> f64 {
    static RATE: LazyLock<f64> = LazyLock::new(|| {
        let (begin, ticks) = (Instant::now(), now());
        std::thread::sleep(Duration::from_millis(50));
        (now() - ticks) as f64 / begin.elapsed().as_nanos() as f64
    });
    *RATE
}
