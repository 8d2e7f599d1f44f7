//! Taking a driver's device away from it, at any moment.
#![expect(unsafe_code, reason = "pages are replaced where a driver has its device's window")]

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_abi::Fault;
use nook_bus::{BarMemory, DmaWindow, PciDevice};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::Host;

/// Takes a driver's device away from it, from any thread and whatever the driver does meanwhile.
///
/// Where a wasm driver had its window it has private pages of zeros from then on, and ones where it had a BAR. They are
/// there in one step: loads and stores, bulk instructions and the host's own copies go on and reach nobody. (Pages
/// without access would end the process under the last two: only a load or store of compiled code can trap.) The call
/// that runs ends with [`Fault::Revoked`] at its next hostcall or tick of the clock, and so does every later one.
///
/// DMA and interrupts end where they always do, on the nook's own thread, when the nook is shut or restarted. It cannot
/// be started again. A driver in a separate process ends with that. A native driver's memory is this process's: its
/// calls end when they return, and nothing is put in the window's place.
#[derive(Clone, Debug, Default)]
pub struct Revoker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    revoked: AtomicBool,
    lent: Mutex<Lent>,
}

/// Addresses at which drivers of this nook have something of their device.
#[derive(Debug, Default)]
struct Lent {
    windows: Vec<Range<usize>>,
    bar: Option<Arc<dyn BarMemory>>,
}

impl Revoker {
    /// Takes it away. When this returns, nothing that the driver stores reaches the device's window or its registers,
    /// but for one hostcall that may be under way.
    pub fn revoke(&self) {
        let lent = self.lent();
        self.shared.revoked.store(true, Ordering::SeqCst);
        lent.windows.iter().for_each(replace);
        lent.bar.iter().for_each(|bar| bar.revoke());
    }

    #[inline]
    fn is_revoked(&self) -> bool {
        self.shared.revoked.load(Ordering::Relaxed)
    }

    /// Returns whether nothing that the driver does reaches its device any more: it was taken away, or it went while
    /// the driver had its BAR as memory.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_revoked() || self.lent().bar.as_ref().is_some_and(|bar| bar.lost())
    }

    fn lent(&self) -> MutexGuard<'_, Lent> {
        self.shared.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A window that is about to be mapped in a driver's memory.
pub(crate) struct Lend {
    pub(crate) window: DmaWindow,
    /// Where it begins in the driver's memory.
    pub(crate) at: u64,
    revoker: Revoker,
}

impl Lend {
    /// Notes that it is mapped.
    ///
    /// # Safety
    /// The range stays mapped, readable and writable and the driver's alone until the result is dropped, and no Rust
    /// reference leads into it.
    pub(crate) unsafe fn mapped(&self, base: *mut u8) -> LentWindow {
        let start = base.addr();
        let range = start..start + self.window.len_bytes() as usize;
        let mut lent = self.revoker.lent();
        if self.revoker.is_revoked() {
            replace(&range);
        }
        lent.windows.push(range);
        LentWindow { start, revoker: self.revoker.clone() }
    }
}

/// A window that is mapped in a driver's memory; dropped before it is unmapped.
pub(crate) struct LentWindow {
    start: usize,
    revoker: Revoker,
}

impl Drop for LentWindow {
    fn drop(&mut self) {
        self.revoker.lent().windows.retain(|window| window.start != self.start);
    }
}

/// Puts private zeros where a window is mapped.
fn replace(window: &Range<usize>) {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the range is a driver's window, and stays so while `Lent` is locked; it is used through volatile accesses
    // and by compiled wasm only. The kernel lets nobody see it between the old pages and the new.
    let mapped = unsafe { mmap_anonymous(window.start as *mut c_void, window.len(), access, flags) };
    if let Err(error) = mapped {
        tracing::error!("a window could not be taken away: {error}");
    }
}

impl Host {
    /// Returns what takes this nook's device away from its driver.
    pub fn revoker(&self) -> Revoker {
        self.device.revoker.clone()
    }

    /// Lends the window, to be mapped at byte offset `at` of a driver's memory.
    pub(crate) fn lend_window(&self, at: u64) -> Lend {
        Lend { window: self.window().clone(), at, revoker: self.revoker() }
    }

    /// Lends a BAR as memory for the next instance.
    ///
    /// # Errors
    /// If this device's cannot be mapped; the emulated way works for every device.
    pub(crate) fn lend_bar(&mut self, bar: u8, reserve_bytes: usize) -> wasmtime::Result<Arc<dyn BarMemory>> {
        let memory = self.device.device.bar_map(bar, reserve_bytes).map_err(|error| {
            wasmtime::format_err!("{error}; without direct registers (--mmio emulated) this device can be driven")
        })?;
        self.device.bar = Some(memory.clone());
        let mut lent = self.device.revoker.lent();
        if self.device.revoker.is_revoked() {
            memory.revoke();
        }
        lent.bar = Some(memory.clone());
        Ok(memory)
    }

    /// Withdraws the BAR: no instance has one any more.
    pub(crate) fn withdraw_bar(&mut self) {
        self.device.bar = None;
        self.device.revoker.lent().bar = None;
    }

    /// Returns why the driver has no device any more: it was taken away, or it went while the driver had its BAR as
    /// memory.
    #[inline]
    pub fn device_is_taken(&self) -> Option<Fault> {
        if self.is_revoked() {
            return Some(Fault::Revoked);
        }
        self.device.bar.as_ref().is_some_and(|bar| bar.lost()).then_some(Fault::DeviceGone)
    }

    #[inline]
    pub(crate) fn is_revoked(&self) -> bool {
        self.device.revoker.is_revoked()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use nook_bus::VolatileSlice;
    use rustix::mm::{mmap, munmap};

    use super::*;

    /// A window, mapped once more.
    struct Mapped {
        base: *mut u8,
        len: usize,
    }

    // SAFETY: the mapping belongs to no thread.
    unsafe impl Send for Mapped {}
    // SAFETY: its memory is used through volatile accesses only.
    unsafe impl Sync for Mapped {}

    impl Mapped {
        fn new(window: &DmaWindow) -> Mapped {
            let (len, access) = (window.len_bytes() as usize, ProtFlags::READ | ProtFlags::WRITE);
            // SAFETY: a new mapping at an address that the kernel picks replaces nothing.
            let base = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, window.fd(), 0) }.unwrap();
            Mapped { base: base.cast(), len }
        }

        fn slice(&self) -> VolatileSlice<'_> {
            // SAFETY: mapped until `self` is dropped.
            unsafe { VolatileSlice::new(self.base, self.len) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: `new` mapped as much there, and slices of it have ended with the borrow.
            unsafe { munmap(self.base.cast(), self.len) }.unwrap();
        }
    }

    fn lend(window: &DmaWindow, revoker: &Revoker) -> Lend {
        Lend { window: window.clone(), at: 0, revoker: revoker.clone() }
    }

    fn first(slice: VolatileSlice<'_>) -> u8 {
        let mut byte = [0];
        slice.copy_to(&mut byte[..]);
        byte[0]
    }

    #[test]
    fn the_hosts_own_copies_go_on_and_reach_nobody() {
        for _ in 0..20 {
            let (window, revoker) = (DmaWindow::new(1).unwrap(), Revoker::default());
            let mapped = Mapped::new(&window);
            // SAFETY: it stays mapped, and is used through volatile copies only.
            let lent = unsafe { lend(&window, &revoker).mapped(mapped.base) };
            let copies = AtomicU32::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut bytes = vec![7; mapped.len];
                    while !revoker.is_revoked() || copies.load(Ordering::Relaxed) < 8 {
                        mapped.slice().copy_from(&bytes);
                        mapped.slice().copy_to(&mut bytes[..]);
                        bytes.fill(7);
                        copies.fetch_add(1, Ordering::Relaxed);
                    }
                });
                while copies.load(Ordering::Relaxed) < 4 {
                    std::thread::yield_now();
                }
                revoker.revoke();
                window.slice().copy_from(&vec![9; mapped.len]);
            });
            mapped.slice().copy_from(&[7]);
            assert_eq!((first(window.slice()), first(mapped.slice())), (9, 7));
            drop(lent);
        }
    }

    #[test]
    fn what_is_lent_after_it_was_taken_away_is_empty() {
        let (window, revoker) = (DmaWindow::new(1).unwrap(), Revoker::default());
        window.slice().copy_from(&[7]);
        revoker.revoke();
        let mapped = Mapped::new(&window);
        // SAFETY: it stays mapped, and is used through volatile copies only.
        let lent = unsafe { lend(&window, &revoker).mapped(mapped.base) };
        assert_eq!((first(window.slice()), first(mapped.slice())), (7, 0));
        drop(lent);
    }

    #[test]
    fn what_was_given_back_is_left_alone() {
        let (window, revoker) = (DmaWindow::new(1).unwrap(), Revoker::default());
        window.slice().copy_from(&[7]);
        let mapped = Mapped::new(&window);
        // SAFETY: it stays mapped, and is used through volatile copies only.
        drop(unsafe { lend(&window, &revoker).mapped(mapped.base) });
        revoker.revoke();
        assert_eq!(first(mapped.slice()), 7);
    }
}
