//! [`Nook`]: the host as a driver sees it.

use core::fmt;
use core::panic::Location;
use core::sync::atomic::{Ordering, fence};

use nook_abi::Status;

use crate::kernel::Calls;
use crate::log::Line;
use crate::raw::Page;
use crate::{DmaBytes, DmaRegion, Kernel, LogLevel, Regs};

/// The host around a driver: a small handle that can be copied and kept.
///
/// ```
/// use nook_sdk::{DmaRegion, Kernel, Nook, Status, info};
///
/// /// Asks for what every driver needs, in `probe` or `open`.
/// fn begin<K: Kernel>(nook: Nook<K>) -> Result<DmaRegion<K>, Status> {
///     let memory = nook.dma_alloc(4096, 4096)?;
///     nook.dma_enable()?;
///     nook.irq_enable(0)?;
///     // `timer` is called in a second, `poll` soon.
///     nook.timer_set(nook.now_ns() + 1_000_000_000);
///     nook.poll_schedule(0);
///     info!(nook, "the device finds its memory at {:#x}", memory.iova());
///     Ok(memory)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Nook<K> {
    calls: Calls<K>,
    page: Page,
}

/// Converts `0` or a negative [`Status`], as the table returns them.
pub(crate) fn status(code: i32) -> Result<(), Status> {
    match code {
        0.. => Ok(()),
        // A status of a later ABI version: it failed, that much is known.
        _ => Err(Status::from_code(code).unwrap_or(Status::DeviceFailed)),
    }
}

/// Wraps hostcalls that take and return plain numbers, under their own names.
macro_rules! plain {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) $(-> $result:ty)?;)*) => { $(
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name(&self, $($arg: $ty),*) $(-> $result)? {
            self.calls.$name($($arg),*)
        }
    )* };
}

/// Wraps hostcalls that return a status.
macro_rules! fallible {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*);)*) => { $(
        $(#[$doc])*
        $vis fn $name(&self, $($arg: $ty),*) -> Result<(), Status> {
            status(self.calls.$name($($arg),*))
        }
    )* };
}

impl<K: Kernel> Nook<K> {
    pub(crate) fn new(calls: Calls<K>, page: Page) -> Self {
        Nook { calls, page }
    }

    /// Returns the host page.
    pub(crate) fn page(&self) -> Page {
        self.page
    }

    /// Returns the registers in `bar`.
    pub fn regs(&self, bar: u32) -> Regs<K> {
        Regs::new(*self, bar)
    }

    /// Returns the monotonic clock shortly before this call into the driver, in nanoseconds. Free; see
    /// [`Nook::clock_ns`].
    pub fn now_ns(&self) -> u64 {
        self.page.now_ns()
    }

    plain! {
        /// Reads 8 bits of configuration space.
        pub fn config_read8(offset: u32) -> u32;
        /// Reads 16 bits of configuration space; `offset` is even.
        pub fn config_read16(offset: u32) -> u32;
        /// Reads 32 bits of configuration space; `offset` is a multiple of 4.
        pub fn config_read32(offset: u32) -> u32;
        pub(crate) fn mmio_read8(bar: u32, offset: u32) -> u32;
        pub(crate) fn mmio_read16(bar: u32, offset: u32) -> u32;
        pub(crate) fn mmio_read32(bar: u32, offset: u32) -> u32;
        pub(crate) fn mmio_read64(bar: u32, offset: u32) -> u64;
        pub(crate) fn mmio_write8(bar: u32, offset: u32, value: u32);
        pub(crate) fn mmio_write16(bar: u32, offset: u32, value: u32);
        pub(crate) fn mmio_write32(bar: u32, offset: u32, value: u32);
        pub(crate) fn mmio_write64(bar: u32, offset: u32, value: u64);
        pub(crate) fn mmio_flush();
        pub(crate) fn dma_free(region: u32);
        /// Returns the monotonic clock, now, in nanoseconds.
        pub fn clock_ns() -> u64;
        /// Waits without sleeping, at least `ns` nanoseconds, at most 10 ms.
        pub fn delay_ns(ns: u32);
        /// Sleeps at least `ns` nanoseconds, at most 1 s. Process context only.
        pub fn sleep_ns(ns: u64);
        /// Asks for one call of `timer` at `due_ns` of the monotonic clock; replaces an earlier wish, 0 cancels it.
        pub fn timer_set(due_ns: u64);
        /// Asks for one call of `work`, in process context.
        pub fn work_schedule();
        /// Asks for a call of `poll`, as `irq` does with its result.
        pub fn poll_schedule(queue: u32);
    }

    fallible! {
        /// Stops all DMA of the device. Process context only.
        pub fn dma_disable();
        /// Starts delivery of interrupt `vector` to `irq`. Process context only.
        pub fn irq_enable(vector: u32);
        /// Ends delivery of interrupt `vector`. Process context only.
        pub fn irq_disable(vector: u32);
    }

    /// Lets the device start DMA; it sees all that was written to the window before. Process context only.
    ///
    /// The fence in it is also how the host knows that a module was compiled with the feature `atomics`: without that
    /// the compiler leaves it out, and the host refuses the module.
    pub fn dma_enable(&self) -> Result<(), Status> {
        fence(Ordering::SeqCst);
        status(self.calls.dma_enable())
    }

    /// Sends a message to the host's log; see [`error!`](crate::error) and its siblings.
    pub fn log(&self, level: LogLevel, text: fmt::Arguments<'_>) {
        log(self.calls, level, text);
    }

    /// Waits until `done`, looking every `interval_ns` and sleeping in between, or gives [`Status::Timeout`] after
    /// `timeout_ns`. On a busy machine sleeps last longer than asked: it looks as often as fits into the time, or
    /// sixteen times, before it gives up, so that a late wake-up is not an error. Process context only.
    pub fn poll_until(&self, timeout_ns: u64, interval_ns: u64, mut done: impl FnMut() -> bool) -> Result<(), Status> {
        let end = self.clock_ns().saturating_add(timeout_ns);
        let fewest_looks = 1 + (timeout_ns / interval_ns.max(1)).min(15);
        let mut looks = 0;
        loop {
            let late = self.clock_ns() >= end;
            if done() {
                return Ok(());
            }
            looks += 1;
            if late && looks >= fewest_looks {
                return Err(Status::Timeout);
            }
            self.sleep_ns(interval_ns);
        }
    }

    /// Allocates zeroed DMA memory, aligned to `align_bytes` (a power of two, at most 4096). Process context only.
    pub fn dma_alloc(&self, len_bytes: u32, align_bytes: u32) -> Result<DmaRegion<K>, Status> {
        let answer = self.calls.dma_alloc(len_bytes, align_bytes);
        if answer < 0 {
            return Err(i32::try_from(answer).ok().and_then(Status::from_code).unwrap_or(Status::NoMemory));
        }
        let (handle, offset) = ((answer >> 32) as u32, answer as u32);
        let (span, iova) = self.page.window(offset, len_bytes)?;
        Ok(DmaRegion::new(*self, handle, iova, span))
    }

    /// Returns all of the window, and where the device sees it: for code of others that goes by addresses, and asks
    /// where a device finds one. `Invalid` if it has more than 4 GiB.
    pub fn window(&self) -> Result<(DmaBytes<'_>, u64), Status> {
        let len_bytes = u32::try_from(self.page.get().window_len_bytes).map_err(|_| Status::Invalid)?;
        let (span, iova) = self.page.window(0, len_bytes)?;
        Ok((DmaBytes::new(span), iova))
    }

    /// Returns what answers the nook's hostcalls.
    #[inline(always)]
    pub(crate) fn calls(&self) -> Calls<K> {
        self.calls
    }

    /// Leaves words of the class where the host reads them after the `stats` entry.
    pub(crate) fn post(&self, from: usize, words: &[u64]) {
        self.page.change(|page| {
            page.class[from..].iter_mut().zip(words).for_each(|(word, value)| *word = *value);
            page.stats_written = page.stats_written.wrapping_add(1);
        });
    }
}

/// Says where and why a driver panicked: the same in each of its builds.
pub(crate) fn say_panic<K: Kernel>(calls: Calls<K>, at: Option<&Location<'_>>, message: impl fmt::Display) {
    match at {
        Some(at) => {
            let (file, line) = (at.file(), at.line());
            log(calls, LogLevel::Error, format_args!("panic at {file}:{line}: {message}"));
        }
        None => log(calls, LogLevel::Error, format_args!("panic: {message}")),
    }
}

/// Logs without a nook, as the panic handler must; see [`Nook::log`].
fn log<K: Kernel>(calls: Calls<K>, level: LogLevel, text: fmt::Arguments<'_>) {
    calls.log(level as u32, Line::format(text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;

    #[test]
    fn who_is_woken_late_looks_as_often_as_fits_into_the_time_before_giving_up() {
        let host = TestHost::new();
        let nook = host.nook();
        for (needed, outcome) in [(6, Ok(())), (7, Err(Status::Timeout))] {
            let mut looks = 0;
            let found = nook.poll_until(5_000_000, 1_000_000, || {
                looks += 1;
                nook.sleep_ns(100_000_000);
                looks == needed
            });
            assert_eq!((found, looks), (outcome, 6));
        }
    }

    #[test]
    fn memory_that_does_not_lie_in_the_window_is_not_given_to_a_driver() {
        let host = TestHost::new();
        let len_bytes = host.page_now().window_len_bytes as u32;
        for (offset, wanted) in [(len_bytes, 1), (len_bytes - 63, 64), (u32::MAX, 64), (0, len_bytes + 1)] {
            host.answer("dma_alloc", 1 << 32 | u64::from(offset));
            assert_eq!(host.nook().dma_alloc(wanted, 64).err(), Some(Status::Invalid), "{wanted} at {offset}");
        }
        host.answer("dma_alloc", 1 << 32 | u64::from(len_bytes - 64));
        assert_eq!(host.nook().dma_alloc(64, 64).map(|region| region.len_bytes()), Ok(64));
    }
}
